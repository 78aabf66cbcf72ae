"""The daemon's side of ZDS: what each connected proxy has been told, and the answers to what it asks.

Several proxies can be connected, while one replaces another. The newest hears of workloads and may ask; every one
hears of removals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ambient.aio.tasks import Crash, Tasks
from ambient.core.errors import AmbientError, ConfigError, PeerError, Unavailable
from ambient.core.model.pod import Capture, Exclusions, OlderConnection
from ambient.core.redirection import Role
from ambient.node.deposit import Deposit
from ambient.node.enrol import Enrolment
from ambient.node.machine import Machine, Redirector
from ambient.node.pods import Local, Pods
from ambient.rpc import zds
from ambient.telemetry import log

HELLO_SECONDS: Final = 5.0
RETURN_SECONDS: Final = 10.0
ACK_SECONDS: Final = 10.0
"""A proxy waits 2 s for the control plane's word on a workload before it acknowledges."""
LEAVE_SECONDS: Final = 45.0
"""A proxy lets the connections of a workload that leaves end for 30 s before it cuts them."""
RETRY_SECONDS: Final = 5.0
ERROR_LENGTH: Final = 4096

Parcel: TypeAlias = tuple[zds.Order, tuple[int, ...]]


@dataclass(slots=True)
class _Pending:
    """An order in line. ``make`` is called when its turn has come; None: it is pointless by then."""

    make: Callable[[], Parcel | None]
    done: asyncio.Future[str]
    """The error of the proxy's acknowledgement, or an empty string."""


@dataclass(slots=True)
class Session:
    """One connected proxy."""

    socket: zds.ZdsSocket
    extended: bool
    """It speaks ambient.v1; otherwise it gets nothing that Istio's contract does not name."""
    cgroup: str | None
    """Its cgroup v2 folder; None: the root, or unknown."""
    awaited: set[str]
    """Workloads whose listeners it has yet to give back."""
    acknowledged: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    returned: asyncio.Event = field(default_factory=asyncio.Event)
    _line: deque[_Pending] = field(default_factory=deque)
    _joined: asyncio.Event = field(default_factory=asyncio.Event)
    _ack: asyncio.Future[str] | None = None
    _over: bool = False

    async def order(self, make: Callable[[], Parcel | None]) -> None:
        """Send an order when its turn has come. Raises ConfigError if it is refused, Unavailable if the proxy is lost."""
        error = await self.queue(make)
        if error:
            raise ConfigError(error)

    def queue(self, make: Callable[[], Parcel | None]) -> asyncio.Future[str]:
        """Put an order in line."""
        pending = _Pending(make, asyncio.get_running_loop().create_future())
        if self._over:
            pending.done.set_exception(Unavailable("the proxy has gone"))
        else:
            self._line.append(pending)
            self._joined.set()
        return pending.done

    async def send_orders(self) -> None:
        """One at a time, each when the one before is acknowledged. Raises PeerError if that takes too long."""
        while True:
            while self._line:
                await self._send_one(self._line[0])
                self._line.popleft()
            self._joined.clear()
            await self._joined.wait()

    def take_ack(self, error: str) -> None:
        """The proxy has answered the order that was sent last. Raises PeerError if there is none."""
        if self._ack is None or self._ack.done():
            raise PeerError("the proxy acknowledged an order that it was not sent")
        self._ack.set_result(error)

    def end(self) -> None:
        """It is gone: every order in line is lost."""
        self._over = True
        self.socket.close()
        for pending in self._line:
            if not pending.done.done():
                pending.done.set_exception(Unavailable("the proxy went away before it answered"))
                pending.done.exception()  # Not all are waited for.
        self._line.clear()

    async def _send_one(self, pending: _Pending) -> None:
        parcel = pending.make()
        error = ""
        if parcel is not None:
            self._ack = asyncio.get_running_loop().create_future()
            await self.socket.send(*parcel)
            leaving = isinstance(parcel[0], zds.DelWorkload | zds.SnapshotSent)
            limit = LEAVE_SECONDS if leaving else ACK_SECONDS
            try:
                async with asyncio.timeout(limit):
                    error = await self._ack
            except TimeoutError as late:
                kind = type(parcel[0]).__name__
                raise PeerError(f"the proxy did not acknowledge {kind} within {limit:g} s") from late
            self._remember(parcel[0], error)
        if not pending.done.done():
            pending.done.set_result(error)

    def _remember(self, order: zds.Order, error: str) -> None:
        match order:
            case zds.AddWorkload(uid):
                if error:
                    self.refused[uid] = error
                    self.acknowledged.discard(uid)
                else:
                    self.acknowledged.add(uid)
                    self.refused.pop(uid, None)
            case zds.DelWorkload(uid):
                self.acknowledged.discard(uid)
                self.refused.pop(uid, None)
            case zds.KeepWorkload() | zds.SnapshotSent():
                pass


class Proxies:
    """Every proxy that is connected, the newest last."""

    def __init__(
        self,
        node: str,
        pods: Pods,
        enrolment: Enrolment,
        deposit: Deposit,
        machine: Machine,
        redirector: Redirector,
        crashed: Crash,
    ) -> None:
        self._node, self._pods, self._enrolment = node, pods, enrolment
        self._deposit, self._machine, self._redirector = deposit, machine, redirector
        self._crashed = crashed
        self._sessions: list[Session] = []
        self._answering = Tasks(crashed)
        self._loop = asyncio.get_running_loop()
        self._away_since = self._loop.time()

    @property
    def current(self) -> Session | None:
        """The newest."""
        return self._sessions[-1] if self._sessions else None

    def away_seconds(self) -> float:
        """How long no proxy has been connected; 0 while one is."""
        return 0.0 if self._sessions else self._loop.time() - self._away_since

    def why_not_proxied(self, uid: str) -> str:
        """Why the newest proxy does not carry a workload; empty if it does."""
        session = self.current
        if session is None:
            return "no proxy is connected"
        if uid in session.acknowledged:
            return ""
        local = self._pods.find(uid)
        if session.extended and local is not None and local.listeners is None:
            return "its ports 15001, 15006 and 15008 are held by a process that is not connected"
        return session.refused.get(uid, "the proxy has not answered yet")

    async def add(self, uid: str) -> None:
        """Tell the newest proxy of a workload, or what is new of it.

        Raises ConfigError if it, or the control plane behind it, refuses; Unavailable if nobody answers.
        """
        session = self.current
        if session is None:
            raise Unavailable("no proxy is connected")
        await session.order(lambda: self._addition(session, uid))

    async def remove(self, uid: str, *, now: bool) -> None:
        """Tell every proxy that a workload is gone; returns when none of them has it."""
        for session in tuple(self._sessions):
            try:
                await session.order(lambda: (zds.DelWorkload(uid, now and session.extended), ()))  # noqa: B023
            except ConfigError as error:
                log.warning("the proxy did not let go of a workload", workload=uid, error=str(error))
            except Unavailable:
                continue  # Gone, and the workload with it.

    async def meet(self, connection: zds.ZdsSocket) -> None:
        """Serve a proxy from its hello to its end. Raises PeerError or Unavailable for how it ended."""
        session = await self._greet(connection)
        sending = asyncio.create_task(session.send_orders(), name="zds orders")
        sending.add_done_callback(lambda _: session.end())
        joining = asyncio.create_task(self._join(session), name="zds snapshot")
        joining.add_done_callback(
            lambda task: session.end() if task.cancelled() or task.exception() else None
        )
        try:
            await self._read(session)
        except Unavailable:
            for task in (sending, joining):
                if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                    raise fault from None
            raise
        finally:
            session.end()
            sending.cancel()
            joining.cancel()
            await asyncio.gather(sending, joining, return_exceptions=True)
            self._leave(session)

    async def retry(self) -> None:
        """Forever: tell the newest proxy again of workloads that it has not acknowledged."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            for local in self._pods:
                session = self.current
                if session is None:
                    break
                if local.pod.uid not in session.acknowledged:
                    with contextlib.suppress(ConfigError, Unavailable):  # `workload list` tells.
                        await self.add(local.pod.uid)

    async def stop(self) -> None:
        """End every connection."""
        for session in tuple(self._sessions):
            session.end()
        await self._answering.stop()

    async def _greet(self, connection: zds.ZdsSocket) -> Session:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello, witness = await connection.recv(zds.decode_hello)
        except TimeoutError as late:
            raise PeerError(f"no hello within {HELLO_SECONDS:g} s") from late
        if not isinstance(hello, zds.Hello):
            zds.close_fds(witness)
            raise PeerError("the first packet is no hello")
        cgroup = self._cgroup_of(connection, witness)
        extended = zds.AMBIENT_V1 in hello.extensions
        session = Session(connection, extended, cgroup, set(hello.returning) if extended else set())
        log.info(
            "proxy connected",
            pid=connection.peer.pid,
            cgroup=cgroup or "",
            ambient_v1=extended,
            returning=len(session.awaited),
        )
        return session

    def _cgroup_of(self, connection: zds.ZdsSocket, witness: tuple[int, ...]) -> str | None:
        if witness:
            return self._machine.cgroup_of_witness(*witness)
        try:
            return self._machine.cgroup_of(connection.peer.pid)
        except ConfigError:
            return None  # Its pid means nothing in the daemon's pid namespace.

    async def _join(self, session: Session) -> None:
        """Give a proxy everything; it is the newest from then on."""
        if session.extended:
            maps = self._redirector.shared_maps
            await session.socket.send(zds.Welcome(self._node, tuple(maps)), tuple(maps.values()))
            await self._await_returned(session)
            await self._enrolment.apart(self._make_listeners)
            await self._enrolment.sync()
            for name, fd in self._deposit:
                await session.socket.send(zds.Deposited(name), (fd,))
        # No await from here on: whoever adds a workload finds it in this snapshot or this session in its place.
        for local in self._pods:
            self._queue_quietly(session, local.pod.uid)
        session.queue(lambda: (zds.SnapshotSent(), ()))
        self._sessions.append(session)

    def _queue_quietly(self, session: Session, uid: str) -> None:
        def answered(done: asyncio.Future[str]) -> None:
            if not done.cancelled() and done.exception() is None and done.result():
                log.warning("the proxy refused a workload", workload=uid, error=done.result())

        session.queue(lambda: self._addition(session, uid)).add_done_callback(answered)

    async def _await_returned(self, session: Session) -> None:
        if not session.awaited:
            return
        try:
            async with asyncio.timeout(RETURN_SECONDS):
                await session.returned.wait()
        except TimeoutError:
            log.warning("the proxy did not give back all listeners", missing=len(session.awaited))

    async def _make_listeners(self) -> None:
        for local in self._pods:
            try:
                self._pods.listen(local)
            except ConfigError as error:
                log.warning("a workload has no listeners", workload=local.pod.uid, error=str(error))

    def _addition(self, session: Session, uid: str) -> Parcel | None:
        local = self._pods.find(uid)
        if local is None:
            return None
        if not session.extended:
            if local.listeners is not None and local.capture is Capture.OFF:
                local = self._pods.release(local)  # A plain ztunnel listens for itself.
            return zds.AddWorkload(uid, _plain_info(local)), (local.netns.fd,)
        if local.listeners is None:
            return zds.KeepWorkload(uid), ()
        listeners = tuple(local.listeners[role].fileno() for role in Role)
        return zds.AddWorkload(uid, _info(local, self._enrolment.exclusions(local))), (
            local.netns.fd,
            *listeners,
        )

    async def _read(self, session: Session) -> None:
        while True:
            message, fds = await session.socket.recv(zds.decode_response)
            match message:
                case zds.Ack(error):
                    session.take_ack(error)
                case (
                    zds.SetCapture()
                    | zds.Deposit()
                    | zds.Returned()
                    | zds.ListConnections()
                    | zds.DestroyConnections()
                ):
                    self._start_answer(session, message, fds)
                case _:
                    zds.close_fds(fds)
                    raise PeerError(f"the proxy sent a {type(message).__name__}")

    def _start_answer(self, session: Session, question: zds.Question, fds: tuple[int, ...]) -> None:
        if not session.extended:
            zds.close_fds(fds)
            raise PeerError("the proxy asked, but its hello named no extension")
        kind = type(question).__name__
        self._answering.start(self._answer(session, question, fds), f"zds answer to {kind}")

    async def _answer(self, session: Session, question: zds.Question, fds: tuple[int, ...]) -> None:
        try:
            connections = await self._do(session, question, fds)
            answer = tuple(zds.results(question.id, connections))
        except AmbientError as refusal:
            log.warning(
                "the proxy's request was refused", request=type(question).__name__, error=str(refusal)
            )
            answer = (zds.Result(question.id, str(refusal)[:ERROR_LENGTH]),)
        except Exception as fault:
            with contextlib.suppress(Unavailable):
                await session.socket.send(
                    zds.Result(question.id, f"the node daemon failed: {fault!r}"[:ERROR_LENGTH])
                )
            raise
        with contextlib.suppress(Unavailable):  # Nobody is there to hear it.
            for part in answer:
                await session.socket.send(part)

    async def _do(
        self, session: Session, question: zds.Question, fds: tuple[int, ...]
    ) -> tuple[OlderConnection, ...]:
        if isinstance(question, zds.Returned):
            await self._take_back(session, question.uid, fds)
            return ()
        if self._sessions and session is not self.current and session in self._sessions:
            zds.close_fds(fds)
            raise ConfigError("a newer proxy is connected; this one only lets its connections end")
        match question:
            case zds.SetCapture(uid, mode):
                await self._enrolment.set_capture(uid, mode, session.cgroup)
            case zds.Deposit(name):
                if fds:
                    self._deposit.put(name, fds[0])
                else:
                    self._deposit.forget(name)
            case zds.ListConnections(uid):
                return await self._enrolment.older(uid, session.cgroup)
            case zds.DestroyConnections(uid, connections):
                await self._enrolment.destroy(uid, connections)
        return ()

    async def _take_back(self, session: Session, uid: str, fds: tuple[int, ...]) -> None:
        async def adopt() -> None:
            local = self._pods.find(uid)
            if local is None or local.listeners is not None:
                zds.close_fds(fds)
            else:
                self._pods.adopt(local, fds)

        try:
            await self._enrolment.apart(adopt)
        finally:
            session.awaited.discard(uid)
            if not session.awaited:
                session.returned.set()

    def _leave(self, session: Session) -> None:
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        if not self._sessions:
            self._away_since = self._loop.time()
        log.info("proxy disconnected", pid=session.socket.peer.pid, left=len(self._sessions))


def _info(local: Local, exclusions: Exclusions) -> zds.WorkloadInfo:
    pod = local.pod
    return zds.WorkloadInfo(
        pod.name,
        pod.namespace,
        pod.service_account,
        pod.labels,
        pod.addresses,
        pod.netns_cookie,
        local.capture,
        exclusions,
        pod.healthy,
    )


def _plain_info(local: Local) -> zds.WorkloadInfo:
    return zds.WorkloadInfo(local.pod.name, local.pod.namespace, local.pod.service_account)
