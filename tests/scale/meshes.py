"""Meshes of any size, in memory."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_network
from typing import Final

from immutables import Map

from ambient.core import delta
from ambient.core.delta import Delta
from ambient.core.model.address import NetworkAddress, SocketAddress
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Match,
    Rule,
    Scope,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.service import Port, Service
from ambient.core.model.workload import TunnelProtocol, Workload
from ambient.core.snapshot import EMPTY, Snapshot

PORTS: Final = (Port(80, 8080),)
NAMESPACES: Final = 50
TRUST_DOMAIN: Final = "cluster.local"


def service(number: int) -> Service:
    """They take turns in the namespaces."""
    namespace = f"ns{number % NAMESPACES}"
    address = NetworkAddress("", IPv4Address((10 << 24) + (96 << 16) + number + 1))
    return Service(f"s{number}", namespace, f"s{number}.{namespace}.svc.cluster.local", (address,), PORTS)


def workload(number: int, *serves: Service) -> Workload:
    namespace = f"ns{number % NAMESPACES}"
    return Workload(
        uid=f"local/ambient.dev/Workload/{namespace}/w{number}",
        name=f"w{number}",
        namespace=namespace,
        service_account="app",
        trust_domain=TRUST_DOMAIN,
        addresses=(IPv4Address((10 << 24) + (128 << 16) + number + 1),),
        tunnel=TunnelProtocol.HBONE,
        node=f"node{number % 100}",
        cluster="local",
        canonical_name=f"w{number}",
        canonical_revision="latest",
        workload_name=f"w{number}",
        services=Map({one.key: PORTS for one in serves}),
    )


def mesh(workloads: int, services: int) -> tuple[Snapshot, Service]:
    """Each workload serves one service of its namespace; the service that is returned is served by every second one."""
    every = [service(number) for number in range(services)]
    large = service(services)
    resources: list[delta.Resource] = [*every, large]
    for number in range(workloads):
        own = every[(number + number // NAMESPACES * NAMESPACES) % services]
        resources.append(workload(number, own, *((large,) if number % 2 else ())))
    return delta.apply(EMPTY, Delta(tuple(resources))), large


def endpoint_of(one: Service) -> SocketAddress:
    """What a client dials."""
    return SocketAddress(one.addresses[0].ip, 80)


RULES: Final[dict[str, Callable[[int, int], Rule]]] = {
    "principals": lambda policy, rule: (
        (Match(principals=_exactly(f"cluster.local/ns/x{policy}/sa/y{rule}")),),
    ),
    "beginnings of principals": lambda policy, rule: (
        (Match(principals=(StringMatch(StringMatchKind.PREFIX, f"cluster.local/ns/x{policy}-{rule}"),)),),
    ),
    "networks": lambda policy, rule: (
        (Match(source_ips=(ip_network(f"172.{16 + policy % 16}.{rule * 8 + policy % 8}.0/24"),)),),
    ),
    "one port each": lambda policy, rule: (
        (Match(not_principals=_exactly("cluster.local/ns/a/sa/b"), destination_ports=(9000 + rule,)),),
    ),
    "a namespace and a port": lambda policy, rule: (
        (Match(namespaces=_exactly(f"x{policy}")),),
        (Match(destination_ports=(9000 + rule,)),),
    ),
    "the caller's namespace, other ports": lambda _, rule: (
        (Match(namespaces=_exactly("caller")),),
        (Match(destination_ports=(9000 + rule,)),),
    ),
    "only what must not be": lambda policy, rule: (
        (Match(not_namespaces=_exactly("caller", f"x{policy}-{rule}")),),
    ),
}
"""Rules that do not fit a caller of namespace ``caller``, by what they ask; the last can only be asked one by one."""


def policies(count: int, rules: int, asking: str, namespace: str, action: Action) -> list[Authorization]:
    make = RULES[asking]
    return [
        Authorization(
            f"p{number}",
            namespace,
            Scope.NAMESPACE,
            action,
            tuple(make(number, rule) for rule in range(rules)),
        )
        for number in range(count)
    ]


def _exactly(*values: str) -> tuple[StringMatch, ...]:
    return tuple(StringMatch(StringMatchKind.EXACT, value) for value in values)
