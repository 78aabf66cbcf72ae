"""telemetry.istio.io. Source: its CustomResourceDefinition."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from ambient.control.schema.istio import Duration, Many, Percent, Targeted
from ambient.control.schema.shape import Document, Shape, wrong, wrong_at


def _some(text: str) -> str:
    if not text:
        raise wrong("is empty; write at least one character")
    return text


Text: TypeAlias = Annotated[str, AfterValidator(_some)]
ModeName: TypeAlias = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]


class ProviderRef(Shape):
    """Who takes what is reported."""

    name: Text


class Match(Shape):
    """Which side reports."""

    mode: ModeName = "CLIENT_AND_SERVER"


class Literally(Shape):
    """A text as it is."""

    value: Text


class Named(Shape):
    """A header or a variable."""

    name: Text
    default_value: str = ""


class CustomTag(Shape):
    """A tag of spans, in one of four ways."""

    literal: Literally | None = None
    environment: Named | None = None
    header: Named | None = None
    formatter: Literally | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (
            sum(value is not None for value in (self.literal, self.environment, self.header, self.formatter))
            != 1
        ):
            raise wrong("has no single value; give one of literal, header, environment and formatter")
        return self


class Tracing(Shape):
    """Spans."""

    match: Match = Match()
    providers: Many[ProviderRef] = ()
    random_sampling_percentage: Percent | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, CustomTag] | None = None
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class MetricSelector(Shape):
    """Which metrics."""

    metric: (
        Literal[
            "ALL_METRICS",
            "REQUEST_COUNT",
            "REQUEST_DURATION",
            "REQUEST_SIZE",
            "RESPONSE_SIZE",
            "TCP_OPENED_CONNECTIONS",
            "TCP_CLOSED_CONNECTIONS",
            "TCP_SENT_BYTES",
            "TCP_RECEIVED_BYTES",
            "GRPC_REQUEST_MESSAGES",
            "GRPC_RESPONSE_MESSAGES",
        ]
        | None
    ) = None
    custom_metric: Text | None = None
    mode: ModeName = "CLIENT_AND_SERVER"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.metric is not None and self.custom_metric is not None:
            raise wrong_at("customMetric", "is set together with metric; keep one of them")
        return self


class TagOverride(Shape):
    """What becomes of a label."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str = ""

    @model_validator(mode="after")
    def _has_a_value_to_set(self) -> Self:
        if (self.operation == "UPSERT") != bool(self.value):
            raise wrong_at(
                "value",
                "is missing; write an expression, or operation: REMOVE"
                if self.operation == "UPSERT"
                else "is set together with operation: REMOVE; keep one of them",
            )
        return self


class MetricsOverride(Shape):
    """What becomes of metrics."""

    match: MetricSelector = MetricSelector()
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = Field(default={})


class Metrics(Shape):
    """Metrics."""

    providers: Many[ProviderRef] = ()
    overrides: Many[MetricsOverride] = ()
    reporting_interval: Duration | None = None


class Filter(Shape):
    """What is logged."""

    expression: str = ""


class AccessLogging(Shape):
    """The access log."""

    match: Match = Match()
    providers: Many[ProviderRef] = ()
    disabled: bool | None = None
    filter: Filter = Filter()


class TelemetrySpec(Targeted):
    """telemetry.istio.io Telemetry."""

    tracing: Many[Tracing] = ()
    metrics: Many[Metrics] = ()
    access_logging: Many[AccessLogging] = ()


class TelemetryDocument(Document):
    """telemetry.istio.io Telemetry."""

    spec: TelemetrySpec = TelemetrySpec()
