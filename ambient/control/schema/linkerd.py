"""linkerd.io ServiceProfile. Source: its Go types and the validation of its webhook."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ambient.control.schema.duration import GoDuration
from ambient.control.schema.regex import regex
from ambient.control.schema.shape import (
    Document,
    Shape,
    between,
    is_dns_name,
    not_empty,
    say,
    wrong,
    wrong_at,
)

_QUANTITY: Final = re.compile(
    r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
)
_POWERS: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** (i + 1) for i, unit in enumerate("kMGTPE")},
    **{f"{unit}i": Decimal(1024) ** (i + 1) for i, unit in enumerate("KMGTPE")},
}
_HEAVIEST: Final = 2**32 - 1


def _path_regex(text: str) -> str:
    return regex(text.strip())


def _authority(text: str) -> str:
    host, colon, port = text.partition(":")
    host = host.removesuffix(".")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise wrong(f"is {say(text)}; the port after the colon is 1-65535")
    if "." not in host or not is_dns_name(host):
        raise wrong(f"is {say(text)}; it is a whole host name, such as api-v2.shop.svc.cluster.local:8080")
    return f"{host}{colon}{port}"


def _thousandths(value: object) -> int:
    """A quantity of Kubernetes, in thousandths, rounded up."""
    match = None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise wrong(f"is {say(value)}; it is a number such as 1, 0.5 or 500m")
    number, unit = match.groups()
    unit = unit or ""
    factor = _POWERS.get(unit) or Decimal(f"1{unit}")
    found = int((Decimal(number) * factor * 1000).to_integral_value(ROUND_CEILING))
    if found > _HEAVIEST:
        raise wrong(f"is {say(value)}; the most is {_HEAVIEST // 1000}")
    return found


def _ports(ports: object) -> object:
    """YAML has the ports as numbers, JSON as strings."""
    if not isinstance(ports, dict):
        return ports
    keyed: dict[int, object] = {}
    for port, opaque in ports.items():
        number = int(port) if isinstance(port, str) and re.fullmatch("[0-9]{1,5}", port) else port
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
            raise wrong(f"has the port {say(port)}; a port is 1-65535")
        if opaque not in (True, False, {}):
            raise wrong(f"has {say(opaque)} for port {number}; it is true or {{}}")
        keyed[number] = opaque is not False
    return keyed


class Range(Shape):
    """HTTP statuses from one to another; one alone is that one."""

    min: Annotated[int, AfterValidator(between(0, 599))] = 0
    max: Annotated[int, AfterValidator(between(0, 599))] = 0

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        for field, status in (("min", self.min), ("max", self.max)):
            if 0 < status < 100:
                raise wrong_at(field, f"is {status}; a status is 100-599")
        if not self.min and not self.max:
            raise wrong("has neither min nor max; give one")
        if self.min and self.max and self.max < self.min:
            raise wrong_at("max", f"is {self.max} and min {self.min}; make it at least that")
        return self


class RequestMatch(Shape):
    """What a request must be; everything that is set counts together."""

    all: tuple[RequestMatch, ...] | None = Field(default=None, strict=False)
    any: tuple[RequestMatch, ...] | None = Field(default=None, strict=False)
    not_: RequestMatch | None = Field(default=None, alias="not")
    path_regex: Annotated[str, AfterValidator(_path_regex)] = ""
    method: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (
            self.all is None
            and self.any is None
            and self.not_ is None
            and not (self.path_regex or self.method)
        ):
            raise wrong("is empty; give one of pathRegex, method, all, any and not")
        return self


class ResponseMatch(Shape):
    """What a response must be; everything that is set counts together."""

    all: tuple[ResponseMatch, ...] | None = Field(default=None, strict=False)
    any: tuple[ResponseMatch, ...] | None = Field(default=None, strict=False)
    not_: ResponseMatch | None = Field(default=None, alias="not")
    status: Range | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.all is None and self.any is None and self.not_ is None and self.status is None:
            raise wrong("is empty; give one of status, all, any and not")
        return self


class ResponseClass(Shape):
    """What a response is counted as."""

    condition: ResponseMatch
    is_failure: bool = False


class Route(Shape):
    """A kind of request."""

    name: Annotated[str, Field(min_length=1)]
    condition: RequestMatch
    response_classes: tuple[ResponseClass, ...] = Field(default=(), strict=False)
    is_retryable: bool | None = None
    timeout: GoDuration | Literal[""] | None = None


class RetryBudget(Shape):
    """How many retries there may be."""

    retry_ratio: float
    min_retries_per_second: int
    ttl: GoDuration

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        """Linkerd takes what is out of these bounds, and then never retries."""
        if not 0 <= self.retry_ratio <= 1000:
            raise wrong_at("retryRatio", f"is {self.retry_ratio}; it is 0-1000, where 0.2 is a fifth")
        if not 0 <= self.min_retries_per_second <= 2**31 - 1:
            raise wrong_at("minRetriesPerSecond", f"is {self.min_retries_per_second}; it is 0-{2**31 - 1}")
        if not 1 <= self.ttl.total_seconds() <= 60:
            raise wrong_at("ttl", "is out of bounds; it is 1s-60s")
        return self


class Override(Shape):
    """Where a share of the requests goes."""

    authority: Annotated[str, AfterValidator(_authority)]
    weight: Annotated[int, BeforeValidator(_thousandths)]


class ServiceProfileSpec(Shape):
    """linkerd.io ServiceProfile."""

    routes: tuple[Route, ...] = Field(default=(), strict=False)
    retry_budget: RetryBudget | None = None
    dst_overrides: Annotated[tuple[Override, ...], AfterValidator(not_empty)] | None = Field(
        default=None, strict=False
    )
    opaque_ports: Annotated[dict[int, bool], BeforeValidator(_ports)] = Field(default={})


class ServiceProfileDocument(Document):
    """linkerd.io ServiceProfile."""

    spec: ServiceProfileSpec

    @model_validator(mode="after")
    def _is_named_by_its_host(self) -> Self:
        if "." not in self.metadata.name:
            raise wrong_at(
                "metadata.name",
                f"is {say(self.metadata.name)}; it is the whole name of a service, such as "
                f"{self.metadata.name}.{self.metadata.namespace}.svc.cluster.local",
            )
        return self
