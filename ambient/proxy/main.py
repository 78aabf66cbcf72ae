"""The proxy's parent: joins the node daemon, the control plane, the certificates and the workers."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Sequence
from typing import Final

from ambient.aio.backoff import Backoff
from ambient.core.errors import AmbientError, ConfigError, PeerError, Unavailable
from ambient.core.model.identity import NodeId, OperatorId, SpiffeId
from ambient.core.pki.bundle import Credentials
from ambient.core.snapshot import Snapshot
from ambient.kernel import connections, process
from ambient.member import messages, parent
from ambient.member.mesh import DEPOSIT
from ambient.member.parent import Settings, sealed
from ambient.member.workers import Post
from ambient.proxy.pods import Pods
from ambient.proxy.status import Status
from ambient.rpc import zds
from ambient.rpc.registration import Order
from ambient.rpc.subscription import TYPES
from ambient.telemetry import log
from ambient.telemetry.admin import Handler

CAPABILITIES: Final = ("SYS_ADMIN",)
"""To make sockets in the namespaces of workloads. No others are used."""
WORKERS_MAPS: Final = ("original_destinations", "clients")
"""What workers share with the kernel."""
_AGAIN_SECONDS: Final = 1.0
"""When something is tried again that failed for want of descriptors or memory."""
_CREDENTIALS: Final = "credentials/"
"""What the deposits of credentials are called, before the identity."""


class Parent(parent.Parent):
    """The composition root of the proxy; owns what its parts share."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "proxy", TYPES)
        self._named: NodeId | None = None
        self._daemon: zds.ZdsClient | None = None
        self._maps: dict[str, int] = {}
        """Shared with the kernel, by name."""
        self._has_begun = False
        self._pods = Pods(
            lambda: self._daemon,
            self.certificates,
            self.registration,
            self.workers,
            lambda: self.mesh.snapshot,
            self.tasks,
        )
        self._status = Status(self, self._pods)

    def routes(self) -> dict[str, Handler]:
        return self._status.routes()

    def begin(self) -> None:
        self.tasks.start(self._follow_daemon(), "node daemon")

    def ordered(self, order: Order) -> None:
        self._pods.ordered(order)

    def counts_changed(self, uid: str) -> None:
        self._pods.look(uid)

    def mesh_changed(self, before: Snapshot, after: Snapshot) -> None:
        self._pods.check_older(before, after)

    # --- the node daemon

    async def _follow_daemon(self) -> None:
        backoff = Backoff(0.05, 1.0, random.random)
        path = str(self.settings.run_dir / zds.SOCKET_NAME)
        while True:
            try:
                with connections.witness() as witness:
                    daemon = await zds.ZdsClient.connect(path, self._pods.listeners(), witness.fileno())
            except (Unavailable, OSError) as error:
                log.debug("no node daemon yet", why=str(error))
                await asyncio.sleep(backoff.next_delay())
                continue
            self._daemon = daemon
            try:
                await self._obey(daemon, backoff)
            except (PeerError, Unavailable) as error:
                log.warning("lost the node daemon", why=str(error))
            finally:
                self._daemon = None
                await daemon.close()
            await asyncio.sleep(backoff.next_delay())

    async def _obey(self, daemon: zds.ZdsClient, backoff: Backoff) -> None:
        named: set[str] = set()
        async for received in daemon.orders():
            error = ""
            match received.message:
                case zds.Welcome(node, maps):
                    self._welcomed(node, dict(zip(maps, received.fds, strict=True)))
                case zds.Deposited(name):
                    self._restored(name, *received.fds)
                case zds.AddWorkload(uid, info):
                    named.add(uid)
                    error = await self._pods.add(uid, info, received.fds)
                case zds.KeepWorkload(uid):
                    named.add(uid)
                case zds.DelWorkload(uid, now):
                    await self._pods.remove(uid, now=now)
                case zds.SnapshotSent():
                    await self._pods.keep_only(frozenset(named))
                    self._begin()
                    backoff.reset()
            await received.acknowledge(error)

    def _welcomed(self, node: str, maps: dict[str, int]) -> None:
        if missing := set(WORKERS_MAPS) - maps.keys():
            _close(maps.values())
            raise PeerError(f"the node daemon gave no {' and no '.join(sorted(missing))}")
        before, self._maps = self._maps, maps
        self._named = NodeId(self.settings.trust_domain, node)
        self.workers.tell(*self._welcome(node))
        _close(before.values())
        if before:
            # A daemon that was started anew has nothing of ours.
            self._deposit_everything()

    def _restored(self, name: str, descriptor: int) -> None:
        try:
            self._restore(name, process.unseal(descriptor))
        except Exception as error:  # noqa: BLE001  # Another version's deposit must not keep a node from starting.
            log.warning("deposit cannot be used", name=name, why=str(error))
        finally:
            os.close(descriptor)

    def _restore(self, name: str, content: bytes) -> None:
        if name == DEPOSIT:
            if not self.mesh.held:
                self.mesh.restore(content)
        elif name.startswith(_CREDENTIALS):
            credentials = Credentials.from_bytes(content)
            match credentials.identity:
                case NodeId():
                    self.node_certificate.restore(credentials)
                case SpiffeId():
                    self.certificates.restore(credentials)
                case OperatorId() as operator:
                    raise PeerError(f"{operator} has no business on a node")

    def _begin(self) -> None:
        if self._has_begun:
            return
        if self._named is None:
            raise ConfigError(
                "the node daemon speaks no ambient.v1, so this proxy cannot know its node's name; run the `ambient node` "
                "of this version"
            )
        self._has_begun = True
        self.be(self._named)
        self._status.daemon = True

    # --- the deposit

    def credentials_changed(self, identity: NodeId | SpiffeId, credentials: Credentials | None) -> None:
        self._keep(str(identity), credentials)
        if isinstance(identity, SpiffeId):
            self._pods.look()

    def _keep(self, identity: str, credentials: Credentials | None) -> None:
        self.tasks.start(self._deposit_credentials(identity, credentials), f"deposit {identity}")

    async def _deposit_credentials(self, identity: str, credentials: Credentials | None) -> None:
        if credentials is None:
            await self._deposit(_CREDENTIALS + identity, None)
        else:
            await self._deposit_bytes(_CREDENTIALS + identity, credentials.to_bytes())

    async def snapshot_changed(self, content: bytes) -> None:
        await self._deposit_bytes(DEPOSIT, content)

    async def _deposit_bytes(self, name: str, content: bytes) -> None:
        try:
            with sealed(name, content) as descriptor:
                await self._deposit(name, descriptor)
        except OSError as error:
            log.warning("deposit not kept; tried again", name=name, why=str(error))
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._deposit_everything)

    def _deposit_everything(self) -> None:
        for held in (*self.node_certificate.all_valid(), *self.certificates.all_valid()):
            self._keep(str(held.identity), held)
        self.tasks.start(self.snapshot_changed(self.mesh.content()), "deposit snapshot")

    async def _deposit(self, name: str, descriptor: int | None) -> None:
        daemon = self._daemon
        if daemon is None:
            return  # The next daemon gets everything when it says welcome.
        try:
            await daemon.deposit(name, descriptor)
        except AmbientError as error:
            log.warning("deposit not kept", name=name, why=str(error))

    # --- workers

    def _welcome(self, node: str) -> tuple[messages.Welcome, bytes, Sequence[int]]:
        theirs = [self._maps[name] for name in WORKERS_MAPS]
        return messages.Welcome(node, list(WORKERS_MAPS)), b"", theirs

    def welcome_own(self, post: Post, *, retired: bool) -> None:
        if self._named is not None:
            post(*self._welcome(self._named.node))
        if not retired:
            for pod in self._pods:
                post(messages.PodAdded(pod.uid, pod.info.netns_cookie), b"", pod.descriptors)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


async def serve(settings: Settings) -> None:
    """Run the proxy. Raises ConfigError for what its operator must mend."""
    parent.prepare()
    process.check_privileges("ambient proxy", *CAPABILITIES)
    with parent.alone(settings.run_dir, "proxy", "give the folder that `ambient node` has") as sole:
        await Parent(settings).run(sole)
