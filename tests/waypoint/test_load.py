"""What a replica's workers have together decides what each of them takes on."""

from __future__ import annotations

import os

from ambient.core.overload import Capacity
from ambient.kernel import process
from ambient.member.shares import Kind, Shares
from ambient.waypoint.load import Load


class Worker:
    """One of two."""

    def __init__(self, index: int, shares: Shares, capacity: Capacity) -> None:
        self.index, self._shares = index, shares
        self.connections = 0
        self.memory = 0
        self.load = Load(capacity, self, lambda: self.connections, lambda: self.memory)
        self.load.look()

    def tell(self, kind: Kind, count: int) -> None:
        self._shares.tell(self.index, kind, count)

    def others(self, kind: Kind) -> int:
        return self._shares.others(self.index, kind)


def two(capacity: Capacity) -> tuple[Worker, Worker]:
    shares, memory = Shares.make(2)
    os.close(memory)
    return Worker(0, shares, capacity), Worker(1, shares, capacity)


def test_memory_of_all_workers_counts() -> None:
    one, other = two(Capacity(memory=100 << 20))
    one.memory = other.memory = 40 << 20
    one.load.look()
    other.load.look()
    assert one.load.why_no_request() is None
    other.memory = 50 << 20
    other.load.look()
    one.load.look()
    said = "the waypoint is overloaded: 90 of 100 MiB of memory are used"
    assert one.load.why_no_request() == one.load.why_no_connection() == other.load.why_no_request() == said


def test_connections_of_all_workers_count() -> None:
    one, other = two(Capacity(connections=10))
    other.connections = 9
    other.load.look()
    assert one.load.why_no_connection() is None
    one.connections = 1
    assert one.load.why_no_connection() == "the waypoint is overloaded: it carries 10 connections of 10"
    assert one.load.why_no_request() is None


def test_a_process_knows_what_it_uses() -> None:
    before = process.memory_used()
    held = bytearray(os.urandom(64 << 20))
    assert 60 << 20 <= process.memory_used() - before <= 80 << 20
    del held
