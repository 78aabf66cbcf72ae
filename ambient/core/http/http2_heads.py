"""Heads of HTTP/2: what the fields that ngh2 hands out mean, and how ours are said.

ngh2 has seen to what RFC 9113 asks of a header block: lower case, pseudo fields first, each once and none missing, no
field of HTTP/1.1's connections, no control characters. What it lets pass and we refuse: a ``host`` that is not
``:authority``, an authority that is none, a scheme that is neither http nor https, CONNECT, ``_`` in names, more fields
and bytes than ``Limits`` has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Final, TypeAlias

from ambient.core.http import fields
from ambient.core.http.fields import Fields, RawFields, Refusal
from ambient.core.http.machine import Limits
from ambient.core.http.message import Headers, RequestHead, ResponseHead

Block: TypeAlias = Sequence[tuple[bytes, bytes]]

WEBSOCKET: Final = "websocket"
_OVERHEAD: Final = 32
"""Bytes that each field counts besides its name and value."""


def size_of(block: Block) -> int:
    """How many bytes fields count. Source: RFC 9113, section 6.5.2."""
    return sum(map(len, chain.from_iterable(block))) + _OVERHEAD * len(block)


def read_request(block: Block, size: int, limits: Limits, *, ended: bool) -> RequestHead | Refusal:
    """The head of a request; ``size``: its ``size_of``, ``ended``: it has no body."""
    method = authority = path = scheme = protocol = ""
    first = 0
    for name, value in block:
        if not name.startswith(b":"):
            break
        first += 1
        match name:
            case b":method":
                method = str(value, "latin-1")
            case b":path":
                path = str(value, "latin-1")
            case b":authority":
                authority = str(value, "latin-1")
            case b":scheme":
                scheme = str(value, "latin-1")
            case b":protocol":
                protocol = str(value, "latin-1").lower()
            case _:
                return Refusal(400, "there is a pseudo field that nobody knows")
    if size > limits.header_bytes:
        return Refusal(431, "the headers are too long")
    if len(path) > limits.request_line:
        return Refusal(414, "the path is too long")
    rest = block[first:]
    found = _sorted(rest, limits)
    if isinstance(found, Refusal):
        return found
    upgrade = ""
    if method == "CONNECT":
        if not protocol:
            return Refusal(405, "CONNECT is not for here")
        if protocol != WEBSOCKET:
            return Refusal(501, "there is no going on with that protocol")
        # RFC 8441, section 5: what is GET with an upgrade in HTTP/1.1.
        method, upgrade = "GET", protocol
    if scheme not in ("http", "https"):
        return Refusal(400, "the scheme is neither http nor https")
    length = fields.content_length(found)
    if isinstance(length, Refusal):
        return length
    if upgrade or (length is None and ended):
        length = 0
    return fields.request_head(method, authority, path, found, scheme=scheme, length=length, upgrade=upgrade)


def _sorted(block: Block, limits: Limits) -> Fields | Refusal:
    if len(block) > limits.header_count:
        return Refusal(431, "there are too many headers")
    found = fields.sort_request(block)
    if isinstance(found, Refusal):
        return found
    if (fault := fields.one_hop_fault(found)) is not None:
        return Refusal(400, fault)
    if [name for name, _ in found.headers].count("cookie") > 1:
        found.headers = _with_whole_cookie(found.headers)
    return found


def _with_whole_cookie(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Source: RFC 9113, section 8.2.3."""
    cookie = "; ".join([value for name, value in headers if name == "cookie"])
    first = next(at for at, (name, _) in enumerate(headers) if name == "cookie")
    rest = [header for header in headers[first + 1 :] if header[0] != "cookie"]
    return [*headers[:first], ("cookie", cookie), *rest]


def read_response(
    block: Block, limits: Limits, request: RequestHead, *, ended: bool
) -> ResponseHead | Refusal:
    """The head of a response, also of one before the answer; of a ``Refusal`` its detail counts."""
    status = int(block[0][1])
    rest = block[1:]
    found = _answer_fields(rest, limits)
    if isinstance(found, Refusal):
        return found
    length = fields.content_length(found)
    if isinstance(length, Refusal):
        return length
    if request.upgrade and 200 <= status <= 299:
        return ResponseHead(101, tuple(found.headers))
    if length is None and ended and status != 304 and request.method != "HEAD":
        length = 0
    return ResponseHead(status, tuple(found.headers), length)


def _answer_fields(block: RawFields, limits: Limits) -> Fields | Refusal:
    if len(block) > limits.header_count:
        return Refusal(502, "there are too many headers")
    if size_of(block) > limits.header_bytes:
        return Refusal(502, "the headers are too long")
    found = fields.sort_response(block)
    if not isinstance(found, Refusal) and (fault := fields.one_hop_fault(found)) is not None:
        return Refusal(502, fault)
    return found


def read_trailers(block: RawFields, limits: Limits, *, of_request: bool) -> Headers | Refusal:
    """What may be passed on of a message's trailers."""
    if len(block) > limits.header_count:
        return Refusal(431, "there are too many trailers")
    return fields.trailers(fields.sort_request(block) if of_request else fields.sort_response(block))


def request_block(head: RequestHead) -> list[tuple[bytes, bytes]]:
    """How a request is said."""
    method = (b":method", b"CONNECT" if head.upgrade else _name(head.method))
    block = [
        method,
        (b":scheme", _name(head.scheme)),
        (b":authority", _value(head.authority)),
        (b":path", _value(head.path)),
    ]
    if head.upgrade:
        block.append((b":protocol", _name(head.upgrade)))
    elif head.length:
        block.append((b"content-length", b"%d" % head.length))
    block += fields_block(head.headers)
    if head.takes_trailers:
        block.append((b"te", b"trailers"))
    if head.expects_continue:
        block.append((b"expect", b"100-continue"))
    return block


def response_block(status: int, headers: Headers, length: int | None = None) -> list[tuple[bytes, bytes]]:
    """How a response is said."""
    block = [(b":status", b"%d" % status)]
    if length is not None and status != 204:
        block.append((b"content-length", b"%d" % length))
    block += fields_block(headers)
    return block


def fields_block(headers: Headers) -> list[tuple[bytes, bytes]]:
    """How fields are said, be they headers or trailers."""
    return [(_name(name), _value(value)) for name, value in headers]


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    return name.encode("latin-1", "replace")


def _value(value: str) -> bytes:
    return value.encode("latin-1", "replace")
