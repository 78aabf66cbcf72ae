"""telemetry.istio.io Telemetry.

Every proxy has an endpoint for Prometheus and writes an access log, which is what Istio's providers `prometheus` and
`envoy` are; to ask for these is no news. Anything else is kept and named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from immutables import Map

from ambient.control.objects import Telemetry
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_telemetry as schema
from ambient.control.translate.istio import selected
from ambient.control.translate.kind import Kind, Translated
from ambient.core.model import telemetry as core
from ambient.core.reporting import OWN

VERSIONS: Final = ("telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1")

_SIDES: Final = {
    "CLIENT_AND_SERVER": core.BOTH,
    "CLIENT": frozenset({core.Side.CLIENT}),
    "SERVER": frozenset({core.Side.SERVER}),
}


def _telemetry(read: schema.TelemetryDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    selector, targets = selected(spec)
    telemetry = Telemetry(
        namespace=metadata.namespace,
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        selector=selector,
        targets=targets,
        settings=core.Telemetry(
            tracing=tuple(map(_tracing, spec.tracing)),
            metrics=tuple(map(_metrics, spec.metrics)),
            access_log=tuple(map(_access_log, spec.access_logging)),
        ),
    )
    return Translated(telemetry, tuple(_warnings(spec)))


def _tracing(entry: schema.Tracing) -> core.Tracing:
    return core.Tracing(
        sides=_SIDES[entry.match.mode],
        providers=_names(entry.providers),
        sampled_percent=entry.random_sampling_percentage,
        tags=None
        if entry.custom_tags is None
        else Map({name: _tag(tag) for name, tag in entry.custom_tags.items()}),
        is_off=entry.disable_span_reporting,
        propagates=None
        if entry.disable_context_propagation is None
        else not entry.disable_context_propagation,
        has_istio_tags=entry.enable_istio_tags,
        samples_by_request_id=entry.use_request_id_for_trace_sampling,
    )


def _tag(tag: schema.CustomTag) -> core.Tag:
    if tag.header is not None:
        return core.HeaderTag(tag.header.name.lower(), tag.header.default_value)
    if tag.environment is not None:
        return core.EnvironmentTag(tag.environment.name, tag.environment.default_value)
    if tag.formatter is not None:
        return core.FormattedTag(tag.formatter.value)
    return core.LiteralTag(tag.literal.value if tag.literal else "")


def _metrics(entry: schema.Metrics) -> core.Metrics:
    overrides = tuple(
        core.MetricOverride(
            metric=_metric(override.match),
            sides=_SIDES[override.match.mode],
            is_off=override.disabled,
            tags=Map(
                {
                    name: tag.value if tag.operation == "UPSERT" else None
                    for name, tag in override.tag_overrides.items()
                }
            ),
        )
        for override in entry.overrides
    )
    return core.Metrics(_names(entry.providers), overrides, entry.reporting_interval)


def _metric(match: schema.MetricSelector) -> str:
    if match.custom_metric is not None:
        return match.custom_metric
    return "" if match.metric in {None, "ALL_METRICS"} else str(match.metric)


def _access_log(entry: schema.AccessLogging) -> core.AccessLog:
    return core.AccessLog(
        sides=_SIDES[entry.match.mode],
        providers=_names(entry.providers),
        is_off=entry.disabled,
        filter=entry.filter.expression,
    )


def _names(providers: Iterable[schema.ProviderRef]) -> tuple[str, ...]:
    return tuple(provider.name for provider in providers)


def _warnings(spec: schema.TelemetrySpec) -> Iterator[Problem]:
    if spec.tracing:
        yield no_effect("spec.tracing", "has no effect; no proxy reports spans yet")
    for i, metrics in enumerate(spec.metrics):
        where = f"spec.metrics[{i}]"
        yield from _of_providers(metrics.providers, f"{where}.providers", OWN.metrics)
        if metrics.overrides:
            yield no_effect(f"{where}.overrides", "has no effect; every metric has the labels of Istio's")
        if metrics.reporting_interval is not None:
            yield no_effect(
                f"{where}.reportingInterval", "has no effect; metrics are counted as things happen"
            )
    for i, log in enumerate(spec.access_logging):
        where = f"spec.accessLogging[{i}]"
        yield from _of_providers(log.providers, f"{where}.providers", OWN.access_log)
        if log.disabled:
            yield no_effect(f"{where}.disabled", "has no effect; every proxy writes its access log")
        if log.filter.expression:
            yield no_effect(f"{where}.filter", "has no effect; every connection is logged")
        if log.match.mode != "CLIENT_AND_SERVER":
            yield no_effect(f"{where}.match.mode", f"is {log.match.mode} and has no effect; both sides log")


def _of_providers(
    providers: Iterable[schema.ProviderRef], where: str, known: tuple[str, ...]
) -> Iterator[Problem]:
    for i, provider in enumerate(providers):
        if provider.name.lower() not in known:
            yield no_effect(
                f"{where}[{i}].name",
                f'is "{provider.name}" and has no effect; there is {", ".join(known)} alone',
            )


KINDS: Final = (Kind("Telemetry", VERSIONS, schema.TelemetryDocument, _telemetry),)
