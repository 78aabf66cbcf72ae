"""Everything that is published, and the streams that hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ambient.control.interest import Change, Interest
from ambient.control.published import NOTHING_SPECIAL, TYPES, About, Shelf
from ambient.rpc import trust
from ambient.rpc.discovery import Entry, Request, Response
from ambient.rpc.errors import Busy, InvalidRequest, PermissionDenied
from ambient.rpc.mesh import TypeSync
from ambient.rpc.wire import Name, Update
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.core.model.identity import NodeId

_MOST_STREAMS: Final = 8
"""Of one node. It needs one, and another while the first has not noticed its end."""
_MOST_NAMES: Final = 200_000
"""That one stream may ask for, of one type."""
_RESPONSES_A_SECOND: Final = 1000
"""To all streams together, when changes do not end: a stream that was told something rests as long as the others take.

A response costs some 0.3 ms whatever is in it, so a change that comes meanwhile goes with the next.
"""
_MOST_IN_RESPONSE: Final = 20_000
"""Resources in one response: some megabytes, far from what a client takes at most."""


class Publisher:
    """Everything that is published now, and who listens. ``trusts`` hears which version of the roots a node holds."""

    def __init__(
        self, trust_domain: str, trusts: Callable[[str, str], None] = lambda _node, _version: None
    ) -> None:
        self._trust_domain, self._trusts = trust_domain, trusts
        self._shelves = {type_url: Shelf(audience) for type_url, audience in TYPES.items()}
        self._subscribers: dict[Subscriber, None] = {}
        """In the order of their coming."""

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that are connected."""
        return frozenset(subscriber.node for subscriber in self._subscribers)

    @property
    def behind(self) -> frozenset[str]:
        """The nodes that have not acknowledged the present state of every type."""
        return frozenset(node for node in self.nodes if not all(sync.in_sync for sync in self.sync(node)))

    @property
    def refusals(self) -> tuple[str, ...]:
        """What connected nodes did not take of what they were sent, one sentence each."""
        return tuple(
            sorted(
                {
                    f"node {subscriber.node} refuses {sync.type} {name or 'of a response'}: {why}"
                    for subscriber in self._subscribers
                    for sync in subscriber.sync
                    for name, why in sync.refused.items()
                }
            )
        )

    def sync(self, node: str) -> tuple[TypeSync, ...]:
        """How far a node is with each type, on its newest stream."""
        streams = [subscriber for subscriber in self._subscribers if subscriber.node == node]
        return streams[-1].sync if streams else ()

    def publish(self, update: Update, about: Mapping[Name, About] | None = None) -> None:
        """Change what is published and tell those who need to know; everyone, of what ``about`` does not name."""
        changes: dict[str, dict[str, Change]] = {type_url: {} for type_url in self._shelves}
        for type_url, name in update.removed:
            if self._shelves[type_url].remove(name) is not None:
                changes[type_url][name] = Change(name, was_there=True)
        concerns: dict[str, set[str]] = {}
        for raw in update.upserted:
            of = (about or {}).get((raw.type_url, raw.name), NOTHING_SPECIAL)
            was_there = self._shelves[raw.type_url].get(raw.name) is not None
            changes[raw.type_url].setdefault(raw.name, Change(raw.name, was_there=was_there))
            self._shelves[raw.type_url].put(Entry.of(raw, of.aliases), of)
            if of.node:
                concerns.setdefault(of.node, set()).update(of.concerns)
        for subscriber in self._subscribers:
            subscriber.concern(concerns.get(subscriber.node, ()))
            for type_url, changed in changes.items():
                if changed:
                    subscriber.changed(type_url, changed.values())

    def connect(self, node: NodeId) -> Subscriber:
        """A stream has begun."""
        if node.trust_domain != self._trust_domain:
            raise PermissionDenied(f"{node} is not of trust domain {self._trust_domain}")
        if sum(subscriber.node == node.node for subscriber in self._subscribers) >= _MOST_STREAMS:
            raise Busy(f"node {node.node} has {_MOST_STREAMS} streams open already")
        subscriber = Subscriber(
            node.node, self._shelves, self._subscribers.pop, self._trusts, self._subscribers.__len__
        )
        self._subscribers[subscriber] = None
        log.info("node connected", node=node.node)
        return subscriber

    def state_checksums(self) -> None:
        """Tell everyone that asked for it what the whole state is, also where nothing changes."""
        for subscriber in self._subscribers:
            subscriber.state_checksums()


class Subscriber:
    """One stream."""

    def __init__(
        self,
        node: str,
        shelves: Mapping[str, Shelf],
        ended: Callable[[Subscriber], object],
        trusts: Callable[[str, str], None],
        crowd: Callable[[], int],
    ) -> None:
        self.node = node
        self._shelves = shelves
        self._crowd = crowd
        self._trusts = trusts
        self._told_roots = ""
        """The version of the roots that is under way; empty if none is."""
        self._ended = ended
        self._concerns = {
            concern
            for shelf in shelves.values()
            for name in shelf.on_node(node)
            for concern in shelf.about(name).concerns
        }
        self._interests: dict[str, Interest] = {}
        self._wants_checksums = False
        self._due: set[str] = set()
        """Types whose checksum is to be stated even if there is nothing else to tell."""
        self._wake = asyncio.Event()
        self._told = 0.0
        """When it was told something last, by the loop's clock."""
        self._sent = 0
        self._nonces: dict[str, str] = {}

    @property
    def sync(self) -> tuple[TypeSync, ...]:
        """How far it is with each type."""
        return tuple(
            TypeSync(
                type_url.rpartition(".")[2],
                in_sync=not interest.pending_count and not interest.is_waiting,
                pending=interest.pending_count,
                refused=dict(interest.refused),
            )
            for type_url, interest in self._interests.items()
        )

    def concern(self, concerns: Iterable[str]) -> None:
        """More reaches the node."""
        new = set(concerns) - self._concerns
        self._concerns |= new
        for interest in self._interests.values():
            interest.concern(new)

    def changed(self, type_url: str, changes: Iterable[Change]) -> None:
        """Resources of a type have changed or gone."""
        interest = self._interests.get(type_url)
        if interest is not None:
            interest.changed(changes)
            if interest.pending_count:
                self._wake.set()

    def state_checksums(self) -> None:
        """Say what the whole state is, with the next response of each type, or in one of its own."""
        if self._wants_checksums:
            self._due |= self._interests.keys()
            self._wake.set()

    def receive(self, request: Request) -> None:
        """Take what the subscriber said."""
        shelf = self._shelves.get(request.type_url)
        if shelf is None:
            raise InvalidRequest(
                f"type {request.type_url!r} is not served; known are {', '.join(self._shelves)}"
            )
        self._wants_checksums |= request.wants_checksums
        interest = self._interests.get(request.type_url)
        asked = len(request.subscribe) + len(request.held) + (0 if interest is None else interest.asked_count)
        if asked > _MOST_NAMES:
            raise InvalidRequest(f"one stream may ask for {_MOST_NAMES} names of a type, or for all with '*'")
        if interest is None:
            interest = Interest(shelf, self.node, self._concerns)
            interest.begin(request.subscribe, request.unsubscribe, request.held)
            self._interests[request.type_url] = interest
            if request.type_url == trust.BUNDLE and (held := request.held.get(trust.NAME)):
                self._trusts(self.node, held)
        else:
            interest.change(request.subscribe, request.unsubscribe)
        if request.nonce and request.nonce == self._nonces.get(request.type_url):
            interest.answered(request.error, request.refusals)
            if request.error:
                log.warning("resources refused", node=self.node, type=request.type_url, error=request.error)
            if request.type_url == trust.BUNDLE:
                told, self._told_roots = self._told_roots, ""
                if told and not request.error:
                    self._trusts(self.node, told)
        self._wake.set()

    async def next(self) -> Response:
        """Wait for something to tell the subscriber."""
        loop = asyncio.get_running_loop()
        while (response := self._take()) is None:
            self._wake.clear()
            await self._wake.wait()
            rested = loop.time() - self._told
            await asyncio.sleep(self._crowd() / _RESPONSES_A_SECOND - rested)
        self._told = loop.time()
        return response

    def close(self) -> None:
        """The stream has ended."""
        self._ended(self)
        log.info("node disconnected", node=self.node)

    def _take(self) -> Response | None:
        for type_url in self._shelves:
            interest = self._interests.get(type_url)
            if interest is None:
                continue
            if interest.is_waiting:
                if interest.pending_count:
                    # What comes after may count on it: a workload on its policy.
                    return None
                continue
            told = interest.take(_MOST_IN_RESPONSE, even_nothing=type_url in self._due)
            if told is None:
                continue
            if type_url == trust.BUNDLE and told.upserted:
                self._told_roots = told.upserted[0].version
            checksum = interest.checksum if self._wants_checksums else None
            self._due.discard(type_url)
            self._sent += 1
            nonce = self._nonces[type_url] = str(self._sent)
            return Response(type_url, nonce, told.upserted, told.removed, checksum)
        return None
