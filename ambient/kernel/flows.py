"""What ``bpf/flows.c`` tells of direct connections: records in a ring buffer, and maps that heal what did not fit.

The ring is two mappings: a page where we write how far we have read, and read-only a page with how far the kernel has
written, followed by the bytes twice, so that no record is cut at the end. A record begins with its length, whose two
highest bits say that it is still being written, or is to be skipped. Where we have read to stands in the ring itself:
whoever reads next, after a restart, goes on there. Source: kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from typing import TYPE_CHECKING, Final

from ambient.core.model.flow import End, Ending, Flow, Loss
from ambient.kernel import abi, bpf

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDS_PER_TURN: Final = 256
"""Some 3 ms of Python."""

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER: Final = struct.Struct("=II")
_ENDS: Final = {abi.FLOW_OF_CLIENT: End.CLIENT, abi.FLOW_OF_SERVER: End.SERVER}
_ENDINGS: Final = {
    abi.FLOW_LIVES: None,
    abi.FLOW_FINISHED: Ending.FINISHED,
    abi.FLOW_CUT: Ending.CUT,
    abi.FLOW_TIMED_OUT: Ending.TIMED_OUT,
}


class FlowRecords:
    """The reader of the ring; one at a time. ``map_fd`` stays the caller's and can be polled for reading."""

    def __init__(self, map_fd: int) -> None:
        self.fd = map_fd
        self._size = bpf.capacity(map_fd)
        writable = mmap.mmap(map_fd, mmap.PAGESIZE)
        self._read = ctypes.c_uint64.from_buffer(writable)
        self._ring = mmap.mmap(
            map_fd, mmap.PAGESIZE + 2 * self._size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE
        )
        self._written = memoryview(self._ring)[:8].cast("Q")

    def take(self, most: int = RECORDS_PER_TURN) -> tuple[Flow, ...]:
        """The next records, in the order of their making; at most so many, so that whoever reads has other turns.

        Each is told once. When fewer come than asked for, the descriptor becomes readable with the next one.
        """
        taken: list[Flow] = []
        while len(taken) < most and (content := self._next()) is not None:
            if content:
                taken.append(flow_of(content))
        return tuple(taken)

    def close(self) -> None:
        """Let go of the mappings; the ring and what is in it stay."""
        self._written.release()
        self._ring.close()

    def _next(self) -> bytes | None:
        """The next record, empty if it was discarded; None: there is none yet."""
        at = self._read.value
        if at >= self._written[0]:
            return None
        start = mmap.PAGESIZE + at % self._size
        length, _ = _HEADER.unpack_from(self._ring, start)
        if length & _BUSY:
            return None
        size = length & ~_DISCARDED
        begin = start + _HEADER.size
        content = b"" if length & _DISCARDED else self._ring[begin : begin + size]
        self._read.value = at + (_HEADER.size + size + 7 & ~7)
        return content


class Flows:
    """Ends of direct connections that live, and those that ended while the ring was full. The descriptors stay the caller's."""

    def __init__(self, flows_fd: int, losses_fd: int) -> None:
        self._flows = bpf.Map(flows_fd, 8, ctypes.sizeof(abi.Flow))
        self._losses = bpf.Map(losses_fd, 8, ctypes.sizeof(abi.FlowLoss))

    def walk(self) -> tuple[Flow, ...]:
        """All of them; one that has ended is told this once and leaves.

        A socket's cookie is in a record or here, never ended in both, so nothing is told twice. Ends come and go
        meanwhile; one that was there all the time may be missed, as the walk starts over where its place is gone.
        """
        found = []
        for key, content in self._flows.items().items():
            flow = flow_of(content)
            if flow.ending is not None:
                self._flows.delete(key)
            found.append(flow)
        return tuple(found)

    def forget(self, netns_cookie: int) -> tuple[Flow, ...]:
        """Those of a pod that has left: nobody will tell how they end. As they were last known."""
        gone = []
        for key, content in self._flows.items().items():
            flow = flow_of(content)
            if flow.netns_cookie == netns_cookie and self._flows.delete(key):
                gone.append(flow)
        self._losses.delete(netns_cookie.to_bytes(8, sys.byteorder))
        return tuple(gone)

    def losses(self) -> Mapping[int, Loss]:
        """What could neither be told nor kept since the programs were loaded, by the pod's netns cookie."""
        return {
            int.from_bytes(key, sys.byteorder): Loss(loss.connections, loss.sent, loss.received)
            for key, content in self._losses.items().items()
            for loss in (abi.FlowLoss.unpack(content),)
        }


def flow_of(content: bytes) -> Flow:
    """A record, or a value of ``flows``."""
    raw = abi.Flow.unpack(content)
    return Flow(
        cookie=raw.cookie,
        netns_cookie=raw.netns_cookie,
        end=_ENDS[raw.side],
        own=raw.own.address(),
        peer=raw.peer.address(),
        meant=raw.meant.address(),
        sent=raw.sent,
        received=raw.received,
        rtt_seconds=raw.rtt_us / 1e6,
        lasted_seconds=max(raw.ended_ns - raw.began_ns, 0) / 1e9,
        ending=_ENDINGS[raw.ending],
    )
