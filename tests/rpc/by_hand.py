"""Protobuf written and read by hand, from its specification of the wire and field numbers alone.

Nothing here knows a ``.proto`` file, ours or another's, so what agrees with it agrees with others who have the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Any integer, enum or boolean."""
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes | str, *more: bytes) -> bytes:
    """Text, bytes, or a message of the parts given."""
    content = value.encode() if isinstance(value, str) else value
    content = b"".join((content, *more))
    return varint(field << 3 | 2) + varint(len(content)) + content


def fields(message: bytes) -> dict[int, list[int | bytes]]:
    """What a message holds, by field number."""
    found: dict[int, list[int | bytes]] = {}
    for field, value in _read(message):
        found.setdefault(field, []).append(value)
    return found


def texts(message: bytes, field: int) -> list[str]:
    """A field's values as text."""
    return [bytes(value).decode() for value in fields(message).get(field, [])]


def text(message: bytes, field: int) -> str:
    """A field's only value as text; empty if it is not there."""
    (only,) = texts(message, field) or [""]
    return only


def messages(message: bytes, field: int) -> list[bytes]:
    """A field's values as messages."""
    return [bytes(value) for value in fields(message).get(field, [])]


def _read(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0

    def next_varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(message):
        tag = next_varint()
        match tag & 7:
            case 0:
                yield tag >> 3, next_varint()
            case 2:
                length = next_varint()
                assert at + length <= len(message)
                yield tag >> 3, message[at : at + length]
                at += length
            case kind:
                raise AssertionError(f"field {tag >> 3} has wire type {kind}, which no message here uses")
