"""Packets with file descriptors over a unix SOCK_SEQPACKET socket."""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ambient.aio import unix

MOST_BYTES: Final = 128 * 1024
MOST_DESCRIPTORS: Final = 16
"""In one packet, that are received at all."""
_BUFFER: Final = 1024 * 1024


class Oversized(OSError):
    """A packet came that is larger than agreed, in bytes or in descriptors; it is lost, and none of it is left open."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knew it when it connected."""

    pid: int
    uid: int


class PacketSocket:
    """One end. Descriptors that ``receive`` returns belong to the caller; those given to ``send`` stay its own.

    Any number of tasks may send and receive: packets leave in the order of the calls, and are handed out in it.
    """

    def __init__(self, sock: socket.socket, most_bytes: int = MOST_BYTES) -> None:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._sock = sock
        self._most_bytes = most_bytes
        self._loop = asyncio.get_running_loop()
        self._sending, self._receiving = asyncio.Lock(), asyncio.Lock()
        self._waiting: set[asyncio.Event] = set()
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", raw)
        self.peer = Peer(pid, uid)

    @classmethod
    async def connect(cls, path: str) -> PacketSocket:
        """Connect to the server at ``path``. Raises OSError."""
        return cls(connect(path))

    @property
    def closed(self) -> bool:
        """Whether it was closed at this end."""
        return self._sock.fileno() < 0

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one packet of at most what the peer receives; waits while the peer is slow. Raises OSError."""
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        # Packets must leave in the order of the calls, and there is one writer registration for each socket.
        async with self._sending:
            while True:
                try:
                    self._sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer)
                else:
                    return

    async def receive(self) -> tuple[bytes, list[int]]:
        """The next packet and its descriptors (close-on-exec); empty bytes and none at the end.

        Raises OSError; Oversized if more may follow.
        """
        async with self._receiving:
            while not self.closed:
                try:
                    return self._receive_now()
                except BlockingIOError:
                    await self._ready(self._loop.add_reader, self._loop.remove_reader)
        return b"", []

    def close(self) -> None:
        """End the connection; whoever waits in ``receive`` sees the end, in ``send`` an OSError. Safe to call twice."""
        if not self.closed:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            for woken in self._waiting:
                woken.set()

    def _receive_now(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, flags, _ = self._sock.recvmsg(self._most_bytes, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close_fds(descriptors)
            raise Oversized(
                errno.EMSGSIZE, f"a packet over {self._most_bytes} bytes or {MOST_DESCRIPTORS} descriptors"
            )
        if not data:  # The end; or an empty packet, which nobody can tell from it.
            close_fds(descriptors)
            return b"", []
        return data, list(descriptors)

    async def _ready(self, add: Callable[..., None], remove: Callable[[socket.socket], bool]) -> None:
        woken = asyncio.Event()
        add(self._sock, woken.set)
        self._waiting.add(woken)
        try:
            await woken.wait()
        finally:
            self._waiting.discard(woken)
            if not self.closed:
                remove(self._sock)


def connect(path: str) -> socket.socket:
    """A socket to the server that listens at ``path``. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)  # Done at once, or refused: a unix socket has no handshake to wait for.
    except BaseException:
        sock.close()
        raise
    return sock


def listen(path: str) -> socket.socket:
    """A listening socket at ``path``, for its owner alone; a dead one's file is replaced. Raises ConfigError."""
    return unix.listen(path, socket.SOCK_SEQPACKET)


def close_fds(descriptors: Iterable[int]) -> None:
    """Close each."""
    for descriptor in descriptors:
        os.close(descriptor)
