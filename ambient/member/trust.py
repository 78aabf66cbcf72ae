"""Whom a program trusts: the roots that the control plane tells, and the operator's file until it has told any.

The file counts again when it was changed since: an operator who brings a node back after a long time gives it the new
root so, while the last bundle that it heard of knows the old one alone. What the control plane tells next counts
alone again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ambient.core.errors import ConfigError
from ambient.core.pki import verify
from ambient.member.files import replace
from ambient.rpc import trust
from ambient.rpc.trust import BadTrust
from ambient.rpc.wire import RawResource
from ambient.telemetry import log

_ROOT_CERT: Final = "root-cert.pem in the control plane's state folder"


class Trust:
    """The sole owner of the parent's roots, and of the revocation lists that come with them.

    ``seen`` is a file that says which version of ``file`` the control plane's word came after. ``changed`` and
    ``revoked`` hear of news.
    """

    def __init__(
        self, file: Path, seen: Path, changed: Callable[[], None], revoked: Callable[[], None]
    ) -> None:
        self._file, self._seen = file, seen
        self._mark_seen = _content(seen)
        self._changed, self._revoked = changed, revoked
        self._given = _read(file)
        self._told = b""
        self.roots_pem = self._given
        """All that are trusted."""
        self.lists_pem = b""
        """Lists of revoked certificates, as the control plane signed them."""

    def take(self, resources: Iterable[RawResource], fresh: bool) -> dict[str, str]:  # noqa: FBT001  # As ``mesh.Believe``.
        """Take the control plane's word; by name, why some of it could not be. Not ``fresh``: it was kept meanwhile."""
        errors = {}
        for raw in resources:
            try:
                if raw.type_url == trust.BUNDLE:
                    self._take_bundle(trust.read_bundle(raw), fresh=fresh)
                else:
                    self._take_lists(trust.read_revocations(raw))
            except BadTrust as error:
                errors[raw.name] = str(error)
        return errors

    @property
    def given_anew(self) -> bool:
        """Whether the operator's file says more than the control plane, and later."""
        return bool(self._told) and not self._is_seen()

    def look(self) -> None:
        """Read the operator's file again. Raises ConfigError if it cannot be."""
        self._given = _read(self._file)
        self._weigh()

    def _take_bundle(self, roots_pem: bytes, *, fresh: bool) -> None:
        self._told = roots_pem
        if fresh:
            self._see()
        self._weigh()

    def _take_lists(self, lists_pem: bytes) -> None:
        if lists_pem != self.lists_pem:
            self.lists_pem = lists_pem
            self._revoked()

    def _weigh(self) -> None:
        """Let the file count if it is all there is, or newer than the control plane's word."""
        roots_pem = self._told or self._given
        if self.given_anew:
            roots_pem = self._told + self._given
        if roots_pem != self.roots_pem:
            self.roots_pem = roots_pem
            log.info("trusted roots changed", roots=len(verify.load_roots(roots_pem)))
            self._changed()

    def _see(self) -> None:
        if self._mark_seen == self._mark():
            return
        self._mark_seen = self._mark()
        try:
            replace(self._seen, self._mark_seen)
        except OSError as error:
            log.warning("not kept that the root certificate's file is outdated", why=str(error))

    def _is_seen(self) -> bool:
        is_part = set(verify.split(self._given)) <= set(verify.split(self._told))
        return is_part or self._mark_seen == self._mark()

    def _mark(self) -> bytes:
        return hashlib.sha256(self._given).hexdigest().encode()


def _read(file: Path) -> bytes:
    try:
        roots = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"--root-cert {file}: {error.strerror}; it is {_ROOT_CERT}") from error
    try:
        verify.load_roots(roots)
    except ConfigError as error:
        raise ConfigError(f"--root-cert {file}: {error}") from error
    return roots


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
