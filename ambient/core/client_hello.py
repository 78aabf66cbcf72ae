"""Which server a TLS client asks for, read from the first bytes that it sends (RFC 8446, section 4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 64 * 1024
"""Bytes that a hello may have; Source: no client is known to send a tenth of it."""
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client begins with."""

    server_name: str = ""
    """SNI in lower case; empty: none, or none that is a name."""


class _Short(Exception):  # Not an error: more may come.
    """The bytes end before it does."""


class _Wrong(Exception):
    """They are not what they should be."""


def may_begin(data: bytes) -> bool:
    """Whether these first bytes may be those of a client's TLS."""
    begins = (_HANDSHAKE, 3)
    return all(byte == wanted for byte, wanted in zip(data, begins, strict=False)) and (
        len(data) < 6 or data[5] == _CLIENT_HELLO
    )


def read(data: bytes) -> Hello | None:
    """The hello that ``data`` begins with; None: more is needed. What is none says nothing of a name."""
    try:
        return Hello(_server_name(_message(data)))
    except _Short:
        return None if len(data) < MOST else Hello()
    except _Wrong:
        return Hello()


def _message(data: bytes) -> _Reader:
    """The handshake's first message, put together from its records."""
    joined, records = b"", _Reader(data)
    while True:
        if len(joined) >= 4:
            if joined[0] != _CLIENT_HELLO:
                raise _Wrong
            length = int.from_bytes(joined[1:4])
            if length > MOST:
                raise _Wrong
            if len(joined) >= 4 + length:
                return _Reader(joined[4 : 4 + length])
        kind, version = records.number(1), records.number(2)
        if kind != _HANDSHAKE or version >> 8 != 3:
            raise _Wrong
        fragment = records.vector(2)
        if not fragment:
            raise _Wrong
        joined += fragment


def _server_name(hello: _Reader) -> str:
    try:
        hello.skip(2 + 32)
        hello.vector(1)
        hello.vector(2)
        hello.vector(1)
        extensions = _Reader(hello.vector(2))
        while extensions.left:
            kind, content = extensions.number(2), extensions.vector(2)
            if kind == _SERVER_NAME:
                names = _Reader(_Reader(content).vector(2))
                return _host(names.number(1), names.vector(2))
    except _Short as error:
        raise _Wrong from error
    return ""


def _host(kind: int, name: bytes) -> str:
    if kind != _HOST_NAME or not 0 < len(name) <= _LONGEST_NAME:
        raise _Wrong
    text = name.decode("ascii", "replace").lower()
    if not all(character.isascii() and (character.isalnum() or character in "-._") for character in text):
        raise _Wrong
    return text


class _Reader:
    """Big-endian numbers, and bytes behind their length."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def skip(self, size: int) -> bytes:
        if self.left < size:
            raise _Short
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size))

    def vector(self, size: int) -> bytes:
        return self.skip(self.number(size))
