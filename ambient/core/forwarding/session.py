"""Sessions: what a client carries so that it stays with its endpoint. Source: GEP-1619.

What it carries names the endpoint and the moment (of the wall clock, in seconds) after which another may be given. It is
no secret and no promise: an endpoint that may not serve any more is not chosen for it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from typing import TYPE_CHECKING, Final

from ambient.core.model.traffic import HashCookie, Persistence, PersistenceKind
from ambient.core.resilience.balance.keys import cookie

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.core.http.message import Headers

DEFAULT_COOKIE: Final = "ambient-session"
DEFAULT_HEADER: Final = "x-ambient-session"
_LONGEST: Final = 1024


def endpoint_of(persistence: Persistence, headers: Mapping[str, str], wall: float) -> str:
    """The uid of the endpoint that a request asks for; empty: any."""
    match persistence.kind:
        case PersistenceKind.COOKIE:
            shown = cookie(headers.get("cookie", ""), persistence.name or DEFAULT_COOKIE)
        case PersistenceKind.HEADER:
            shown = headers.get((persistence.name or DEFAULT_HEADER).lower())
    if not shown or len(shown) > _LONGEST:
        return ""
    try:
        until, _, uid = urlsafe_b64decode(shown.encode()).decode().partition(" ")
        return uid if not until or float(until) > wall else ""
    except (Error, ValueError):
        return ""


def told(persistence: Persistence, uid: str, wall: float) -> Headers:
    """What a client is told that was given the endpoint ``uid``."""
    lifetime = persistence.lifetime
    until = "" if lifetime is None else str(int(wall + lifetime.total_seconds()))
    value = urlsafe_b64encode(f"{until} {uid}".encode()).decode()
    match persistence.kind:
        case PersistenceKind.HEADER:
            return (((persistence.name or DEFAULT_HEADER).lower(), value),)
        case PersistenceKind.COOKIE:
            age = (
                f"; Max-Age={int(lifetime.total_seconds())}"
                if lifetime is not None and persistence.is_permanent
                else ""
            )
            name = persistence.name or DEFAULT_COOKIE
            return (("set-cookie", f'{name}="{value}"; Path=/{age}; HttpOnly'),)


def made(key: HashCookie, value: str) -> Headers:
    """The cookie that a client is told to go by from now on."""
    age = "" if key.ttl is None or not key.ttl else f"; Max-Age={int(key.ttl.total_seconds())}"
    path = f"; Path={key.path}" if key.path else ""
    return (("set-cookie", f'{key.name}="{value}"{path}{age}; HttpOnly'),)
