"""What is reported of a workload's traffic: the settings of mesh, namespace and workload made one.

Of tracing, each thing that a nearer setting says takes the place of what a wider one says of it. Providers of metrics
and of the access log are those that were named last; what was said of others before is dropped, and an entry without
providers is about those of the entry before. Source: Istio merges its Telemetry so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from immutables import Map

from ambient.core.model.telemetry import (
    ALL_METRICS,
    AccessLog,
    Metrics,
    Side,
    Tag,
    Telemetry,
    Tracing,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spans:
    """What becomes of spans."""

    provider: str = ""
    """Empty: nobody takes them."""
    sampled_percent: float | None = None
    tags: Map[str, Tag] = Map()  # noqa: RUF009
    is_off: bool = False
    propagates: bool = True
    has_istio_tags: bool = True
    samples_by_request_id: bool = True


@dataclass(frozen=True, slots=True)
class Metric:
    """What becomes of one metric."""

    is_off: bool = False
    tags: Map[str, str | None] = Map()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Providers:
    """Who takes what, where nobody says otherwise."""

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("prometheus",)
    access_log: tuple[str, ...] = ("envoy",)


@dataclass(frozen=True, slots=True)
class Reported:
    """What one side reports."""

    spans: Spans
    metrics: Map[str, Map[str, Metric]]
    """By provider and metric; a metric that is not there is as the provider has it."""
    access_log: Map[str, str]
    """Filters by provider; without any provider, nothing is logged."""


OWN: Final = Providers()
"""What every proxy of the mesh does: an endpoint for Prometheus, and an access log as Envoy's goes to a file."""


def reported(layers: Iterable[Telemetry], side: Side, providers: Providers = OWN) -> Reported:
    """What a workload's proxy reports on one side; ``layers`` from the widest to the nearest."""
    said = tuple(layers)
    tracing = tuple(entry for layer in said for entry in layer.tracing)
    metrics = tuple(entry for layer in said for entry in layer.metrics)
    logs = tuple(layer.access_log for layer in said if layer.access_log)
    return Reported(
        _spans(tracing, side, providers.tracing),
        _metrics(metrics, side, providers.metrics),
        _access_log(logs, side, providers.access_log),
    )


def _spans(entries: Sequence[Tracing], side: Side, default: tuple[str, ...]) -> Spans:
    spans = Spans(provider=default[0] if default else "")
    for entry in entries:
        if side not in entry.sides:
            continue
        spans = Spans(
            provider=entry.providers[0] if entry.providers else spans.provider,
            sampled_percent=_said(entry.sampled_percent, spans.sampled_percent),
            tags=_said(entry.tags, spans.tags),
            is_off=_said(entry.is_off, spans.is_off),
            propagates=_said(entry.propagates, spans.propagates),
            has_istio_tags=_said(entry.has_istio_tags, spans.has_istio_tags),
            samples_by_request_id=_said(entry.samples_by_request_id, spans.samples_by_request_id),
        )
    return spans if spans.provider else replace(spans, is_off=True)


def _said(nearer: T | None, wider: T) -> T:
    return wider if nearer is None else nearer


def _metrics(entries: Sequence[Metrics], side: Side, default: tuple[str, ...]) -> Map[str, Map[str, Metric]]:
    counting = default
    for entry in entries:
        counting = entry.providers or counting
    made = Map[str, Map[str, Metric]]({provider: Map() for provider in counting})
    about = default
    for entry in entries:
        about = entry.providers or about
        for provider in about:
            if provider in counting:
                made = made.set(provider, _overridden(made[provider], entry, side))
    return made


def _overridden(metrics: Map[str, Metric], entry: Metrics, side: Side) -> Map[str, Metric]:
    for override in entry.overrides:
        if side not in override.sides:
            continue
        for name in (override.metric,) if override.metric else ALL_METRICS:
            before = metrics.get(name, Metric())
            is_off = before.is_off if override.is_off is None else override.is_off
            metrics = metrics.set(name, Metric(is_off, before.tags.update(override.tags)))
    return metrics


def _access_log(
    layers: Sequence[tuple[AccessLog, ...]], side: Side, default: tuple[str, ...]
) -> Map[str, str]:
    counting = default
    for layer in layers:
        counting = tuple(name for entry in layer for name in entry.providers) or counting
    made = Map[str, str](dict.fromkeys(counting, "") if not layers else {})
    about = default
    for layer in layers:
        for entry in layer:
            about = entry.providers or about
            for provider in about:
                if provider not in counting or side not in entry.sides:
                    continue
                if entry.is_off:
                    made = made.delete(provider) if provider in made else made
                else:
                    made = made.set(provider, entry.filter)
    return made
