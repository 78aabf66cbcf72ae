"""The parent of a program: joins the control plane, the certificates, the mesh and the workers.

It meets no byte of anybody's traffic. What it knows besides, and whom it serves, is its program's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ambient.aio import notify
from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.aio.watch import Watch
from ambient.core.errors import ConfigError, Unavailable
from ambient.core.join import JoinToken
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import NONE, Revocations
from ambient.core.snapshot import Snapshot
from ambient.kernel import process
from ambient.member import messages, worker
from ambient.member.certificates import Certificates, utc_now
from ambient.member.mesh import Mesh, in_packets
from ambient.member.revocations import RevocationFile
from ambient.member.trust import Trust
from ambient.member.workers import Post, Workers
from ambient.net.tls import keep_certificates_in_memory
from ambient.rpc import certificates as authority, channel
from ambient.rpc.errors import Unauthenticated
from ambient.rpc.registration import Order, Registration
from ambient.rpc.subscription import Subscription
from ambient.telemetry import log
from ambient.telemetry.admin import Admin, Handler

_AGAIN_SECONDS: Final = 1.0
"""When something is tried again that failed for want of descriptors or memory."""
_FILES_SECONDS: Final = 2.0
"""How often the root certificate and the token are looked at."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every program of the data plane is started with."""

    run_dir: Path
    """Where its workers meet it."""
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

    @property
    def shown(self) -> dict[str, object]:
        """For a dump."""
        return {name: str(value) for name, value in asdict(self).items()}


class Parent(ABC):
    """The composition root of a program; owns what its parts share."""

    def __init__(self, settings: Settings, program: str, types: tuple[str, ...], *own: str) -> None:
        """``own`` is what its workers are started with besides what all are; ``types`` is what it subscribes to."""
        self.settings, self.program, self._types = settings, program, types
        self.tasks = Tasks(self._crashed)
        self.trust = Trust(
            settings.root_cert,
            settings.state_dir / "root-cert.seen",
            self._trust_changed,
            self._revoked,
        )
        self.node: NodeId | None = None
        self._node_credentials: Watch[Credentials | None] = Watch(None)
        self._known = asyncio.Event()
        """Set: who this node is, and what it runs."""
        self._dialer = channel.Dialer(settings.control, self._node_credentials)
        self.node_certificate = Certificates(
            self._sign_node, lambda: self.trust.roots_pem, self._node_changed, self.tasks
        )
        self.certificates = Certificates(
            self._sign_workload, lambda: self.trust.roots_pem, self._identity_changed, self.tasks
        )
        self.mesh = Mesh(
            settings.state_dir / "snapshot",
            self._tell,
            self.snapshot_changed,
            self.mesh_changed,
            self.trust.take,
        )
        self._revocations = RevocationFile(
            settings.crl,
            settings.state_dir / "crl.pem",
            lambda: self.trust.roots_pem,
            lambda _: self._revoked(),
        )
        self._in_force = NONE
        self.registration = Registration(self._dialer, self.ordered)
        self.subscription: Subscription | None = None
        """The stream from the control plane, once it may be opened."""
        path = str(settings.run_dir / "workers.sock")
        log_settings = (settings.access_log, settings.log_format, settings.log_level)
        self.workers = Workers(
            path,
            lambda index: worker.command(f"ambient.{program}.worker", index, path, *log_settings, *own),
            self,
            self.tasks,
            lambda: Backoff(0.05, 5.0, random.random),
            self.counts_changed,
        )
        self._registering: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._crash: BaseException | None = None

    # --- what its program makes of it

    @abstractmethod
    def routes(self) -> dict[str, Handler]:
        """Of its admin endpoint."""

    @abstractmethod
    def begin(self) -> None:
        """Start what is its program's own. ``be`` must be called at some time."""

    async def retire(self, sole: contextlib.ExitStack) -> None:
        """Before connections are given their time to end: from here on the next one may start, and speak for the node."""
        sole.close()
        if self._registering is not None:
            self._registering.cancel()

    async def left(self) -> None:  # noqa: B027  # Most have nothing to say.
        """All connections have ended."""

    @abstractmethod
    def ordered(self, order: Order) -> None:
        """The control plane's word on a workload."""

    @abstractmethod
    def counts_changed(self, uid: str) -> None:
        """A workload has another number of connections."""

    @abstractmethod
    def mesh_changed(self, before: Snapshot, after: Snapshot) -> None:
        """Another snapshot is in force."""

    @abstractmethod
    def welcome_own(self, post: Post, *, retired: bool) -> None:
        """Tell a worker that joins what its program's workers alone are told."""

    def heard(self, message: messages.Message, payload: bytes) -> None:  # noqa: ARG002  # Others have a use for it.
        """What a worker tells that its program's parent alone takes."""
        raise TypeError(f"a parent does not take {message}")

    async def snapshot_changed(self, content: bytes) -> None:  # noqa: B027  # Not everybody has a place for it.
        """What ``Mesh.restore`` takes is another."""

    def credentials_changed(  # noqa: B027  # Nor for these.
        self, identity: NodeId | SpiffeId, credentials: Credentials | None
    ) -> None:
        """There is another certificate; None: there is none, and none is wanted."""

    # --- its life

    async def run(self, sole: contextlib.ExitStack) -> None:
        """Serve until told to stop, and drain; ``sole`` keeps others of the same node away."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        admin = Admin(self.routes())
        try:
            await admin.start(*settings.admin)
        except OSError as error:
            host, port = settings.admin
            why = os.strerror(error.errno) if error.errno else error
            raise ConfigError(f"--admin {host}:{port}: {why}; choose another port") from error
        self._revocations.start()
        self._in_force = self._revocations.revocations
        self.workers.start(settings.workers)
        self.begin()
        self.tasks.start(self._join_control(), "control plane")
        self.tasks.start(self.mesh.save_for_ever(), "snapshot")
        self.tasks.start(self._revocations.follow(), "revoked certificates")
        self.tasks.start(self._follow_files(), "root certificate and token")
        await self._stop.wait()
        if self._crash is not None:
            raise self._crash
        notify.tell(notify.STOPPING)
        log.info(f"{self.program} stops", drain_seconds=settings.drain_seconds)
        await self.retire(sole)
        await self.workers.stop(settings.drain_seconds)
        await self.left()
        await admin.stop()
        await self.tasks.stop()
        await self._dialer.close()

    def be(self, node: NodeId) -> None:
        """It is known which node this is, and what it runs: join the control plane."""
        if not self.mesh.held:
            self.mesh.restore_from_disk()
        self.node = node
        self.node_certificate.want(node)
        self._known.set()

    def _crashed(self, name: str, error: BaseException) -> None:
        # Half a program is worse than a restart: workers go on, and the next parent takes over.
        log.error("task crashed", task=name, error=repr(error))
        self._crash = error
        self._stop.set()

    # --- the control plane

    async def _join_control(self) -> None:
        await self._known.wait()
        if self.node is None or self._stop.is_set():
            return
        self.subscription = Subscription(self._dialer, self.node.node, self.mesh.held, types=self._types)
        self._registering = self.tasks.start(self.registration.run(), "registration")
        self.tasks.start(_tell_ready(self.subscription.connected), "readiness")
        for stream, trouble in (
            ("discovery", self.subscription.trouble),
            ("registry", self.registration.trouble),
        ):
            self.tasks.start(_tell(stream, trouble), f"trouble of {stream}")
        await self.subscription.run(self.mesh.deliver, self.workers.settled)

    async def _sign_node(self, identity: NodeId, csr_pem: bytes) -> tuple[bytes, ...]:
        held = self.node_certificate.valid(identity)
        if held is not None:
            try:
                return await authority.sign(await self._dialer.channel(), csr_pem)
            except Unauthenticated as error:
                log.warning("the control plane does not take this node's certificate", why=error)
            except Unavailable:
                # There may be another root, under which this certificate counts for nothing.
                if held.is_believed(utc_now()) and not self.trust.given_anew:
                    raise
        token = _read_token(self.settings.token_file)
        self.trust.look()
        bootstrap = channel.open_bootstrap_channel(self.settings.bootstrap, self.trust.roots_pem)
        try:
            return await authority.sign(bootstrap, csr_pem, token=token)
        except Unavailable as error:
            settings = self.settings
            raise Unavailable(
                f"{error}; is --bootstrap {settings.bootstrap} the control plane, and --root-cert {settings.root_cert} its root?"
            ) from error
        finally:
            await bootstrap.close()

    async def _follow_files(self) -> None:
        """An operator who brings a node back with another root and a token need not restart it."""
        settings = self.settings
        files = [file for file in (settings.root_cert, settings.token_file) if file is not None]
        before = tuple(map(_stamp, files))
        while True:
            await asyncio.sleep(_FILES_SECONDS)
            now = tuple(map(_stamp, files))
            if now == before:
                continue
            before = now
            try:
                self.trust.look()
            except ConfigError as error:
                log.error("root certificate not taken", why=error)
            if self.node is not None and self.trust.given_anew:
                self.node_certificate.renew(self.node)
            self.node_certificate.hurry()

    async def _sign_workload(self, identity: SpiffeId, csr_pem: bytes) -> tuple[bytes, ...]:
        return await authority.sign(await self._dialer.channel(), csr_pem, impersonate=identity)

    def why_no_certificate(self) -> str | None:
        """What keeps the node from having its own certificate; None: it has one, or is not known yet."""
        node = self.node
        if node is None or self.node_certificate.valid(node) is not None:
            return None
        return self.node_certificate.error(node) or f"{self.settings.bootstrap} has not answered yet"

    @property
    def revoked(self) -> int:
        """How many certificates are on the lists that are in force."""
        return len(self._in_force)

    # --- what changed

    def _tell(self, message: messages.Message, payload: bytes) -> None:
        self.workers.tell(message, payload)

    def _node_changed(self, identity: NodeId, credentials: Credentials | None) -> None:
        self._node_credentials.set(credentials)
        if credentials is not None:
            self.certificates.hurry()
        self.credentials_changed(identity, credentials)

    def _identity_changed(self, identity: SpiffeId, credentials: Credentials | None) -> None:
        if credentials is None:
            self.workers.tell(messages.CredentialsForgotten(str(identity)))
        else:
            self._hand_out(identity, credentials)
        self.credentials_changed(identity, credentials)

    def _hand_out(self, identity: SpiffeId, credentials: Credentials | None) -> None:
        """Have every worker use credentials; None: those are gone meanwhile, or have expired."""
        if credentials is None:
            return
        try:
            with sealed("credentials", credentials.to_bytes()) as descriptor:
                self.workers.tell(messages.CredentialsChanged(str(identity)), b"", [descriptor])
        except (OSError, Unavailable) as error:
            log.warning("credentials not handed out; tried again", identity=identity, why=str(error))
            loop = asyncio.get_running_loop()
            loop.call_later(
                _AGAIN_SECONDS, lambda: self._hand_out(identity, self.certificates.valid(identity))
            )

    def _trust_changed(self) -> None:
        self.node_certificate.trust()
        self.certificates.trust()

    @property
    def _lists(self) -> bytes:
        """Of revoked certificates, the operator's and the control plane's, PEM."""
        return self._revocations.content + b"\n" + self.trust.lists_pem

    def _revoked(self) -> None:
        lists = self._lists
        self._tell(messages.RevocationsChanged(), lists)
        self._in_force = Revocations.from_pem(lists)
        for held in self.certificates.all_valid():
            identity = held.identity
            if isinstance(identity, SpiffeId) and self._in_force.covers(held.chain_pem, held.roots_pem):
                log.warning("a certificate of ours is revoked; another is asked for", identity=identity)
                self.certificates.renew(identity)

    # --- workers.State

    def welcome(self, post: Post, *, retired: bool) -> None:
        """Tell a worker that joins everything."""
        post(messages.RevocationsChanged(), self._lists, ())
        for credentials in self.certificates.all_valid():
            with sealed("credentials", credentials.to_bytes()) as descriptor:
                post(messages.CredentialsChanged(str(credentials.identity)), b"", [descriptor])
        for message, payload in in_packets(self.mesh.nouns):
            post(message, payload, ())
        self.welcome_own(post, retired=retired)


async def _tell_ready(connected: Watch[bool]) -> None:
    async for is_connected in connected.changes():
        if is_connected:
            notify.tell(notify.READY)
            return


async def _tell(stream: str, trouble: Watch[str]) -> None:
    async for why in trouble.changes():
        if why:
            log.warning("lost the control plane", stream=stream, why=why)


@contextlib.contextmanager
def sealed(name: str, content: bytes) -> Iterator[int]:
    """A sealed memfd, for as long as the block lasts."""
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


@contextlib.contextmanager
def alone(run_dir: Path, program: str, remedy: str) -> Iterator[contextlib.ExitStack]:
    """Hold the folder: of two programs that serve a node, each would undo what the other tells the control plane."""
    with contextlib.ExitStack() as held:
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(run_dir / f"{program}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"--run-dir {run_dir}: {error.strerror}; {remedy}") from error
        held.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--run-dir {run_dir} belongs to a {program} that is running; stop that one, or give another folder"
            ) from None
        yield held


def prepare() -> None:
    """What each such process needs before anything else. Raises ConfigError."""
    process.forbid_core_dumps()
    process.allow_many_descriptors()
    keep_certificates_in_memory()
