"""The socket between a daemon and its proxy: typed messages on ``aio.packets``, and the daemon's listener."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Self, TypeAlias

from ambient.aio import packets
from ambient.aio.packets import Oversized, PacketSocket, close_fds
from ambient.aio.tasks import Crash, Tasks
from ambient.core.errors import PeerError, Unavailable
from ambient.rpc.zds.codec import PACKET_LIMIT, encode
from ambient.rpc.zds.messages import Message, Order, UnusableOrder, expected_fds

SOCKET_NAME: Final = "zds.sock"
"""The daemon's socket in its run folder."""
ACCEPT_PAUSE_SECONDS: Final = 1.0


class ZdsSocket:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._packets = PacketSocket(sock, PACKET_LIMIT)
        self.peer = self._packets.peer

    @classmethod
    async def connect(cls, path: str) -> Self:
        """To the daemon that listens at ``path``. Raises Unavailable if there is none."""
        try:
            return cls(packets.connect(path))
        except OSError as error:
            raise Unavailable(f"no node daemon listens at {path}: {error.strerror or error}") from error

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """One packet, after those before it. Raises Unavailable once the other side is gone."""
        if len(fds) not in expected_fds(message):
            raise ValueError(f"a {type(message).__name__} does not travel with {len(fds)} descriptors")
        try:
            await self._packets.send(encode(message), fds)
        except OSError as error:
            raise self._ended(error) from error

    async def recv(self, decode: Callable[[bytes], Message]) -> tuple[Message, tuple[int, ...]]:
        """The next message and its descriptors, read with ``decode``.

        Raises Unavailable when the other side has closed, PeerError for a packet that is not right; no descriptor
        is left open then.
        """
        packet, fds = await self._packet()
        try:
            message = decode(packet)
            _check_fds(message, fds)
        except BaseException:
            close_fds(fds)
            raise
        return message, tuple(fds)

    def close(self) -> None:
        """End it; who waits in ``send`` or ``recv`` gets Unavailable."""
        self._packets.close()

    async def _packet(self) -> tuple[bytes, list[int]]:
        try:
            packet, fds = await self._packets.receive()
        except Oversized as error:
            raise PeerError(error.strerror) from error
        except OSError as error:
            raise self._ended(error) from error
        if not packet:
            raise self._ended(None)
        return packet, fds

    def _ended(self, error: OSError | None) -> Unavailable:
        if self._packets.closed:
            return Unavailable("ZDS was closed at this end")
        if error is None:
            return Unavailable("the other end of ZDS has closed it")
        return Unavailable(f"the other end of ZDS is gone: {error.strerror or error}")


class ZdsListener:
    """The daemon's socket; ``close`` ends it, its connections and their handlers."""

    def __init__(self, sock: socket.socket, path: str, handler: Handler, failed: Crash) -> None:
        self._socket, self._path, self._handler, self._failed = sock, path, handler, failed
        self._tasks = Tasks(failed)
        self._loop = asyncio.get_running_loop()
        self._paused: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept)

    async def close(self) -> None:
        """Let go of the path and of every connection."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108
        await self._tasks.stop()

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # No descriptors are left, most likely: spinning would not make any.
            self._failed("zds", error)
            self._loop.remove_reader(self._socket.fileno())
            self._paused = self._loop.call_later(
                ACCEPT_PAUSE_SECONDS, self._loop.add_reader, self._socket.fileno(), self._accept
            )
            return
        connection = ZdsSocket(accepted)
        if connection.peer.uid != 0:
            connection.close()
            self._failed(
                "zds",
                PeerError(
                    f"process {connection.peer.pid} of user {connection.peer.uid} was turned away; a proxy runs as root"
                ),
            )
            return
        self._tasks.start(self._serve(connection), f"zds of process {connection.peer.pid}")

    async def _serve(self, connection: ZdsSocket) -> None:
        try:
            await self._handler(connection)
        finally:
            connection.close()


Handler: TypeAlias = Callable[[ZdsSocket], Awaitable[None]]


def serve(path: str, handler: Handler, failed: Crash) -> ZdsListener:
    """Listen at ``path`` (mode 0600, root only) and run ``handler`` for each proxy that connects.

    ``failed`` hears of turned-away peers and of handlers that ended with an error. Raises ConfigError if something
    else is at the path.
    """
    return ZdsListener(packets.listen(path), path, handler, failed)


def _check_fds(message: Message, fds: Collection[int]) -> None:
    if len(fds) not in expected_fds(message):
        fault = UnusableOrder if isinstance(message, Order) else PeerError
        raise fault(f"a {type(message).__name__} came with {len(fds)} descriptors")
