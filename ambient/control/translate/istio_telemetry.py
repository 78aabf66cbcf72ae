"""telemetry.istio.io Telemetry.

Every proxy has an endpoint for Prometheus and writes an access log, which is what Istio's providers `prometheus` and
`envoy` are; to ask for these is no news. Spans go to the collector that a waypoint was started with, whatever their provider
is called. What is said of requests counts at waypoints. Anything else is kept and named in a warning.
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
from ambient.core.expressions import ExpressionError
from ambient.core.model import telemetry as core
from ambient.core.reporting import OWN
from ambient.core.request_attributes import of_request
from ambient.core.request_reporting import is_label

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
    # Whoever is selected by labels has no waypoint of its own.
    by_label = spec.selector is not None
    for i, tracing in enumerate(spec.tracing):
        yield from _of_side(tracing.match.mode, f"spec.tracing[{i}].match.mode")
        if tracing.use_request_id_for_trace_sampling:
            where = f"spec.tracing[{i}].useRequestIdForTraceSampling"
            yield no_effect(where, "has no effect; the context of a trace says whether it is sampled")
    if spec.tracing and by_label:
        yield no_effect("spec.tracing", f"has no effect; {_WAYPOINTS_ALONE} spans")
    for i, metrics in enumerate(spec.metrics):
        where = f"spec.metrics[{i}]"
        yield from _of_providers(metrics.providers, f"{where}.providers", OWN.metrics)
        if metrics.overrides and by_label:
            yield no_effect(f"{where}.overrides", f"has no effect; {_WAYPOINTS_ALONE} metrics of requests")
        else:
            for j, override in enumerate(metrics.overrides):
                yield from _of_override(override, f"{where}.overrides[{j}]")
        if metrics.reporting_interval is not None:
            yield no_effect(
                f"{where}.reportingInterval", "has no effect; metrics are counted as things happen"
            )
    for i, log in enumerate(spec.access_logging):
        where = f"spec.accessLogging[{i}]"
        yield from _of_providers(log.providers, f"{where}.providers", OWN.access_log)
        yield from _of_side(log.match.mode, f"{where}.match.mode")
        if log.disabled and by_label:
            yield no_effect(
                f"{where}.disabled", "has no effect; every node writes a line for each connection"
            )
        if log.filter.expression:
            if by_label:
                yield no_effect(f"{where}.filter", "has no effect; every connection is logged")
            else:
                yield from _of_expression(log.filter.expression, f"{where}.filter.expression", "is logged")


_WAYPOINTS_ALONE: Final = "only a waypoint has them, which targetRefs name and labels do not:"


def _of_side(mode: str, where: str) -> Iterator[Problem]:
    if mode == "CLIENT":
        yield no_effect(where, "is CLIENT and has no effect; a waypoint speaks for the server's side")


def _of_override(override: schema.MetricsOverride, where: str) -> Iterator[Problem]:
    match = override.match
    yield from _of_side(match.mode, f"{where}.match.mode")
    if match.custom_metric is not None or match.metric not in {None, "ALL_METRICS", *_OF_REQUESTS}:
        name = match.custom_metric or match.metric
        yield no_effect(
            f"{where}.match", f"names {name} and has no effect; it is for {', '.join(_OF_REQUESTS)}"
        )
    for label, tag in override.tag_overrides.items():
        at = f"{where}.tagOverrides.{label}"
        if tag.operation == "UPSERT" and not is_label(label):
            yield no_effect(at, "has no effect; it is no name that Prometheus has for a label of one's own")
        elif tag.operation == "UPSERT":
            yield from _of_expression(tag.value, f"{at}.value", "has this label")


def _of_expression(text: str, where: str, otherwise: str) -> Iterator[Problem]:
    try:
        of_request(text)
    except ExpressionError as error:
        nothing = "nothing" if otherwise.startswith("has") else "everything"
        yield no_effect(where, f"has no effect, and {nothing} {otherwise}: {error}")


_OF_REQUESTS: Final = ("REQUEST_COUNT", "REQUEST_DURATION", "REQUEST_SIZE", "RESPONSE_SIZE")


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
