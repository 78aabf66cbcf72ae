"""What a Telemetry object says, which of them are about a workload, and what is named as not carried out."""

import pytest
import yaml
from immutables import Map

from ambient.control.objects import Target, Telemetry
from ambient.control.telemetry import layers
from ambient.control.translate.kinds import translate
from ambient.core.model import telemetry as core
from ambient.core.model.telemetry import (
    AccessLog,
    EnvironmentTag,
    FormattedTag,
    HeaderTag,
    LiteralTag,
    MetricOverride,
    Metrics,
    Side,
    Tracing,
)

ROOTS = ("ambient-system", "istio-system")
SERVER = frozenset({Side.SERVER})


def read(text, version="v1"):
    return translate(
        {
            "apiVersion": f"telemetry.istio.io/{version}",
            "kind": "Telemetry",
            "metadata": {"name": "t", "namespace": "shop"},
            "spec": yaml.safe_load(text),
        },
        ROOTS,
    )


def said(translated):
    return [str(warning) for warning in translated.warnings]


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_every_served_version_is_the_same(version):
    assert read("{metrics: [{}]}", version) == read("{metrics: [{}]}")


@pytest.mark.parametrize(
    ("text", "tracing"),
    [
        pytest.param("{}", Tracing(), id="nothing"),
        pytest.param("{providers: [{name: a}], match: {mode: SERVER}}", Tracing(SERVER, ("a",)), id="providers-and-side"),
        pytest.param("{randomSamplingPercentage: 0.5}", Tracing(sampled_percent=0.5), id="sampling"),
        pytest.param("{disableSpanReporting: true}", Tracing(is_off=True), id="off"),
        pytest.param("{disableContextPropagation: true}", Tracing(propagates=False), id="propagation"),
        pytest.param("{enableIstioTags: false, useRequestIdForTraceSampling: false}", Tracing(has_istio_tags=False, samples_by_request_id=False), id="switches"),
        pytest.param(
            "{customTags: {a: {literal: {value: x}}, b: {environment: {name: E, defaultValue: y}}, c: {header: {name: X-A}},"
            " d: {formatter: {value: '%A%'}}}}",
            Tracing(tags=Map({"a": LiteralTag("x"), "b": EnvironmentTag("E", "y"), "c": HeaderTag("x-a"), "d": FormattedTag("%A%")})),
            id="tags",
        ),
    ],
)  # fmt: skip
def test_tracing(text, tracing):
    translated = read(f"{{tracing: [{text}]}}")
    assert translated.object.settings == core.Telemetry(tracing=(tracing,))
    assert said(translated) == []


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        pytest.param("{}", MetricOverride(), id="all"),
        pytest.param("{match: {metric: ALL_METRICS}}", MetricOverride(), id="all-by-name"),
        pytest.param("{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}", MetricOverride("REQUEST_COUNT", SERVER, True), id="one"),
        pytest.param("{match: {customMetric: own}, disabled: false}", MetricOverride("own", is_off=False), id="ones-own"),
        pytest.param(
            "{tagOverrides: {a: {value: request.host}, b: {operation: REMOVE}}}",
            MetricOverride(tags=Map({"a": "request.host", "b": None})), id="labels",
        ),
    ],
)  # fmt: skip
def test_metrics(text, metric):
    translated = read(f"{{metrics: [{{overrides: [{text}]}}]}}")
    assert translated.object.settings == core.Telemetry(metrics=(Metrics(overrides=(metric,)),))


BY_LABEL = "selector: {matchLabels: {a: b}}"
OF_LABELS = "has no effect; only a waypoint has them, which targetRefs name and labels do not:"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        pytest.param(
            "{tracing: [{match: {mode: CLIENT}}]}",
            ["spec.tracing[0].match.mode is CLIENT and has no effect; a waypoint speaks for the server's side"],
            id="spans-of-clients",
        ),
        pytest.param(
            "{tracing: [{useRequestIdForTraceSampling: true}]}",
            ["spec.tracing[0].useRequestIdForTraceSampling has no effect; the context of a trace says whether it is sampled"],
            id="sampling-by-request-id",
        ),
        pytest.param(f"{{{BY_LABEL}, tracing: [{{}}]}}", [f"spec.tracing {OF_LABELS} spans"], id="spans-of-labels"),
        pytest.param(
            f"{{{BY_LABEL}, metrics: [{{overrides: [{{}}]}}]}}",
            [f"spec.metrics[0].overrides {OF_LABELS} metrics of requests"],
            id="metrics-of-labels",
        ),
        pytest.param(
            "{metrics: [{overrides: [{match: {customMetric: own}}, {match: {metric: TCP_SENT_BYTES, mode: CLIENT}}]}]}",
            [
                ("spec.metrics[0].overrides[0].match names own and has no effect; it is for REQUEST_COUNT, REQUEST_DURATION,"
                " REQUEST_SIZE, RESPONSE_SIZE"),
                "spec.metrics[0].overrides[1].match.mode is CLIENT and has no effect; a waypoint speaks for the server's side",
                ("spec.metrics[0].overrides[1].match names TCP_SENT_BYTES and has no effect; it is for REQUEST_COUNT,"
                " REQUEST_DURATION, REQUEST_SIZE, RESPONSE_SIZE"),
            ],
            id="other-metrics",
        ),
        pytest.param(
            "{metrics: [{overrides: [{tagOverrides: {a-b: {value: request.host}, c: {value: node.id}, d-e: {operation: REMOVE}}}]}]}",
            [
                ("spec.metrics[0].overrides[0].tagOverrides.a-b has no effect; it is no name that Prometheus has for a label of"
                " one's own"),
                ("spec.metrics[0].overrides[0].tagOverrides.c.value has no effect, and nothing has this label: there is no"
                " attribute node here"),
            ],
            id="labels",
        ),
        pytest.param(
            f"{{{BY_LABEL}, accessLogging: [{{disabled: true, filter: {{expression: response.code >= 400}}}}]}}",
            [
                "spec.accessLogging[0].disabled has no effect; every node writes a line for each connection",
                "spec.accessLogging[0].filter has no effect; every connection is logged",
            ],
            id="log-of-labels",
        ),
    ],
)  # fmt: skip
def test_what_has_no_effect(text, warnings):
    assert said(read(text)) == warnings


@pytest.mark.parametrize(
    ("text", "log", "warnings"),
    [
        pytest.param("{providers: [{name: envoy}]}", AccessLog(providers=("envoy",)), [], id="what-is-there"),
        pytest.param("{disabled: false}", AccessLog(is_off=False), [], id="not-off"),
        pytest.param("{disabled: true}", AccessLog(is_off=True), [], id="off"),
        pytest.param("{filter: {expression: response.code >= 400}}", AccessLog(filter="response.code >= 400"), [], id="filter"),
        pytest.param(
            "{filter: {expression: a}}", AccessLog(filter="a"),
            ["filter.expression has no effect, and everything is logged: there is no attribute a here"], id="unknown-filter",
        ),
        pytest.param("{match: {mode: SERVER}}", AccessLog(SERVER), [], id="side"),
        pytest.param(
            "{match: {mode: CLIENT}}", AccessLog(frozenset({core.Side.CLIENT})),
            ["match.mode is CLIENT and has no effect; a waypoint speaks for the server's side"], id="other-side",
        ),
        pytest.param(
            "{providers: [{name: otel}]}", AccessLog(providers=("otel",)),
            ['providers[0].name is "otel" and has no effect; there is envoy alone'], id="another-provider",
        ),
    ],
)  # fmt: skip
def test_access_logging(text, log, warnings):
    translated = read(f"{{accessLogging: [{text}]}}")
    assert translated.object.settings == core.Telemetry(access_log=(log,))
    assert said(translated) == [f"spec.accessLogging[0].{warning}" for warning in warnings]


def test_metrics_for_prometheus_are_no_news():
    translated = read("{metrics: [{providers: [{name: prometheus}]}]}")
    assert translated.warnings == ()
    other = read("{metrics: [{providers: [{name: prometheus}, {name: stackdriver}], reportingInterval: 5s}]}")
    assert said(other) == [
        'spec.metrics[0].providers[1].name is "stackdriver" and has no effect; there is prometheus alone',
        "spec.metrics[0].reportingInterval has no effect; metrics are counted as things happen",
    ]


@pytest.mark.parametrize(
    ("text", "selector", "targets"),
    [
        ("{selector: {matchLabels: {a: b}}}", Map({"a": "b"}), ()),
        ("{targetRef: {kind: Service, name: s}}", Map(), (Target("Service", "s"),)),
        (
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]}",
            Map(),
            (Target("Gateway", "g"),),
        ),
    ],
)
def test_whom_it_is_for(text, selector, targets):
    telemetry = read(text).object
    assert (telemetry.selector, telemetry.targets) == (selector, targets)


def one(name, namespace="shop", created="", selector=None, targets=()):
    settings = core.Telemetry(tracing=(Tracing(providers=(name,)),))
    return Telemetry(namespace, name, created, Map(selector or {}), targets, settings)


OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([one("w", selector={"app": "a"}), one("n"), one("m", "istio-system")], ["m", "n", "w"], id="mesh-then-namespace-then-workload"),
        pytest.param([one("n", "other"), one("w", selector={"app": "b"})], [], id="of-others"),
        pytest.param([one("m", "istio-system", selector={"app": "a"})], [], id="a-selector-in-a-root-namespace-selects-there"),
        pytest.param([one("a", created=YOUNG), one("b", created=OLD), one("c")], ["b"], id="the-oldest-of-a-namespace"),
        pytest.param([one("b"), one("a")], ["a"], id="names-break-ties"),
        pytest.param([one("x", selector={"app": "a"}, created=YOUNG), one("y", selector={"app": "a"}, created=OLD)], ["y"], id="the-oldest-of-a-workload"),
        pytest.param([one("m", "istio-system", YOUNG), one("n", "ambient-system", OLD)], ["n"], id="the-oldest-of-the-mesh"),
        pytest.param([one("t", targets=(Target("Service", "s"),))], [], id="those-of-targets-are-a-waypoints"),
    ],
)  # fmt: skip
def test_which_are_about_a_workload(objects, expected):
    found = layers(objects, "shop", {"app": "a", "version": "v1"}, ROOTS)
    assert [settings.tracing[0].providers[0] for settings in found] == expected


def test_a_workload_of_a_root_namespace_has_no_namespace_of_its_own():
    objects = [one("m", "istio-system"), one("w", "istio-system", selector={"app": "a"})]
    found = layers(objects, "istio-system", {"app": "a"}, ROOTS)
    assert [settings.tracing[0].providers[0] for settings in found] == ["m", "w"]
