"""Settings of mesh, namespace and workload, made one: a table for each rule."""

import pytest
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.model.telemetry import (
    ALL_METRICS,
    BOTH,
    AccessLog,
    LiteralTag,
    MetricOverride,
    Metrics,
    Side,
    Telemetry,
    Tracing,
)
from ambient.core.reporting import OWN, Metric, Providers, Spans, reported

CLIENT, SERVER = Side.CLIENT, Side.SERVER
ONLY_CLIENT = frozenset({CLIENT})
ZIPKIN = Tracing(providers=("zipkin",))


def spans(*entries, side=SERVER, providers=OWN):
    return reported([Telemetry(tracing=(entry,)) for entry in entries], side, providers).spans


def metrics(*entries, side=SERVER):
    return reported([Telemetry(metrics=(entry,)) for entry in entries], side).metrics


def log(*layers, side=SERVER):
    return reported([Telemetry(access_log=layer) for layer in layers], side).access_log


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param((), Spans(is_off=True), id="nobody-takes-them"),
        pytest.param((ZIPKIN,), Spans("zipkin"), id="mesh"),
        pytest.param((ZIPKIN, Tracing(providers=("otel", "other"))), Spans("otel"), id="the-nearest-provider-and-its-first"),
        pytest.param((ZIPKIN, Tracing(sampled_percent=5.0)), Spans("zipkin", 5.0), id="the-rest-is-inherited"),
        pytest.param((Tracing(providers=("a",), sampled_percent=5.0), Tracing(sampled_percent=0.0)), Spans("a", 0.0), id="nothing-sampled-is-said"),
        pytest.param((Tracing(providers=("a",), is_off=True), Tracing(is_off=False)), Spans("a"), id="on-again"),
        pytest.param(
            (Tracing(providers=("a",), tags=Map({"x": LiteralTag("1")})), Tracing(tags=Map({"y": LiteralTag("2")}))),
            Spans("a", tags=Map({"y": LiteralTag("2")})), id="tags-are-replaced-as-a-whole",
        ),
        pytest.param((ZIPKIN, Tracing(sides=ONLY_CLIENT, is_off=True)), Spans("zipkin"), id="of-the-other-side"),
        pytest.param(
            (ZIPKIN, Tracing(propagates=False, has_istio_tags=False, samples_by_request_id=False)),
            Spans("zipkin", propagates=False, has_istio_tags=False, samples_by_request_id=False), id="each-switch",
        ),
    ],
)  # fmt: skip
def test_spans(entries, expected):
    assert spans(*entries) == expected


def test_a_default_provider_of_spans():
    assert spans(providers=Providers(tracing=("zipkin",))) == Spans("zipkin")


def override(metric="", **said):
    return MetricOverride(metric, **said)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param((), {"prometheus": {}}, id="default"),
        pytest.param((Metrics(providers=("a",)),), {"a": {}}, id="in-place-of-the-default"),
        pytest.param((Metrics(providers=("a",)), Metrics(providers=("b", "c"))), {"b": {}, "c": {}}, id="the-nearest-providers-alone"),
        pytest.param(
            (Metrics(providers=("a",), overrides=(override("REQUEST_COUNT", is_off=True),)), Metrics(providers=("b",))),
            {"b": {}}, id="what-was-said-of-others-is-dropped",
        ),
        pytest.param(
            (Metrics(overrides=(override("REQUEST_COUNT", is_off=True),)), Metrics(overrides=(override("REQUEST_COUNT", is_off=False),))),
            {"prometheus": {"REQUEST_COUNT": Metric()}}, id="on-again",
        ),
        pytest.param(
            (Metrics(overrides=(override("REQUEST_COUNT", is_off=True), override("REQUEST_COUNT", tags=Map({"x": "1"})))),),
            {"prometheus": {"REQUEST_COUNT": Metric(True, Map({"x": "1"}))}}, id="later-overrides-add",
        ),
        pytest.param(
            (Metrics(overrides=(override("C", tags=Map({"x": "1", "y": "2"})),)), Metrics(overrides=(override("C", tags=Map({"x": None})),))),
            {"prometheus": {"C": Metric(tags=Map({"x": None, "y": "2"}))}}, id="labels-one-by-one",
        ),
        pytest.param((Metrics(overrides=(override("C", sides=ONLY_CLIENT, is_off=True),)),), {"prometheus": {}}, id="of-the-other-side"),
        pytest.param(
            (Metrics(overrides=(override(is_off=True), override("REQUEST_COUNT", is_off=False))),),
            {"prometheus": {name: Metric(name != "REQUEST_COUNT") for name in ALL_METRICS}}, id="all-but-one",
        ),
    ],
)  # fmt: skip
def test_metrics(entries, expected):
    assert metrics(*entries) == Map({provider: Map(some) for provider, some in expected.items()})


OFF, ERRORS = AccessLog(is_off=True), AccessLog(filter="response.code >= 400")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        pytest.param((), {"envoy": ""}, id="default"),
        pytest.param(((AccessLog(providers=("otel",)),),), {"otel": ""}, id="in-place-of-the-default"),
        pytest.param(((AccessLog(),),), {"envoy": ""}, id="no-providers-is-the-default"),
        pytest.param(((OFF,),), {}, id="off"),
        pytest.param(((OFF,), (AccessLog(is_off=False),)), {"envoy": ""}, id="on-again"),
        pytest.param(((AccessLog(providers=("a",)),), (OFF,)), {}, id="off-for-the-providers-before"),
        pytest.param(((AccessLog(providers=("a",)),), (AccessLog(providers=("b",)),)), {"b": ""}, id="the-nearest-providers-alone"),
        pytest.param(((AccessLog(providers=("a",)), AccessLog(providers=("b",), filter="x")),), {"a": "", "b": "x"}, id="two-in-one-object"),
        pytest.param(((ERRORS,),), {"envoy": "response.code >= 400"}, id="filter"),
        pytest.param(((AccessLog(sides=ONLY_CLIENT),),), {}, id="of-the-other-side"),
    ],
)  # fmt: skip
def test_access_log(layers, expected):
    assert log(*layers) == Map(expected)


@given(
    st.lists(
        st.builds(
            Telemetry,
            metrics=st.tuples(
                st.builds(
                    Metrics,
                    providers=st.sampled_from([(), ("a",), ("b", "a")]),
                    overrides=st.tuples(
                        st.builds(
                            MetricOverride,
                            metric=st.sampled_from(["", "REQUEST_COUNT", "own"]),
                            sides=st.sampled_from([BOTH, ONLY_CLIENT]),
                            is_off=st.sampled_from([None, True, False]),
                        )
                    ),
                )
            ),
            access_log=st.tuples(
                st.builds(
                    AccessLog,
                    providers=st.sampled_from([(), ("a",), ("b",)]),
                    is_off=st.sampled_from([None, True, False]),
                )
            ),
        ),
        max_size=3,
    )
)
def test_the_nearest_has_the_last_word(layers):
    """Whatever was said before, what turns everything on or off for a provider of its own is what holds."""
    off = Telemetry(
        metrics=(Metrics(("z",), (MetricOverride(is_off=True),)),),
        access_log=(AccessLog(providers=("z",), is_off=True),),
    )
    last = reported([*layers, off], SERVER)
    assert set(last.metrics) == {"z"}
    assert all(metric.is_off for metric in last.metrics["z"].values())
    assert last.access_log == Map()
    assert reported([*layers, Telemetry()], SERVER) == reported(layers, SERVER)
