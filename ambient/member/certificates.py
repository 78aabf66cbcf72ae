"""The certificates of a node and of the identities that its pods run as: born here, renewed at half their life.

A key is made in this process and never leaves it but as a sealed memfd. A renewal that fails keeps the certificate
that is still valid, and is tried again with growing delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ambient.aio.backoff import Backoff
from ambient.aio.places import Places
from ambient.core.errors import AmbientError
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import csr, rotation
from ambient.core.pki.bundle import Credentials
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.aio.tasks import Tasks

CONCURRENT: Final = 8
"""Requests that may be with the authority at once. Source: the peers' figure."""
LOOK_SECONDS: Final = 10.0
"""How often the wall clock is looked at, which may jump: forward past the end of a certificate, or back before its
beginning, when nobody with that clock takes it."""
I = TypeVar("I", NodeId, SpiffeId)  # noqa: E741

Sign = Callable[[I, bytes], Awaitable[tuple[bytes, ...]]]
"""Has the authority sign a CSR for an identity: PEM each, leaf first, root last. Raises AmbientError."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(eq=False)
class _Kept(Generic[I]):
    identity: I
    credentials: Credentials | None = None
    error: str | None = None
    due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: renew now, whatever the time."""
    task: asyncio.Task[None] | None = None


class Certificates(Generic[I]):
    """Keeps credentials for the identities that are wanted. ``changed`` is told of each new or forgotten one."""

    def __init__(
        self,
        sign: Sign[I],
        roots: Callable[[], bytes],
        changed: Callable[[I, Credentials | None], None],
        tasks: Tasks,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._sign: Sign[I] = sign
        self._roots = roots
        self._changed: Callable[[I, Credentials | None], None] = changed
        self._tasks, self._now = tasks, now
        self._kept: dict[I, _Kept[I]] = {}
        self._places = Places(CONCURRENT)

    def want(self, identity: I) -> None:
        """Have a certificate for ``identity`` from now on; at once if there is none that is valid."""
        kept = self._kept.setdefault(identity, _Kept(identity))
        if kept.task is None:
            kept.task = self._tasks.start(self._keep(kept), f"certificate {identity}")

    def restore(self, credentials: Credentials) -> None:
        """Go on with credentials that an earlier parent deposited."""
        identity: I = credentials.identity  # type: ignore[assignment]
        kept = self._kept.setdefault(identity, _Kept(identity))
        if kept.credentials is None and not credentials.is_expired(self._now()):
            kept.credentials = credentials.trusting(self._roots())
            self._changed(identity, kept.credentials)

    def forget(self, identity: I) -> None:
        """Nobody runs as ``identity`` here any more."""
        kept = self._kept.pop(identity, None)
        if kept is not None:
            if kept.task is not None:
                kept.task.cancel()
            self._changed(identity, None)

    def renew(self, identity: I) -> bool:
        """Ask for a new certificate now; whether ``identity`` is one that is kept."""
        kept = self._kept.get(identity)
        if kept is not None:
            kept.due.set()
        return kept is not None

    def trust(self) -> None:
        """Other roots are trusted: all credentials trust them from here on, and those that they do not believe are renewed."""
        roots_pem, now = self._roots(), self._now()
        for kept in self._kept.values():
            if kept.credentials is not None and kept.credentials.roots_pem != roots_pem:
                kept.credentials = kept.credentials.trusting(roots_pem)
                if not kept.credentials.is_believed(now):
                    kept.due.set()
                self._changed(kept.identity, kept.credentials)
            elif kept.credentials is None:
                kept.due.set()

    def hurry(self) -> None:
        """Whatever has kept the authority from answering may be over: those that wait to ask again ask now."""
        for kept in self._kept.values():
            if kept.error is not None:
                kept.due.set()

    def identities(self) -> tuple[I, ...]:
        """All that are kept."""
        return tuple(self._kept)

    def valid(self, identity: I) -> Credentials | None:
        """Credentials that are valid now."""
        kept = self._kept.get(identity)
        credentials = None if kept is None else kept.credentials
        return None if credentials is None or credentials.is_expired(self._now()) else credentials

    def all_valid(self) -> tuple[Credentials, ...]:
        """Every credentials that are valid now."""
        return tuple(held for identity in self._kept if (held := self.valid(identity)) is not None)

    def error(self, identity: I) -> str | None:
        """Why the last request failed; None if it did not."""
        kept = self._kept.get(identity)
        return None if kept is None else kept.error

    async def _keep(self, kept: _Kept[I]) -> None:
        backoff = Backoff(0.5, 150.0, random.random)
        while True:
            if kept.credentials is not None:
                await self._until_due(kept, kept.credentials)
            kept.due.clear()
            try:
                # Somebody waits for a first certificate; a renewal has half a life of time.
                async with self._places.place(urgent=kept.credentials is None):
                    credentials = await self._request(kept.identity)
            except AmbientError as error:
                kept.error = str(error)
                delay = backoff.next_delay()
                held = kept.credentials
                log.warning(
                    "certificate not renewed" if held else "certificate not issued",
                    identity=kept.identity,
                    why=kept.error,
                    valid_until=None if held is None else held.not_after,
                    retry_seconds=round(delay, 1),
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await kept.due.wait()
                kept.due.set()
                continue
            backoff.reset()
            kept.due.clear()
            kept.error = None
            kept.credentials = credentials
            log.info("certificate issued", identity=kept.identity, not_after=credentials.not_after)
            self._changed(kept.identity, credentials)

    async def _until_due(self, kept: _Kept[I], credentials: Credentials) -> None:
        jitter = random.uniform(-1, 1)  # noqa: S311  # It spreads load; nothing secret hangs on it.
        due = rotation.next_renewal(credentials.not_before, credentials.not_after, jitter)
        loop = asyncio.get_running_loop()
        left = (due - self._now()).total_seconds()
        # By the clock that runs evenly as well: one that stands still or went back puts nothing off.
        latest = loop.time() + left
        while left > 0:
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await kept.due.wait()
            except TimeoutError:
                left = min((due - self._now()).total_seconds(), latest - loop.time())
                if self._now() >= credentials.not_before:
                    continue
            return

    async def _request(self, identity: I) -> Credentials:
        request = csr.new_request(identity)
        chain = await self._sign(identity, request.csr_pem)
        return Credentials.of(identity, request.key_pem, chain, self._roots(), self._now())
