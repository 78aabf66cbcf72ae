"""Which server a client asks for, whatever way its bytes come."""

from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given, strategies as st

from ambient.core.client_hello import MOST, Hello, may_begin, read


def hello(server_name: str | None, *, newest: bool = True) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


WHOLE = hello("Shop.Example.com")


@pytest.mark.parametrize("newest", [True, False], ids=["tls-1.3", "tls-1.2"])
def test_the_name_is_read_in_lower_case(newest: bool) -> None:
    assert read(hello("Shop.Example.com", newest=newest)) == Hello("shop.example.com")


def test_a_hello_without_a_name_names_nobody() -> None:
    assert read(hello(None)) == Hello("")


def test_every_beginning_of_a_hello_waits_for_the_rest() -> None:
    assert [read(WHOLE[:size]) for size in range(len(WHOLE))] == [None] * len(WHOLE)
    assert all(may_begin(WHOLE[:size]) for size in range(len(WHOLE) + 1))


@given(st.lists(st.integers(1, len(WHOLE) - 6), max_size=8))
def test_a_hello_in_several_records_is_one(cuts: list[int]) -> None:
    message = WHOLE[5:]
    places = [0, *sorted(set(cuts)), len(message)]
    records = [message[start:end] for start, end in itertools.pairwise(places) if end > start]
    data = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in records)
    assert read(data) == Hello("shop.example.com")
    assert read(data[:-1]) is None


BROKEN = {
    "not-tls": b"GET / HTTP/1.1\r\n\r\n" + bytes(100),
    "another-message": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    "an-alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "an-empty-record": b"\x16\x03\x01\x00\x00",
    "a-message-too-long": b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    "a-hello-that-ends-early": b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
    "a-name-that-is-none": WHOLE.replace(b"Shop.Example.com", b"Shop Example\r\nX"[:15] + b"!"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_hello_names_nobody(data: bytes) -> None:
    assert read(data) == Hello("")


def test_a_hello_without_end_is_not_waited_for() -> None:
    begun = b"\x16\x03\x01\xff\xff\x01\x00\xff\xff" + bytes(MOST)
    assert read(begun[: MOST - 1]) is None
    assert read(begun) == Hello("")


@given(st.binary(max_size=80))
def test_any_bytes_are_read(data: bytes) -> None:
    read(data)
    read(b"\x16\x03\x01\x00\x30\x01" + data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_hello_with_any_byte_changed_is_read(place: int, value: int) -> None:
    changed = bytearray(WHOLE)
    changed[place] = value
    read(bytes(changed))
