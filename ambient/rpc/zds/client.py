"""The proxy's end of ZDS: orders that are acknowledged, and questions that are answered."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from ambient.aio.packets import close_fds
from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.pod import Capture, OlderConnection
from ambient.rpc.zds.codec import decode_request
from ambient.rpc.zds.connection import ZdsSocket
from ambient.rpc.zds.messages import (
    AMBIENT_V1,
    CONNECTIONS_PER_PACKET,
    Ack,
    AddWorkload,
    DelWorkload,
    Deposit,
    Deposited,
    DestroyConnections,
    Hello,
    KeepWorkload,
    ListConnections,
    Order,
    Question,
    Result,
    Returned,
    SetCapture,
    SnapshotSent,
    UnusableOrder,
    Welcome,
)

UNANSWERED_LIMIT: Final = 1024
"""Questions of a proxy that wait for their Result, and orders that wait for the proxy."""


@dataclass(slots=True)
class Received:
    """An order, Welcome or Deposited as the proxy got it."""

    message: Order | Welcome | Deposited
    fds: tuple[int, ...]
    """The taker's to close."""
    _socket: ZdsSocket
    _acknowledged: bool = False

    async def acknowledge(self, error: str = "") -> None:
        """Tell the daemon that it was done, or why not; nothing for a message that asks for no answer."""
        if self._acknowledged:
            raise ValueError(f"{self.message} was acknowledged before")
        self._acknowledged = True
        if isinstance(self.message, Order):
            await self._socket.send(Ack(error[:4096]))


@dataclass(slots=True)
class _Asked:
    answered: asyncio.Future[tuple[OlderConnection, ...]]
    connections: list[OlderConnection] = field(default_factory=list)


class ZdsClient:
    """The proxy's conversation with its node's daemon, as long as one connection lives.

    Take what the daemon sends from ``orders`` in one task and acknowledge each; ask from any task, also before an
    order is acknowledged. When the connection ends, ``orders`` and every question raise.
    """

    def __init__(self, sock: ZdsSocket, returning: Mapping[str, Sequence[int]]) -> None:
        self._socket = sock
        self._returning = dict(returning)
        self._orders: deque[Received] = deque()
        self._news = asyncio.Event()
        self._asked: dict[int, _Asked] = {}
        self._ids = itertools.count(1)
        self._ended: Exception | None = None
        self.extended = False
        """Whether the daemon speaks ambient.v1 (it has sent Welcome); asking needs that."""
        self._reading = asyncio.create_task(self._read(), name="zds of the node daemon")
        self._giving_back: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls, path: str, returning: Mapping[str, Sequence[int]] | None = None, witness: int | None = None
    ) -> Self:
        """Say hello to the daemon.

        ``returning`` is what an earlier daemon gave: for each workload its outbound, plaintext and hbone listeners.
        They are sent when the daemon says Welcome and stay open here. ``witness`` is a socket by which the daemon sees
        the proxy's cgroup. Raises Unavailable.
        """
        sock = await ZdsSocket.connect(path)
        try:
            hello = Hello(frozenset({AMBIENT_V1}), tuple(returning or ()))
            await sock.send(hello, () if witness is None else (witness,))
        except BaseException:
            sock.close()
            raise
        return cls(sock, returning or {})

    async def orders(self) -> AsyncIterator[Received]:
        """What the daemon sends, in order. Raises Unavailable or PeerError when the connection ends."""
        while True:
            while self._orders:
                yield self._orders.popleft()
            if self._ended is not None:
                raise self._ended
            self._news.clear()
            await self._news.wait()

    async def set_capture(self, uid: str, mode: Capture) -> None:
        """Have the kernel capture a workload's traffic; done when this returns. Raises ConfigError if it cannot."""
        await self._ask(SetCapture(uid, mode))

    async def deposit(self, name: str, fd: int | None) -> None:
        """Have the daemon keep a sealed memfd for the next proxy; None: forget the one of that name."""
        await self._ask(Deposit(name), () if fd is None else (fd,))

    async def returned(self, uid: str, fds: Sequence[int]) -> None:
        """Give the daemon a workload's listeners; ``connect`` does it for all."""
        await self._ask(Returned(uid), fds)

    async def list_connections(self, uid: str) -> tuple[OlderConnection, ...]:
        """The connections of a workload that are older than its capture and still there."""
        return await self._ask(ListConnections(uid))

    async def destroy_connections(self, uid: str, connections: Collection[OlderConnection]) -> None:
        """Reset older connections of a workload."""
        remaining = iter(connections)
        while batch := tuple(itertools.islice(remaining, CONNECTIONS_PER_PACKET)):
            await self._ask(DestroyConnections(uid, batch))

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _ask(self, question: Question, fds: Sequence[int] = ()) -> tuple[OlderConnection, ...]:
        if self._ended is not None:
            raise Unavailable(f"no daemon to ask: {self._ended}")
        if not self.extended:
            raise Unavailable("the daemon has not said Welcome: it does not speak ambient.v1")
        if len(self._asked) >= UNANSWERED_LIMIT:
            raise Unavailable(f"{UNANSWERED_LIMIT} questions to the daemon are unanswered")
        number = next(self._ids)
        asked = self._asked[number] = _Asked(asyncio.get_running_loop().create_future())
        try:
            await self._socket.send(replace(question, id=number), fds)
            return await asked.answered
        finally:
            self._asked.pop(number, None)

    async def _read(self) -> None:
        try:
            while True:
                await self._take_one()
        except (PeerError, Unavailable) as error:
            self._end(error)
        except asyncio.CancelledError:
            self._end(Unavailable("ZDS was closed at this end"))
            raise
        except BaseException as error:
            self._end(Unavailable(f"reading ZDS failed: {error!r}"))
            raise

    async def _take_one(self) -> None:
        try:
            message, fds = await self._socket.recv(decode_request)
        except UnusableOrder as error:
            await self._socket.send(Ack(str(error)))
            return
        match message:
            case Result():
                self._answer(message)
            case AddWorkload() | KeepWorkload() | DelWorkload() | SnapshotSent() | Welcome() | Deposited():
                if len(self._orders) >= UNANSWERED_LIMIT:
                    close_fds(fds)
                    raise PeerError(
                        f"the daemon sent {UNANSWERED_LIMIT} orders without waiting for an answer"
                    )
                self._orders.append(Received(message, fds, self._socket))
                self._news.set()
                if isinstance(message, Welcome):
                    self.extended = True
                    self._giving_back = asyncio.create_task(
                        self._give_back(), name="zds listeners given back"
                    )
            case _:
                raise PeerError(f"the daemon sent a {type(message).__name__}")

    def _answer(self, result: Result) -> None:
        asked = self._asked.get(result.id)
        if asked is None or asked.answered.done():
            return  # Whoever asked was cancelled.
        asked.connections.extend(result.connections)
        if result.error:
            asked.answered.set_exception(ConfigError(result.error))
        elif not result.more:
            asked.answered.set_result(tuple(asked.connections))

    async def _give_back(self) -> None:
        returning, self._returning = self._returning, {}
        for uid, fds in returning.items():
            with contextlib.suppress(ConfigError, Unavailable):  # A daemon that has no use for them says so.
                await self.returned(uid, fds)

    def _end(self, error: Exception) -> None:
        self._ended = error
        self._socket.close()
        if self._giving_back is not None:
            self._giving_back.cancel()
        for received in self._orders:
            close_fds(received.fds)
        self._orders.clear()
        for asked in self._asked.values():
            if not asked.answered.done():
                asked.answered.set_exception(Unavailable(f"the daemon did not answer: {error}"))
        self._news.set()
