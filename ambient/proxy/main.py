"""The proxy's parent: joins the node daemon, the control plane, the certificates and the workers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ambient.aio import notify
from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.aio.watch import Watch
from ambient.core.errors import AmbientError, ConfigError, PeerError, Unavailable
from ambient.core.join import JoinToken
from ambient.core.model.identity import NodeId, OperatorId, SpiffeId
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import NONE, Revocations
from ambient.core.snapshot import Snapshot
from ambient.kernel import connections, process
from ambient.member import messages
from ambient.member.certificates import Certificates, utc_now
from ambient.member.mesh import DEPOSIT, Mesh, in_packets
from ambient.member.revocations import RevocationFile
from ambient.member.trust import Trust
from ambient.member.workers import Post, Workers
from ambient.net.tls import keep_certificates_in_memory
from ambient.proxy import worker
from ambient.proxy.pods import Pods
from ambient.proxy.status import Status
from ambient.rpc import certificates as authority, channel, zds
from ambient.rpc.errors import Unauthenticated
from ambient.rpc.registration import Order, Registration
from ambient.rpc.subscription import Subscription
from ambient.telemetry import log
from ambient.telemetry.admin import Admin

CAPABILITIES: Final = ("SYS_ADMIN",)
"""To make sockets in the namespaces of workloads. No others are used."""
_AGAIN_SECONDS: Final = 1.0
"""When something is tried again that failed for want of descriptors or memory."""
_FILES_SECONDS: Final = 2.0
"""How often the root certificate and the token are looked at."""
_CREDENTIALS: Final = "credentials/"
"""What the deposits of credentials are called, before the identity."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``ambient proxy`` was started with."""

    run_dir: Path
    """Where the node daemon's socket is, and the workers' channel."""
    state_dir: Path
    """Where the last snapshot is kept."""
    root_cert: Path
    """PEM; the control plane's root."""
    crl: Path | None
    """PEM; certificates that are revoked. Watched."""
    token_file: Path | None
    """A bootstrap token; needed until the node has its own certificate."""
    control: str
    """``HOST:PORT`` of the control plane, mutual TLS."""
    bootstrap: str
    """``HOST:PORT`` of the control plane, for tokens."""
    trust_domain: str
    workers: int
    admin: tuple[str, int]
    access_log: str | None
    log_format: str
    log_level: str
    drain_seconds: float


class Parent:
    """The composition root of the proxy; owns what its parts share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks = Tasks(self._crashed)
        self._trust = Trust(
            settings.root_cert,
            settings.state_dir / "root-cert.seen",
            self._trust_changed,
            self._revoked,
        )
        self._node: NodeId | None = None
        self._node_credentials: Watch[Credentials | None] = Watch(None)
        self._daemon: zds.ZdsClient | None = None
        self._maps: tuple[int, ...] = ()
        self._snapshot_sent = asyncio.Event()
        self._dialer = channel.Dialer(settings.control, self._node_credentials)
        self._node_certificate = Certificates(
            self._sign_node, lambda: self._trust.roots_pem, self._node_changed, self._tasks
        )
        self._certificates = Certificates(
            self._sign_workload, lambda: self._trust.roots_pem, self._identity_changed, self._tasks
        )
        self._mesh = Mesh(
            settings.state_dir / "snapshot",
            self._tell,
            self._deposit_snapshot,
            self._mesh_changed,
            self._trust.take,
        )
        self._revocations = RevocationFile(
            settings.crl,
            settings.state_dir / "crl.pem",
            lambda: self._trust.roots_pem,
            lambda _: self._revoked(),
        )
        self._in_force = NONE
        self._registration = Registration(self._dialer, self._ordered)
        channel_path = str(settings.run_dir / "workers.sock")
        self._workers = Workers(
            channel_path,
            lambda index: worker.command(
                index, channel_path, settings.access_log, settings.log_format, settings.log_level
            ),
            self,
            self._tasks,
            lambda: Backoff(0.05, 5.0, random.random),
            self._counts_changed,
        )
        self._pods = Pods(
            lambda: self._daemon,
            self._certificates,
            self._registration,
            self._workers,
            lambda: self._mesh.snapshot,
            self._tasks,
        )
        self._status = Status(
            self._mesh,
            self._pods,
            self._workers,
            self._certificates,
            lambda: len(self._in_force),
            self._why_no_certificate,
            _shown(settings),
        )
        self._registering: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._crash: BaseException | None = None

    async def run(self, sole: contextlib.ExitStack) -> None:
        """Serve until told to stop, then close ``sole``, which keeps other proxies of the node away, and drain."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        admin = Admin(self._status.routes())
        try:
            await admin.start(*settings.admin)
        except OSError as error:
            host, port = settings.admin
            why = os.strerror(error.errno) if error.errno else error
            raise ConfigError(f"--admin {host}:{port}: {why}; choose another port") from error
        self._revocations.start()
        self._in_force = self._revocations.revocations
        self._workers.start(settings.workers)
        self._tasks.start(self._follow_daemon(), "node daemon")
        self._tasks.start(self._join_control(), "control plane")
        self._tasks.start(self._mesh.save_for_ever(), "snapshot")
        self._tasks.start(self._revocations.follow(), "revoked certificates")
        self._tasks.start(self._follow_files(), "root certificate and token")
        await self._stop.wait()
        if self._crash is not None:
            raise self._crash
        notify.tell(notify.STOPPING)
        log.info("proxy stops", drain_seconds=settings.drain_seconds)
        # From here on the next proxy may start: it speaks for the node, this one only drains.
        sole.close()
        if self._registering is not None:
            self._registering.cancel()
        await self._workers.stop(settings.drain_seconds)
        await admin.stop()
        await self._tasks.stop()
        await self._dialer.close()

    def _crashed(self, name: str, error: BaseException) -> None:
        # Half a proxy is worse than a restart: workers go on, and the next parent takes over.
        log.error("task crashed", task=name, error=repr(error))
        self._crash = error
        self._stop.set()

    # --- the node daemon

    async def _follow_daemon(self) -> None:
        backoff = Backoff(0.05, 1.0, random.random)
        path = str(self._settings.run_dir / zds.SOCKET_NAME)
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
                case zds.Welcome(node):
                    self._welcomed(node, received.fds)
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

    def _welcomed(self, node: str, maps: Sequence[int]) -> None:
        before, self._maps = self._maps, tuple(maps)
        self._workers.tell(messages.Welcome(node), b"", self._maps)
        _close(before)
        self._node = NodeId(self._settings.trust_domain, node)
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
            if not self._mesh.held:
                self._mesh.restore(content)
        elif name.startswith(_CREDENTIALS):
            credentials = Credentials.from_bytes(content)
            match credentials.identity:
                case NodeId():
                    self._node_certificate.restore(credentials)
                case SpiffeId():
                    self._certificates.restore(credentials)
                case OperatorId() as operator:
                    raise PeerError(f"{operator} has no business on a node")

    def _begin(self) -> None:
        if self._snapshot_sent.is_set():
            return
        if not self._mesh.held:
            self._mesh.restore_from_disk()
        if self._node is not None:
            self._node_certificate.want(self._node)
        self._status.daemon = True
        self._snapshot_sent.set()

    # --- the control plane

    async def _join_control(self) -> None:
        await self._snapshot_sent.wait()
        if self._node is None:
            raise PeerError("the node daemon speaks no ambient.v1: this proxy cannot know its node's name")
        subscription = Subscription(self._dialer, self._node.node, self._mesh.held)
        self._status.subscription = subscription
        if self._stop.is_set():
            return
        self._registering = self._tasks.start(self._registration.run(), "registration")
        self._tasks.start(_tell_ready(subscription.connected), "readiness")
        for stream, trouble in (
            ("discovery", subscription.trouble),
            ("registry", self._registration.trouble),
        ):
            self._tasks.start(_tell(stream, trouble), f"trouble of {stream}")
        await subscription.run(self._mesh.deliver, self._workers.settled)

    async def _sign_node(self, identity: NodeId, csr_pem: bytes) -> tuple[bytes, ...]:
        held = self._node_certificate.valid(identity)
        if held is not None:
            try:
                return await authority.sign(await self._dialer.channel(), csr_pem)
            except Unauthenticated as error:
                log.warning("the control plane does not take this node's certificate", why=error)
            except Unavailable:
                # There may be another root, under which this certificate counts for nothing.
                if held.is_believed(utc_now()) and not self._trust.given_anew:
                    raise
        token = _read_token(self._settings.token_file)
        self._trust.look()
        bootstrap = channel.open_bootstrap_channel(self._settings.bootstrap, self._trust.roots_pem)
        try:
            return await authority.sign(bootstrap, csr_pem, token=token)
        except Unavailable as error:
            settings = self._settings
            raise Unavailable(
                f"{error}; is --bootstrap {settings.bootstrap} the control plane, and --root-cert {settings.root_cert} its root?"
            ) from error
        finally:
            await bootstrap.close()

    async def _follow_files(self) -> None:
        """An operator who brings a node back with another root and a token need not restart it."""
        settings = self._settings
        files = [file for file in (settings.root_cert, settings.token_file) if file is not None]
        before = tuple(map(_stamp, files))
        while True:
            await asyncio.sleep(_FILES_SECONDS)
            now = tuple(map(_stamp, files))
            if now == before:
                continue
            before = now
            try:
                self._trust.look()
            except ConfigError as error:
                log.error("root certificate not taken", why=error)
            if self._node is not None and self._trust.given_anew:
                self._node_certificate.renew(self._node)
            self._node_certificate.hurry()

    async def _sign_workload(self, identity: SpiffeId, csr_pem: bytes) -> tuple[bytes, ...]:
        return await authority.sign(await self._dialer.channel(), csr_pem, impersonate=identity)

    def _why_no_certificate(self) -> str | None:
        node = self._node
        if node is None or self._node_certificate.valid(node) is not None:
            return None
        return self._node_certificate.error(node) or f"{self._settings.bootstrap} has not answered yet"

    # --- what changed

    def _ordered(self, order: Order) -> None:
        self._pods.ordered(order)

    def _counts_changed(self, uid: str) -> None:
        self._pods.look(uid)

    def _tell(self, message: messages.Message, payload: bytes) -> None:
        self._workers.tell(message, payload)

    def _node_changed(self, identity: NodeId, credentials: Credentials | None) -> None:
        self._node_credentials.set(credentials)
        if credentials is not None:
            self._certificates.hurry()
        self._keep(str(identity), credentials)

    def _identity_changed(self, identity: SpiffeId, credentials: Credentials | None) -> None:
        if credentials is None:
            self._workers.tell(messages.CredentialsForgotten(str(identity)))
        else:
            self._hand_out(identity, credentials)
        self._keep(str(identity), credentials)
        self._pods.look()

    def _hand_out(self, identity: SpiffeId, credentials: Credentials | None) -> None:
        """Have every worker use credentials; None: those are gone meanwhile, or have expired."""
        if credentials is None:
            return
        try:
            with _sealed(credentials) as sealed:
                self._workers.tell(messages.CredentialsChanged(str(identity)), b"", [sealed])
        except (OSError, Unavailable) as error:
            log.warning("credentials not handed out; tried again", identity=identity, why=str(error))
            loop = asyncio.get_running_loop()
            loop.call_later(
                _AGAIN_SECONDS, lambda: self._hand_out(identity, self._certificates.valid(identity))
            )

    def _mesh_changed(self, before: Snapshot, after: Snapshot) -> None:
        self._pods.check_older(before, after)

    def _trust_changed(self) -> None:
        self._node_certificate.trust()
        self._certificates.trust()

    @property
    def _lists(self) -> bytes:
        """Of revoked certificates, the operator's and the control plane's, PEM."""
        return self._revocations.content + b"\n" + self._trust.lists_pem

    def _revoked(self) -> None:
        lists = self._lists
        self._tell(messages.RevocationsChanged(), lists)
        self._in_force = Revocations.from_pem(lists)
        for held in self._certificates.all_valid():
            identity = held.identity
            if isinstance(identity, SpiffeId) and self._in_force.covers(held.chain_pem, held.roots_pem):
                log.warning("a certificate of ours is revoked; another is asked for", identity=identity)
                self._certificates.renew(identity)

    def _keep(self, identity: str, credentials: Credentials | None) -> None:
        self._tasks.start(self._deposit_credentials(identity, credentials), f"deposit {identity}")

    async def _deposit_credentials(self, identity: str, credentials: Credentials | None) -> None:
        if credentials is None:
            await self._deposit(_CREDENTIALS + identity, None)
        else:
            await self._deposit_bytes(_CREDENTIALS + identity, credentials.to_bytes())

    async def _deposit_snapshot(self, content: bytes) -> None:
        await self._deposit_bytes(DEPOSIT, content)

    async def _deposit_bytes(self, name: str, content: bytes) -> None:
        try:
            with _memory(name, content) as sealed:
                await self._deposit(name, sealed)
        except OSError as error:
            log.warning("deposit not kept; tried again", name=name, why=str(error))
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._deposit_everything)

    def _deposit_everything(self) -> None:
        for held in (*self._node_certificate.all_valid(), *self._certificates.all_valid()):
            self._keep(str(held.identity), held)
        self._tasks.start(self._deposit_snapshot(self._mesh.content()), "deposit snapshot")

    async def _deposit(self, name: str, sealed: int | None) -> None:
        daemon = self._daemon
        if daemon is None:
            return  # The next daemon gets everything when it says welcome.
        try:
            await daemon.deposit(name, sealed)
        except AmbientError as error:
            log.warning("deposit not kept", name=name, why=str(error))

    # --- workers.State

    def welcome(self, post: Post, *, retired: bool) -> None:
        """Tell a worker that joins everything."""
        if self._node is not None:
            post(messages.Welcome(self._node.node), b"", self._maps)
        post(messages.RevocationsChanged(), self._lists, ())
        for credentials in self._certificates.all_valid():
            with _sealed(credentials) as sealed:
                post(messages.CredentialsChanged(str(credentials.identity)), b"", [sealed])
        for message, payload in in_packets(self._mesh.nouns):
            post(message, payload, ())
        if not retired:
            for pod in self._pods:
                post(messages.PodAdded(pod.uid, pod.info.netns_cookie), b"", pod.descriptors)


async def _tell_ready(connected: Watch[bool]) -> None:
    async for is_connected in connected.changes():
        if is_connected:
            notify.tell(notify.READY)
            return


async def _tell(stream: str, trouble: Watch[str]) -> None:
    async for why in trouble.changes():
        if why:
            log.warning("lost the control plane", stream=stream, why=why)


def _sealed(credentials: Credentials) -> contextlib.AbstractContextManager[int]:
    return _memory("credentials", credentials.to_bytes())


@contextlib.contextmanager
def _memory(name: str, content: bytes) -> Iterator[int]:
    descriptor = process.seal(name, content)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _read_token(file: Path | None) -> str:
    remedy = "make one with `ambient token create --node NAME`"
    if file is None:
        raise ConfigError(f"--token-file is not given, and the node has no certificate; {remedy}")
    try:
        token = file.read_text("latin-1").strip()
    except OSError as error:
        raise ConfigError(f"--token-file {file}: {error.strerror}; {remedy}") from error
    if token.isascii() and token.isalnum():
        return token
    try:
        return JoinToken.parse(token).secret
    except ConfigError as error:
        raise ConfigError(f"--token-file {file}: it holds no token; {remedy}") from error


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@contextlib.contextmanager
def _sole_proxy(run_dir: Path) -> Iterator[contextlib.ExitStack]:
    """Hold the folder: of two proxies that serve a node, each would undo what the other tells the control plane."""
    with contextlib.ExitStack() as held:
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(run_dir / "proxy.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"--run-dir {run_dir}: {error.strerror}; give the folder that `ambient node` has"
            ) from error
        held.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--run-dir {run_dir} belongs to a proxy that is running; stop that one, or give another folder"
            ) from None
        yield held


async def serve(settings: Settings) -> None:
    """Run the proxy. Raises ConfigError for what its operator must mend."""
    process.forbid_core_dumps()
    process.allow_many_descriptors()
    keep_certificates_in_memory()
    process.check_privileges("ambient proxy", *CAPABILITIES)
    with _sole_proxy(settings.run_dir) as sole:
        await Parent(settings).run(sole)


def _shown(settings: Settings) -> dict[str, object]:
    return {name: str(value) for name, value in asdict(settings).items()}
