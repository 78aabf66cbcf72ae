"""An authority that is given from outside: a folder that cert-manager, a Vault agent or a person writes.

Names of files: ``tls.crt``, ``tls.key``, ``ca.crt`` (cert-manager), or ``ca-cert.pem``, ``ca-key.pem``,
``root-cert.pem`` and perhaps ``cert-chain.pem`` (Istio). What is half written or wrong is said by its name, and the
last good set stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from ambient.control import keyfiles
from ambient.core.errors import ConfigError
from ambient.core.pki.issue import Authority, joined
from ambient.telemetry import log

POLL_SECONDS: Final = 60.0
"""It is read again after so long although it seems unchanged: a change that was missed must not be missed for ever."""
_CERT_MANAGER: Final = ("tls.crt", "tls.key", "ca.crt")
_ISTIO: Final = ("ca-cert.pem", "ca-key.pem", "root-cert.pem")
_CHAIN: Final = "cert-chain.pem"
_Stamp: TypeAlias = tuple[tuple[int, ...], ...]


class Given:
    """The folder, and the last good authority that was in it."""

    def __init__(
        self, folder: Path, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.authority: Authority | None = None
        """None: there has been no good one."""
        self.trouble = ""
        """What is wrong with what is there now; empty: nothing."""
        self._clock, self._monotonic = clock, monotonic
        self._stamp: _Stamp = ()
        self._due = 0.0

    def look(self) -> None:
        """Read the folder if it has changed, or has not been read for a while."""
        stamp = self._stamp_now()
        if stamp == self._stamp and self._monotonic() < self._due:
            return
        self._stamp, self._due = stamp, self._monotonic() + POLL_SECONDS
        try:
            authority = self._read()
        except (OSError, ConfigError) as error:
            why = _sentence(self.folder, error)
            if why != self.trouble:
                self.trouble = why
                log.error("given authority not taken; the last good one stands", why=why)
            return
        self.trouble = ""
        if self.authority is None or authority.certificate != self.authority.certificate:
            log.info("given authority taken", serial=authority.serial, not_after=authority.not_after)
        self.authority = authority

    def _read(self) -> Authority:
        certificate, key, root = _names(self.folder)
        chain = certificate.read_bytes()
        if (more := self.folder / _CHAIN).exists():
            chain += more.read_bytes()
        try:
            made = joined(keyfiles.read(key), chain, root.read_bytes())
        except ConfigError as error:
            if str(error).startswith(str(key)):
                raise
            raise ConfigError(f"{certificate}, {key.name} and {root.name}: {error}") from error
        if made.not_after <= self._clock():
            raise ConfigError(f"{certificate} ended at {made.not_after:%FT%TZ}; put a new one there")
        return made

    def _stamp_now(self) -> _Stamp:
        found: list[tuple[int, ...]] = []
        for name in (*_CERT_MANAGER, *_ISTIO, _CHAIN):
            try:
                status = (self.folder / name).stat()
            except OSError:
                found.append(())
            else:
                found.append(
                    (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode)
                )
        return tuple(found)


def _names(folder: Path) -> tuple[Path, Path, Path]:
    for names in (_CERT_MANAGER, _ISTIO):
        certificate, key, root = (folder / name for name in names)
        if certificate.exists() or key.exists():
            return certificate, key, root
    raise ConfigError(
        f"{folder} holds no authority: put {', '.join(_CERT_MANAGER)} or {', '.join(_ISTIO)} there"
    )


def _sentence(folder: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or folder}: {error.strerror}; is --ca-dir written to the end?"
    return str(error)
