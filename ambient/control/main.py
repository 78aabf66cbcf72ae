"""The control plane, joined: a folder and nodes in, deltas and certificates out."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ambient.aio import notify
from ambient.aio.tasks import Tasks
from ambient.control import monitoring
from ambient.control.access import Access, Doors, own_address
from ambient.control.ads import Publisher
from ambient.control.audit import FILE, Audit
from ambient.control.authorities import BUNDLE, Authorities
from ambient.control.ca import SHORTEST, CertificateAuthority
from ambient.control.catalog import API, Catalog
from ambient.control.circumstances import Circumstances
from ambient.control.configuration import Configuration
from ambient.control.doors import Behind, Trusted, open_doors
from ambient.control.explainer import Explainer
from ambient.control.folder import Folder
from ambient.control.given import Given
from ambient.control.index import Index, Settings
from ambient.control.ledger import Ledger
from ambient.control.overview import Overview
from ambient.control.published import about
from ambient.control.registry import Patience, Registry
from ambient.control.shown import Shown
from ambient.control.sources import Changes, Source
from ambient.control.store import Store
from ambient.control.tokens import Tokens
from ambient.control.trust import SHORTEST_ROOT, Trust, check_signs
from ambient.core.delta import Delta
from ambient.core.errors import ConfigError, InvalidIdentity
from ambient.core.model.identity import NodeId
from ambient.core.pki import issue, verify
from ambient.rpc import access, authority, configuration, explanation, mesh
from ambient.rpc.access import Role
from ambient.rpc.discovery import discovery_service
from ambient.rpc.encoding import encode_delta, encode_name
from ambient.rpc.mesh import Status
from ambient.rpc.reporting import registry_service
from ambient.rpc.signing import signing_service
from ambient.telemetry import log

CHECKSUM_SECONDS: Final = 30.0
"""How often nodes are told the checksum of what they should hold, also when nothing changes."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a control plane was started."""

    config: Path | None
    """A folder of objects; None: there are only those of the API."""
    state_dir: Path
    listen: str = "0.0.0.0:15012"
    bootstrap_listen: str = "0.0.0.0:15013"
    advertise: tuple[str, ...] = ()
    trust_domain: str = "cluster.local"
    cluster: str = "local"
    root_namespace: str = "ambient-system"
    certificate_lifetime: timedelta = issue.LEAF_LIFETIME
    root_lifetime: timedelta = issue.ROOT_LIFETIME
    ca_dir: Path | None = None
    """Where an authority is given from outside; None: it is made here."""
    admin: str | None = None
    patience: Patience = Patience()  # noqa: RUF009


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def run(options: Options) -> None:
    """Run a control plane until SIGTERM or SIGINT. Raises ConfigError if it cannot start."""
    async with AsyncExitStack() as stack:
        control = await Control.start(options, stack)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        notify.tell(notify.READY)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((stopped, control.failed), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        notify.tell(notify.STOPPING)
        log.info("control plane stopping")
        if control.failed.done():
            control.failed.result()


class Control:
    """A running control plane. What it does is in the parts; this holds them together."""

    def __init__(self, options: Options, store: Store, clock: Callable[[], datetime]) -> None:
        self.options = options
        self.store = store
        self.node_port = 0
        self.bootstrap_port = 0
        self.admin_port = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a part of it has crashed."""
        self._clock = clock
        self._sources: tuple[Source, ...] = () if options.config is None else (Folder(options.config),)
        roots = tuple(dict.fromkeys((options.root_namespace, "ambient-system", "istio-system")))
        self._catalog = Catalog(roots)
        self._index = Index(Settings(options.trust_domain, options.cluster, roots))
        self._publisher = Publisher(options.trust_domain, self._trusts)
        self._registry = Registry(self._index, store, self._publish, options.patience, time.monotonic)
        self._audit = Audit(options.state_dir / FILE, clock)
        self._trust, self._shown = self._begin_trust(store)
        self._overview = Overview(
            self._catalog,
            self._index,
            self._publisher,
            self._registry,
            self._trust,
            clock,
            time.monotonic,
            {API: str(options.state_dir), **{source.name: source.place for source in self._sources}},
        )
        circumstances = Circumstances(
            self._index,
            lambda: self._catalog.objects,
            lambda key: tuple(map(str, self._catalog.problems(key))),
            self._overview.nodes,
            self._trust.certificates,
        )
        self._explainer = Explainer(self._index, circumstances, clock)
        self._configuration = Configuration(
            self._catalog, store.objects, self._index, self._registry.announce, clock
        )
        self._tokens = Tokens(store, options.trust_domain, clock)
        self._access = Access(self._tokens, store, options.trust_domain, self._doors)
        self._signer = CertificateAuthority(
            self._trust,
            options.trust_domain,
            self._tokens,
            self._index.orders,
            clock,
            self._audit,
            options.certificate_lifetime,
        )

    @classmethod
    async def start(
        cls, options: Options, stack: AsyncExitStack, clock: Callable[[], datetime] = now
    ) -> Control:
        """Read the folder, take up the state, then listen; ``stack`` ends it. Raises ConfigError."""
        _check(options)
        store = Store.open(options.state_dir, options.trust_domain)
        stack.callback(store.close)
        control = cls(options, store, clock)
        control._configuration.restore()
        # Nobody is told half of it: every source and what was registered stand before the first node can ask.
        following = [(source.name, source.watch()) for source in control._sources]
        for name, changes in following:
            control._configuration.follow(name, await anext(changes), is_first=True)
        for name in control._catalog.sources - {API, *(name for name, _ in following)}:
            control._configuration.drop_source(name)
        control._configuration.say()
        control._registry.restore()
        await control._listen(stack)
        tasks = Tasks(control._crashed)
        stack.push_async_callback(tasks.stop)
        for name, changes in following:
            tasks.start(control._follow(name, changes), name)
        tasks.start(control._trust.run(), "authorities")
        tasks.start(control._shown.run(), "certificate")
        tasks.start(control._registry.watch_leases(), "leases")
        tasks.start(control._state_checksums(), "checksums")
        log.info(
            "control plane ready",
            listen=options.listen,
            bootstrap=options.bootstrap_listen,
            trust_domain=options.trust_domain,
            root_cert=str(options.state_dir / BUNDLE),
            errors=len(control.status().errors),
        )
        return control

    def create_token(self, node: str, ttl_seconds: int) -> str:
        """A bootstrap token for a node."""
        return self._tokens.create(node, Role.NODE, ttl_seconds)[0]

    def status(self) -> Status:
        """How it stands."""
        return self._overview.status()

    async def _listen(self, stack: AsyncExitStack) -> None:
        options = self.options

        signing = "istio.v1.auth.IstioCertificateService"
        behind = Behind(
            api={
                configuration.SERVICE: configuration.configuration_service(self._configuration),
                mesh.SERVICE: mesh.mesh_service(self._overview),
                access.SERVICE: access.access_service(self._access),
                explanation.SERVICE: explanation.explanation_service(self._explainer),
                authority.SERVICE: authority.certificates_service(self._trust),
            },
            nodes={
                signing: signing_service(self._signer, by_token=False),
                "envoy.service.discovery.v3.AggregatedDiscoveryService": discovery_service(self._publisher),
                "ambient.registry.v1.Registry": registry_service(self._registry),
            },
            strangers=(
                signing_service(self._signer, by_token=True),
                access.bootstrap_service(self._access),
            ),
        )
        trusted = Trusted(
            lambda: self._shown.certificate,
            lambda: self._trust.roots_pem,
            self._trust.is_revoked,
            lambda: self._trust.signer.root_pem,
        )
        self.node_port, self.bootstrap_port = await open_doors(
            options.state_dir,
            options.listen,
            options.bootstrap_listen,
            behind,
            trusted,
            self._access,
            self._audit,
            stack,
        )
        if options.admin is not None:
            page = monitoring.page(self._overview, self._index, self._publisher, self._trust, self._audit)
            self.admin_port = await monitoring.serve(options.admin, page, stack)

    def _doors(self) -> Doors:
        return Doors(
            next(iter(self.options.advertise), None) or own_address(),
            self.node_port,
            self.bootstrap_port,
            self.options.trust_domain,
            verify.fingerprint(self._trust.signer.root_pem),
        )

    async def _follow(self, source: str, changes: Changes) -> None:
        async for change in changes:
            self._configuration.follow(source, change)

    def _publish(self, change: Delta) -> None:
        if change != Delta():
            named = {encode_name(resource): about(resource) for resource in change.upserted}
            self._publisher.publish(encode_delta(change), named)

    async def _state_checksums(self) -> None:
        while True:
            await asyncio.sleep(CHECKSUM_SECONDS)
            self._publisher.state_checksums()

    def _trusts(self, node: str, version: str) -> None:
        self._trust.holds(node, version)

    def _begin_trust(self, store: Store) -> tuple[Trust, Shown]:
        options, clock = self.options, self._clock
        given = None if options.ca_dir is None else Given(options.ca_dir, clock)
        ledger = Ledger(store)
        authorities = Authorities(store.folder, ledger, options.trust_domain, options.root_lifetime)
        authorities.open(clock(), given)
        check_signs(authorities, clock(), options.state_dir)
        shown = Shown(
            lambda: authorities.signer,
            options.trust_domain,
            options.advertise,
            clock,
            options.certificate_lifetime,
        )
        trust = Trust(
            authorities,
            ledger,
            self._audit,
            self._publisher.publish,
            shown.renew,
            clock,
            options.certificate_lifetime,
            given,
        )
        return trust, shown

    def _crashed(self, name: str, error: BaseException) -> None:
        log.error("task crashed", task=name, error=repr(error))
        if not self.failed.done():
            self.failed.set_exception(error)


def _check(options: Options) -> None:
    try:
        NodeId.parse(f"spiffe://{options.trust_domain}/node/check")
    except InvalidIdentity as error:
        raise ConfigError(
            f"--trust-domain {options.trust_domain!r} is not one: use a-z, 0-9, - . and _"
        ) from error
    if not SHORTEST <= options.certificate_lifetime <= issue.LEAF_LIFETIME:
        longest = issue.LEAF_LIFETIME.total_seconds()
        raise ConfigError(
            f"--certificate-lifetime is {options.certificate_lifetime.total_seconds():.0f} seconds; it is "
            f"{SHORTEST.total_seconds():.0f}-{longest:.0f}"
        )
    if options.root_lifetime < SHORTEST_ROOT * options.certificate_lifetime:
        raise ConfigError(
            f"--root-lifetime is less than {SHORTEST_ROOT} times --certificate-lifetime: roots could not follow each "
            "other in time"
        )
    for flag, listen in (("--listen", options.listen), ("--bootstrap-listen", options.bootstrap_listen)):
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f"{flag} {listen!r} is not ADDRESS:PORT, such as 0.0.0.0:15012")
