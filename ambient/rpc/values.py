"""Checks on values that arrived: each says what is wrong with a field, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def first(*found: str | None) -> str | None:
    """The first fault of several checks."""
    return next((one for one in found if one is not None), None)


def service_key(field: str, key: str) -> str | None:
    """Whether it is the key of a service."""
    namespace, _, hostname = key.partition("/")
    if namespace and hostname and "/" not in hostname:
        return None
    return f"{field} is {key!r}; it is namespace/hostname"


def ports(field: str, numbers: Iterable[int | None]) -> str | None:
    """Whether all of them are ports; None is."""
    return first(
        *(
            f"{field} is {port}; a port is 1-65535"
            for port in numbers
            if port is not None and not 0 < port < 65536
        )
    )


def lower_case(field: str, name: str) -> str | None:
    """Whether it is a name in lower case."""
    return None if name == name.lower() else f"{field} is {name!r}; write it in lower case"
