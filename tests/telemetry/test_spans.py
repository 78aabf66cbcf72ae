import json
import os

import pytest
from telemetry.seen import attempt, seen

from ambient.core.errors import PeerError
from ambient.core.model.telemetry import Telemetry, Tracing
from ambient.core.spans import Span, SpanKind
from ambient.telemetry.access import AccessLog
from ambient.telemetry.request_metrics import RequestCounts
from ambient.telemetry.requests import Requests
from ambient.telemetry.spans import SpanQueue, read_spans

ALL = Telemetry(tracing=(Tracing(sampled_percent=100.0),))


def span(number: int) -> Span:
    attributes = {"text": "é\x00", "number": 7, "truth": True}
    return Span(
        "0" * 31 + "1", f"{number:016x}", "", "a=1", "GET", SpanKind.CLIENT, 1.5, 2.25, attributes, None
    )


def test_what_is_taken_reads_the_same():
    queue = SpanQueue()
    assert queue.take() == b""
    queue.add([span(1), span(2)._replace(parent_id="0" * 15 + "1", error="broke")])
    batch = queue.take()
    assert read_spans(batch) == (span(1), span(2)._replace(parent_id="0" * 15 + "1", error="broke"))
    assert queue.take() == b""
    assert read_spans(b"") == ()


def test_there_is_room_for_so_many_and_what_is_dropped_is_counted():
    queue = SpanQueue(most=3)
    queue.add([span(1), span(2)])
    queue.add([span(3), span(4)])
    queue.add([span(5)])
    assert queue.dropped == 2
    assert [one.span_id[-1] for one in read_spans(queue.take())] == ["1", "2", "5"]
    queue.add([span(6)])
    assert queue.dropped == 2


@pytest.mark.parametrize(
    "batch",
    [
        b"x",
        b"{}x",
        b"7",
        b"[7]",
        b'[["a"]]',
        json.dumps([["zz", "1" * 16, "", "", "n", 2, 1, 2, {}, None]]).encode(),
        json.dumps([["1" * 32, "1" * 14, "", "", "n", 2, 1, 2, {}, None]]).encode(),
        json.dumps([["1" * 32, "1" * 16, "", "", "n", 9, 1, 2, {}, None]]).encode(),
        json.dumps([["1" * 32, "1" * 16, "", "", "n", 2, 1, 2, [7], None]]).encode(),
    ],
)
def test_what_is_no_batch_is_the_workers_fault(batch):
    with pytest.raises(PeerError):
        read_spans(batch)


def recorder(queue):
    return Requests(RequestCounts(), AccessLog(os.open(os.devnull, os.O_WRONLY)), queue, {})


def test_a_sampled_request_is_told():
    queue = SpanQueue()
    record = recorder(queue)
    trace = record.begin({}, ALL, 0.5)
    record.record(seen(telemetry=ALL, trace=trace, attempts=(attempt(span=trace.attempt()[0]),)))
    server, client = read_spans(queue.take())
    assert client.parent_id == server.span_id


def test_of_others_one_in_a_hundred():
    queue = SpanQueue()
    record = recorder(queue)
    assert record.begin({}, Telemetry(), 0.009).is_told
    unsampled = record.begin({}, Telemetry(), 0.011)
    assert not unsampled.is_told
    record.record(seen(trace=unsampled))
    assert queue.take() == b""


def test_where_nobody_takes_spans_headers_pass_as_they_came():
    named = Telemetry(tracing=(Tracing(providers=("jaeger",), sampled_percent=100.0),))
    assert recorder(None).begin({}, named, 0.0) is None


def test_an_operator_may_want_none():
    queue = SpanQueue()
    record = recorder(queue)
    quiet = Telemetry(tracing=(Tracing(sampled_percent=100.0, is_off=True),))
    trace = record.begin({}, quiet, 0.0)
    record.record(seen(telemetry=quiet, trace=trace))
    assert queue.take() == b""
