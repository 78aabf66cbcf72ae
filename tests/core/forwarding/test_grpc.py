"""gRPC at a proxy: tables."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.forwarding import grpc
from ambient.core.forwarding.grpc import Status


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/grpc", True), ("application/grpc+proto", True), ("application/grpc;charset=x", True),
        ("application/grpc-web", False), ("application/grpc-web+proto", False), ("application/json", False), (None, False), ("", False),
    ],
)  # fmt: skip
def test_calls_are_known_by_their_type(content_type, expected):
    assert grpc.is_grpc(content_type) is expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1S", 1.0), ("100m", 0.1), ("2H", 7200.0), ("3M", 180.0), ("5u", 5e-6), ("7n", 7e-9), ("99999999H", 99999999 * 3600.0),
        ("0S", 0.0), ("999999999S", None), ("18446744073709551616m", None), ("S", None), ("", None), (None, None), ("1", None),
        ("-1S", None), ("1.5S", None), ("1s", None), ("+1S", None), ("٣S", None), (" 1S", None),
    ],
)  # fmt: skip
def test_a_timeout_is_read(text, seconds):
    assert grpc.timeout_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("http", "status"),
    [
        (429, Status.RESOURCE_EXHAUSTED), (503, Status.UNAVAILABLE), (504, Status.DEADLINE_EXCEEDED), (403, Status.PERMISSION_DENIED),
        (404, Status.UNIMPLEMENTED), (401, Status.UNAUTHENTICATED), (400, Status.INTERNAL), (500, Status.UNAVAILABLE), (418, Status.UNKNOWN),
    ],
)  # fmt: skip
def test_statuses_of_http_have_one_of_grpc(http, status):
    assert grpc.status_of(http) is status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((("grpc-status", "14"),), 14), ((("a", "b"),), None), ((), None), ((("grpc-status", "x"),), Status.UNKNOWN),
        ((("grpc-status", "-1"),), Status.UNKNOWN), ((("grpc-status", "9" * 40),), Status.UNKNOWN),
    ],
)  # fmt: skip
def test_a_status_is_read(fields, status):
    assert grpc.status_in(fields) == status


@pytest.mark.parametrize(
    ("text", "status"),
    [("UNAVAILABLE", Status.UNAVAILABLE), ("unavailable", Status.UNAVAILABLE), ("14", Status.UNAVAILABLE), ("99", None), ("NO", None)],
)  # fmt: skip
def test_a_status_is_named(text, status):
    assert grpc.named(text) is status


@given(st.text())
def test_a_message_is_printable_ascii(text):
    message = grpc.message(text)
    assert message.isascii()
    assert message.isprintable()
