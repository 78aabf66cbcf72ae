"""Keys of issuers: fetched by a waypoint's parent for all of its workers, and read by each worker.

A place is asked again every five minutes, and sooner after a failure; until another answer is good, the last good one
counts. Before the first there are no keys, and a token of that issuer is refused (401, as Istio does it), while requests
without a token pass as ever.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.errors import AmbientError, ConfigError, PeerError
from ambient.core.model.jwt import KeysAt, KeysGiven, KeysOfIssuer
from ambient.core.tokens import KeyRing, read_keys
from ambient.net.fetch import SECONDS
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.aio.backoff import Backoff
    from ambient.aio.tasks import Tasks
    from ambient.core.model.jwt import JwtRule
    from ambient.core.model.policies import ServicePolicies

REFRESH_SECONDS: Final = 300.0
"""Source: Envoy's default."""
MOST_PLACES: Final = 256
_CONFIGURATION: Final = "/.well-known/openid-configuration"
"""Source: OpenID Connect Discovery, section 4."""
_MOST_GIVEN: Final = 1024

Fetch = Callable[[str, float], Awaitable[bytes]]
"""The document at an address, within so many seconds; raises ConfigError, PeerError or Unavailable."""


def place_of(rule: JwtRule) -> str | None:
    """Where a rule's keys are fetched from; None: they are in the rule."""
    match rule.keys:
        case KeysGiven():
            return None
        case KeysAt(url):
            return url
        case KeysOfIssuer():
            return rule.issuer.rstrip("/") + _CONFIGURATION


@dataclass(slots=True)
class _Place:
    """One address that is asked."""

    seconds: float
    document: bytes | None = None
    trouble: str = ""
    asking: asyncio.Task[None] | None = None


class Keys:
    """Fetches what the rules of all policies need; the parent's."""

    def __init__(
        self,
        fetch: Fetch,
        changed: Callable[[str, bytes], None],
        tasks: Tasks,
        backoff: Callable[[], Backoff],
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """``changed`` hears of every new document, and of an empty one when a place is not needed any more."""
        self._fetch, self._changed, self._tasks, self._backoff = fetch, changed, tasks, backoff
        self._refresh_seconds = refresh_seconds
        self._places: dict[str, _Place] = {}

    def want(self, policies: Iterable[ServicePolicies]) -> None:
        """These are all policies there are."""
        wanted: dict[str, float] = {}
        for rule in (rule for one in policies for rule in one.tokens):
            place = place_of(rule)
            if place is None:
                continue
            seconds = SECONDS if rule.fetch_timeout is None else rule.fetch_timeout.total_seconds()
            if place not in wanted and len(wanted) >= MOST_PLACES:
                log.error("keys of an issuer are not fetched", place=place, why=f"{MOST_PLACES} are")
                continue
            wanted[place] = max(wanted.get(place, 0.0), min(seconds, SECONDS))
        for url in self._places.keys() - wanted.keys():
            place_left = self._places.pop(url)
            if place_left.asking is not None:
                place_left.asking.cancel()
            if place_left.document is not None:
                self._changed(url, b"")
        for url, seconds in wanted.items():
            known = self._places.get(url)
            if known is None:
                known = self._places[url] = _Place(seconds)
                known.asking = self._tasks.start(self._follow(url, known), f"keys of {url}")
            known.seconds = seconds

    @property
    def documents(self) -> Mapping[str, bytes]:
        """What there is, by place."""
        return {url: place.document for url, place in self._places.items() if place.document is not None}

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why the last try failed, by place."""
        return {url: place.trouble for url, place in self._places.items() if place.trouble}

    async def _follow(self, url: str, place: _Place) -> None:
        backoff = self._backoff()
        while True:
            try:
                document = await self._keys_at(url, place.seconds)
            except AmbientError as error:
                if place.trouble != str(error):
                    log.warning("keys of an issuer not fetched", place=url, why=error)
                place.trouble = str(error)
                await asyncio.sleep(backoff.next_delay())
                continue
            if place.trouble:
                log.info("keys of an issuer fetched", place=url)
            place.trouble = ""
            backoff.reset()
            if document != place.document:
                place.document = document
                self._changed(url, document)
            await asyncio.sleep(self._refresh_seconds)

    async def _keys_at(self, url: str, seconds: float) -> bytes:
        """A key set that can be read."""
        document = await self._fetch(url, seconds)
        if url.endswith(_CONFIGURATION):
            document = await self._fetch(_configured(url, document), seconds)
        try:
            read_keys(document)
        except ConfigError as error:
            raise PeerError(f"{url}: {error}") from error
        return document


def _configured(url: str, document: bytes) -> str:
    """Where an issuer says that its keys are. Raises PeerError."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise PeerError(f"{url}: the issuer's configuration is not JSON") from error
    found = content.get("jwks_uri") if isinstance(content, dict) else None
    if not isinstance(found, str):
        raise PeerError(f"{url}: the issuer's configuration has no jwks_uri")
    if url.startswith("https:") and not found.startswith("https:"):
        raise PeerError(f"{url}: the issuer's keys are not at an address of scheme https")
    return found


class KeyRings:
    """The keys of every rule; a worker's."""

    def __init__(self) -> None:
        self._fetched: dict[str, KeyRing] = {}
        self._given: OrderedDict[str, KeyRing | None] = OrderedDict()

    def changed(self, place: str, document: bytes) -> None:
        """What the parent tells: keys of a place, or none any more."""
        if document:
            self._fetched[place] = read_keys(document)
        else:
            self._fetched.pop(place, None)

    def of(self, rule: JwtRule) -> KeyRing | None:
        """The keys of a rule; None: there are none, or not yet."""
        if isinstance(rule.keys, KeysGiven):
            return self._read(rule.keys.document)
        return self._fetched.get(place_of(rule) or "")

    def _read(self, document: str) -> KeyRing | None:
        if document in self._given:
            self._given.move_to_end(document)
            return self._given[document]
        try:
            ring = read_keys(document)
        except ConfigError as error:
            log.warning("keys of a RequestAuthentication cannot be used", why=error)
            ring = None
        self._given[document] = ring
        if len(self._given) > _MOST_GIVEN:
            self._given.popitem(last=False)
        return ring
