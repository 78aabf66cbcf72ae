"""ambient.dev: kinds of our own.

The shapes are their reference: every field, what it may be, and what it is if left out.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ambient.control.problem import Reason
from ambient.control.schema.duration import GatewayDuration
from ambient.control.schema.shape import (
    Document,
    Name,
    PortNumber,
    Shape,
    at_least_one,
    at_most,
    between,
    header_name,
    say,
    wrong,
    wrong_at,
)

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_MOST: Final = 2**31 - 1


def _trust_domain(name: str) -> str:
    if _TRUST_DOMAIN.fullmatch(name) is None:
        raise wrong(f"is {say(name)}; it is 1-255 of a-z, 0-9, . _ and -, without spiffe://")
    return name


class Target(Shape):
    """A service of the policy's namespace."""

    group: Literal[""] = ""
    kind: Literal["Service"]
    name: Name
    port: PortNumber | None = None
    """Left out: every port."""


class Key(Shape):
    """Which requests share a limit."""

    type: Literal["none", "identity", "address", "header", "claim"]
    """none: all of them; else those with the same identity or address of the caller, header, or claim of a token."""
    name: Annotated[str, Field(max_length=256)] | None = None
    """Of the header or the claim."""

    @model_validator(mode="after")
    def _named_if_need_be(self) -> Self:
        if self.type in {"header", "claim"}:
            if not self.name:
                raise wrong_at("name", f"is missing; type is {self.type}", Reason.MISSING)
            if self.type == "header":
                try:
                    header_name(self.name)
                except PydanticCustomError as error:
                    raise wrong_at("name", str(error)) from error
        elif self.name is not None:
            raise wrong_at("name", f"is set, and type is {self.type}; leave it out")
        return self


class Limit(Shape):
    """So many requests in so much time."""

    name: Name
    """Of this limit within the policy, as metrics and logs have it."""
    requests: Annotated[int, AfterValidator(between(1, _MOST))]
    per: GatewayDuration
    """1ms-24h: a minute is 1m."""
    burst: Annotated[int, AfterValidator(between(1, _MOST))] | None = None
    """How many may come at once; as many as ``requests``."""
    key: Key = Key(type="none")
    scope: Literal["local", "mesh"] = "local"
    """Whether each replica of a waypoint counts by itself, or all of them together, each with an equal share."""
    dry_run: bool = False
    """Whether what is too much is only counted, and served."""

    @model_validator(mode="after")
    def _in_a_day(self) -> Self:
        if not timedelta(milliseconds=1) <= self.per <= timedelta(days=1):
            raise wrong_at("per", "is out of bounds; it is 1ms-24h")
        return self


class RateLimitPolicySpec(Shape):
    """ambient.dev RateLimitPolicy. A request must be within every limit of every policy that is for it."""

    target_refs: Annotated[tuple[Target, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))] = (
        Field(strict=False)
    )
    limits: Annotated[tuple[Limit, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))] = Field(
        strict=False
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field, names in (
            ("targetRefs", [(target.name, target.port) for target in self.target_refs]),
            ("limits", [(limit.name, None) for limit in self.limits]),
        ):
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise wrong_at(
                        f"{field}[{i}].name", f"is {say(name[0])}, as is another's; give each once"
                    )
        return self


class RateLimitPolicyDocument(Document):
    """ambient.dev RateLimitPolicy."""

    spec: RateLimitPolicySpec


class MeshConfigSpec(Shape):
    """ambient.dev MeshConfig."""

    trust_domain: Annotated[str, AfterValidator(_trust_domain)] | None = None
    """Of all identities; left out: as the control plane was started."""
    unknown_workloads: Literal["allow", "refuse"] = "allow"
    """Whether a pod that no node daemon has seen yet may dial and listen."""
    same_node: Literal["direct", "mtls"] = "direct"
    """Whether workloads of one node talk through the kernel alone, or encrypted."""
    waypoint_bypass: Literal["allow", "refuse"] = "refuse"
    """Whether a service with a waypoint takes connections that did not come through it."""
    outbound: Literal["allow", "refuse"] = "allow"
    """Whether workloads reach addresses that the mesh does not know."""


class MeshConfigDocument(Document):
    """ambient.dev MeshConfig: one for the mesh, named ``default``."""

    spec: MeshConfigSpec = MeshConfigSpec()

    @model_validator(mode="after")
    def _is_the_only_one(self) -> Self:
        if self.metadata.name != "default":
            raise wrong_at("metadata.name", f"is {say(self.metadata.name)}; the mesh has one, named default")
        return self
