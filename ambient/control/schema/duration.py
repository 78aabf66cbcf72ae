"""Lengths of time, as each dialect writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator

from ambient.control.schema.shape import say, wrong

_MICROSECONDS: Final = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_GATEWAY: Final = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_GO: Final = re.compile(r"(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|0")
_PART: Final = re.compile(r"([0-9.]+)([a-zµμ]+)")
_LONGEST: Final = timedelta(days=100 * 365)


def gateway_duration(text: object) -> timedelta:
    """A check: a duration of the Gateway API. Source: GEP-2257."""
    if not isinstance(text, str) or _GATEWAY.fullmatch(text) is None:
        raise wrong(
            f"is {say(text)}; a duration is such as 10s, 1h30m or 500ms, without a sign or a fraction"
        )
    return _sum(text)


def go_duration(text: object) -> timedelta:
    """A check: a duration as Go and protobuf's JSON write it, and not below zero."""
    if not isinstance(text, str) or len(text) > 64 or _GO.fullmatch(text) is None:
        raise wrong(f"is {say(text)}; a duration is such as 10s, 1.5h or 500ms, without a sign")
    return _sum(text)


def _sum(text: str) -> timedelta:
    """What is less than a microsecond is dropped."""
    parts = _PART.findall(text)
    microseconds = int(sum((Decimal(number) * _MICROSECONDS[unit] for number, unit in parts), Decimal()))
    if microseconds > _LONGEST // timedelta(microseconds=1):
        raise wrong(f"is {say(text)}; the longest duration is a hundred years")
    return timedelta(microseconds=microseconds)


GatewayDuration: TypeAlias = Annotated[timedelta, BeforeValidator(gateway_duration)]
GoDuration: TypeAlias = Annotated[timedelta, BeforeValidator(go_duration)]
