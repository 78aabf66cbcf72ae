"""Ports: those of the mesh itself, and a service's port as its endpoint knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload

HBONE_PORT = 15008
OWN_PORTS = frozenset({15001, 15006, HBONE_PORT})
"""Where the proxy listens in every pod: a connection that ends there would call the proxy itself."""


def target_port(service: Service, workload: Workload, service_port: int) -> int | None:
    """The port of ``workload`` behind a service port; None: it serves no such port.

    The workload's own list is asked first: there, named ports are resolved already. A service port with target 0 is a
    name that an endpoint without it in its list, also in an empty one, lacks; on any other workload it is the same port.
    """
    listed = workload.services.get(service.key)
    for port in listed or ():
        if port.service_port == service_port:
            return port.target_port or service_port
    for port in service.ports:
        if port.service_port == service_port:
            if port.target_port == 0 and listed is not None:
                return None
            return port.target_port or service_port
    return None
