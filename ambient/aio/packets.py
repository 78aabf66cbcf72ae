"""Packets with file descriptors over a unix SOCK_SEQPACKET socket."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_BYTES = 128 * 1024
MOST_DESCRIPTORS = 16
_BUFFER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knew it when it connected."""

    pid: int
    uid: int


class PacketSocket:
    """One end. Descriptors that ``receive`` returns belong to the caller; those given to ``send`` stay its own."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._waiting: set[asyncio.Event] = set()

    @classmethod
    async def connect(cls, path: str) -> PacketSocket:
        """Connect to the server at ``path``. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, path)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", raw)
        return Peer(pid, uid)

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one packet of at most ``MOST_BYTES``; waits while the peer is slow. Raises OSError."""
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        # Packets must leave in the order of the calls, and there is one writer registration for each socket.
        async with self._sending:
            while True:
                try:
                    self._sock.sendmsg([data], ancillary)
                except BlockingIOError:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer)
                else:
                    return

    async def receive(self) -> tuple[bytes, list[int]]:
        """The next packet and its descriptors (close-on-exec); empty bytes at the end. Raises OSError."""
        while self._sock.fileno() >= 0:
            try:
                return self._receive_now()
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
        return b"", []

    def close(self) -> None:
        """End the connection; whoever waits in ``receive`` sees the end. Safe to call twice."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            for woken in self._waiting:
                woken.set()

    def _receive_now(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, flags, _ = self._sock.recvmsg(MOST_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            for descriptor in descriptors:
                os.close(descriptor)
            raise OSError("a packet was larger than agreed")
        return data, list(descriptors)

    async def _ready(self, add: Callable[..., None], remove: Callable[[socket.socket], bool]) -> None:
        woken = asyncio.Event()
        add(self._sock, woken.set)
        self._waiting.add(woken)
        try:
            await woken.wait()
        finally:
            self._waiting.discard(woken)
            if self._sock.fileno() >= 0:
                remove(self._sock)


def listen(path: str) -> socket.socket:
    """A listening socket at ``path``, for its owner alone; a stale file of that name is replaced. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        if os.path.exists(path):  # noqa: PTH110
            os.unlink(path)  # noqa: PTH108
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(64)
    except BaseException:
        sock.close()
        raise
    return sock
