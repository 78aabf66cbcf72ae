"""What is checked of fields, whichever version carries them."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.http import fields
from ambient.core.http.fields import Fields, Refusal
from ambient.core.http.message import RequestHead


def sorted_request(*raw: tuple[bytes, bytes]) -> Fields:
    found = fields.sort_request(raw)
    assert isinstance(found, Fields)
    return found


def head(
    *raw: tuple[bytes, bytes], method: str = "GET", authority: str = "web", path: str = "/"
) -> RequestHead | Refusal:
    return fields.request_head(method, authority, path, sorted_request(*raw), length=0)


@pytest.mark.parametrize(
    "authority",
    [
        "web",
        "web:80",
        "web.shop.svc.cluster.local.",
        "outbound_.80_.v1_.web",
        "10.0.0.1:65535",
        "[::1]",
        "[fd00::1]:8080",
        "a" * 255 + ":80",
    ],
)
def test_an_authority_is_a_host_and_perhaps_a_port(authority: str) -> None:
    assert fields.authority_fault(authority) is None


@pytest.mark.parametrize(
    "authority",
    [
        "",
        ":80",
        "web:",
        "web:0",
        "web:65536",
        "web:+80",
        "web:٨٠",
        "web:80:80",
        "::1",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1%eth0]",
        "[web]",
        "[]",
        "user@web",
        "web/",
        "web?",
        "web#",
        "web\\",
        "we b",
        " web",
        "web,other",
        "w%65b",
        "wéb",
        "a" * 300,
    ],
)
def test_nothing_else_is_an_authority(authority: str) -> None:
    assert fields.authority_fault(authority) is not None


@pytest.mark.parametrize(
    ("method", "path", "is_one"),
    [
        ("GET", "/", True),
        ("GET", "/a/../b;c?d=%2F&e[]=^`{|}\\", True),
        ("OPTIONS", "*", True),
        ("GET", "*", False),
        ("GET", "", False),
        ("GET", "a", False),
        ("GET", "http://web/", False),
        ("GET", "/a#b", False),
        ("GET", "/a b", False),
        ("GET", "/é", False),
        ("GET", "/\x7f", False),
        ("GET", "/\r\n", False),
    ],
)
def test_a_path_is_printable_and_has_no_fragment(method: str, path: str, is_one: bool) -> None:
    assert (fields.path_fault(method, path) is None) is is_one


@pytest.mark.parametrize("name", [b"", b":path", b"a b", b"a\r\nb", b"a\0", b"a_b", b"caf\xe9", b"a:"])
def test_a_request_with_a_name_that_is_none_is_refused(name: bytes) -> None:
    found = fields.sort_request([(b"accept", b"*/*"), (name, b"x")])
    assert isinstance(found, Refusal)
    assert found.status == 400


def test_a_response_may_have_an_underscore_in_a_name() -> None:
    found = fields.sort_response([(b"X_Served_By", b"x")])
    assert found == Fields([("x_served_by", "x")], {})


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\0", b"\x7f", b"\x1b[31m"])
def test_a_value_has_no_control_characters(value: bytes) -> None:
    for sort in (fields.sort_request, fields.sort_response):
        assert isinstance(sort([(b"x", value)]), Refusal)


@given(st.binary(max_size=20).filter(lambda value: not value.translate(None, fields._VALUE)))
def test_a_value_is_passed_on_byte_for_byte_but_for_blanks_around_it(value: bytes) -> None:
    assert sorted_request((b"x", value)).headers == [("x", value.strip(b" \t").decode("latin-1"))]


def test_what_is_for_one_hop_is_told_from_what_goes_on() -> None:
    found = sorted_request(
        (b"Host", b"web"), (b"Accept", b"a"), (b"TE", b"trailers"), (b"accept", b"b"), (b"te", b"gzip")
    )
    assert found == Fields([("accept", "a"), ("accept", "b")], {"host": ["web"], "te": ["trailers", "gzip"]})
    assert found.elements("te") == ["trailers", "gzip"]


@pytest.mark.parametrize(
    ("raw", "authority", "expected"),
    [
        pytest.param([(b"host", b"Web")], "", "Web", id="host-alone"),
        pytest.param([], "web:80", "web:80", id="authority-alone"),
        pytest.param([(b"host", b"WEB")], "web", "web", id="the-same-in-capitals"),
        pytest.param([], "", 400, id="neither"),
        pytest.param([(b"host", b"")], "", 400, id="empty"),
        pytest.param([(b"host", b"web")], "other", 400, id="another"),
        pytest.param([(b"host", b"web:80")], "web", 400, id="another-port"),
        pytest.param([(b"host", b"web"), (b"host", b"web")], "", 400, id="two"),
        pytest.param([(b"host", b"web"), (b"host", b"web")], "web", 400, id="two-and-authority"),
        pytest.param([(b"host", b"u@web")], "", 400, id="user"),
    ],
)
def test_there_is_one_authority(raw: list[tuple[bytes, bytes]], authority: str, expected: str | int) -> None:
    found = head(*raw, authority=authority)
    assert (found.status if isinstance(found, Refusal) else found.authority) == expected


def test_an_expectation_and_trailers_are_understood() -> None:
    found = head((b"expect", b"100-Continue"), (b"te", b"gzip, trailers"))
    assert isinstance(found, RequestHead)
    assert found.expects_continue
    assert found.takes_trailers
    assert found.headers == ()


@pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, x"])
def test_another_expectation_is_refused(value: bytes) -> None:
    found = head((b"expect", value))
    assert isinstance(found, Refusal)
    assert found.status == 417


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "GÉT", "GET:"])
def test_a_method_is_a_token(method: str) -> None:
    assert isinstance(head(method=method), Refusal)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([b"0"], 0),
        ([b"007"], 7),
        ([b"9" * 18], 10**18 - 1),
        ([b"9" * 19], 400),
        ([b"4", b"4"], 400),
        ([b"4, 4"], 400),
        ([b"+4"], 400),
        ([b"-4"], 400),
        ([b"0x4"], 400),
        ([b""], 400),
        ([b"4_0"], 400),
        ([b"\xb2"], 400),
    ],
)
def test_a_length_is_one_number(values: list[bytes], expected: int | None) -> None:
    found = fields.content_length(sorted_request(*((b"content-length", value) for value in values)))
    assert (found.status if isinstance(found, Refusal) else found) == expected


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (b"close", True),
        (b"keep-alive, Upgrade, x-custom", True),
        (b"Authorization", False),
        (b"close, HOST", False),
        (b"x-forwarded-for", False),
        (b"content-length", False),
        (b"transfer-encoding", False),
        (b"cookie", False),
        (b",".join([b"x"] * 11), False),
    ],
)
def test_what_is_protected_cannot_be_nominated(value: bytes, is_one: bool) -> None:
    assert (fields.nominated_fault(sorted_request((b"connection", value))) is None) is is_one


def test_what_is_nominated_is_left_out_unless_it_is_protected() -> None:
    raw = [(b"connection", b"x-one, Set-Cookie"), (b"x-one", b"1"), (b"x-two", b"2"), (b"set-cookie", b"a=b")]
    assert fields.without_nominated(sorted_request(*raw)) == [("x-two", "2"), ("set-cookie", "a=b")]


@pytest.mark.parametrize(
    ("raw", "is_one"),
    [
        ([(b"te", b"trailers")], True),
        ([(b"expect", b"100-continue"), (b"trailer", b"x")], True),
        ([(b"te", b"gzip")], False),
        ([(b"connection", b"x")], False),
        ([(b"transfer-encoding", b"chunked")], False),
        ([(b"upgrade", b"websocket")], False),
        ([(b"keep-alive", b"5")], False),
        ([(b"proxy-connection", b"close")], False),
        ([(b"http2-settings", b"")], False),
    ],
)
def test_http2_has_no_fields_of_one_hop(raw: list[tuple[bytes, bytes]], is_one: bool) -> None:
    assert (fields.one_hop_fault(sorted_request(*raw)) is None) is is_one


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"host", b"connection", b"te"])
def test_a_trailer_that_says_where_the_message_ends_or_goes_is_refused(name: bytes) -> None:
    found = fields.trailers(fields.sort_request([(b"x", b"1"), (name, b"2")]))
    assert isinstance(found, Refusal)
    assert found.status == 400


def test_trailers_that_come_too_late_are_dropped() -> None:
    raw = [
        (b"grpc-status", b"0"),
        (b"Authorization", b"x"),
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"trailer", b"x"),
    ]
    assert fields.trailers(fields.sort_response(raw)) == (("grpc-status", "0"),)
