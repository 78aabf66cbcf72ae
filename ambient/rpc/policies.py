"""Policies of services, and settings of the mesh, as they travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ambient.core.model.authorization import Match, StringMatch, StringMatchKind
from ambient.core.model.jwt import JwtRule, KeysAt, KeysOfIssuer
from ambient.core.model.limit import ByHeader, RateLimit
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import ClaimTest, HeaderTest, RequestAuthorization, Target
from ambient.core.model.service import DeclaredPort
from ambient.core.model.settings import MeshSettings
from ambient.core.model.telemetry import Tracing
from ambient.rpc.mirror import Mirror
from ambient.rpc.pb.ambient.policy.v1 import policies_pb2
from ambient.rpc.values import first, lower_case, ports, service_key

if TYPE_CHECKING:
    from google.protobuf.message import Message


def encode_policies(policies: ServicePolicies) -> Message:
    """For the waypoint that the service is behind."""
    return MIRROR.encode(policies)


def decode_policies(body: bytes) -> ServicePolicies:
    """What ``encode_policies`` made. Raises Invalid, and DecodeError for what is no message at all."""
    message = policies_pb2.ServicePolicies.FromString(body)
    policies: ServicePolicies = MIRROR.decode(ServicePolicies, message)
    return policies


def encode_settings(settings: MeshSettings) -> Message:
    """For everyone."""
    return MIRROR.encode(settings)


def decode_settings(body: bytes) -> MeshSettings:
    """What ``encode_settings`` made. Raises as ``decode_policies``."""
    settings: MeshSettings = MIRROR.decode(MeshSettings, policies_pb2.MeshSettings.FromString(body))
    return settings


# What no type says


def _present(field: str, text: str) -> str | None:
    return None if text else f"{field} is empty"


def _text(match: StringMatch) -> str | None:
    return None if match.kind is StringMatchKind.PRESENCE else _present("value", match.value)


def _token_rule(rule: JwtRule) -> str | None:
    if isinstance(rule.keys, KeysOfIssuer) and not rule.issuer:
        return "issuer is empty; where its keys are is for the issuer to say"
    return None if rule.sources else "sources is empty; a token is looked for somewhere"


def _rate_limit(limit: RateLimit) -> str | None:
    return first(
        _present("name", limit.name),
        None if limit.requests >= 1 else f"requests is {limit.requests}; it is 1 or more",
        None if limit.burst >= 1 else f"burst is {limit.burst}; it is 1 or more",
        None if limit.period else "period is nothing; it is a time",
        ports("ports", limit.ports),
    )


def _tracing(tracing: Tracing) -> str | None:
    percent = tracing.sampled_percent
    if percent is None or 0 <= percent <= 100:
        return None
    return f"sampled_percent is {percent}; it is 0 to 100"


_CHECKS: Final[Mapping[type, Callable[[Any], str | None]]] = {
    ServicePolicies: lambda policies: service_key("service", policies.service),
    DeclaredPort: lambda port: ports("service_port", (port.service_port,)),
    RequestAuthorization: lambda policy: first(
        _present("name", policy.name), _present("namespace", policy.namespace)
    ),
    Target: lambda target: first(_present("kind", target.kind), _present("name", target.name)),
    Match: lambda match: first(
        ports("destination_ports", match.destination_ports),
        ports("not_destination_ports", match.not_destination_ports),
    ),
    StringMatch: _text,
    HeaderTest: lambda test: lower_case("name", test.name),
    ClaimTest: lambda test: None if test.path else "path is empty; it names a claim",
    KeysAt: lambda keys: _present("url", keys.url),
    JwtRule: _token_rule,
    ByHeader: lambda key: lower_case("name", key.name),
    RateLimit: _rate_limit,
    Tracing: _tracing,
}
MIRROR: Final = Mirror((policies_pb2,), _CHECKS)
"""Of everything that ``ServicePolicies`` and ``MeshSettings`` are made of."""
