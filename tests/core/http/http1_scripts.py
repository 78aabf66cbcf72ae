"""Bytes in, events out: what tests of HTTP/1.1 have in common."""

from __future__ import annotations

from collections.abc import Iterable

from ambient.core.http.machine import Machine
from ambient.core.http.message import BodyCame, Event, RequestCame, RequestHead


def told(machine: Machine, pieces: Iterable[bytes], *, consume: bool = True) -> list[Event]:
    """What a machine says to ``pieces``, which are taken away behind it as those of a socket are."""
    events: list[Event] = []
    for piece in pieces:
        buffer = bytearray(piece)
        came = _kept(machine, machine.receive(memoryview(buffer)), consume=consume)
        buffer[:] = bytes(len(buffer))
        events += came
        events += all_told(machine, consume=consume)
    return joined(events)


def all_told(machine: Machine, *, consume: bool = True) -> list[Event]:
    """What it still has to tell."""
    events: list[Event] = []
    while not machine.heard_all:
        events += _kept(machine, machine.receive(b""), consume=consume)
    return joined(events)


def _kept(machine: Machine, events: list[Event], *, consume: bool) -> list[Event]:
    kept = [
        BodyCame(event.stream, bytes(event.data)) if isinstance(event, BodyCame) else event
        for event in events
    ]
    for event in kept:
        if consume and isinstance(event, BodyCame):
            machine.consumed(event.stream, len(event.data))
    return kept


def joined(events: list[Event]) -> list[Event]:
    """The same with pieces of one body that follow each other as one."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, BodyCame) and isinstance(last, BodyCame) and last.stream == event.stream:
            result[-1] = BodyCame(event.stream, bytes(last.data) + bytes(event.data))
        else:
            result.append(event)
    return result


def written(machine: Machine) -> bytes:
    """What it has to say."""
    return b"".join(machine.gather())


def singly(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def asked(events: list[Event]) -> RequestHead:
    """The head of the request that came, and no other did."""
    (head,) = [event.head for event in events if isinstance(event, RequestCame)]
    return head


def body(events: list[Event]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, BodyCame))
