"""What becomes of an observed request: counters, a line of the access log, spans.

A request is recorded once, at its end, in the path of traffic. So everything that requests of the same two parties have in
common is made once: the labels of each outcome, and the part of the line that names them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core import tracing
from ambient.core.forwarding.grpc import Status
from ambient.core.observation import Party
from ambient.core.reporting import OWN, Providers
from ambient.core.request_observation import Numbered, RequestObservation, request_labels
from ambient.core.request_reporting import RequestReporting, request_reporting
from ambient.core.spans import spans_of
from ambient.telemetry.line import Level, part
from ambient.telemetry.request_metrics import METRICS, Cells, RequestCounts, observe, pairs

if TYPE_CHECKING:
    from ambient.core.forwarding.reason import Reason
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.telemetry import Telemetry
    from ambient.core.tracing import Trace
    from ambient.telemetry.access import AccessLog
    from ambient.telemetry.line import Value
    from ambient.telemetry.spans import SpanQueue

TRACED: Final = Providers(tracing=("otlp",))
"""Where there is a collector, it takes spans whatever an operator calls it."""

_MOST_PARTIES: Final = 4_096
"""Pairs of parties that are remembered; snapshots replace theirs, so that all are forgotten now and then."""
_MOST_ADDRESSES: Final = 4_096
_MOST_OUTCOMES: Final = 256
"""Of one pair; a backend can make up statuses."""
_MOST_TELEMETRIES: Final = 1_024
_LONGEST_METHOD: Final = 32
_LONGEST_AUTHORITY: Final = 256
_LONGEST_PATH: Final = 1024
_LONGEST_AGENT: Final = 256


_Key: TypeAlias = tuple["SpiffeId", int, int, int, int]
"""Who asks, and the ids of caller, service, endpoint and telemetry."""


@dataclass(slots=True, eq=False)
class _Parties:
    """What requests of one caller for one endpoint have in common."""

    kept: tuple[object, ...]
    """What the key holds the ids of: while they are here, no other object has these."""
    reporting: RequestReporting
    log_part: str
    cells: dict[Numbered, tuple[Cells | None, ...]] = field(default_factory=dict)


class Requests:
    """Records the requests of one worker."""

    def __init__(
        self,
        counts: RequestCounts,
        access: AccessLog,
        spans: SpanQueue | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """``spans`` None: nobody takes any; ``environment`` is for tags of spans."""
        self._counts, self._access, self._spans, self._environment = counts, access, spans, environment
        self._providers = OWN if spans is None else TRACED
        self._parties: dict[_Key, _Parties] = {}
        self._addresses: dict[int, tuple[SocketAddress, str]] = {}
        """As text, by id: a connection's are the same objects for all of its requests."""
        self._reportings: dict[int, tuple[Telemetry, RequestReporting]] = {}

    def begin(
        self,
        headers: Mapping[str, str],
        telemetry: Telemetry,
        chance: float,
        bits: Callable[[int], int] = random.getrandbits,
    ) -> Trace | None:
        """The trace of a request with these headers; None: nobody takes spans, and its headers pass as they are."""
        reporting = self._reporting(telemetry)
        spans = reporting.spans
        if spans is None or self._spans is None:
            return None
        return tracing.begin(
            headers,
            reporting.sampled_share,
            chance,
            bits,
            propagates=spans.propagates,
            reports=not spans.is_off,
        )

    def caused(self, what: str, why: str) -> None:
        """Count something of our own, by reason."""
        self._counts.causes[what, why] += 1

    def record(self, seen: RequestObservation) -> None:
        """Tell of one request, at its end."""
        caller, service, endpoint = seen.caller, seen.service, seen.endpoint
        key = seen.identity, id(caller), id(service), id(endpoint), id(seen.telemetry)
        parties = self._parties.get(key) or self._met(key, seen)
        reason, grpc_status = seen.reason, seen.grpc_status
        if grpc_status is not None and grpc_status > Status.UNAUTHENTICATED:
            grpc_status = Status.UNKNOWN
        outcome = seen.status, grpc_status, seen.flag, seen.notes.is_grpc
        cells = parties.cells.get(outcome)
        if cells is None:
            cells = self._cells(parties.reporting, seen, outcome)
            if not parties.reporting.has_own_labels:
                if len(parties.cells) >= _MOST_OUTCOMES:
                    parties.cells.clear()
                parties.cells[outcome] = cells
        requests, duration, received, sent = cells
        if requests is not None:
            requests[0] += 1
        if duration is not None:
            observe(duration, (seen.ended - seen.began) * 1000)
        if received is not None:
            observe(received, seen.received)
        if sent is not None:
            observe(sent, seen.sent)
        if reason is not None:
            self._counts.causes["failed" if seen.attempts else "refused", reason.value] += 1
        if seen.notes.over:
            self._counts.causes["limited", "dry_run"] += len(seen.notes.over)
        for attempt in seen.attempts[:-1]:
            why = "answer" if attempt.reason is None else attempt.reason.value
            self._counts.causes["retried", why] += 1
        if parties.reporting.logs(seen):
            self._log(seen, reason, parties.log_part)
        if self._spans is not None and seen.trace is not None and parties.reporting.spans is not None:
            offset = time.time() - time.monotonic()
            self._spans.add(spans_of(seen, parties.reporting.spans, offset, self._environment))

    # Parties

    def _met(self, key: _Key, seen: RequestObservation) -> _Parties:
        if len(self._parties) >= _MOST_PARTIES:
            self._parties.clear()
        kept = seen.caller, seen.service, seen.endpoint, seen.telemetry
        style = self._access.style
        made = _Parties(kept, self._reporting(seen.telemetry), part(style, _party_fields(seen)))
        self._parties[key] = made
        return made

    def _reporting(self, telemetry: Telemetry) -> RequestReporting:
        known = self._reportings.get(id(telemetry))
        if known is None:
            if len(self._reportings) >= _MOST_TELEMETRIES:
                self._reportings.clear()
            names = [metric.istio for metric in METRICS]
            known = telemetry, request_reporting(telemetry, names, self._providers)
            self._reportings[id(telemetry)] = known
        return known[1]

    def _cells(
        self, reporting: RequestReporting, seen: RequestObservation, outcome: Numbered
    ) -> tuple[Cells | None, ...]:
        labels = pairs(request_labels(seen.identity, seen.caller, seen.service, seen.endpoint, outcome))
        return tuple(
            None if relabel is None else self._counts.cells(at, relabel.of(labels, seen))
            for at, relabel in enumerate(reporting.metrics)
        )

    # The access log

    def _log(self, seen: RequestObservation, reason: Reason | None, parties: str) -> None:
        if reason is None:
            level, event = Level.INFO, "request complete"
        else:
            level = Level.ERROR if reason.status >= 500 else Level.WARNING
            event = "request failed" if seen.attempts else "request refused"
        if self._access.is_enabled(level):
            own = part(self._access.style, self._fields(seen, reason))
            self._access.write(level, event, (parties, own))

    def _fields(self, seen: RequestObservation, reason: Reason | None) -> dict[str, Value]:
        text = self._text
        fields: dict[str, Value] = {"src.addr": text(seen.source), "dst.addr": text(seen.target)}
        if seen.attempts:
            fields["dst.endpoint"] = text(seen.attempts[-1].address)
        fields.update(_request_fields(seen, reason))
        return fields

    def _text(self, address: SocketAddress) -> str:
        known = self._addresses.get(id(address))
        if known is None:
            if len(self._addresses) >= _MOST_ADDRESSES:
                self._addresses.clear()
            known = self._addresses[id(address)] = address, str(address)
        return known[1]


def _party_fields(seen: RequestObservation) -> dict[str, Value]:
    source = Party.of(seen.caller, seen.identity)
    endpoint = seen.endpoint
    destination = Party.of(endpoint, None if endpoint is None else endpoint.identity)
    fields = {
        "scope": "access",
        "src.workload": source.pod or source.workload,
        "src.namespace": source.namespace,
        "src.identity": source.identity,
        "src.cluster": source.cluster,
        "dst.service": None if seen.service is None else seen.service.hostname,
        "dst.workload": destination.pod or destination.workload,
        "dst.namespace": destination.namespace,
        "dst.identity": destination.identity,
        "dst.cluster": destination.cluster,
        "direction": "inbound",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _request_fields(seen: RequestObservation, reason: Reason | None) -> dict[str, Value]:
    notes, attempts, origin = seen.notes, seen.attempts, seen.notes.origin
    fields: dict[str, Value] = {
        "protocol": "grpc" if notes.is_grpc else seen.version.value,
        "method": _cut(seen.method, _LONGEST_METHOD),
        "authority": _cut(seen.authority, _LONGEST_AUTHORITY),
        # A query may hold a token.
        "path": _cut(seen.path.partition("?")[0], _LONGEST_PATH),
        "status": seen.status,
    }
    if seen.grpc_status is not None:
        fields["grpc_status"] = seen.grpc_status
    if origin is not None:
        fields["decided_by"] = str(origin)
    if notes.rule:
        fields["route"] = notes.rule
    if notes.profile_route:
        fields["profile_route"] = notes.profile_route
    fields["attempts"] = len(attempts)
    fields["bytes_sent"] = seen.sent
    fields["bytes_recv"] = seen.received
    fields["duration"] = f"{(seen.ended - seen.began) * 1000:.0f}ms"
    if attempts and seen.answered is not None:
        fields["first_byte"] = f"{(seen.answered - seen.began) * 1000:.0f}ms"
    fields["request_id"] = notes.request_id
    if seen.trace is not None:
        fields["trace_id"] = seen.trace.context.trace_id
    for name, value in seen.headers:
        if name == "user-agent":
            fields["user_agent"] = _cut(value, _LONGEST_AGENT)
            break
    if notes.policy is not None:
        fields["policy"] = notes.policy
    if notes.would_deny is not None:
        fields["dry_run.would_deny"] = notes.would_deny
    if notes.would_allow is not None:
        fields["dry_run.would_allow"] = notes.would_allow
    if notes.over:
        fields["dry_run.over_limit"] = ",".join(notes.over)
    if reason is not None:
        fields["response_flags"] = reason.flag.value
        fields["reason"] = reason.value
        fields["error"] = seen.detail
    return fields


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "..."
