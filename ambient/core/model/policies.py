"""Policies: what a waypoint enforces, counts and tells of the requests for one service, whichever objects said so.

Targets are resolved and questions of precedence settled: all that stands here is for that service.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambient.core.model.authorization import Action
from ambient.core.model.jwt import JwtRule
from ambient.core.model.limit import RateLimit
from ambient.core.model.request_authorization import RequestAuthorization
from ambient.core.model.service import DeclaredPort
from ambient.core.model.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class ServicePolicies:
    """All of them, for one service; those of a waypoint's own service are for workloads that are called by address."""

    service: str
    """``namespace/hostname``."""
    ports: tuple[DeclaredPort, ...] = ()
    """What is spoken, as far as it was said."""
    authorizations: tuple[RequestAuthorization, ...] = ()
    """By key."""
    tokens: tuple[JwtRule, ...] = ()
    limits: tuple[RateLimit, ...] = ()
    """Each name tells one from all others of the mesh: ``namespace/policy/limit``."""
    telemetry: Telemetry = Telemetry()  # noqa: RUF009


def shut(service: str) -> ServicePolicies:
    """Such as let nobody in: what counts of policies that cannot be read, where no earlier ones stand."""
    namespace = service.partition("/")[0]
    nobody = RequestAuthorization("policies-not-readable", namespace, (), Action.ALLOW, ())
    return ServicePolicies(service, authorizations=(nobody,))
