"""The operator's file of revoked certificates, as a program's parent holds it: watched, checked, passed on, kept on disk.

A file that is missing, unreadable or wrong revokes nothing anew and nothing less: the last good version stands, also
over a restart. An empty file revokes nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from ambient.core.errors import ConfigError
from ambient.core.pki import revocation
from ambient.core.pki.revocation import Revocations
from ambient.member.certificates import utc_now
from ambient.member.files import replace
from ambient.telemetry import log

ROUND_SECONDS: Final = 0.5
LARGEST: Final = 64 * 1024 * 1024
_Stamp: TypeAlias = tuple[int, ...]


class RevocationFile:
    """The sole owner of the parent's revocations. ``changed`` is told of each new version, checked."""

    def __init__(
        self,
        file: Path | None,
        kept: Path,
        roots: Callable[[], bytes],
        changed: Callable[[bytes], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._file, self._kept, self._roots, self._changed, self._now = file, kept, roots, changed, now
        self._trouble = ""
        self._overdue: tuple[str, ...] = ()
        self._read: _Stamp | None = None
        self.content = b""
        """What is in force, PEM."""
        self.revocations: Revocations = revocation.NONE

    def start(self) -> None:
        """Begin with the file, or with the last good version of it.

        Raises ConfigError if it is wrong and there is no such version; that it is missing is only said.
        """
        if self._file is None:
            return
        try:
            self._read = _stamp(self._file)
            self._take(self._checked(_content(self._file)))
            self._keep(self.content)
        except FileNotFoundError:
            if not self._restored():
                log.warning(
                    "no list of revoked certificates yet",
                    file=str(self._file),
                    remedy="put it there; an empty file revokes nobody",
                )
        except (OSError, ConfigError) as error:
            if not self._restored():
                raise ConfigError(f"--crl {self._file}: {_sentence(error)}") from error
            self._complain(_sentence(error))

    async def follow(self) -> None:
        """Look at the file for ever; one that is being written is read when it stands still."""
        before: _Stamp | None = None
        while self._file is not None:
            await asyncio.sleep(ROUND_SECONDS)
            self._warn_of_overdue()
            try:
                now = await asyncio.to_thread(_stamp, self._file)
                before, stands_still = now, now == before
                if not stands_still or now == self._read:
                    continue
                content = await asyncio.to_thread(_content, self._file)
                self._read = now
                checked = await asyncio.to_thread(self._checked, content)
            except (OSError, ConfigError) as error:
                if self._read is not None or not isinstance(error, FileNotFoundError):
                    self._complain(_sentence(error))
                continue
            self._trouble = ""
            if content != self.content:
                self._take(checked)
                self._changed(content)
                await asyncio.to_thread(self._keep, content)

    def _checked(self, content: bytes) -> tuple[bytes, Revocations, tuple[str, ...]]:
        revocations = Revocations.from_pem(content)
        return content, revocations, revocations.check_signed_by(self._roots())

    def _take(self, checked: tuple[bytes, Revocations, tuple[str, ...]]) -> None:
        self.content, self.revocations, others = checked
        log.info(
            "revoked certificates", lists=len(self.revocations.lists), certificates=len(self.revocations)
        )
        if others:
            log.info(
                "lists of authorities that are no roots count for chains through them",
                authorities="; ".join(others),
            )
        self._overdue = ()
        self._warn_of_overdue()

    def _restored(self) -> bool:
        try:
            self._take(self._checked(_content(self._kept)))
        except FileNotFoundError:
            return False
        except (OSError, ConfigError) as error:
            log.warning(
                "the last good list of revoked certificates cannot be used",
                file=str(self._kept),
                why=_sentence(error),
            )
            return False
        log.warning(
            "the last good list of revoked certificates stands",
            file=str(self._file),
            certificates=len(self.revocations),
        )
        return True

    def _keep(self, content: bytes) -> None:
        try:
            replace(self._kept, content)
        except OSError as error:
            log.warning("revoked certificates cannot be kept on disk", file=str(self._kept), why=str(error))

    def _complain(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            log.error(
                "revoked certificates not taken; the last good list stands", file=str(self._file), why=why
            )

    def _warn_of_overdue(self) -> None:
        overdue = self.revocations.overdue(self._now())
        new, self._overdue = overdue != self._overdue, overdue
        if new and overdue:
            log.warning(
                "a list of revoked certificates is overdue and used on",
                file=str(self._file),
                authorities="; ".join(overdue),
                remedy="put the authority's current list there",
            )


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _content(file: Path) -> bytes:
    with file.open("rb") as reading:
        content = reading.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ConfigError(f"it is larger than {LARGEST >> 20} MiB; leave out what has expired")
    return content


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}; put the lists of revoked certificates there, or an empty file"
    return str(error)
