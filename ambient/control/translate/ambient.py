"""ambient.dev: kinds of our own."""

from __future__ import annotations

from typing import Final

from ambient.control.objects import MeshConfig, RateLimitPolicy, ServiceRef
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import ambient as schema
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.limit import (
    ByAddress,
    ByClaim,
    ByHeader,
    ByIdentity,
    LimitKey,
    LimitScope,
    RateLimit,
    Together,
)
from ambient.core.model.settings import MeshSettings, Permission, SameNode

VERSIONS: Final = ("ambient.dev/v1",)


def _rate_limit_policy(read: schema.RateLimitPolicyDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    policy = RateLimitPolicy(
        namespace=metadata.namespace,
        name=metadata.name,
        targets=tuple(
            ServiceRef(metadata.namespace, target.name, target.port) for target in spec.target_refs
        ),
        limits=tuple(
            RateLimit(
                name=limit.name,
                requests=limit.requests,
                period=limit.per,
                burst=limit.burst or limit.requests,
                key=_key(limit.key),
                scope=LimitScope(limit.scope),
                dry_run=limit.dry_run,
            )
            for limit in spec.limits
        ),
    )
    return Translated(policy)


def _key(key: schema.Key) -> LimitKey:
    match key.type:
        case "none":
            return Together()
        case "identity":
            return ByIdentity()
        case "address":
            return ByAddress()
        case "header":
            return ByHeader((key.name or "").lower())
        case "claim":
            return ByClaim(key.name or "")


def _mesh_config(read: schema.MeshConfigDocument, root_namespaces: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    if metadata.namespace != root_namespaces[0]:
        place = f'is "{metadata.namespace}"; settings of the mesh are in {root_namespaces[0]}'
        raise Untranslatable((Problem("metadata.namespace", place),))
    config = MeshConfig(
        namespace=metadata.namespace,
        name=metadata.name,
        settings=MeshSettings(
            trust_domain=spec.trust_domain or "",
            unknown_workloads=Permission(spec.unknown_workloads),
            same_node=SameNode(spec.same_node),
            waypoint_bypass=Permission(spec.waypoint_bypass),
            outbound=Permission(spec.outbound),
        ),
    )
    warnings = [
        no_effect(f"spec.{schema.MeshConfigSpec.model_fields[name].alias}", f"has no effect yet; {why}")
        for name, why in _NOT_YET.items()
        if name in spec.model_fields_set
    ]
    return Translated(config, tuple(warnings))


_NOT_YET: Final = {
    "trust_domain": "it is what `ambient control --trust-domain` says",
    "unknown_workloads": "a pod that no node daemon has seen is not kept from the network",
    "same_node": "workloads of one node always talk encrypted",
    "outbound": "addresses that the mesh does not know can always be reached",
}

KINDS: Final = (
    Kind("RateLimitPolicy", VERSIONS, schema.RateLimitPolicyDocument, _rate_limit_policy),
    Kind("MeshConfig", VERSIONS, schema.MeshConfigDocument, _mesh_config),
)
