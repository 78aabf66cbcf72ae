"""What a waypoint tells of the requests for one service: its ``Telemetry`` made ready to be asked.

A waypoint speaks as the server's side. Source: Istio's waypoints do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core.expressions import Expression, ExpressionError
from ambient.core.model.telemetry import Side, Telemetry
from ambient.core.observation import UNKNOWN
from ambient.core.reporting import OWN, Providers, Reported, Spans, reported
from ambient.core.request_attributes import attributes_of, of_request

if TYPE_CHECKING:
    from ambient.core.reporting import Metric
    from ambient.core.request_observation import RequestObservation

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of labels."""
LONGEST_LABEL: Final = 128
"""Of what an expression makes."""
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
DEFAULT_SHARE: Final = 0.01
"""Of requests that are sampled where nobody says. Source: Istio's default."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """What is done to the labels of one metric."""

    removed: frozenset[str] = frozenset()
    added: tuple[tuple[str, Expression], ...] = ()
    """In place of labels of the same name, or besides all."""

    def of(self, labels: Pairs, seen: RequestObservation) -> Pairs:
        """The labels of one request, of those that all have."""
        if not self.added:
            return tuple(pair for pair in labels if pair[0] not in self.removed) if self.removed else labels
        attributes = attributes_of(seen)
        own = {name: value.text(attributes, UNKNOWN)[:LONGEST_LABEL] for name, value in self.added}
        kept = [pair for pair in labels if pair[0] not in self.removed and pair[0] not in own]
        return (*kept, *own.items())


@dataclass(frozen=True, slots=True)
class RequestReporting:
    """What is told."""

    metrics: tuple[Relabel | None, ...]
    """One for each metric that was asked about; None: it is off."""
    is_logged: bool
    log_filters: tuple[Expression, ...]
    """One of them must hold for what is logged; none: everything is."""
    spans: Spans | None
    """None: nobody takes them, and headers pass as they are."""
    sampled_share: float = DEFAULT_SHARE

    @property
    def has_own_labels(self) -> bool:
        """Whether labels differ by more than the parties and the outcome."""
        return any(relabel is not None and relabel.added for relabel in self.metrics)

    def logs(self, seen: RequestObservation) -> bool:
        """Whether a request is in the access log."""
        if not self.is_logged or not self.log_filters:
            return self.is_logged
        attributes = attributes_of(seen)
        return any(one.holds(attributes) for one in self.log_filters)


def request_reporting(
    telemetry: Telemetry, metrics: Sequence[str], providers: Providers = OWN
) -> RequestReporting:
    """What is told by ``telemetry`` of requests; ``metrics`` by their names in Istio's API."""
    said = reported((telemetry,), Side.SERVER, providers)
    spans = said.spans if said.spans.provider else None
    percent = said.spans.sampled_percent
    return RequestReporting(
        tuple(_relabel(said, metric, providers) for metric in metrics),
        bool(said.access_log),
        _filters(said.access_log.values()),
        spans,
        DEFAULT_SHARE if percent is None else percent / 100,
    )


def _relabel(said: Reported, metric: str, providers: Providers) -> Relabel | None:
    by_provider = next((said.metrics[name] for name in providers.metrics if name in said.metrics), None)
    if by_provider is None:
        return None
    override: Metric | None = by_provider.get(metric)
    if override is None:
        return Relabel()
    if override.is_off:
        return None
    removed = frozenset(name for name, value in override.tags.items() if value is None)
    added = [(name, _expression(value)) for name, value in sorted(override.tags.items()) if value is not None]
    return Relabel(
        removed, tuple((name, value) for name, value in added if value is not None and is_label(name))
    )


def is_label(name: str) -> bool:
    """Whether Prometheus takes it for a label of one's own."""
    return _LABEL.fullmatch(name) is not None and name != "le" and not name.startswith("__")


def _filters(texts: Iterable[str]) -> tuple[Expression, ...]:
    """Those that must be asked; what cannot be read holds nothing back."""
    read = [_expression(text) if text else None for text in texts]
    return () if None in read else tuple(one for one in read if one is not None)


def _expression(text: str) -> Expression | None:
    try:
        return of_request(text)
    except ExpressionError:
        return None  # Whoever wrote it has been warned.
