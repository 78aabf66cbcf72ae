"""What either version checks of a message's fields before anyone hears of them.

A machine has raw fields from its parser. ``sort_request`` and ``sort_response`` check every name and value and tell
apart what goes from end to end and what is between the two ends of this connection (``Fields.own``). The machine then
sees to what is its version's own, and ``request_head`` makes the head, or says why there is none.

Bytes become text as ISO 8859-1, so that whatever is passed on is passed on byte for byte.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from ambient.core.http.message import Headers, RequestHead

RawFields: TypeAlias = Sequence[tuple[bytes, bytes]]

ONE_HOP: Final = frozenset(
    (
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields that are between the two ends of one connection. ``trailer`` is: each hop says which trailers it sends."""
OWN: Final = ONE_HOP | {"content-length", "host"}
"""What is never among ``RequestHead.headers`` and ``ResponseHead.headers``."""
_SET_ASIDE: Final = OWN | {""}
_FORBIDDEN_TRAILERS: Final = OWN - {"trailer"}
"""What says where a message ends or goes, after it has: refused."""
_IDLE_TRAILERS: Final = frozenset(
    (
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "forwarded",
        "location",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "set-cookie",
        "trailer",
        "www-authenticate",
    )
)
"""What was to be known before the body, after it: dropped. Source: RFC 9110, section 6.5.1."""
_PROTECTED: Final = frozenset(
    (
        "accept",
        "authorization",
        "b3",
        "baggage",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "forwarded",
        "host",
        "location",
        "max-forwards",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "referer",
        "set-cookie",
        "strict-transport-security",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "user-agent",
        "via",
        "www-authenticate",
        "x-real-ip",
        "x-request-id",
    )
)
_PROTECTED_PREFIXES: Final = (
    "access-control-",
    "grpc-",
    "sec-",
    "x-ambient-",
    "x-b3-",
    "x-envoy-",
    "x-forwarded-",
)
_MOST_NOMINATED: Final = 10
"""Names in ``Connection``. Source: Envoy's figure."""
_MOST_AUTHORITY: Final = 261
"""A host name's 255, a colon, five digits."""
_MOST_DIGITS: Final = 18
"""Of a length: more than any body has, and always within 64 bits."""

_METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
_TOKEN: Final = b"!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_VALUE: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_HOST: Final = b"-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLANK: Final = " \t"


class Refusal(NamedTuple):
    """Why a request is none, and the status that says so."""

    status: int
    detail: str


@dataclass(slots=True)
class Fields:
    """A message's fields, told apart; names are in lower case."""

    headers: list[tuple[str, str]]
    """Those that go from end to end, in order."""
    own: dict[str, list[str]]
    """Values of ``host``, ``content-length`` and each of ``ONE_HOP`` that came."""

    def elements(self, name: str) -> list[str]:
        """What one of ``own`` lists, in lower case."""
        values = self.own.get(name)
        if values is None:
            return []
        return [element.strip(_BLANK) for value in values for element in value.lower().split(",")]


def sort_request(raw: RawFields, *, is_clean: bool = False) -> Fields | Refusal:
    """A request's fields. A name with ``_`` is refused: some applications cannot tell it from ``-``.

    ``is_clean``: that there are no control characters in the values is known.
    """
    return _sort(raw, _request_name, is_clean=is_clean)


def sort_response(raw: RawFields, *, is_clean: bool = False) -> Fields | Refusal:
    """A response's fields; of a ``Refusal`` its detail counts."""
    return _sort(raw, _response_name, is_clean=is_clean)


def _sort(raw: RawFields, lower_name: Callable[[bytes], str], *, is_clean: bool) -> Fields | Refusal:
    if not is_clean and b"".join([value for _, value in raw]).translate(None, _VALUE):
        return Refusal(400, "a header's value has control characters")
    headers: list[tuple[str, str]] = []
    own: dict[str, list[str]] = {}
    for name, value in raw:
        lower = lower_name(name)
        if lower not in _SET_ASIDE:
            headers.append((lower, str(value, "latin-1").strip(_BLANK)))
        elif lower:
            own.setdefault(lower, []).append(str(value, "latin-1").strip(_BLANK))
        else:
            return Refusal(400, f"a header's name is not one: {str(name[:64], 'latin-1')!r}")
    return Fields(headers, own)


@lru_cache(maxsize=1024)
def _request_name(name: bytes) -> str:
    return "" if b"_" in name else _response_name(name)


@lru_cache(maxsize=1024)
def _response_name(name: bytes) -> str:
    """In lower case; nothing, if it is none."""
    return "" if name.translate(None, _TOKEN) else str(name, "latin-1").lower()


def request_head(
    method: str,
    authority: str,
    path: str,
    fields: Fields,
    *,
    scheme: str = "http",
    length: int | None,
    upgrade: str = "",
) -> RequestHead | Refusal:
    """The head of a request, once all of it is in order.

    ``authority`` is what the request itself names, empty if it names none; then ``host`` does, and else it must be the
    same. Of ``length`` and ``upgrade`` the machine knows more than the fields.
    """
    if method not in _METHODS and not is_token(method):
        return Refusal(400, "the method is not one")
    if (fault := path_fault(method, path)) is not None:
        return Refusal(400, fault)
    own = fields.own
    hosts = own.get("host", ())
    if len(hosts) > 1:
        return Refusal(400, "there is more than one Host")
    if not authority:
        if not hosts:
            return Refusal(400, "there is no Host")
        authority = hosts[0]
    elif hosts and hosts[0] != authority and hosts[0].lower() != authority.lower():
        return Refusal(400, "Host is another than the request's own")
    if (fault := authority_fault(authority)) is not None:
        return Refusal(400, fault)
    expects_continue = False
    if "expect" in own:
        if fields.elements("expect") != ["100-continue"]:
            return Refusal(417, "the expectation is not 100-continue")
        expects_continue = True
    return RequestHead(
        method,
        authority,
        path,
        tuple(fields.headers),
        scheme,
        length,
        upgrade,
        expects_continue,
        "te" in own and "trailers" in fields.elements("te"),
    )


def is_token(name: str) -> bool:
    """Whether it may be a method, or the name of a field or protocol."""
    return bool(name) and name.isascii() and not name.encode().translate(None, _TOKEN)


def path_fault(method: str, path: str) -> str | None:
    """What is wrong with ``path`` as a request's target, if anything is."""
    if path == "*":
        return None if method == "OPTIONS" else "only OPTIONS has the target *"
    if not path.startswith("/"):
        return "the path does not begin with /"
    if not (path.isascii() and path.isprintable()) or " " in path or "#" in path:
        return "the path has a character that must be escaped"
    return None


@lru_cache(maxsize=1024)
def authority_fault(authority: str) -> str | None:
    """What is wrong with ``authority`` as host and perhaps port, if anything is.

    Narrower than RFC 3986: a host is a name of letters, digits and ``-._~``, or an address. There is no user in it.
    """
    if not authority or len(authority) > _MOST_AUTHORITY or not authority.isascii():
        return "the authority is not host and port"
    host, colon, port = authority.rpartition(":")
    if authority.startswith("["):
        if authority.endswith("]"):
            host, colon, port = authority, "", ""
        if not (host.endswith("]") and _is_ipv6(host[1:-1])):
            return "the authority is not host and port"
    else:
        if not colon:
            host = authority
        if not host or host.encode().translate(None, _HOST):
            return "the authority is not host and port"
    if colon and not (port.isdigit() and len(port) <= 5 and 0 < int(port) <= 0xFFFF):
        return "the authority's port is none"
    return None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def content_length(fields: Fields) -> int | Refusal | None:
    """Bytes of the body as the fields say; None: they do not say. A list is refused, also of equal values."""
    values = fields.own.get("content-length")
    if values is None:
        return None
    if len(values) != 1:
        return Refusal(400, "there is more than one Content-Length")
    text = values[0]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        return Refusal(400, "Content-Length is no number")
    return int(text)


def nominated_fault(fields: Fields) -> str | None:
    """What is wrong with the names in ``Connection``, if anything is."""
    names = fields.elements("connection")
    if len(names) > _MOST_NOMINATED:
        return "Connection names too many fields"
    for name in names:
        if is_protected(name):
            return f"Connection names {name}, which is for the other end"
    return None


def without_nominated(fields: Fields) -> list[tuple[str, str]]:
    """The headers without those that ``Connection`` names, save what is for the other end whoever says otherwise."""
    if "connection" not in fields.own:
        return fields.headers
    names = {name for name in fields.elements("connection") if not is_protected(name)}
    if names <= {"close", "keep-alive", "te", "upgrade"}:
        return fields.headers
    return [header for header in fields.headers if header[0] not in names]


def is_protected(name: str) -> bool:
    """Whether no end of one connection may have a field dropped: others decide by it, or trust it."""
    return name in _PROTECTED or name.startswith(_PROTECTED_PREFIXES)


def one_hop_fault(fields: Fields) -> str | None:
    """What HTTP/2 forbids of these fields, if it forbids any: whatever is HTTP/1.1's own.

    Source: RFC 9113, section 8.2.2. ``expect`` and ``trailer`` are taken, and ``te`` if it says ``trailers``.
    """
    for name in (
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ):
        if name in fields.own:
            return f"{name} is not for HTTP/2"
    if "te" in fields.own and fields.elements("te") != ["trailers"]:
        return "te says more than trailers"
    return None


def trailers(fields: Fields | Refusal) -> Headers | Refusal:
    """What may be passed on of a message's trailers, sorted like its fields; what they may not say at all is refused."""
    if isinstance(fields, Refusal):
        return fields
    for name in fields.own:
        if name in _FORBIDDEN_TRAILERS:
            return Refusal(400, f"{name} is among the trailers")
    return tuple(
        [
            header
            for header in fields.headers
            if header[0] not in _IDLE_TRAILERS and not header[0].startswith("x-forwarded-")
        ]
    )
