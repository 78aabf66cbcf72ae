"""What each subscriber has still to hear, with no wire in sight.

One response of a type is under way at a time; what changes meanwhile is remembered by name alone and read when its
turn comes, so that a slow subscriber costs at most one entry for each resource and hears the newest state.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ambient.rpc import trust
from ambient.rpc.discovery import Request, Response
from ambient.rpc.errors import Busy, InvalidRequest, PermissionDenied
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, Name, RawResource, Update
from ambient.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ambient.core.model.identity import NodeId

_TYPES: Final = (*trust.TYPES, AUTHORIZATION, ADDRESS)
"""In the order of sending: whom to trust comes before those who prove it, a policy before the workload that names it."""

_MOST_STREAMS: Final = 8
"""Of one node. It needs one, and another while the first has not noticed its end."""
_MOST_NAMES: Final = 200_000
"""That one stream may ask for, of one type."""
_MOST_IN_RESPONSE: Final = 20_000
"""Resources in one response: some megabytes, far from what a client takes at most."""


class Publisher:
    """Everything that is published now, and who listens. ``trusts`` hears which version of the roots a node holds."""

    def __init__(
        self, trust_domain: str, trusts: Callable[[str, str], None] = lambda _node, _version: None
    ) -> None:
        self._trust_domain, self._trusts = trust_domain, trusts
        self._resources: dict[str, dict[str, RawResource]] = {type_url: {} for type_url in _TYPES}
        self._subscribers: set[Subscriber] = set()

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that are connected."""
        return frozenset(subscriber.node for subscriber in self._subscribers)

    def publish(self, update: Update) -> None:
        """Change what is published and tell everyone."""
        for type_url, name in update.removed:
            self._resources[type_url].pop(name, None)
        for raw in update.upserted:
            self._resources[raw.type_url][raw.name] = raw
        names = [*update.removed, *((raw.type_url, raw.name) for raw in update.upserted)]
        for subscriber in self._subscribers:
            subscriber.changed(names)

    def connect(self, node: NodeId) -> Subscriber:
        """A stream has begun."""
        if node.trust_domain != self._trust_domain:
            raise PermissionDenied(f"{node} is not of trust domain {self._trust_domain}")
        if sum(subscriber.node == node.node for subscriber in self._subscribers) >= _MOST_STREAMS:
            raise Busy(f"node {node.node} has {_MOST_STREAMS} streams open already")
        subscriber = Subscriber(node.node, self._resources, self._subscribers.discard, self._trusts)
        self._subscribers.add(subscriber)
        log.info("node connected", node=node.node)
        return subscriber


class _Interest:
    """What a subscriber wants of one type, and what it has not heard yet."""

    def __init__(self) -> None:
        self.is_wildcard = False
        self.names: set[str] = set()
        self.pending: dict[str, None] = {}
        """Names in the order of their change."""
        self.known: set[str] = set()
        """What the subscriber holds, so that only that is removed."""
        self.under_way: str | None = None
        """The nonce that is not answered yet."""
        self.is_first = True
        """Nothing was sent: even an empty answer says that this is all."""

    def wants(self, name: str) -> bool:
        return self.is_wildcard or name in self.names


class Subscriber:
    """One stream."""

    def __init__(
        self,
        node: str,
        resources: Mapping[str, Mapping[str, RawResource]],
        ended: Callable[[Subscriber], None],
        trusts: Callable[[str, str], None],
    ) -> None:
        self.node = node
        self._trusts = trusts
        self._told_roots = ""
        """The version of the roots that is under way or was answered last."""
        self._resources = resources
        self._ended = ended
        self._interests: dict[str, _Interest] = {}
        self._wake = asyncio.Event()
        self._sent = 0

    def changed(self, names: list[Name]) -> None:
        """Resources have changed or gone."""
        for type_url, name in names:
            interest = self._interests.get(type_url)
            if interest is not None and interest.wants(name):
                interest.pending[name] = None
        self._wake.set()

    def receive(self, request: Request) -> None:
        """Take what the subscriber said."""
        if request.type_url not in _TYPES:
            raise InvalidRequest(f"type {request.type_url!r} is not served; known are {', '.join(_TYPES)}")
        interest = self._interests.get(request.type_url)
        asked = len(request.subscribe) + len(request.held) + (0 if interest is None else len(interest.names))
        if asked > _MOST_NAMES:
            raise InvalidRequest(f"one stream may ask for {_MOST_NAMES} names of a type, or for all with '*'")
        if interest is None:
            interest = self._interests[request.type_url] = _Interest()
            self._begin(request, interest)
            if request.type_url == trust.BUNDLE and trust.NAME in request.held:
                self._trusts(self.node, request.held[trust.NAME])
        else:
            self._subscribe(request, interest)
        if request.nonce and request.nonce == interest.under_way:
            interest.under_way = None
            if request.error:
                log.warning("resources refused", node=self.node, type=request.type_url, error=request.error)
            elif request.type_url == trust.BUNDLE:
                self._trusts(self.node, self._told_roots)
        self._wake.set()

    async def next(self) -> Response:
        """Wait for something to tell the subscriber."""
        while (response := self._take()) is None:
            self._wake.clear()
            await self._wake.wait()
        return response

    def close(self) -> None:
        """The stream has ended."""
        self._ended(self)
        log.info("node disconnected", node=self.node)

    def _begin(self, request: Request, interest: _Interest) -> None:
        interest.is_wildcard = not request.subscribe or "*" in request.subscribe
        interest.names = set(request.subscribe) - {"*"}
        current = self._resources[request.type_url]
        interest.known = set(request.held)
        for name, raw in current.items():
            if interest.wants(name) and request.held.get(name) != raw.version:
                interest.pending[name] = None
        for name in request.held.keys() | interest.names:
            if name not in current:
                interest.known.add(
                    name
                )  # Also one that was asked for by name and does not exist is answered.
                interest.pending[name] = None

    def _subscribe(self, request: Request, interest: _Interest) -> None:
        if "*" in request.subscribe and not interest.is_wildcard:
            interest.is_wildcard = True
            interest.pending.update(dict.fromkeys(self._resources[request.type_url]))
        if "*" in request.unsubscribe:
            interest.is_wildcard = False
        for name in request.unsubscribe:
            interest.names.discard(name)
        for name in request.subscribe:
            if name != "*":
                interest.names.add(name)
                interest.known.add(name)
                interest.pending[name] = None

    def _take(self) -> Response | None:
        for type_url in _TYPES:
            interest = self._interests.get(type_url)
            if interest is None or interest.under_way is not None:
                continue
            if not interest.pending and not interest.is_first:
                continue
            current = self._resources[type_url]
            upserted: list[RawResource] = []
            removed: list[str] = []
            for name in list(interest.pending)[:_MOST_IN_RESPONSE]:
                del interest.pending[name]
                raw = current.get(name)
                if raw is not None:
                    upserted.append(raw)
                    interest.known.add(name)
                elif name in interest.known:
                    removed.append(name)
                    interest.known.discard(name)
            if not (upserted or removed or interest.is_first):
                continue  # It came and went unheard.
            interest.is_first = False
            if type_url == trust.BUNDLE:
                self._told_roots = next((raw.version for raw in upserted), "")
            self._sent += 1
            interest.under_way = str(self._sent)
            return Response(type_url, interest.under_way, tuple(upserted), tuple(removed))
        return None
