"""security.istio.io PeerAuthentication."""

from __future__ import annotations

from typing import Final

from immutables import Map

from ambient.control.objects import Mode, PeerAuthentication
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_security as schema
from ambient.control.translate.kind import Kind, Translated

VERSIONS: Final = ("security.istio.io/v1", "security.istio.io/v1beta1")


def _peer_authentication(
    read: schema.PeerAuthenticationDocument, root_namespaces: tuple[str, ...]
) -> Translated:
    spec, metadata = read.spec, read.metadata
    selector = Map(spec.selector.match_labels) if spec.selector else Map[str, str]()
    ports = {int(port): Mode(mtls.mode) for port, mtls in (spec.port_level_mtls or {}).items()}
    warnings: tuple[Problem, ...] = ()
    if selector and metadata.namespace in root_namespaces:
        warnings = (
            no_effect(
                "spec.selector",
                "has no effect in a root namespace, and neither has the object; move it to the workloads' namespace",
            ),
        )
    mode = Mode(spec.mtls.mode) if spec.mtls else Mode.UNSET
    policy = PeerAuthentication(
        metadata.namespace, metadata.name, metadata.creation_timestamp or "", selector, mode, Map(ports)
    )
    return Translated(policy, warnings)


KINDS: Final = (
    Kind("PeerAuthentication", VERSIONS, schema.PeerAuthenticationDocument, _peer_authentication),
)
