"""What a control plane shows of itself to whoever watches it: readiness and metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from ambient.core.errors import ConfigError
from ambient.telemetry import exposition
from ambient.telemetry.admin import Admin, ready
from ambient.telemetry.exposition import Number

if TYPE_CHECKING:
    from ambient.control.ads import Publisher
    from ambient.control.audit import Audit
    from ambient.control.index import Index
    from ambient.control.overview import Overview
    from ambient.control.trust import Trust


def page(
    overview: Overview, index: Index, publisher: Publisher, trust: Trust, audit: Audit
) -> exposition.Exposition:
    """The metrics of these parts."""
    return exposition.Exposition(
        exposition.build("control", version("ambient")),
        exposition.numbers(*_mesh(overview, index, publisher), *_authority(trust, audit)),
    )


async def serve(listen: str, metrics: exposition.Exposition, stack: AsyncExitStack) -> int:
    """Serve on ``HOST:PORT`` until ``stack`` ends; the port that it got. Raises ConfigError."""
    admin = Admin({"GET /healthz/ready": ready(lambda: None), "GET /metrics": metrics.page})
    host, _, port = listen.rpartition(":")
    try:
        got = await admin.start(host.strip("[]"), int(port))
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ConfigError(f"--admin {listen} cannot be listened on: {why}; choose another port") from error
    stack.push_async_callback(admin.stop)
    return got


def _mesh(overview: Overview, index: Index, publisher: Publisher) -> Iterator[Number]:
    yield Number(
        "ambient_control_connected_nodes",
        "Nodes with a stream.",
        lambda: len(overview.status().connected_nodes),
    )
    yield Number(
        "ambient_control_errors",
        "Errors of configuration that stand.",
        lambda: len(overview.status().errors),
    )
    yield Number("ambient_control_version", "Version of the mesh.", lambda: index.snapshot.version)
    yield Number("ambient_control_workloads", "Workloads in the mesh.", lambda: len(index.snapshot.workloads))
    yield Number(
        "ambient_control_nodes_behind",
        "Nodes that have not acknowledged the present state of every type.",
        lambda: len(publisher.behind),
    )
    yield Number(
        "ambient_control_refused_resources",
        "Resources that connected nodes do not take, counted for each node.",
        lambda: len(publisher.refusals),
    )


def _authority(trust: Trust, audit: Audit) -> Iterator[Number]:
    for role in ("root", "issuer"):
        yield Number(
            f"ambient_control_{role}_days_left",
            f"Days until the {role} that signs ends.",
            partial(trust.days_left, role),
        )
    yield Number(
        "ambient_control_unaware_nodes",
        "Nodes with a certificate that are not known to trust the roots of now.",
        lambda: len(trust.unaware),
    )
    yield Number(
        "ambient_control_audit_lines_lost",
        "Lines that could not be written to the audit log.",
        lambda: audit.lost,
        is_counter=True,
    )
