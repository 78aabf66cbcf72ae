"""What requests go together by: the text that a consistent hash is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core.model.traffic import HashCookie, HashHeader, HashKey, HashQuery, HashSource

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress
    from ambient.core.routing import Request


def text_of(key: HashKey, request: Request, source: IpAddress) -> str | None:
    """The text of a request; None: it has none, so it goes wherever chance has it.

    Of a cookie that has a lifetime, one is to be made then, with a text by chance; of that the hash is made.
    """
    match key:
        case HashHeader(name):
            return request.header(name.lower())
        case HashCookie(name):
            return cookie(request.header("cookie") or "", name)
        case HashQuery(name):
            return request.queries.get(name)
        case HashSource():
            return str(source)


def cookie(header: str, name: str) -> str | None:
    """The value of a cookie, the first of its name; quotes around it are not part of it."""
    for pair in header.replace(",", ";").split(";"):
        found, equals, value = pair.strip().partition("=")
        if equals and found == name:
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return None
