"""The pods of this node, in the proxy's parent: what the daemon said, what the control plane ordered, what is in force.

Each pod has one task that brings it step by step to where ``core.enrolment`` says it should be. Nothing else writes
a pod.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.aio.watch import Watch
from ambient.core import enrolment
from ambient.core.errors import AmbientError, Unavailable
from ambient.core.model.identity import SpiffeId
from ambient.core.model.pod import Capture, OlderConnection
from ambient.core.snapshot import Snapshot
from ambient.member import messages
from ambient.rpc.registration import Accepted, LocalWorkload, Order, Refused
from ambient.rpc.zds import WorkloadInfo
from ambient.telemetry import log

ORDER_SECONDS: Final = 2.0
"""How long the addition of a workload waits for the control plane's word."""
HEARD_SECONDS: Final = 5.0
"""How long a pod that leaves still takes HBONE, for peers that have not heard yet."""
_LEAVE_SECONDS: Final = 30.0
"""How long the connections of a removed workload may take to end."""


class Daemon(Protocol):
    """What a pod's way into the mesh needs of the node daemon."""

    async def set_capture(self, uid: str, mode: Capture) -> None:
        """Have the kernel capture its traffic, or not."""
        ...

    async def list_connections(self, uid: str) -> tuple[OlderConnection, ...]:
        """Those that are older than its capture."""
        ...

    async def destroy_connections(self, uid: str, connections: Sequence[OlderConnection]) -> None:
        """Reset them."""
        ...


class Identities(Protocol):
    """What it needs of the certificates."""

    def want(self, identity: SpiffeId) -> None:
        """Have one."""
        ...

    def forget(self, identity: SpiffeId) -> None:
        """Nobody runs as it any more."""
        ...

    def valid(self, identity: SpiffeId) -> object | None:
        """One that is valid now."""
        ...


class Registry(Protocol):
    """What it needs of the control plane."""

    connected: Watch[bool]
    """Whether it answers."""

    def set(self, workload: LocalWorkload) -> None:
        """Report a workload."""
        ...

    def forget(self, uid: str) -> None:
        """It is gone."""
        ...


class Force(Protocol):
    """What it needs of the workers."""

    def tell(
        self,
        message: messages.Message,
        payload: bytes = b"",
        descriptors: Sequence[int] = (),
        *,
        retired: bool = True,
    ) -> None:
        """Send something to all."""
        ...

    async def settled(self) -> None:
        """All that was said is in force."""
        ...

    def connections(self, uid: str) -> int:
        """About how many live."""
        ...

    async def ended(self, uid: str) -> None:
        """None of a pod's lives any more."""
        ...


@dataclass(eq=False)
class Pod:
    """One pod of this node."""

    uid: str
    info: WorkloadInfo
    descriptors: list[int]
    """Its netns and its listeners outbound, plaintext, hbone; owned here."""
    capture: Capture
    reported: bool
    order: Order | None = None
    ordered: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Something that ``_bring`` should look at."""
    draining_since: float | None = None
    older_left: int = 0
    """Connections that are older than its capture and were left alone."""
    task: asyncio.Task[None] | None = None

    @property
    def identity(self) -> SpiffeId | None:
        """Who it runs as; None before the control plane has accepted it."""
        return self.order.identity if isinstance(self.order, Accepted) else None


class Pods:
    """The table of pods and what moves them."""

    def __init__(
        self,
        daemon: Callable[[], Daemon | None],
        identities: Identities,
        registry: Registry,
        workers: Force,
        snapshot: Callable[[], Snapshot],
        tasks: Tasks,
    ) -> None:
        self._daemon, self._identities, self._registry = daemon, identities, registry
        self._workers, self._snapshot, self._tasks = workers, snapshot, tasks
        self._pods: dict[str, Pod] = {}

    def __iter__(self) -> Iterator[Pod]:
        return iter(tuple(self._pods.values()))

    def listeners(self) -> dict[str, Sequence[int]]:
        """Outbound, plaintext and hbone of each pod, for a daemon that was started anew."""
        return {uid: pod.descriptors[1:] for uid, pod in self._pods.items()}

    async def add(self, uid: str, info: WorkloadInfo, descriptors: Sequence[int]) -> str:
        """Take a workload that the daemon brings, or what is new of one; why it cannot be, or nothing."""
        if len(descriptors) != 4:
            _close(descriptors)
            return (
                "the workload came without listeners: this proxy needs a node daemon that speaks ambient.v1"
            )
        known = self._pods.get(uid)
        if known is not None and known.info.netns_cookie != info.netns_cookie:
            await self.remove(uid, now=True)
            known = None
        try:
            self._workers.tell(messages.PodAdded(uid, info.netns_cookie), b"", descriptors, retired=False)
        except Unavailable as error:
            _close(descriptors)
            return str(error)
        if known is not None:
            _close(known.descriptors)
            known.info, known.descriptors, known.capture = info, list(descriptors), info.capture
            if known.capture is Capture.DRAINING:
                known.draining_since = known.draining_since or asyncio.get_running_loop().time()
            pod = known
        else:
            captured = info.capture is Capture.ON
            pod = self._pods[uid] = Pod(uid, info, list(descriptors), info.capture, reported=captured)
            pod.task = self._tasks.start(self._bring(pod), f"pod {uid}")
        self._report(pod, captured=pod.reported)
        # Policies may have changed while no daemon could be asked.
        self._recheck(pod)
        pod.changed.set()
        if self._registry.connected.value:
            try:
                async with asyncio.timeout(ORDER_SECONDS):
                    await pod.ordered.wait()
            except TimeoutError:
                log.warning("the control plane has not answered; the workload waits", workload=uid)
        if isinstance(pod.order, Refused):
            why = pod.order.why
            await self.remove(uid, now=True)
            return why
        return ""

    async def remove(self, uid: str, *, now: bool) -> None:
        """Let go of a workload once its connections have ended, or at once."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        if pod.task is not None:
            pod.task.cancel()
        self._registry.forget(uid)
        self._workers.tell(messages.PodRemoved(uid, now))
        if not now:
            await self._drained(uid)
        self._forget_identity(pod)
        _close(pod.descriptors)

    async def keep_only(self, uids: frozenset[str]) -> None:
        """The daemon has named all that there are."""
        for uid in [uid for uid in self._pods if uid not in uids]:
            await self.remove(uid, now=False)

    def ordered(self, order: Order) -> None:
        """The control plane's word on a pod."""
        pod = self._pods.get(order.uid)
        if pod is None:
            return
        if isinstance(order, Refused) and pod.order != order:
            log.error("workload refused by the control plane", workload=order.uid, why=order.why)
        pod.order = order
        pod.ordered.set()
        pod.changed.set()

    def look(self, uid: str | None = None) -> None:
        """Something changed that a pod (None: any) may wait for."""
        for pod in self:
            if uid in {None, pod.uid}:
                pod.changed.set()

    def check_older(self, before: Snapshot, after: Snapshot) -> None:
        """Connections that never met the mesh may be forbidden now, where a policy or a pod's workload changed.

        A policy and the workload that it selects come one after the other: either may be the one that forbids.
        """
        all_may = before.authorizations is not after.authorizations or before.settings != after.settings
        for pod in self:
            if all_may or before.workloads.get(pod.uid) is not after.workloads.get(pod.uid):
                self._recheck(pod)

    def _recheck(self, pod: Pod) -> None:
        if pod.capture is Capture.ON:
            self._tasks.start(self._recheck_older(pod), f"older connections of {pod.uid}")

    async def _recheck_older(self, pod: Pod) -> None:
        try:
            await self._forbid_older(pod)
        except AmbientError as error:
            log.warning("older connections could not be checked", workload=pod.uid, why=str(error))

    async def _bring(self, pod: Pod) -> None:
        backoff = Backoff(0.05, 5.0, random.random)
        while True:
            pod.changed.clear()
            try:
                idle = await self._step(pod)
            except AmbientError as error:
                log.warning("workload cannot be brought where it belongs", workload=pod.uid, why=str(error))
                await asyncio.sleep(backoff.next_delay())
                continue
            backoff.reset()
            if not idle:
                continue
            draining = pod.capture is Capture.DRAINING
            try:
                async with asyncio.timeout(1.0 if draining else None):
                    await pod.changed.wait()
            except TimeoutError:
                continue

    async def _step(self, pod: Pod) -> bool:
        """Do the next thing; whether there was nothing to do."""
        match enrolment.next_step(self._situation(pod)):
            case enrolment.FetchCertificate():
                return True  # It is wanted already; ``look`` wakes us when it has come.
            case enrolment.SetCapture(mode):
                await self._capture(pod, mode)
            case enrolment.Report(captured):
                self._report(pod, captured=captured)
            case enrolment.Nothing():
                return True
        return False

    def _situation(self, pod: Pod) -> enrolment.Situation:
        identity = pod.identity
        enrolled = pod.order.enrolled if isinstance(pod.order, Accepted) else None
        if identity is not None and enrolled:
            self._identities.want(identity)
        since = pod.draining_since
        return enrolment.Situation(
            enrolled=enrolled,
            has_certificate=identity is not None and self._identities.valid(identity) is not None,
            capture=pod.capture,
            reported=pod.reported,
            connections=self._workers.connections(pod.uid),
            peers_have_heard=since is None or asyncio.get_running_loop().time() - since >= HEARD_SECONDS,
        )

    async def _capture(self, pod: Pod, mode: Capture) -> None:
        daemon = self._daemon()
        if daemon is None:
            await pod.changed.wait()
            return
        # The pod and its certificate must be in force before the first connection is captured.
        await self._workers.settled()
        await daemon.set_capture(pod.uid, mode)
        pod.capture = mode
        pod.draining_since = asyncio.get_running_loop().time() if mode is Capture.DRAINING else None
        log.info("capture set", workload=pod.uid, mode=mode.value)
        match mode:
            case Capture.ON:
                await self._forbid_older(pod)
            case Capture.DRAINING:
                pass
            case Capture.OFF:
                self._forget_identity(pod)

    async def _forbid_older(self, pod: Pod) -> None:
        daemon = self._daemon()
        if daemon is None:
            return
        older = await daemon.list_connections(pod.uid)
        snapshot = self._snapshot()
        workload = snapshot.workloads.get(pod.uid)
        if workload is None or not older:
            pod.older_left = len(older)
            return
        doomed = enrolment.forbidden(snapshot, workload, older)
        if doomed:
            await daemon.destroy_connections(pod.uid, doomed)
        pod.older_left = len(older) - len(doomed)
        for connection in older:
            log.info(
                "connection is older than the mesh",
                workload=pod.uid,
                local=connection.local,
                remote=connection.remote,
                inbound=connection.inbound,
                cut=connection in doomed,
            )

    def _report(self, pod: Pod, *, captured: bool) -> None:
        pod.reported = captured
        info = pod.info
        self._registry.set(
            LocalWorkload(
                pod.uid,
                info.name,
                info.namespace,
                info.service_account,
                info.addresses,
                info.labels,
                captured,
                info.healthy,
                exclusions=info.exclusions,
            )
        )

    def _forget_identity(self, pod: Pod) -> None:
        others = [other for other in self if other is not pod and other.capture is not Capture.OFF]
        if pod.identity is not None and all(other.identity != pod.identity for other in others):
            self._identities.forget(pod.identity)

    async def _drained(self, uid: str) -> None:
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._workers.ended(uid)
        except TimeoutError:
            self._workers.tell(messages.Cut(uid, "the workload left the mesh"))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
