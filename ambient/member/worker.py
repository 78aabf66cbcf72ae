"""A worker of a program: one process, one event loop, all the bytes of its share of connections.

It learns everything from its parent over one packet socket. When the parent dies, the worker retires: it accepts
nothing more, carries what it has to the end, and follows the next parent so that policies still reach it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeAlias

import uvloop

from ambient.aio.packets import PacketSocket
from ambient.aio.tasks import Tasks
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import Revocations
from ambient.core.snapshot import Snapshot
from ambient.kernel import process
from ambient.member import late, messages
from ambient.member.accepting import Accepting
from ambient.member.incoming import Incoming
from ambient.member.live import Live, Q
from ambient.member.tunnels import Tunnels
from ambient.net.pool import Pool
from ambient.net.tls import Contexts, Peers, keep_certificates_in_memory
from ambient.telemetry import log
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format, Level
from ambient.telemetry.metrics import Traffic

_YOUNG: Final = 20_000
"""Objects that are made before the cyclic collector looks at them. Few of ours are in cycles, and a look stops all."""
_RECONNECT_SECONDS: Final = 0.2
_GOODBYE_SECONDS: Final = 1.0
_COUNT_SECONDS: Final = 0.1
"""How often the parent hears of a workload's count at most: connections that come and go are no news."""
_SPARE: Final = 8
"""Descriptors that are let go when the worker retires: to meet the next parent takes some, also when no others are left."""
_Outbox: TypeAlias = asyncio.Queue[tuple[messages.Message, bytes]]


class Worker(ABC, Generic[Q]):
    """What the workers of all programs do alike. A program's own worker makes ``pool`` and ``served``."""

    pool: Pool
    """Tunnels to others."""
    served: Tunnels[Any]
    """Tunnels of others."""

    def __init__(self, index: int, channel: str, access: AccessLog, peers: Peers) -> None:
        self.index, self._channel, self._access, self._peers = index, channel, access, peers
        self.tasks = Tasks(self._crashed)
        self.traffic = Traffic()
        self.live: Live[Q] = Live(self.traffic, access, self._count_changed)
        self.accepting = Accepting(index, self._carried, self.end_if_idle)
        self._born_of = os.getppid()
        self._spare = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_SPARE)]
        self.retired = False
        self._crash: BaseException | None = None
        self._incoming = Incoming()
        self._outbox: _Outbox | None = None
        """What the parent is to hear; None: there is no parent."""
        self._counts_due: set[str] = set()
        self._done = asyncio.Event()

    # --- what its program makes of it

    @property
    @abstractmethod
    def snapshot(self) -> Snapshot:
        """What is in force."""

    @abstractmethod
    def mesh_changed(self, after: Snapshot) -> None:
        """Another snapshot is in force from here on."""

    @abstractmethod
    def hear(self, message: messages.Message, payload: bytes, descriptors: list[int]) -> None:
        """What the parent says to this program's workers alone. The descriptors are ours to close."""

    @abstractmethod
    def credentials_changed(self, contexts: Contexts) -> None:
        """An identity has a new certificate."""

    def reports(self) -> Iterable[tuple[messages.Message, bytes]]:
        """What the parent is told at a scrape besides what every worker counts."""
        return ()

    def holding(self) -> dict[str, int]:
        """How many it has of what comes and goes, by kind: what only grows leaks."""
        return {
            "tasks": len(asyncio.all_tasks()),
            "connections": len(self.live),
            "tunnels_of_peers": len(self.served),
            "tunnels_to_peers": self.pool.tunnels,
        }

    def parent_found(self) -> None:  # Not everybody has something to tell anew.
        """There is a parent, which has heard nothing yet."""

    # --- its life

    async def run(self) -> None:
        """Serve until retired and idle."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._retire)
        # Ctrl-C reaches the whole group: the parent decides what it means.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        following = self.tasks.start(self._follow(), "follow")
        await self._done.wait()
        if self._crash is not None:
            raise self._crash
        await self._say_goodbye()
        following.cancel()
        await self.tasks.stop()

    def _crashed(self, name: str, error: BaseException) -> None:
        # A worker that no longer hears its parent would go on with yesterday's policies.
        log.error("task crashed", task=name, error=repr(error))
        self._crash = error
        self._done.set()

    def _retire(self) -> None:
        if not self.retired:
            self.retired = True
            log.info("worker retires", worker=self.index, connections=len(self.live))
            self.accepting.leave()
            for descriptor in self._spare:
                os.close(descriptor)
            self.leave_peers()
        self.end_if_idle()

    def cut(self, uid: str, why: str) -> None:
        """Cut what is carried of a workload, and what is being set up."""
        for carried in self.live.of(uid):
            self.live.cut(carried, carried.flag, why)
        self.accepting.cancel(uid, why)
        self.served.cut(uid, why)

    def leave_peers(self) -> None:
        """Have peers take their next streams elsewhere; called when it retires."""
        self.served.leave()

    def leave(self) -> bool:
        """Let tunnels end that carry nothing; whether none is left."""
        self.pool.leave(lambda _: True)
        self.served.leave()
        return not (self.pool.tunnels or len(self.served))

    def tunnel_ended(self) -> None:
        """A tunnel of a peer is gone."""
        self.accepting.tell_shares()
        self.end_if_idle()

    def end_if_idle(self) -> None:
        """End if it has retired and carries nothing."""
        if not self.retired or len(self.live) or len(self.accepting.setting_up):
            return
        # Tunnels flush what the last streams left in them before they close, and call here again.
        if self.leave():
            self._done.set()

    @property
    def connections(self) -> int:
        """How many it carries."""
        return len(self.live)

    def _carried(self) -> tuple[int, int]:
        return self.connections, len(self.served)

    # --- the parent

    async def _follow(self) -> None:
        while True:
            try:
                parent = await PacketSocket.connect(self._channel)
            except OSError:
                if os.getppid() != self._born_of:
                    self._retire()  # Its parent died before they met.
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            hello = messages.Hello(self.index, os.getpid(), self.retired, self.live.counts())
            outbox: _Outbox = asyncio.Queue()
            self._outbox = outbox
            self._counts_due.clear()
            self.traffic.tell_all()
            self.parent_found()
            self._incoming.forget()
            assembly = messages.Assembly()
            sender: asyncio.Task[None] | None = None
            try:
                await parent.send(messages.pack(hello))
                sender = asyncio.create_task(self._send(parent, outbox))
                while (packet := await parent.receive())[0]:
                    whole = assembly.take(packet[0])
                    if whole is not None:
                        self._heard(*whole, packet[1])
                        # A whole mesh comes in many packets, and connections wait for their bytes meanwhile.
                        await asyncio.sleep(0)
            except OSError as error:
                log.warning("worker lost its parent", worker=self.index, why=str(error))
            finally:
                self._outbox = None
                if sender is not None:
                    sender.cancel()
                parent.close()
            self._retire()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _send(self, parent: PacketSocket, outbox: _Outbox) -> None:
        while True:
            message, payload = await outbox.get()
            try:
                for packet in messages.packets(message, payload):
                    await parent.send(packet)
            except OSError:
                return  # The reader of the same socket sees its end, and retires.
            outbox.task_done()

    def _say(self, message: messages.Message, payload: bytes = b"") -> None:
        if self._outbox is not None:
            self._outbox.put_nowait((message, payload))

    async def _say_goodbye(self) -> None:
        if self._outbox is None:
            return
        self.live.account()
        self._report(0)
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._outbox.join()
        except TimeoutError:
            log.warning("last counters not told", worker=self.index)

    def _report(self, number: int) -> None:
        for message, content in self.reports():
            self._say(message, content)
        self._say(messages.Scraped(number, self._access.lost, self.holding()), self.traffic.report())

    def _heard(self, message: messages.Message, payload: bytes, descriptors: list[int]) -> None:
        match message:
            case messages.Company(workers):
                self.accepting.share(descriptors[0], workers)
                os.close(descriptors[0])
            case messages.CredentialsChanged():
                self._credentials_changed(descriptors[0])
            case messages.RevocationsChanged():
                self._revocations_changed(payload)
            case messages.MeshChanged(more):
                after = self._incoming.take(self.snapshot, payload, more=more)
                if after is not None:
                    self.mesh_changed(after)
            case messages.Cut(uid, why):
                self.cut(uid, why)
            case messages.Scrape(number):
                self.live.account()
                self._report(number)
            case _:
                self.hear(message, payload, descriptors)
        if not isinstance(message, messages.Scrape):
            self._say(messages.Synced())

    def _credentials_changed(self, descriptor: int) -> None:
        try:
            credentials = Credentials.from_bytes(process.unseal(descriptor))
        finally:
            os.close(descriptor)
        self.credentials_changed(Contexts(credentials, self._peers))

    def _revocations_changed(self, pem: bytes) -> None:
        cut = late.cut_revoked(Revocations.from_pem(pem), self._peers, self.live)
        if cut:
            log.info("connections cut by a revoked certificate", worker=self.index, connections=cut)

    def rechecked(self, cut: int) -> None:
        """So many connections were cut."""
        log.info("connections cut by a change of policy", worker=self.index, connections=cut)

    def _count_changed(self, uid: str, count: int) -> None:
        # A parent that is slow to read must not make a queue of every connection that came and went.
        self.accepting.tell_shares()
        if count < 2 and self._outbox is not None and uid not in self._counts_due:
            self._counts_due.add(uid)
            asyncio.get_running_loop().call_later(_COUNT_SECONDS, self._tell_count, uid, self._outbox)
        if not count:
            self.end_if_idle()

    def tell_count(self, uid: str) -> None:
        """Tell the parent at once how many connections of a workload live, if it has not heard yet."""
        if self._outbox is not None:
            self._tell_count(uid, self._outbox)

    def _tell_count(self, uid: str, outbox: _Outbox) -> None:
        if outbox is self._outbox and uid in self._counts_due:
            self._counts_due.discard(uid)
            outbox.put_nowait((messages.PodConnections(uid, self.live.count(uid)), b""))


def command(
    module: str, index: int, channel: str, access_log: str | None, style: str, level: str, *own: str
) -> list[str]:
    """How a parent starts a worker; ``own`` is what its module alone understands."""
    return [sys.executable, "-m", module, str(index), channel, access_log or "", style, level, *own]


def main(make: Callable[[int, str, AccessLog, list[str]], Worker[Any]], arguments: list[str]) -> None:
    """Run one worker in this process, as ``command`` has it."""
    index, channel, access_log, style, level, *own = arguments
    process.forbid_core_dumps()
    keep_certificates_in_memory()
    log.configure(style=Format(style), level=Level.of(level))
    appended = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    access = AccessLog(
        os.open(access_log, appended, 0o640) if access_log else 1, Format(style), Level.of(level)
    )

    # What was imported stays: the cyclic collector need not look at it.
    gc.freeze()
    gc.set_threshold(_YOUNG)

    async def serve() -> None:
        await make(int(index), channel, access, own).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
