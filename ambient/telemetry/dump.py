"""What ``/config_dump`` shows: all that a proxy decides by, and no secret. Field names are those of Istio's dump."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from immutables import Map

from ambient.core.model.authorization import Scope, StringMatch, StringMatchKind
from ambient.core.model.jwt import KeysGiven
from ambient.telemetry.line import timestamp

if TYPE_CHECKING:
    from ambient.core.model.address import GatewayAddress
    from ambient.core.model.authorization import Authorization, Match, Rule
    from ambient.core.model.service import Service
    from ambient.core.model.settings import MeshSettings
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as operators see it; there is no place for a key."""

    identity: str
    state: str
    """``Available``, ``Initializing``, or ``Unavailable`` and why."""
    chain: tuple[str, ...] = ()
    """PEM, leaf first."""
    roots: tuple[str, ...] = ()
    """PEM."""
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None


def config_dump(
    snapshot: Snapshot, certificates: Iterable[Certificate], config: Mapping[str, object], version: str
) -> bytes:
    """The dump as JSON; ``config`` is what the program was started with."""
    content = {
        "workloads": [_workload(one) for _, one in sorted(snapshot.workloads.items())],
        "services": [_service(snapshot, one) for _, one in sorted(snapshot.services.items())],
        "policies": [_policy(one) for _, one in sorted(snapshot.authorizations.items())],
        "settings": _settings(snapshot.settings),
        **_of_requests(snapshot),
        "certificates": [_certificate(one) for one in certificates],
        "config": dict(config),
        "snapshotVersion": snapshot.version,
        "version": {"version": version},
    }
    return json.dumps(content, indent=2, default=str).encode("ascii") + b"\n"


def _of_requests(snapshot: Snapshot) -> dict[str, object]:
    """What waypoints alone are told, by service."""
    return _without_empty(
        {
            "routes": [_plain(one) for _, one in sorted(snapshot.routes.items())],
            "requestPolicies": [_plain(one) for _, one in sorted(snapshot.policies.items())],
        }
    )


def _plain(value: object) -> object:
    """One of the model's nouns as JSON has it; what is as it is by default is left out."""
    match value:
        case KeysGiven():
            return "given, and not shown: some may be secret"
        case Enum():
            return value.value
        case timedelta():
            return f"{value.total_seconds():g}s"
        case Mapping() | Map():
            return {str(key): _plain(one) for key, one in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return {name: _plain(one) for name, one in value._asdict().items()}  # type: ignore[attr-defined]
        case tuple() | list():
            return [_plain(one) for one in value]
        case frozenset():
            return sorted(map(_plain, value), key=str)
        case _ if is_dataclass(value):
            said = {
                one.name: getattr(value, one.name)
                for one in fields(value)
                if getattr(value, one.name) != one.default
            }
            return {name: _plain(one) for name, one in said.items()}
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return str(value)


def _without_empty(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value not in ("", None, (), [], {})}


def _settings(settings: MeshSettings) -> dict[str, object]:
    return _without_empty(
        {
            "trustDomain": settings.trust_domain,
            "unknownWorkloads": settings.unknown_workloads.value,
            "sameNode": settings.same_node.value,
            "waypointBypass": settings.waypoint_bypass.value,
            "outbound": settings.outbound.value,
        }
    )


def _workload(workload: Workload) -> dict[str, object]:
    locality = workload.locality
    return _without_empty(
        {
            "uid": workload.uid,
            "name": workload.name,
            "namespace": workload.namespace,
            "serviceAccount": workload.service_account,
            "trustDomain": workload.trust_domain,
            "workloadIps": [str(ip) for ip in workload.addresses],
            "network": workload.network,
            "hostname": workload.hostname,
            "protocol": workload.tunnel.name,
            "status": workload.status.value.capitalize(),
            "node": workload.node,
            "clusterId": workload.cluster,
            "canonicalName": workload.canonical_name,
            "canonicalRevision": workload.canonical_revision,
            "workloadName": workload.workload_name,
            "services": {key: _ports(ports) for key, ports in sorted(workload.services.items())},
            "authorizationPolicies": list(workload.policies),
            "waypoint": _gateway(workload.waypoint),
            "locality": _without_empty(
                {
                    "region": locality.region,
                    "zone": locality.zone,
                    "subzone": locality.subzone,
                }
            ),
            "capacity": workload.capacity,
            "networkMode": "HostNetwork" if workload.host_network else "Standard",
        }
    )


def _service(snapshot: Snapshot, service: Service) -> dict[str, object]:
    return _without_empty(
        {
            "name": service.name,
            "namespace": service.namespace,
            "hostname": service.hostname,
            "vips": [str(address) for address in (*service.addresses, *service.ranges)],
            "ports": _ports(service.ports),
            "endpoints": {
                one.uid: {"workloadUid": one.uid, "port": _ports(one.services[service.key])}
                for one in snapshot.endpoints_of.get(service.key, ())
            },
            "subjectAltNames": list(service.subject_alt_names),
            "waypoint": _gateway(service.waypoint),
            "allowUnhealthy": service.allow_unhealthy or None,
        }
    )


def _ports(ports: Iterable[tuple[int, int]]) -> dict[str, int]:
    return {str(service_port): target for service_port, target in ports}


def _gateway(gateway: GatewayAddress | None) -> dict[str, object] | None:
    if gateway is None:
        return None
    return {"destination": str(gateway.destination), "hboneMtlsPort": gateway.port}


def _policy(policy: Authorization) -> dict[str, object]:
    return _without_empty(
        {
            "name": policy.name,
            "namespace": policy.namespace,
            "scope": _SCOPES[policy.scope],
            "action": policy.action.value.capitalize(),
            "rules": [_rule(rule) for rule in policy.rules],
            "dryRun": policy.dry_run or None,
        }
    )


_SCOPES = {
    Scope.GLOBAL: "Global",
    Scope.NAMESPACE: "Namespace",
    Scope.WORKLOAD_SELECTOR: "WorkloadSelector",
}


def _rule(rule: Rule) -> list[list[dict[str, object]]]:
    return [[_match(match) for match in clause] for clause in rule]


def _match(match: Match) -> dict[str, object]:
    accounts, not_accounts = match.service_accounts, match.not_service_accounts
    return _without_empty(
        {
            "namespaces": _strings(match.namespaces),
            "notNamespaces": _strings(match.not_namespaces),
            "principals": _strings(match.principals),
            "notPrincipals": _strings(match.not_principals),
            "serviceAccounts": [f"{one.namespace}/{one.service_account}" for one in accounts],
            "notServiceAccounts": [f"{one.namespace}/{one.service_account}" for one in not_accounts],
            "sourceIps": [str(network) for network in match.source_ips],
            "notSourceIps": [str(network) for network in match.not_source_ips],
            "destinationIps": [str(network) for network in match.destination_ips],
            "notDestinationIps": [str(network) for network in match.not_destination_ips],
            "destinationPorts": list(match.destination_ports),
            "notDestinationPorts": list(match.not_destination_ports),
        }
    )


def _strings(patterns: Iterable[StringMatch]) -> list[object]:
    return [
        "Presence"
        if pattern.kind is StringMatchKind.PRESENCE
        else {pattern.kind.name.capitalize(): pattern.value}
        for pattern in patterns
    ]


def _certificate(certificate: Certificate) -> dict[str, object]:
    return _without_empty(
        {
            "identity": certificate.identity,
            "state": certificate.state,
            "certChain": list(certificate.chain),
            "rootCerts": list(certificate.roots),
            "serialNumber": certificate.serial,
            "validFrom": None if certificate.not_before is None else timestamp(certificate.not_before),
            "expirationTime": None if certificate.not_after is None else timestamp(certificate.not_after),
        }
    )
