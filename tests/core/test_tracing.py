"""Contexts of traces: what is read, what is passed on, and who decides."""

import itertools

import pytest

from ambient.core.forwarding.edits import Edit
from ambient.core.tracing import NAMES, Format, TraceContext, begin

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SHORT = "8448eb211c80319c"
LONG = SHORT.rjust(32, "0")
W3C = frozenset({Format.W3C})
SINGLE = frozenset({Format.B3_SINGLE})
MULTI = frozenset({Format.B3_MULTI})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TraceContext(TRACE, SPAN, is_sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-02"}, TraceContext(TRACE, SPAN, is_sampled=False)),
        (
            {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1,b=2"},
            TraceContext(TRACE, SPAN, is_sampled=True, state="a=1,b=2"),
        ),
        (
            {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=" + "x" * 511},
            TraceContext(TRACE, SPAN, is_sampled=True),
        ),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-more"}, TraceContext(TRACE, SPAN, is_sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01-more"}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"}, None),
        ({"tracestate": "a=1"}, None),
        ({"b3": f"{TRACE}-{SPAN}-1"}, TraceContext(TRACE, SPAN, is_sampled=True, formats=SINGLE)),
        ({"b3": f"{SHORT}-{SPAN}-d-{SPAN}"}, TraceContext(LONG, SPAN, is_sampled=True, formats=SINGLE)),
        ({"b3": f"{TRACE}-{SPAN}"}, TraceContext(TRACE, SPAN, None, formats=SINGLE)),
        ({"b3": "0"}, TraceContext("", "", is_sampled=False, formats=SINGLE)),
        ({"b3": "nonsense"}, None),
        (
            {"x-b3-traceid": SHORT, "x-b3-spanid": SPAN, "x-b3-sampled": "1"},
            TraceContext(LONG, SPAN, is_sampled=True, formats=MULTI),
        ),
        (
            {"x-b3-traceid": SHORT, "x-b3-spanid": SPAN, "x-b3-flags": "1"},
            TraceContext(LONG, SPAN, is_sampled=True, formats=MULTI),
        ),
        ({"x-b3-sampled": "0"}, TraceContext("", "", is_sampled=False, formats=MULTI)),
        ({"x-b3-traceid": "0" * 16, "x-b3-spanid": SPAN}, None),
        (
            {"traceparent": f"00-{TRACE}-{SPAN}-00", "b3": f"{SHORT}-{SPAN}-1"},
            TraceContext(TRACE, SPAN, is_sampled=False, formats=W3C | SINGLE),
        ),
        (
            {"traceparent": "broken", "x-b3-traceid": SHORT, "x-b3-spanid": SPAN, "b3": "1"},
            TraceContext(LONG, SPAN, is_sampled=True, formats=SINGLE | MULTI),
        ),
    ],
    ids=[
        "nothing",
        "w3c",
        "not-sampled",
        "state",
        "state-too-long",
        "later-version",
        "version-00-with-more",
        "version-ff",
        "no-trace",
        "no-span",
        "upper-case",
        "twice",
        "state-alone",
        "b3",
        "b3-short-debug-with-parent",
        "b3-undecided",
        "b3-decision-alone",
        "b3-nonsense",
        "multi",
        "multi-debug",
        "multi-decision-alone",
        "multi-no-trace",
        "both",
        "decision-from-another",
    ],
)
def test_what_is_read(headers, expected):
    assert TraceContext.of(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1"},
        {"traceparent": f"00-{TRACE}-{SPAN}-00", "b3": f"{TRACE}-{SPAN}-0"},
        {
            "traceparent": f"00-{TRACE}-{SPAN}-01",
            "x-b3-traceid": TRACE,
            "x-b3-spanid": SPAN,
            "x-b3-sampled": "1",
        },
    ],
    ids=["w3c", "b3", "multi"],
)
def test_what_is_told_reads_the_same(headers):
    assert dict(TraceContext.of(headers).headers()) == headers


def counting():
    numbers = itertools.count(1)
    return lambda size: next(numbers)


def test_a_trace_begins_here_by_chance():
    told = begin({}, 0.5, 0.49, counting())
    assert (told.is_told, told.parent_id, told.context.is_sampled) == (True, "", True)
    assert told.context.trace_id == f"{1:032x}"
    span, edit = told.attempt()
    assert (told.context.span_id, span) == (f"{2:016x}", f"{3:016x}")
    assert edit == Edit(NAMES, (("traceparent", f"00-{1:032x}-{3:016x}-01"),))
    other, _ = told.attempt()
    assert other not in {span, told.context.span_id}


def test_what_is_not_sampled_here_is_not_sampled_further_on():
    span, edit = begin({}, 0.5, 0.5, counting()).attempt()
    assert span == ""
    assert edit.added == (("traceparent", f"00-{1:032x}-{2:016x}-00"),)


@pytest.mark.parametrize(("flags", "chance"), [("01", 0.99), ("00", 0.0)], ids=["sampled", "not-sampled"])
def test_who_asks_decides(flags, chance):
    trace = begin({"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}, 0.5, chance, counting())
    assert trace.is_told is (flags == "01")
    assert trace.context.trace_id == TRACE
    assert trace.parent_id == SPAN


def test_headers_of_a_trace_that_is_not_told_pass_as_they_came():
    trace = begin({"traceparent": f"00-{TRACE}-{SPAN}-00"}, 1.0, 0.0, counting())
    assert trace.attempt() == ("", Edit())
    silent = begin({"traceparent": f"00-{TRACE}-{SPAN}-01"}, 1.0, 0.0, counting(), reports=False)
    assert silent.attempt() == ("", Edit())


def test_without_propagation_headers_pass_as_they_came_and_spans_are_told():
    trace = begin({"b3": f"{TRACE}-{SPAN}-1"}, 0.0, 0.0, counting(), propagates=False)
    span, edit = trace.attempt()
    assert (trace.is_told, bool(span), edit) == (True, True, Edit())


def test_an_undecided_parent_is_decided_by_chance():
    headers = {"b3": f"{TRACE}-{SPAN}"}
    assert begin(headers, 0.5, 0.4, counting()).is_told
    assert not begin(headers, 0.5, 0.6, counting()).is_told


def test_a_decision_without_a_trace_holds_for_the_trace_that_begins_here():
    trace = begin({"b3": "1"}, 0.0, 0.9, counting())
    assert (trace.is_told, trace.parent_id) == (True, "")
    assert dict(trace.attempt()[1].added)["b3"] == f"{1:032x}-{3:016x}-1"
