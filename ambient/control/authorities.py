"""The authorities of a control plane as they are on disk, and which of them signs.

    roots/NAME/root-cert.pem   whom everyone trusts
    roots/NAME/root-key.pem    the root's key, if it was made here; it may be taken away and brought back
    roots/NAME/issuer.pem      what signs leaves: its key, its certificate, those above it
    roots/NAME/previous.pem    the issuer before, for lists of what it has signed
    roots/NAME/bridge.pem      the root as the one before it vouches for it
    root-cert.pem              all that are trusted now: what a new node is given

A folder of ``roots`` is made whole, then named by the database; one that the database does not name is rubbish.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ambient.control import keyfiles
from ambient.control.given import Given
from ambient.control.ledger import Ledger
from ambient.core.errors import ConfigError
from ambient.core.pki import intermediate, issue, succession, verify
from ambient.core.pki.issue import Authority
from ambient.core.pki.succession import Remove, Retiring, Sign, Spreading, State, Steady
from ambient.telemetry import log

BUNDLE: Final = "root-cert.pem"
"""In the state folder: what nodes are given to trust."""
_ROOT_CERT, _ROOT_KEY, _ISSUER, _PREVIOUS, _BRIDGE = (
    "root-cert.pem",
    "root-key.pem",
    "issuer.pem",
    "previous.pem",
    "bridge.pem",
)
_OURS: Final = re.compile(r"[0-9a-f]{16}(\.new)?")
_RENEW_SHARE: Final = 0.5
"""Of an issuer's life: what is over when another is made."""
_WORTH_SHARE: Final = 0.25
"""Of an issuer's life: what another must live longer, lest the last issuer of a root be renewed for ever."""


@dataclass(frozen=True, slots=True)
class Line:
    """A root and what signs below it."""

    name: str
    roots_pem: bytes
    issuer: Authority
    previous: Authority | None


class Authorities:
    """The sole owner of the folder ``roots`` and of the word who signs."""

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        trust_domain: str,
        root_lifetime: timedelta = issue.ROOT_LIFETIME,
    ) -> None:
        self._folder, self._ledger = folder, ledger
        self._trust_domain, self._root_lifetime = trust_domain, root_lifetime
        self._lines: dict[str, Line] = {}
        self._state: State

    def open(self, now: datetime, given: Given | None = None) -> None:
        """Take up what is on disk, or begin with what is ``given``, or with a root of our own.

        Raises ConfigError if what is there cannot be used.
        """
        try:
            if given is not None:
                given.look()
            state = self._ledger.state()
            if state is None:
                if given is not None and given.authority is None:
                    raise ConfigError(f"--ca-dir: {given.trouble}")
                state = Steady(self._first(now, None if given is None else given.authority))
                self._ledger.set_state(state)
            self._state = state
            self._lines = {name: self._read(name) for name in succession.trusted(state)}
            self._tidy()
        except OSError as error:
            raise ConfigError(
                f"{error.filename}: {error.strerror}; restore the folder {self._folder / 'roots'} from a backup"
            ) from error

    @property
    def state(self) -> State:
        """How far one follows another."""
        return self._state

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those that are trusted; the one that signs is first."""
        return tuple(self._lines[name] for name in succession.trusted(self._state))

    @property
    def line(self) -> Line:
        """The one that signs."""
        return self._lines[self._state.signing]

    @property
    def signer(self) -> Authority:
        """Who signs leaves now."""
        return self.line.issuer

    @property
    def roots_pem(self) -> bytes:
        """All that are trusted, in an order that does not depend on who signs."""
        return b"".join(self._lines[name].roots_pem for name in sorted(self._lines))

    def keeps_root_key(self, line: Line) -> bool:
        """Whether the key of its root is here."""
        return (self._path(line.name) / _ROOT_KEY).exists()

    # --- the steps, each kept on disk before it is in force

    def begin(self, now: datetime, given: Authority | None = None) -> None:
        """A successor is trusted from now on: ``given``, or a new root."""
        if not isinstance(self._state, Steady):
            raise ConfigError(
                "one root follows another already; wait until `ambient certs verify` says steady"
            )
        name = self._given(given) if given is not None else self._make(now, old=self._root_of(self.line.name))
        self._enter(succession.begun(self._state, name))

    def sign(self, step: Sign) -> None:
        """The successor signs."""
        if not isinstance(self._state, Spreading):
            raise TypeError(f"{self._state} has no successor")
        self._enter(succession.signing(self._state, step))

    def remove(self, _: Remove) -> None:
        """The one before is trusted no more."""
        if not isinstance(self._state, Retiring):
            raise TypeError(f"in {self._state} nobody leaves")
        self._enter(succession.removed(self._state))

    def replace(self, now: datetime, given: Authority | None = None) -> None:
        """Begin anew with a root of our own or ``given``, and trust no other: what was signed before is worth nothing."""
        self._enter(Steady(self._given(given) if given is not None else self._make(now, old=None)))

    def take_given(self, given: Authority) -> None:
        """Use what is given from outside as the issuer of its root, which must be one of ours."""
        name = _name(given.root_pem)
        line = self._lines[name]
        if line.issuer.certificate != given.certificate:
            self._set_issuer(line, given)

    def knows(self, given: Authority) -> bool:
        """Whether its root is one that is trusted."""
        return _name(given.root_pem) in self._lines

    def renew_issuer(self, now: datetime) -> bool:
        """Have another issuer when half of its life is over; whether there is one. Without the root's key there is none."""
        line = self.line
        began, ends = line.issuer.certificate.not_valid_before_utc, line.issuer.not_after
        if not line.issuer.above or now < began + (ends - began) * _RENEW_SHARE:
            return False
        root = self._root_of(line.name)
        if root is None:
            return False
        won = min(now + intermediate.ISSUER_LIFETIME, root.not_after) - ends
        if root.not_after <= now or won <= (timedelta() if now >= ends else (ends - began) * _WORTH_SHARE):
            return False
        self._set_issuer(line, intermediate.new_issuer(root, self._trust_domain, now))
        return True

    # --- disk

    def _enter(self, state: State) -> None:
        self._ledger.set_state(state)
        self._state = state
        self._lines = {name: self._read(name) for name in succession.trusted(state)}
        self._tidy()

    def _tidy(self) -> None:
        bundle = self._folder / BUNDLE
        # A disk that is full must not keep it from starting.
        if not bundle.exists() or bundle.read_bytes() != self.roots_pem:
            keyfiles.write(bundle, self.roots_pem, 0o644)
        for path in (self._folder / "roots").iterdir():
            # What somebody else has put there, a copy of keys say, is theirs.
            if path.name not in self._lines and _OURS.fullmatch(path.name):
                shutil.rmtree(path)
        (self._folder / _ROOT_KEY).unlink(missing_ok=True)

    def _first(self, now: datetime, given: Authority | None) -> str:
        key_file, root_file = self._folder / _ROOT_KEY, self._folder / BUNDLE
        (self._folder / "roots").mkdir(mode=0o700, exist_ok=True)
        if not key_file.exists():
            return self._given(given) if given is not None else self._make(now, old=None)
        # A folder of a version that had one root, which signed leaves itself.
        try:
            root = Authority.from_pem(keyfiles.read(key_file), root_file.read_bytes())
        except ConfigError as error:
            raise ConfigError(f"{key_file} and {root_file}: {error}; restore both from a backup") from error
        log.info("root adopted", not_after=root.not_after)
        return self._put(root, self._issuer_of(root, now))

    def _make(self, now: datetime, old: Authority | None) -> str:
        root = issue.new_authority(self._trust_domain, now, self._root_lifetime)
        bridge = None
        if old is not None and old.not_after > now:
            bridge = intermediate.bridge(old, root, now)
        return self._put(root, self._issuer_of(root, now), None if bridge is None else verify.to_pem(bridge))

    def _issuer_of(self, root: Authority, now: datetime) -> Authority:
        if root.not_after <= now:
            return root  # It signs nothing; whoever reads it says so.
        return intermediate.new_issuer(root, self._trust_domain, now)

    def _given(self, given: Authority) -> str:
        return self._put(None, given)

    def _put(self, root: Authority | None, issuer: Authority, bridge: bytes | None = None) -> str:
        name = _name(issuer.root_pem)
        unfinished, folder = self._path(f"{name}.new"), self._path(name)
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        keyfiles.write(unfinished / _ROOT_CERT, issuer.root_pem, 0o644)
        keyfiles.write(unfinished / _ISSUER, issuer.key_pem + issuer.chain_pem)
        if bridge is not None:
            keyfiles.write(unfinished / _BRIDGE, bridge, 0o644)
        if root is not None:
            keyfiles.write(unfinished / _ROOT_KEY, root.key_pem)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
        keyfiles.sync(folder.parent)
        return name

    def _read(self, name: str) -> Line:
        folder = self._path(name)
        roots_pem = (folder / _ROOT_CERT).read_bytes()
        if _name(roots_pem) != name:
            raise ConfigError(f"{folder / _ROOT_CERT} is another root; restore the folder from a backup")
        bridges = (folder / _BRIDGE).read_bytes() if (folder / _BRIDGE).exists() else b""
        issuer = _authority(folder / _ISSUER, bridges)
        previous = _authority(folder / _PREVIOUS) if (folder / _PREVIOUS).exists() else None
        if _name(issuer.root_pem) != name:
            raise ConfigError(f"{folder / _ISSUER} leads to another root; restore the folder from a backup")
        self._root_of(name)  # Its key, if it is here, is nobody else's to read.
        return Line(name, roots_pem, issuer, previous)

    def _root_of(self, name: str) -> Authority | None:
        folder = self._path(name)
        try:
            key = keyfiles.read(folder / _ROOT_KEY)
        except FileNotFoundError:
            return None
        try:
            return Authority.from_pem(key, (folder / _ROOT_CERT).read_bytes())
        except ConfigError as error:
            raise ConfigError(f"{folder / _ROOT_KEY}: {error}; restore it from a backup") from error

    def _set_issuer(self, line: Line, issuer: Authority) -> None:
        folder = self._path(line.name)
        keyfiles.write(folder / _PREVIOUS, line.issuer.key_pem + line.issuer.chain_pem)
        keyfiles.write(folder / _ISSUER, issuer.key_pem + issuer.chain_pem)
        self._lines[line.name] = self._read(line.name)

    def _path(self, name: str) -> Path:
        return self._folder / "roots" / name


def signers(lines: Sequence[Line]) -> dict[str, Authority]:
    """By serial number of their certificates, all whose lists of revoked certificates can be made."""
    return {
        authority.serial: authority
        for line in lines
        for authority in (line.previous, line.issuer)
        if authority is not None
    }


def _authority(file: Path, bridges: bytes = b"") -> Authority:
    content = keyfiles.read(file)
    try:
        return Authority.from_pem(content, content).bridged(bridges)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}; restore it from a backup") from error


def _name(root_pem: bytes) -> str:
    """What a root is called here."""
    return verify.fingerprint(root_pem)[:16]
