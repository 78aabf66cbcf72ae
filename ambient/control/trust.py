"""Whom the mesh trusts, over time: roots that follow each other, what nodes have seen of it, what is revoked.

It keeps the authorities where ``core.pki.succession`` says they should be, tells nodes, and speaks up long before
anything ends.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ambient.control.authorities import Authorities, signers
from ambient.control.ledger import Issued, Ledger
from ambient.core.errors import AmbientError, ConfigError
from ambient.core.pki import succession
from ambient.core.pki.revocation import signed_list
from ambient.core.pki.succession import Begin, Facts, Remove, Sign, Spreading, Steady, Wait
from ambient.rpc import trust
from ambient.rpc.authority import Certificate, Member, Standing
from ambient.rpc.errors import NotFound
from ambient.rpc.wire import RawResource, Update
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.audit import Audit
    from ambient.control.given import Given
    from ambient.core.pki.issue import Authority

ROUND_SECONDS: Final = 1.0
SHORTEST_ROOT: Final = 10
"""Lives of a leaf."""
WARN_DAYS: Final = (60, 30, 7)
"""Days left of an authority at which it is said, each once."""


class Trust:
    """The sole owner of what is trusted. ``publish`` tells nodes; ``changed`` hears of another signer or other roots."""

    def __init__(
        self,
        authorities: Authorities,
        ledger: Ledger,
        audit: Audit,
        publish: Callable[[Update], None],
        changed: Callable[[], None],
        clock: Callable[[], datetime],
        leaf_lifetime: timedelta,
        given: Given | None = None,
    ) -> None:
        self._authorities, self._ledger, self._audit = authorities, ledger, audit
        self._publish, self._changed, self._clock = publish, changed, clock
        self._leaf_lifetime, self._given = leaf_lifetime, given
        self._published: dict[str, RawResource] = {}
        self._revoked: tuple[Issued, ...] = ()
        self._lists = trust.revocations(b"")
        self._poked = asyncio.Event()
        self._wanted = False
        self._trouble = ""
        self._warned: set[tuple[str, int]] = set()
        self._waiting = ""
        self._say()

    @property
    def signer(self) -> Authority:
        """Who signs leaves now."""
        return self._authorities.signer

    @property
    def authority(self) -> str:
        """The name of the one that signs."""
        return self._authorities.line.name

    @property
    def roots_pem(self) -> bytes:
        """All that are trusted."""
        return self._authorities.roots_pem

    @property
    def unaware(self) -> frozenset[str]:
        """Nodes that are not known to trust what is trusted now."""
        return self._ledger.unaware(self._published[trust.BUNDLE].version, self._clock())

    def is_revoked(self, serial: str) -> bool:
        """Whether a certificate counts no more."""
        return any(one.serial == serial for one in self._revoked)

    def days_left(self, role: str) -> float:
        """Of the root or the issuer that signs."""
        ends = {one.role: one.not_after for one in members(self._authorities) if one.signs}
        return (ends.get(role, ends["root"]) - self._clock()) / timedelta(days=1)

    def standing(self) -> Standing:
        """How it stands."""
        step = succession.next_step(self._authorities.state, self._facts(self._clock()))
        return Standing(
            phase=type(self._authorities.state).__name__.lower(),
            waits_for=step.why if isinstance(step, Wait) else "",
            authorities=members(self._authorities),
            unaware_nodes=tuple(sorted(self.unaware)),
            trouble=self._trouble or ("" if self._given is None else self._given.trouble),
        )

    def certificates(self) -> tuple[Certificate, ...]:
        """All that live."""
        return tuple(map(_certificate, self._ledger.certificates(self._clock())))

    # --- what happens

    def issued(self, leaf: Issued, *, is_nodes_own: bool) -> None:
        """A certificate was signed. One that cannot be noted is said, and counts all the same."""
        try:
            self._ledger.issued(leaf, self._clock(), is_nodes_own=is_nodes_own)
        except AmbientError as error:
            log.error(
                "certificate not noted; it cannot be revoked by its identity", serial=leaf.serial, why=error
            )

    def holds(self, node: str, version: str) -> None:
        """A node has said which roots it trusts."""
        try:
            news = self._ledger.saw(node, version, self._clock() + self._leaf_lifetime)
        except AmbientError as error:
            log.error("not noted which roots a node trusts", node=node, why=error)
            return
        if news:
            log.info("node trusts roots", node=node, version=version)
            self._poked.set()

    def node_ends(self) -> dict[str, datetime]:
        """When the certificate of each node ends."""
        return self._ledger.node_ends(self._clock())

    def forget_node(self, node: str) -> None:
        """Nobody waits for it."""
        self._ledger.forget_node(node)
        self._poked.set()

    def rotate(self) -> None:
        """Have another root, step by step. Raises ConfigError if that cannot be begun now."""
        if self._given is not None:
            raise ConfigError(
                f"the authority is given by --ca-dir {self._given.folder}: put another one there, and it is taken over "
                "step by step"
            )
        if not isinstance(self._authorities.state, Steady):
            raise ConfigError(f"one root follows another already: {self.standing().waits_for}")
        self._wanted = True
        self.turn()

    def recover(self, *, force: bool) -> None:
        """Begin anew with another root that nobody trusts yet. Raises ConfigError if the one that signs still can."""
        begin_anew(self._authorities, self._clock(), self._given, force=force)
        self._audit.record("root replaced", authority=self.authority, force=force)
        self._say()
        self._changed()

    def revoke(self, name: str) -> tuple[Certificate, ...]:
        """Certificates of a serial number or an identity are believed no more; which. Raises NotFound."""
        revoked = self._ledger.revoke(name, self._clock())
        if not revoked:
            raise NotFound(
                f"no certificate that lives and is not revoked has the serial number or identity {name}; see `ambient certs list`"
            )
        for one in revoked:
            self._audit.record("certificate revoked", serial=one.serial, identity=one.identity, node=one.node)
        self._say()
        return tuple(map(_certificate, revoked))

    async def run(self) -> None:
        """For ever: take each step when it is due."""
        while True:
            try:
                self.turn()
                self._trouble = ""
            except (AmbientError, OSError, sqlite3.Error) as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.error("authorities cannot be kept", why=error)
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._poked.wait()
            except TimeoutError:
                continue
            self._poked.clear()

    def turn(self) -> None:
        """Take whatever step is due now. Raises ConfigError or OSError if one cannot be taken."""
        now = self._clock()
        self._warn(now)
        if self._given is not None:
            self._given.look()
        before = self.signer, self.roots_pem
        self._take_given()
        if self._given is None and self._authorities.renew_issuer(now):
            self._audit.record("issuer renewed", authority=self.authority, serial=self.signer.serial)
        facts = self._facts(now)
        match succession.next_step(self._authorities.state, facts):
            case Begin():
                self._authorities.begin(now, None if self._given is None else self._given.authority)
                self._wanted = False
                self._audit.record("root follows", authority=self._authorities.lines[-1].name)
            case Sign(left_behind=left_behind) as step:
                self._authorities.sign(step)
                self._audit.record(
                    "root signs", authority=self.authority, left_behind=", ".join(sorted(left_behind))
                )
                if left_behind:
                    log.error(
                        "nodes have not heard of the root that signs now",
                        nodes=", ".join(sorted(left_behind)),
                        remedy="give each the new root-cert.pem and a token",
                    )
            case Remove() as step:
                leaving = self._authorities.lines[-1].name
                self._authorities.remove(step)
                self._audit.record("root removed", authority=leaving)
            case Wait(why):
                if why != self._waiting:
                    self._waiting = why
                    if why:
                        log.info("root rotation waits", why=why)
        self._say()
        if before != (self.signer, self.roots_pem):
            self._changed()

    # --- how

    def _facts(self, now: datetime) -> Facts:
        root = self.signer.root
        is_spreading = isinstance(self._authorities.state, Spreading)
        return Facts(
            now=now,
            wanted=self._wanted or self._is_given_new(),
            renews_itself=self._given is None,
            root_began=root.not_valid_before_utc,
            root_ends=root.not_valid_after_utc,
            leaf_lifetime=self._leaf_lifetime,
            # Asked for only when it counts: it reads every certificate that lives.
            last_leaf=self._ledger.last_end(self.authority) if is_spreading else None,
            unaware=self.unaware if trust.BUNDLE in self._published else frozenset(),
        )

    def _is_given_new(self) -> bool:
        given = None if self._given is None else self._given.authority
        return given is not None and not self._authorities.knows(given)

    def _take_given(self) -> None:
        given = None if self._given is None else self._given.authority
        if given is not None and self._authorities.knows(given):
            self._authorities.take_given(given)

    def _say(self) -> None:
        """Publish what is not published yet."""
        self._publish_new(trust.bundle(self.roots_pem))
        revoked = self._ledger.revoked(self._clock())
        if revoked != self._revoked:
            self._revoked = revoked
            self._lists = trust.revocations(self._signed(revoked))
        self._publish_new(self._lists)

    def _publish_new(self, raw: RawResource) -> None:
        if self._published.get(raw.type_url) != raw:
            self._published[raw.type_url] = raw
            self._publish(Update((raw,)))

    def _signed(self, revoked: Sequence[Issued]) -> bytes:
        """A list of each issuer that is concerned, PEM."""
        lists = []
        for serial, authority in signers(self._authorities.lines).items():
            theirs = [one for one in revoked if one.issuer == serial]
            if theirs:
                # Past the end of all that is on it a list says nothing: it is never overdue before.
                end = max(one.not_after for one in theirs)
                moments = {int(one.serial, 16): one.revoked for one in theirs if one.revoked is not None}
                lists.append(signed_list(authority, moments, end).pem)
        return b"".join(lists)

    def _warn(self, now: datetime) -> None:
        for one in members(self._authorities):
            left = (one.not_after - now) / timedelta(days=1)
            due = min((days for days in WARN_DAYS if left <= days), default=None)
            if one.signs and due is not None and (one.serial, due) not in self._warned:
                self._warned.add((one.serial, due))
                log.warning(
                    "an authority ends",
                    role=one.role,
                    serial=one.serial,
                    days_left=round(left, 1),
                    not_after=one.not_after,
                    remedy=self._remedy(one.role),
                )

    def _remedy(self, role: str) -> str:
        if self._given is not None:
            return f"put another authority into {self._given.folder}"
        if role == "issuer" and not self._authorities.keeps_root_key(self._authorities.line):
            return "bring root-key.pem of the root back to its folder, or `ambient certs rotate`"
        return "none: it is replaced by itself"


def members(authorities: Authorities) -> tuple[Member, ...]:
    """Every root and issuer that is trusted; what signs is first."""
    found = []
    for line in authorities.lines:
        signs, issuer = line is authorities.line, line.issuer
        has_key = not issuer.above or authorities.keeps_root_key(line)
        root = issuer.root
        found.append(
            Member("root", line.name, f"{root.serial_number:x}", root.not_valid_after_utc, signs, has_key)
        )
        if issuer.above:
            ends = issuer.certificate.not_valid_after_utc
            found.append(Member("issuer", line.name, issuer.serial, ends, signs, has_key=True))
    return tuple(found)


def check_signs(authorities: Authorities, now: datetime, state_dir: Path) -> None:
    """An authority that can sign is there, perhaps with another issuer. Raises ConfigError with the way out."""
    authorities.renew_issuer(now)
    ended = authorities.signer.not_after
    if ended <= now:
        raise ConfigError(
            f"the authority that signs ended at {ended:%FT%TZ}, and nobody believes it any more; "
            f"`ambient certs recover --state-dir {state_dir}` makes another and says what is to be done then"
        )


def begin_anew(authorities: Authorities, now: datetime, given: Given | None, *, force: bool) -> None:
    """Have another root at once. Raises ConfigError if the one that signs still can, unless ``force``."""
    ends = authorities.signer.not_after
    if ends > now and not force:
        raise ConfigError(
            f"the authority that signs ends at {ends:%FT%TZ}: `ambient certs rotate` replaces it and fails nobody; "
            "--force replaces it at once, and every node must be given the new root and a token"
        )
    if given is not None and (given.authority is None or given.authority.not_after <= now):
        raise ConfigError(f"put another authority into --ca-dir {given.folder} first: {given.trouble}")
    authorities.replace(now, None if given is None else given.authority)


def _certificate(one: Issued) -> Certificate:
    return Certificate(one.serial, one.identity, one.node, one.issuer, one.not_after, one.revoked)
