"""What a trace is told of a request."""

import itertools

import pytest
from core.worlds import at
from immutables import Map
from telemetry import seen as requests
from telemetry.seen import attempt, refused, seen

from ambient.core.forwarding.plan import Notes
from ambient.core.forwarding.reason import Reason
from ambient.core.model.telemetry import EnvironmentTag, FormattedTag, HeaderTag, LiteralTag
from ambient.core.reporting import Spans
from ambient.core.spans import LONGEST_VALUE, SpanKind, spans_of
from ambient.core.tracing import begin

PLAIN = Spans(provider="otlp", has_istio_tags=False)
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}


def trace(headers=PARENT, share=1.0):
    numbers = itertools.count(1)
    return begin(headers, share, 0.0, lambda size: next(numbers))


def told(one, spans=PLAIN, **environment):
    return list(spans_of(one, spans, 1000.0, environment))


def test_a_request_and_its_attempts():
    own = trace()
    first, second = own.attempt()[0], own.attempt()[0]
    one = seen(
        trace=own,
        attempts=(
            attempt(requests.TWO, status=None, reason=Reason.RESET, ended=10.005, span=first),
            attempt(requests.ONE, began=10.006, span=second),
        ),
    )
    server, *clients = told(one)
    assert (server.trace_id, server.parent_id, server.state) == (
        PARENT["traceparent"][3:35],
        "b7ad6b7169203331",
        "a=1",
    )
    assert (server.kind, server.name) == (SpanKind.SERVER, "GET web.shop.svc.cluster.local")
    assert (server.began, server.ended) == (1010.0, pytest.approx(1010.0124))
    assert server.error is None
    assert dict(server.attributes) == {
        "http.request.method": "GET",
        "url.path": "/cart",
        "url.scheme": "http",
        "server.address": "web",
        "client.address": "10.0.0.1",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "http.request.body.size": 0,
        "http.response.body.size": 5,
        "response_flags": "-",
        "ambient.attempts": 2,
        "guid:x-request-id": "6f1c",
        "user_agent.original": "curl/8.5.0",
    }
    assert [(span.span_id, span.parent_id, span.kind, span.error) for span in clients] == [
        (first, server.span_id, SpanKind.CLIENT, "reset"),
        (second, server.span_id, SpanKind.CLIENT, None),
    ]
    assert clients[1].attributes["http.request.resend_count"] == 1
    assert clients[1].attributes["network.peer.address"] == "10.0.1.1"
    assert clients[1].attributes["ambient.endpoint"] == "shop/web-1"
    assert "http.response.status_code" not in clients[0].attributes


@pytest.mark.parametrize(
    "own", [None, trace({}, share=0.0), trace({"traceparent": PARENT["traceparent"][:-1] + "0"})]
)
def test_of_what_is_not_sampled_nothing_is_told(own):
    assert told(seen(trace=own)) == []


@pytest.mark.parametrize(
    ("one", "error"),
    [
        (refused(Reason.NO_HEALTHY_ENDPOINT, detail="no healthy upstream"), "no healthy upstream"),
        (refused(Reason.DENIED), None),
        (seen(status=500), "500"),
        (seen(status=404), None),
        (seen(status=0, reason=Reason.CLIENT_GONE, detail=""), "client_gone"),
        (seen(notes=Notes(is_grpc=True), grpc_status=14), "grpc 14"),
        (seen(notes=Notes(is_grpc=True), grpc_status=0), None),
    ],
    ids=["unavailable", "denied", "500", "404", "gone", "grpc-14", "grpc-0"],
)
def test_what_counts_as_an_error(one, error):
    assert told(one._replace(trace=trace()))[0].error == error


def test_a_call_of_grpc():
    one = seen(notes=Notes(is_grpc=True), grpc_status=5, path="/shop.Cart/Add", method="POST", trace=trace())
    attributes = told(one)[0].attributes
    assert {name: value for name, value in attributes.items() if name.startswith("rpc.")} == {
        "rpc.system": "grpc",
        "rpc.service": "shop.Cart",
        "rpc.method": "Add",
        "rpc.grpc.status_code": 5,
    }


def test_names_are_few_and_values_bounded():
    one = requests.HOSTILE._replace(trace=trace())
    (span,) = told(one)
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert all(len(str(value)) <= LONGEST_VALUE for value in span.attributes.values())


def test_a_query_is_not_told():
    spans = told(seen(trace=trace(), path="/cart?access_token=secret"))
    assert "secret" not in str(spans)


def test_tags_of_istio():
    (span, *_) = told(seen(trace=trace(), attempts=()), Spans(provider="x"))
    assert span.attributes["istio.source_workload"] == "client"
    assert span.attributes["istio.destination_workload"] == "unknown"
    assert span.attributes["istio.source_principal"] == "spiffe://cluster.local/ns/shop/sa/client"


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (LiteralTag("always"), "always"),
        (HeaderTag("user-agent", "none"), "curl/8.5.0"),
        (HeaderTag("x-missing", "none"), "none"),
        (HeaderTag("x-missing"), None),
        (EnvironmentTag("ZONE", "here"), "north"),
        (EnvironmentTag("MISSING", "here"), "here"),
        (FormattedTag("%REQ(:METHOD)% %REQ(:PATH)%"), "GET /cart"),
        (FormattedTag("%REQ(X-MISSING?USER-AGENT)%"), "curl/8.5.0"),
        (FormattedTag("%RESPONSE_CODE%/%RESPONSE_FLAGS%/%PROTOCOL%"), "200/-/HTTP/1.1"),
        (FormattedTag("%UPSTREAM_HOST% %BYTES_SENT% %DURATION%"), "10.0.1.1:8080 5 12"),
        (FormattedTag("%FILTER_STATE(x:TYPED)% 100%"), "- 100%"),
        (LiteralTag("x" * 1000), "x" * LONGEST_VALUE),
    ],
)
def test_tags_of_an_operators_own(tag, value):
    spans = Spans(provider="x", has_istio_tags=False, tags=Map({"own": tag}))
    assert told(seen(trace=trace()), spans, ZONE="north")[0].attributes.get("own") == value


def test_an_endpoint_outside_the_mesh():
    outside = attempt(span="0" * 15 + "9")._replace(endpoint=None, address=at("[2001:db8::1]:443"))
    _, span = told(seen(trace=trace(), attempts=(outside,)))
    assert span.attributes["network.peer.address"] == "2001:db8::1"
    assert "ambient.endpoint" not in span.attributes
