"""What is measured: a table. A measure is the cases whose names begin with its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.applications import CALLS, LARGE, LARGE_STREAMS, SMALL, SMALL_STREAMS, Application
from bench.case import Case
from bench.loads import CLOSED, DOWN, NEW, OPEN, UP, Load
from bench.memory import Memory
from bench.site import HTTP, SINK, SOURCE
from bench.spread import TUNNELS, Spread
from bench.waypoint import Through

SCHEDULED_CONNECTIONS: Final = 64


def _down(connections: int) -> Load:
    title = f"bulk, {_several(connections)}, server to client"
    return Load(f"bulk-{connections}-down", title, DOWN, SOURCE, {"connections": connections})


def _up(connections: int) -> Load:
    title = f"bulk, {_several(connections)}, client to server"
    return Load(f"bulk-{connections}-up", title, UP, SINK, {"connections": connections})


def _closed(connections: int) -> Load:
    title = f"requests, {_several(connections)} kept"
    return Load(f"rps-{connections}", title, CLOSED, HTTP, {"connections": connections})


def _open(rate: int) -> Load:
    options = {"connections": SCHEDULED_CONNECTIONS, "rate": rate}
    return Load(f"open-{rate}", f"{rate:,} requests per second on a schedule", OPEN, HTTP, options, 2)


def _new(connections: int) -> Load:
    title = f"new connections, {connections} at a time"
    return Load(f"new-{connections}", title, NEW, HTTP, {"connections": connections})


def _through(short: str, what: str, application: Application, connections: int) -> Through:
    title = f"waypoint, {what}, {_several(connections)}"
    return Through(f"waypoint-{short}-{connections}", title, application, connections)


def _several(connections: int) -> str:
    return f"{connections} connection{'s' * (connections > 1)}"


_BUSY: Final = {"256 connections": _closed(256), "8 bulk": _down(8)}
_ALL: Final[Sequence[Case]] = (
    Memory("memory", "memory of all processes", _BUSY),
    *(way(connections) for way in (_down, _up) for connections in (1, 8)),
    *(_closed(connections) for connections in (1, 32, 256)),
    *(_open(rate) for rate in (500, 1000, 2000)),
    *(_new(connections) for connections in (1, 32)),
    *(
        _through(short, what, application, connections)
        for short, what, application in (
            ("h1-small", "HTTP/1.1, 128 B", SMALL),
            ("h1-large", "HTTP/1.1, 64 KB", LARGE),
            ("h2-small", "HTTP/2, 128 B", SMALL_STREAMS),
            ("h2-large", "HTTP/2, 64 KB", LARGE_STREAMS),
            ("grpc", "unary gRPC", CALLS),
        )
        for connections in (1, 32, 256)
    ),
    Spread("spread", f"{TUNNELS} tunnels over the workers"),
)
CASES: Final = {case.name: case for case in _ALL}
MEASURES: Final = tuple(dict.fromkeys(name.split("-")[0] for name in CASES))


def chosen(names: Sequence[str]) -> list[Case]:
    """Cases whose names begin with one of these, up to a dash; all for none. Raises KeyError with a name that none has."""
    found = {name: [case for case in _ALL if f"{case.name}-".startswith(f"{name}-")] for name in names}
    for name, some in found.items():
        if not some:
            raise KeyError(name)
    return [case for case in _ALL if not names or any(case in some for some in found.values())]
