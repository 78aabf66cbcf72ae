"""Connections taken from listeners that all workers of a program share, and divided among them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from ambient.aio.tasks import Tasks
from ambient.member.live import BEGAN
from ambient.member.shares import Kind, Shares
from ambient.telemetry import log

_BURST: Final = 16
"""Connections that one wake-up may accept: the rest is left for another worker, or the next turn."""
_PAUSE_SECONDS: Final = 0.1
_COMPLAIN_SECONDS: Final = 10.0
_YIELD_SECONDS: Final = 0.002
"""How long a worker that carries more leaves a connection to one that carries less."""

Carry: TypeAlias = Callable[[socket.socket], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """A listening socket, and what becomes of what it accepts."""

    sock: socket.socket
    kind: Kind
    name: str
    carry: Carry


class Accepting:
    """The listeners of one worker, by the workload that they are of.

    ``carried`` says how many connections and tunnels the worker carries that are set up; ``idle`` is called when none is
    being set up any more.
    """

    def __init__(self, index: int, carried: Callable[[], tuple[int, int]], idle: Callable[[], None]) -> None:
        self._index, self._carried = index, carried
        self.setting_up = Tasks(_crashed, idle)
        """Connections that were accepted and are not carried yet."""
        self._setting_up_for: dict[str, set[asyncio.Task[None]]] = {}
        self._listeners: dict[str, tuple[Listener, ...]] = {}
        self._shares: Shares | None = None
        """What all workers carry; None: we accept nothing."""
        self._shaking_hands = 0
        self._complained = -_COMPLAIN_SECONDS

    def share(self, memory: int, workers: int) -> None:
        """Divide connections with so many workers; ``memory`` of ``Shares``, which stays the caller's."""
        self._shares = Shares(memory, workers)
        self.tell_shares()

    def tell_shares(self) -> None:
        """What the worker carries has changed."""
        if self._shares is not None:
            connections, tunnels = self._carried()
            connections += len(self.setting_up) - self._shaking_hands
            self._shares.tell(self._index, Kind.CONNECTION, connections)
            self._shares.tell(self._index, Kind.TUNNEL, tunnels + self._shaking_hands)

    def tell(self, kind: Kind, count: int) -> None:
        """Tell the other workers what this one has."""
        if self._shares is not None:
            self._shares.tell(self._index, kind, count)

    def others(self, kind: Kind) -> int:
        """What the other workers have told, together."""
        return 0 if self._shares is None else self._shares.others(self._index, kind)

    def listen(self, uid: str, listeners: Sequence[Listener]) -> None:
        """Accept from these for a workload, and from none that it had before."""
        self.stop(uid)
        self._listeners[uid] = tuple(listeners)
        for listener in listeners:
            listener.sock.setblocking(False)
            self._resume(uid, listener)

    def stop(self, uid: str) -> None:
        """Accept nothing more for a workload."""
        for listener in self._listeners.pop(uid, ()):
            asyncio.get_running_loop().remove_reader(listener.sock)
            listener.sock.close()

    def cancel(self, uid: str, why: str) -> None:
        """Give up what is being set up for a workload."""
        for task in self._setting_up_for.get(uid, ()):
            task.cancel(why)

    def leave(self) -> None:
        """Accept nothing more at all."""
        if self._shares is not None:
            self._shares.leave(self._index)
            self._shares = None
        for uid in list(self._listeners):
            self.stop(uid)

    def _resume(self, uid: str, listener: Listener) -> None:
        asyncio.get_running_loop().add_reader(listener.sock, self._accept, uid, listener)

    def _accept(self, uid: str, listener: Listener, *, insist: bool = False) -> None:
        kind = listener.kind
        for number in range(_BURST):
            if self._shares is not None and self._shares.leads(self._index, kind) and (number or not insist):
                self._yield(uid, listener)
                return
            try:
                accepted, _ = listener.sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory, or the network's own trouble: it passes, or is not ours to end.
                self._pause(uid, listener, str(error))
                return
            BEGAN.set(time.monotonic())
            task = self.setting_up.start(listener.carry(accepted), f"{listener.name} {uid}")
            self._setting_up_for.setdefault(uid, set()).add(task)
            self._shaking_hands += kind is Kind.TUNNEL
            task.add_done_callback(partial(self._set_up, uid, kind))
            self.tell_shares()

    def _set_up(self, uid: str, kind: Kind, task: asyncio.Task[None]) -> None:
        self._shaking_hands -= kind is Kind.TUNNEL
        self.tell_shares()
        tasks = self._setting_up_for[uid]
        tasks.discard(task)
        if not tasks:
            del self._setting_up_for[uid]

    def _yield(self, uid: str, listener: Listener) -> None:
        """Leave the next connection to another worker, but not for ever: it may be busy."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.sock)

        def resume() -> None:
            if listener in self._listeners.get(uid, ()):
                self._resume(uid, listener)
                self._accept(uid, listener, insist=True)

        loop.call_later(_YIELD_SECONDS, resume)

    def _pause(self, uid: str, listener: Listener, why: str) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = loop.time()
            log.error("worker cannot accept", worker=self._index, workload=uid, why=why)
        loop.remove_reader(listener.sock)

        def resume() -> None:
            if listener in self._listeners.get(uid, ()):
                self._resume(uid, listener)

        loop.call_later(_PAUSE_SECONDS, resume)


def _crashed(name: str, error: BaseException) -> None:
    log.error("task crashed", task=name, error=repr(error))
