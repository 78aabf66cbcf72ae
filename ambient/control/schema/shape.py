"""What the shapes of all kinds are made of: strict models, and checks that say what would be right.

Fields that ambient acts on are checked to the last; those that only Kubernetes knows are let through by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from ambient.control.problem import Reason
from ambient.core.model.address import IpAddress, unmapped
from ambient.core.model.authorization import IpNetwork

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_MOST_ANNOTATED = 256 << 10
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


class Shape(BaseModel):
    """Nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


def wrong(text: str) -> PydanticCustomError:
    """For a check to raise: what the value is, and what it should be."""
    return PydanticCustomError("wrong", "{text}", {"text": text})


def say(value: object) -> str:
    """A value in a sentence, not too long."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def is_dns_label(name: str) -> bool:
    """Whether a namespace can be named so."""
    return _DNS_LABEL.fullmatch(name) is not None


def _dns_label(name: str) -> str:
    if not is_dns_label(name):
        raise wrong(f"is {say(name)}; a name is 1-63 of a-z, 0-9 and -, and neither starts nor ends with -")
    return name


def is_dns_name(name: str) -> bool:
    """Whether an object can be named so."""
    return len(name) <= 253 and _DNS_NAME.fullmatch(name) is not None


def _dns_name(name: str) -> str:
    if not is_dns_name(name):
        raise wrong(
            f"is {say(name)}; a name is 1-253 of a-z, 0-9, - and ., each part starting and ending with a letter or digit"
        )
    return name


def wrong_at(field: str, text: str, reason: Reason = Reason.VALUE) -> PydanticCustomError:
    """The same, of a field below the one that is checked."""
    return PydanticCustomError("wrong_at", "{text}", {"field": field, "text": text, "reason": reason.value})


def port_number(port: int) -> int:
    """A check: 1-65535."""
    if not 1 <= port <= 65535:
        raise wrong(f"is {port}; a port is 1-65535")
    return port


def port_text(port: object) -> int:
    """A check: 1-65535, written as a string."""
    if not isinstance(port, str):
        raise wrong(f"is {say(port)}; write the port as a string, in quotes")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise wrong(f"is {say(port)}; a port is 1-65535")
    return int(port)


def read_ip(text: object) -> IpAddress:
    """A check: an IP address."""
    try:
        if isinstance(text, str):
            return unmapped(ip_address(text))
    except ValueError:
        pass
    raise wrong(f"is {say(text)}; it is an IPv4 or IPv6 address, in quotes")


def network(text: object) -> IpNetwork:
    """An address or CIDR; bits of the host count for nothing."""
    try:
        if isinstance(text, str):
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise wrong(f"is {say(text)}; it is an IP address or a CIDR such as 10.0.0.0/8")


def not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A check: at least one value."""
    if not values:
        raise wrong("is empty; leave it out, or list at least one value")
    return values


def at_least_one(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A check of what cannot be left out."""
    if not values:
        raise wrong("is empty; list at least one value")
    return values


def at_most(count: int) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """A check: no more values than so many."""

    def check(values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(values) > count:
            raise wrong(f"has {len(values)} entries; the most is {count}")
        return values

    return check


def between(least: int, most: int) -> Callable[[int], int]:
    """A check: a number within both, these included."""

    def check(number: int) -> int:
        if not least <= number <= most:
            raise wrong(f"is {number}; it is {least}-{most}")
        return number

    return check


def header_name(name: str) -> str:
    """A check: what HTTP takes for a name."""
    if _TOKEN.fullmatch(name) is None or len(name) > 256:
        raise wrong(f"is {say(name)}; a header's name is 1-256 letters, digits and - _ .")
    return name


def not_empty_text(text: str) -> str:
    """A check: some text."""
    if not text:
        raise wrong("is empty; write a value, a prefix* or *suffix, or * for any")
    return text


def _qualified(name: str) -> bool:
    """Whether a label or annotation can be named so."""
    prefix, slash, rest = name.rpartition("/")
    return (not slash or is_dns_name(prefix)) and _LABEL_NAME.fullmatch(rest) is not None


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for name, value in labels.items():
        _label_name(name)
        if value and _LABEL_NAME.fullmatch(value) is None:
            raise wrong_at(
                f'["{name}"]',
                f"is {say(value)}; a label's value is 0-63 letters, digits and - _ ., "
                "starting and ending with a letter or digit",
            )
    return labels


def _annotations(annotations: dict[str, str]) -> dict[str, str]:
    for name in annotations:
        _label_name(name)
    size = sum(len(name) + len(value) for name, value in annotations.items())
    if size > _MOST_ANNOTATED:
        raise wrong(f"has {size} characters; the most is {_MOST_ANNOTATED}")
    return annotations


def _label_name(name: str) -> None:
    if not _qualified(name):
        raise wrong(
            f"has the name {say(name)}; it is 1-63 letters, digits and - _ ., starting and ending with a letter or "
            "digit, and a DNS name and / may come before it"
        )


def _time(text: str) -> str:
    try:
        if _TIME.fullmatch(text):
            datetime.fromisoformat(text)
            return text
    except ValueError:
        pass
    raise wrong(f"is {say(text)}; it is a time such as 2026-01-31T12:00:00Z, or leave it out")


def ip_or_none(text: str) -> IpAddress | None:
    """An address that was checked already; None for ``None`` and nothing."""
    return None if text in {"", "None"} else unmapped(ip_address(text))


Label: TypeAlias = Annotated[str, AfterValidator(_dns_label)]
Name: TypeAlias = Annotated[str, AfterValidator(_dns_name)]
PortNumber: TypeAlias = Annotated[int, AfterValidator(port_number)]
PortText: TypeAlias = Annotated[int, BeforeValidator(port_text)]
Ip: TypeAlias = Annotated[Any, BeforeValidator(read_ip)]
Network: TypeAlias = Annotated[Any, BeforeValidator(network)]
Pattern: TypeAlias = Annotated[str, AfterValidator(not_empty_text)]
Patterns: TypeAlias = tuple[Pattern, ...]
PortName: TypeAlias = Label
Labels: TypeAlias = Annotated[dict[str, str], BeforeValidator(_none_is_empty), AfterValidator(_labels)]
Annotations: TypeAlias = Annotated[
    dict[str, str], BeforeValidator(_none_is_empty), AfterValidator(_annotations)
]
Time: TypeAlias = Annotated[str, AfterValidator(_time)]
HeaderName: TypeAlias = Annotated[str, AfterValidator(header_name)]


class Metadata(BaseModel):
    """What ambient reads of an object's metadata; Kubernetes writes more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, alias_generator=to_camel)
    name: Name
    namespace: Label = "default"
    labels: Labels = {}
    annotations: Annotations = {}
    creation_timestamp: Time | None = None


class Document(Shape):
    """What every object has. ``status`` is Kubernetes' own."""

    api_version: str
    kind: str
    metadata: Metadata
    status: Any = None


class WorkloadSelector(Shape):
    """Which workloads: those with all of these labels."""

    match_labels: Labels = {}
