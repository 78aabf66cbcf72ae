"""The certificate that the control plane shows: renewed at half its life, and at once when another authority signs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ambient.core.errors import AmbientError
from ambient.core.pki import issue
from ambient.core.pki.rotation import next_renewal
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.core.pki.issue import Authority, ServerCertificate

LOOK_SECONDS: Final = 10.0
"""How often the wall clock is looked at, which may jump, until it is renewed; and after a failure."""


class Shown:
    """The sole owner of the server's certificate."""

    def __init__(
        self,
        signer: Callable[[], Authority],
        trust_domain: str,
        names: Sequence[str],
        clock: Callable[[], datetime],
        lifetime: timedelta,
    ) -> None:
        self._signer, self._trust_domain, self._names = signer, trust_domain, names
        self._clock, self._lifetime = clock, lifetime
        self._due = asyncio.Event()
        self.certificate = self._new()

    def renew(self) -> None:
        """Another authority signs."""
        self._due.set()

    async def run(self) -> None:
        """Renew it for ever."""
        while True:
            await self._until_due(self.certificate)
            self._due.clear()
            try:
                self.certificate = self._new()
            except AmbientError as error:
                log.error("server certificate not renewed", why=error, not_after=self.certificate.not_after)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            log.info("server certificate renewed", not_after=self.certificate.not_after)

    async def _until_due(self, certificate: ServerCertificate) -> None:
        due = next_renewal(certificate.not_before, certificate.not_after, random.uniform(-1, 1))  # noqa: S311
        # Asked again and again, as the wall clock may jump.
        while (left := (due - self._clock()).total_seconds()) > 0 and self._clock() >= certificate.not_before:
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._due.wait()
            except TimeoutError:
                continue
            return

    def _new(self) -> ServerCertificate:
        return issue.issue_server(
            self._signer(), self._trust_domain, self._names, self._clock(), self._lifetime
        )
