"""What the shapes of Istio's kinds share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, model_validator

from ambient.control.schema.duration import GoDuration
from ambient.control.schema.regex import regex
from ambient.control.schema.shape import (
    Shape,
    WorkloadSelector,
    between,
    is_dns_label,
    is_dns_name,
    say,
    wrong,
    wrong_at,
)

T = TypeVar("T")

_SUBSET: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_SHORTEST: Final = timedelta(milliseconds=1)
_MOST: Final = 2**31 - 1
_PREDEFINED: Final = {".", "*", "~"}


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if host != "*" and not is_dns_name(host.removeprefix("*.")):
        raise wrong(f"is {say(text)}; a host is a DNS name, *. before one for all below it, or *")
    return host


def _exact_host(text: str) -> str:
    if "*" in text:
        raise wrong(f"is {say(text)}; requests can only go to one host, without *")
    return _host(text)


def _namespace(text: str) -> str:
    if text not in _PREDEFINED and not is_dns_label(text):
        raise wrong(f"is {say(text)}; it is a namespace, . for the object's own, * for all, or ~ for none")
    return text


def _at_least_a_millisecond(duration: timedelta) -> timedelta:
    if duration < _SHORTEST:
        raise wrong("is shorter than 1ms; leave it out for the default")
    return duration


def _percent(number: float) -> float:
    if not 0 <= number <= 100:
        raise wrong(f"is {number}; it is 0-100")
    return number


def _prefix(text: str) -> str:
    if not text:
        raise wrong("is empty; leave the match out to match everything")
    return text


def _subset(name: str) -> str:
    if _SUBSET.fullmatch(name) is None:
        raise wrong(
            f"is {say(name)}; a subset is 1-63 letters, digits and -, and neither starts nor ends with -"
        )
    return name


Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False)]
"""A list."""
Host: TypeAlias = Annotated[str, AfterValidator(_host)]
ExactHost: TypeAlias = Annotated[str, AfterValidator(_exact_host)]
ExportTo: TypeAlias = Annotated[str, AfterValidator(_namespace)]
Duration: TypeAlias = Annotated[GoDuration, AfterValidator(_at_least_a_millisecond)]
Count: TypeAlias = Annotated[int, AfterValidator(between(0, _MOST))]
"""As protobuf has it: 0 is the same as nothing."""
Percent: TypeAlias = Annotated[float, AfterValidator(_percent)]
WholePercent: TypeAlias = Annotated[int, AfterValidator(between(0, 100))]
SubsetName: TypeAlias = Annotated[str, AfterValidator(_subset)]
Regex: TypeAlias = Annotated[str, AfterValidator(regex)]
Prefix: TypeAlias = Annotated[str, AfterValidator(_prefix)]


class StringMatch(Shape):
    """One of three ways to compare a text; none given: any text."""

    exact: str | None = None
    prefix: Prefix | None = None
    regex: Regex | None = None

    @model_validator(mode="after")
    def _compares_one_way(self) -> Self:
        if sum(value is not None for value in (self.exact, self.prefix, self.regex)) > 1:
            raise wrong("compares in two ways; keep one of exact, prefix and regex")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether it only asks for presence."""
        return self.exact is None and self.prefix is None and self.regex is None


class TargetRef(Shape):
    """What a waypoint enforces an object for."""

    group: str = ""
    kind: str
    name: str
    namespace: str = ""


class Targeted(Shape):
    """The spec of a policy: whom it is for."""

    selector: WorkloadSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: Many[TargetRef] = ()

    @model_validator(mode="after")
    def _selects_one_way(self) -> Self:
        if self.selector is not None and (self.target_ref is not None or self.target_refs):
            raise wrong_at("selector", "is set together with targetRefs; keep one of them")
        if self.target_ref is not None and self.target_refs:
            raise wrong_at("targetRef", "is set together with targetRefs; keep targetRefs")
        return self

    @property
    def targets(self) -> tuple[TargetRef, ...]:
        """What it is for, however that was written."""
        return self.target_refs if self.target_ref is None else (self.target_ref,)
