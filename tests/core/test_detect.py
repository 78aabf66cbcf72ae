"""What is spoken, by declaration or by first bytes."""

from __future__ import annotations

import pytest
from core.worlds import service
from hypothesis import given, strategies as st

from ambient.core.detect import Expected, Habits, Spoken, expected, is_likely, spoken
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.service import AppProtocol, DeclaredPort
from ambient.core.model.traffic import TrafficPolicies

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

FIRST = {
    "nothing": (b"", None),
    "a-request-line": (b"GET /a?b=c HTTP/1.1\r\n", Spoken.HTTP1),
    "of-http-1.0": (b"GET / HTTP/1.0\r\n", Spoken.HTTP1),
    "with-a-bare-newline": (b"GET / HTTP/1.1\n", Spoken.HTTP1),
    "after-an-empty-line": (b"\r\nGET / HTTP/1.1\r\n", Spoken.HTTP1),
    "with-its-head": (b"PUT /x HTTP/1.1\r\nhost: a\r\n\r\nbody", Spoken.HTTP1),
    "of-a-method-of-ones-own": (b"M-SEARCH * HTTP/1.1\r\n", Spoken.HTTP1),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\n", Spoken.HTTP1),
    "the-beginning-of-a-method": (b"GE", None),
    "a-method": (b"GET ", None),
    "a-line-without-end": (b"GET /abc HTTP/1.1", None),
    "a-line-without-newline": (b"GET /abc HTTP/1.1\r", None),
    "a-target-too-long": (b"GET /" + b"a" * 9000, Spoken.HTTP1),
    "a-method-too-long": (b"A" * 33, Spoken.OPAQUE),
    "http-0.9": (b"GET /\r\n", Spoken.OPAQUE),
    "another-version": (b"GET / HTTP/3.0\r\n", Spoken.OPAQUE),
    "nats": (b'CONNECT {"verbose":false}\r\n', Spoken.OPAQUE),
    "ftp": (b"USER anonymous\r\n", Spoken.OPAQUE),
    "redis": (b"*1\r\n$4\r\nPING\r\n", Spoken.OPAQUE),
    "memcached": (b"get key\r\n", Spoken.OPAQUE),
    "postgres": (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Spoken.OPAQUE),
    "the-beginning-of-http2": (b"PRI * HT", None),
    "a-post-like-http2": (b"P", None),
    "http2": (PREFACE + b"\0\0\0\4\0\0\0\0\0", Spoken.HTTP2),
    "almost-http2": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Spoken.OPAQUE),
    "tls": (HELLO, Spoken.TLS),
    "the-beginning-of-tls": (HELLO[:5], None),
    "tls-that-begins-otherwise": (HELLO[:5] + b"\x02", Spoken.OPAQUE),
    "ssl-2": (b"\x80\x2e\x01\x03\x01", Spoken.OPAQUE),
}


@pytest.mark.parametrize(("first", "wanted"), FIRST.values(), ids=FIRST)
def test_first_bytes_tell(first: bytes, wanted: Spoken | None) -> None:
    assert spoken(first, Expected.ANYTHING) is wanted


@pytest.mark.parametrize("first", [case[0] for case in FIRST.values()], ids=FIRST)
def test_more_bytes_never_change_what_was_told(first: bytes) -> None:
    told = [spoken(first[:size], Expected.ANYTHING) for size in range(len(first) + 1)]
    known = [one for one in told if one is not None]
    assert len(set(known)) <= 1
    assert told == [None] * (len(told) - len(known)) + known


@given(st.binary(max_size=64), st.sampled_from(Expected))
def test_any_bytes_have_an_answer_that_stands(first: bytes, expectation: Expected) -> None:
    told = [spoken(first[:size], expectation) for size in range(len(first) + 1)]
    known = {one for one in told if one is not None}
    assert len(known) <= 1


DECLARED = {
    "http2": (PREFACE, Expected.HTTP, Spoken.HTTP2),
    "half-of-http2": (PREFACE[:10], Expected.HTTP, None),
    "a-post": (b"PO", Expected.HTTP, Spoken.HTTP1),
    "http-that-is-none": (b"\x00", Expected.HTTP, Spoken.HTTP1),
    "tls-where-http-is-said": (HELLO, Expected.HTTP, Spoken.HTTP1),
    "tls": (HELLO, Expected.TLS, Spoken.TLS),
    "too-little-of-tls": (HELLO[:3], Expected.TLS, None),
    "tls-that-is-none": (b"GET / HTTP/1.1\r\n", Expected.TLS, Spoken.TLS),
    "opaque": (b"GET / HTTP/1.1\r\n", Expected.OPAQUE, Spoken.OPAQUE),
    "opaque-and-nothing": (b"", Expected.OPAQUE, Spoken.OPAQUE),
}


@pytest.mark.parametrize(("first", "expectation", "wanted"), DECLARED.values(), ids=DECLARED)
def test_what_was_declared_is_believed(first: bytes, expectation: Expected, wanted: Spoken | None) -> None:
    assert spoken(first, expectation) is wanted


def port(protocol: AppProtocol | None) -> DeclaredPort:
    return DeclaredPort(80, "", protocol)


PORTS = {
    "nothing-said": (service("a"), None, None, Expected.ANYTHING),
    "no-service": (None, None, None, Expected.ANYTHING),
    "http": (service("a", declared=(port(AppProtocol.HTTP),)), None, None, Expected.HTTP),
    "http2": (service("a", declared=(port(AppProtocol.HTTP2),)), None, None, Expected.HTTP),
    "grpc": (service("a", declared=(port(AppProtocol.GRPC),)), None, None, Expected.HTTP),
    "tls": (service("a", declared=(port(AppProtocol.TLS),)), None, None, Expected.TLS),
    "tcp": (service("a", declared=(port(AppProtocol.TCP),)), None, None, Expected.OPAQUE),
    "a-port-without-protocol": (service("a", declared=(port(None),)), None, None, Expected.ANYTHING),
    "another-port": (
        service("a", declared=(DeclaredPort(81, "", AppProtocol.TCP),)),
        None,
        None,
        Expected.ANYTHING,
    ),
    "policies-first": (
        service("a", declared=(port(AppProtocol.TCP),)),
        ServicePolicies("shop/a", ports=(port(AppProtocol.HTTP),)),
        None,
        Expected.HTTP,
    ),
    "opaque-ports-before-all": (
        service("a", declared=(port(AppProtocol.HTTP),)),
        None,
        TrafficPolicies(opaque_ports=frozenset({80})),
        Expected.OPAQUE,
    ),
}


@pytest.mark.parametrize(("called", "policies", "traffic", "wanted"), PORTS.values(), ids=PORTS)
def test_a_ports_declaration(called, policies, traffic, wanted) -> None:
    assert expected(called, policies, traffic, 80) is wanted


def test_habits_are_those_that_were_seen_last() -> None:
    habits = Habits(most=2)
    habits.client_talked("a", 80)
    habits.client_talked("b", 80)
    habits.client_talked("a", 80)
    habits.client_talked("c", 80)
    assert [habits.client_talks_first(name, 80) for name in "abc"] == [True, False, True]
    assert not habits.client_talks_first("a", 81)
    habits.server_talked("a", 80)
    habits.server_talked("never", 80)
    assert not habits.client_talks_first("a", 80)


LIKELY = [b"GET /", b"\r\nPOST /x", b"OPTIONS *", b"GET http://a", b"PRI * ", b"\x16\x03"]
UNLIKELY = [b"", b"x", b"G", b"GET", b"GET ", b"USER anonymous", b"hello", b"get /", b"\x16", b"P"]


@pytest.mark.parametrize("first", LIKELY)
def test_what_begins_as_http_or_tls_is_worth_waiting_for(first: bytes) -> None:
    assert is_likely(first)


@pytest.mark.parametrize("first", UNLIKELY)
def test_what_could_be_anything_is_not(first: bytes) -> None:
    assert not is_likely(first)
