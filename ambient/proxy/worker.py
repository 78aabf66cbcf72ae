"""A worker of the proxy: one process, one event loop, all the bytes of its share of connections.

It learns everything from the proxy's parent over one packet socket. When the parent dies, the worker retires: it
accepts nothing more, carries what it has to the end, and follows the next parent so that policies still reach it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

import uvloop

from ambient.aio.packets import PacketSocket
from ambient.aio.tasks import Tasks
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import Revocations
from ambient.core.redirection import Role
from ambient.core.snapshot import Snapshot
from ambient.kernel import process
from ambient.kernel.handover import Clients, OriginalDestinations
from ambient.member import messages
from ambient.member.incoming import Incoming
from ambient.member.shares import Kind, Shares
from ambient.net.pool import Pool
from ambient.net.tls import Contexts, keep_certificates_in_memory
from ambient.proxy import late
from ambient.proxy.dial import Dialer
from ambient.proxy.inbound import Inbound
from ambient.proxy.live import BEGAN, Live
from ambient.proxy.outbound import Outbound
from ambient.proxy.world import LocalPod, World
from ambient.telemetry import log
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format, Level
from ambient.telemetry.metrics import Traffic

_BURST: Final = 16
"""Connections that one wake-up may accept: the rest is left for another worker, or the next turn."""
_YOUNG: Final = 20_000
"""Objects that are made before the cyclic collector looks at them. Few of ours are in cycles, and a look stops all."""
_RECONNECT_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 0.1
_COMPLAIN_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 1.0
_YIELD_SECONDS: Final = 0.002
"""How long a worker that carries more leaves a connection to one that carries less."""
_COUNT_SECONDS: Final = 0.1
"""How often the parent hears of a pod's count at most: connections that come and go are no news."""
_SPARE: Final = 8
"""Descriptors that are let go when the worker retires: to meet the next parent takes some, also when no others are left."""
_Outbox: TypeAlias = asyncio.Queue[tuple[messages.Message, bytes]]
_ROLES: Final = (Role.OUTBOUND, Role.PLAINTEXT, Role.HBONE)


class Worker:
    """Joins the parts of one worker; the sole writer of its ``World``."""

    def __init__(self, index: int, channel: str, access: AccessLog) -> None:
        self._index, self._channel = index, channel
        self._tasks = Tasks(self._crashed)
        self._setting_up = Tasks(_crashed, self._end_if_idle)
        """Connections that were accepted and are not carried yet."""
        self._setting_up_for: dict[str, set[asyncio.Task[None]]] = {}
        self._world = World()
        self._traffic = Traffic()
        self._access = access
        self._live = Live(self._traffic, access, self._count_changed)
        self._recheck = late.Recheck(lambda: self._world.snapshot, self._live, self._rechecked)
        self._listeners: dict[str, list[socket.socket]] = {}
        self._shares: Shares | None = None
        """What all workers carry; None: we accept nothing."""
        self._shaking_hands = 0
        self._born_of = os.getppid()
        self._spare = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_SPARE)]
        self._retired = False
        self._complained = -_COMPLAIN_SECONDS
        self._crash: BaseException | None = None
        self._incoming = Incoming()
        self._outbox: _Outbox | None = None
        """What the parent is to hear; None: there is no parent."""
        self._counts_due: set[str] = set()
        dialer = Dialer(self._world)
        self._pool = Pool(dialer.tunnel, self._end_if_idle)
        self._outbound = Outbound(self._world, dialer, self._pool, self._live)
        self._inbound = Inbound(self._world, dialer, self._live, self._setting_up, self._tunnel_ended)
        self._done = asyncio.Event()

    async def run(self) -> None:
        """Serve until retired and idle."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._retire)
        # Ctrl-C reaches the whole group: the parent decides what it means.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        following = self._tasks.start(self._follow(), "follow")
        await self._done.wait()
        if self._crash is not None:
            raise self._crash
        await self._say_goodbye()
        following.cancel()
        await self._tasks.stop()

    def _crashed(self, name: str, error: BaseException) -> None:
        # A worker that no longer hears its parent would go on with yesterday's policies.
        log.error("task crashed", task=name, error=repr(error))
        self._crash = error
        self._done.set()

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
            hello = messages.Hello(self._index, os.getpid(), self._retired, self._live.counts())
            outbox: _Outbox = asyncio.Queue()
            self._outbox = outbox
            self._counts_due.clear()
            self._traffic.tell_all()
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
                log.warning("worker lost its parent", worker=self._index, why=str(error))
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
        self._live.account()
        self._say(messages.Scraped(0, self._access.lost), self._traffic.report())
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._outbox.join()
        except TimeoutError:
            log.warning("last counters not told", worker=self._index)

    def _heard(self, message: messages.Message, payload: bytes, descriptors: list[int]) -> None:
        match message:
            case messages.Company(workers):
                self._shares = Shares(descriptors[0], workers)
                os.close(descriptors[0])
                self._tell_shares()
            case messages.Welcome():
                self._welcomed(*descriptors)
            case messages.PodAdded(uid, cookie):
                self._pod_added(uid, cookie, descriptors)
            case messages.PodRemoved(uid, now):
                self._pod_removed(uid, now=now)
            case messages.CredentialsChanged(identity):
                self._credentials_changed(identity, descriptors[0])
            case messages.CredentialsForgotten(identity):
                self._world.contexts = {
                    key: contexts for key, contexts in self._world.contexts.items() if key != identity
                }
                self._pool.leave(lambda key: key.source_identity == identity)
            case messages.RevocationsChanged():
                self._revocations_changed(payload)
            case messages.MeshChanged(more):
                after = self._incoming.take(self._world.snapshot, payload, more=more)
                if after is not None:
                    self._mesh_changed(after)
            case messages.Cut(uid, why):
                self._cut(uid, why)
            case messages.Scrape(number):
                self._live.account()
                self._say(messages.Scraped(number, self._access.lost), self._traffic.report())
            case _:
                raise TypeError(f"a worker does not take {message}")
        if not isinstance(message, messages.Scrape):
            self._say(messages.Synced(len(self._world.pods)))

    def _welcomed(self, originals: int, clients: int) -> None:
        self._world.originals = OriginalDestinations(originals)
        self._world.clients = Clients(clients)

    def _pod_added(self, uid: str, cookie: int, descriptors: list[int]) -> None:
        netns_fd, *listener_fds = descriptors
        listeners = [socket.socket(fileno=fd) for fd in listener_fds]
        if self._retired:
            for listener in listeners:
                listener.close()
        self._stop_listening(uid)
        self._world.pods = {**self._world.pods, uid: LocalPod(uid, cookie, netns_fd)}
        if not self._retired:
            self._listeners[uid] = listeners
            for role, listener in zip(_ROLES, listeners, strict=True):
                listener.setblocking(False)
                self._listen(uid, role, listener)

    def _pod_removed(self, uid: str, *, now: bool) -> None:
        if self._outbox is not None:
            self._tell_count(uid, self._outbox)
        self._stop_listening(uid)
        self._inbound.leave(uid)
        self._pool.leave(lambda key: key.source_uid == uid)
        if now:
            self._cut(uid, "the workload left the mesh")
        self._world.pods = {key: pod for key, pod in self._world.pods.items() if key != uid}

    def _cut(self, uid: str, why: str) -> None:
        for carried in self._live.of(uid):
            self._live.cut(carried, carried.flag, why)
        for task in self._setting_up_for.get(uid, ()):
            task.cancel(why)
        self._inbound.cut(uid, why)

    def _credentials_changed(self, identity: str, descriptor: int) -> None:
        try:
            credentials = Credentials.from_bytes(process.unseal(descriptor))
        finally:
            os.close(descriptor)
        self._world.contexts = {**self._world.contexts, identity: Contexts(credentials, self._world.peers)}
        # Live tunnels finish with the certificate that they began with; new ones prove the new one.
        self._pool.leave(lambda key: key.source_identity == identity)

    def _revocations_changed(self, pem: bytes) -> None:
        cut = late.cut_revoked(Revocations.from_pem(pem), self._world.peers, self._live)
        if cut:
            log.info("connections cut by a revoked certificate", worker=self._index, connections=cut)

    def _mesh_changed(self, after: Snapshot) -> None:
        before, self._world.snapshot = self._world.snapshot, after
        self._recheck.changed(before, after)

    def _rechecked(self, cut: int) -> None:
        log.info("connections cut by a change of policy", worker=self._index, connections=cut)

    def _count_changed(self, uid: str, count: int) -> None:
        # A parent that is slow to read must not make a queue of every connection that came and went.
        self._tell_shares()
        if count < 2 and self._outbox is not None and uid not in self._counts_due:
            self._counts_due.add(uid)
            asyncio.get_running_loop().call_later(_COUNT_SECONDS, self._tell_count, uid, self._outbox)
        if not count:
            self._end_if_idle()

    def _tell_count(self, uid: str, outbox: _Outbox) -> None:
        if outbox is self._outbox and uid in self._counts_due:
            self._counts_due.discard(uid)
            outbox.put_nowait((messages.PodConnections(uid, self._live.count(uid)), b""))

    # --- accepting

    def _listen(self, uid: str, role: Role, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener, self._accept, uid, role, listener)

    def _stop_listening(self, uid: str) -> None:
        for listener in self._listeners.pop(uid, []):
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _accept(self, uid: str, role: Role, listener: socket.socket, *, insist: bool = False) -> None:
        pod, kind = self._world.pods[uid], Kind.TUNNEL if role is Role.HBONE else Kind.CONNECTION
        for number in range(_BURST):
            if self._shares is not None and self._shares.leads(self._index, kind) and (number or not insist):
                self._yield(uid, role, listener)
                return
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory, or the network's own trouble: it passes, or is not ours to end.
                self._pause(uid, role, listener, str(error))
                return
            BEGAN.set(time.monotonic())
            task = self._setting_up.start(self._carry(role, pod, accepted), f"{role.name.lower()} {uid}")
            self._setting_up_for.setdefault(uid, set()).add(task)
            self._shaking_hands += kind is Kind.TUNNEL
            task.add_done_callback(partial(self._set_up, uid, kind))
            self._tell_shares()

    def _set_up(self, uid: str, kind: Kind, task: asyncio.Task[None]) -> None:
        self._shaking_hands -= kind is Kind.TUNNEL
        self._tell_shares()
        tasks = self._setting_up_for[uid]
        tasks.discard(task)
        if not tasks:
            del self._setting_up_for[uid]

    def _carry(self, role: Role, pod: LocalPod, accepted: socket.socket) -> Coroutine[Any, Any, None]:
        match role:
            case Role.OUTBOUND:
                return self._outbound.carry(pod, accepted)
            case Role.PLAINTEXT:
                return self._inbound.plaintext(pod, accepted)
            case Role.HBONE:
                return self._inbound.serve(pod, accepted)

    def _tell_shares(self) -> None:
        if self._shares is not None:
            connections = len(self._live) + len(self._setting_up) - self._shaking_hands
            self._shares.tell(self._index, Kind.CONNECTION, connections)
            self._shares.tell(self._index, Kind.TUNNEL, self._inbound.tunnels + self._shaking_hands)

    def _yield(self, uid: str, role: Role, listener: socket.socket) -> None:
        """Leave the next connection to another worker, but not for ever: it may be busy."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def resume() -> None:
            if listener in self._listeners.get(uid, []):
                self._listen(uid, role, listener)
                self._accept(uid, role, listener, insist=True)

        loop.call_later(_YIELD_SECONDS, resume)

    def _pause(self, uid: str, role: Role, listener: socket.socket, why: str) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = loop.time()
            log.error("worker cannot accept", worker=self._index, pod=uid, why=why)
        loop.remove_reader(listener)

        def resume() -> None:
            if listener in self._listeners.get(uid, []):
                self._listen(uid, role, listener)

        loop.call_later(_PAUSE_SECONDS, resume)

    # --- the end

    def _retire(self) -> None:
        if not self._retired:
            self._retired = True
            if self._shares is not None:
                self._shares.leave(self._index)
                self._shares = None
            log.info("worker retires", worker=self._index, connections=len(self._live))
            for uid in list(self._listeners):
                self._stop_listening(uid)
            for descriptor in self._spare:
                os.close(descriptor)
            self._inbound.leave()
        self._end_if_idle()

    def _tunnel_ended(self) -> None:
        self._tell_shares()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._retired or len(self._live) or len(self._setting_up):
            return
        # Tunnels flush what the last streams left in them before they close, and call here again.
        self._pool.leave(lambda _: True)
        self._inbound.leave()
        if not (self._pool.tunnels or self._inbound.tunnels):
            self._done.set()


def _crashed(name: str, error: BaseException) -> None:
    log.error("task crashed", task=name, error=repr(error))


def command(index: int, channel: str, access_log: str | None, style: str, level: str) -> list[str]:
    """How a parent starts a worker."""
    module = [sys.executable, "-m", "ambient.proxy.worker", str(index), channel]
    return [*module, access_log or "", style, level]


def main(index: int, channel: str, access_log: str, style: str, level: str) -> None:
    """Run one worker in this process; ``access_log`` is a file that is appended to, or empty for standard output."""
    process.forbid_core_dumps()
    keep_certificates_in_memory()
    log.configure(style=Format(style), level=Level.of(level))
    fd = (
        os.open(access_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640) if access_log else 1
    )
    access = AccessLog(fd, Format(style), Level.of(level))

    # What was imported stays: the cyclic collector need not look at it.
    gc.freeze()
    gc.set_threshold(_YOUNG)

    async def serve() -> None:
        await Worker(index, channel, access).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
