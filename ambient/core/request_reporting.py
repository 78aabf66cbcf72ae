"""What a waypoint tells of the requests for one service: its ``Telemetry`` made ready to be asked.

A waypoint speaks as the server's side. Source: Istio's waypoints do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.model.telemetry import Side, Telemetry
from ambient.core.reporting import OWN, Providers, Reported, Spans, reported

if TYPE_CHECKING:
    from ambient.core.reporting import Metric

DEFAULT_SHARE: Final = 0.01
"""Of requests that are sampled where nobody says. Source: Istio's default."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """What is done to the labels of one metric."""

    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestReporting:
    """What is told."""

    metrics: tuple[Relabel | None, ...]
    """One for each metric that was asked about; None: it is off."""
    is_logged: bool
    spans: Spans | None
    """None: nobody takes them, and headers pass as they are."""
    sampled_share: float = DEFAULT_SHARE


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
    return Relabel(frozenset(name for name, value in override.tags.items() if value is None))
