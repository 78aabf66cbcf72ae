"""From one object of a file to what it means, or a ConfigError for each field that is wrong.

L7 in AuthorizationPolicies, as the node's proxies enforce L4 alone (source: Istio's ambient translation): a rule of
an ALLOW with an L7 attribute is dropped, so that less is allowed; from a DENY the L7 part is dropped and the rest
stands, so that more is denied; a DENY with nothing left is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from immutables import Map
from pydantic import ValidationError

from ambient.control import schema
from ambient.control.objects import (
    AuthorizationPolicy,
    Key,
    Mode,
    Namespace,
    Object,
    PeerAuthentication,
    SelectingService,
    ServiceAccount,
    TargetPort,
    WorkloadEntry,
)
from ambient.core.errors import ConfigError
from ambient.core.model.address import NetworkAddress
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Clause,
    Match,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.service import Port, Service
from ambient.core.model.workload import Locality

DOMAIN: Final = "svc.cluster.local"
MODE_LABELS: Final = ("ambient.dev/dataplane-mode", "istio.io/dataplane-mode")
"""The first that is set counts."""
TUNNEL: Final = "ambient.dev/tunnel"
"""Label or annotation of a WorkloadEntry."""
NODES: Final = "ambient.dev/nodes"
"""Annotation of a ServiceAccount: the nodes that may run it, with commas."""
DRY_RUN: Final = "istio.io/dry-run"


@dataclass(frozen=True, slots=True)
class Translated:
    """What an object means, and what of it has no effect."""

    object: Object
    warnings: tuple[str, ...] = ()


class Untranslatable(ConfigError):
    """Wrong fields, one sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


_VERSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Namespace": ("v1",),
    "ServiceAccount": ("v1",),
    "Service": ("v1",),
    "WorkloadEntry": (
        "networking.istio.io/v1",
        "networking.istio.io/v1beta1",
        "networking.istio.io/v1alpha3",
    ),
    "PeerAuthentication": ("security.istio.io/v1", "security.istio.io/v1beta1"),
    "AuthorizationPolicy": ("security.istio.io/v1", "security.istio.io/v1beta1"),
}
_SHAPES: Final[Mapping[str, type[schema.Document]]] = {
    "Namespace": schema.NamespaceDocument,
    "ServiceAccount": schema.ServiceAccountDocument,
    "Service": schema.ServiceDocument,
    "WorkloadEntry": schema.WorkloadEntryDocument,
    "PeerAuthentication": schema.PeerAuthenticationDocument,
    "AuthorizationPolicy": schema.AuthorizationPolicyDocument,
}


def key_of(document: Mapping[str, Any]) -> Key | None:
    """What an object is known by; None for a kind that is not ours. Raises ConfigError if it cannot be told."""
    kind, version = document.get("kind"), document.get("apiVersion")
    for field, value in (("apiVersion", version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{field} is missing; every object has apiVersion, kind and metadata.name")
    if not isinstance(kind, str) or version not in _VERSIONS.get(kind, ()):
        return None
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    namespace = metadata.get("namespace", "default") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{kind}: metadata.name is missing; every object has apiVersion, kind and metadata.name"
        )
    if kind == "Namespace":
        return Key(kind, "", name)
    if not isinstance(namespace, str) or not namespace:
        raise ConfigError(f"{kind} {name}: metadata.namespace is not a string; write it in quotes")
    return Key(kind, namespace, name)


def translate(document: Mapping[str, Any], root_namespaces: tuple[str, ...]) -> Translated:
    """What an object of one of our kinds means. Raises Untranslatable."""
    shape = _SHAPES[str(document["kind"])]
    try:
        read = shape.model_validate(document)
    except ValidationError as error:
        raise Untranslatable(tuple(schema.problems(error, shape))) from error
    match read:
        case schema.NamespaceDocument():
            return _namespace(read)
        case schema.ServiceAccountDocument():
            return Translated(ServiceAccount(read.metadata.namespace, read.metadata.name, _nodes(read)))
        case schema.ServiceDocument():
            return _service(read)
        case schema.WorkloadEntryDocument():
            return _workload_entry(read)
        case schema.PeerAuthenticationDocument():
            return _peer_authentication(read, root_namespaces)
        case schema.AuthorizationPolicyDocument():
            return _authorization_policy(read, root_namespaces)
        case _:
            raise AssertionError(f"{shape} has no translation")


def dataplane_mode(labels: Mapping[str, str]) -> str:
    """``ambient``, ``none``, or empty if no label says so."""
    return next((labels[label] for label in MODE_LABELS if label in labels), "")


def _namespace(read: schema.NamespaceDocument) -> Translated:
    mode = dataplane_mode(read.metadata.labels)
    if mode in {"", "ambient", "none"}:
        return Translated(Namespace(read.metadata.name, mode))
    label = next(label for label in MODE_LABELS if label in read.metadata.labels)
    raise Untranslatable((f'metadata.labels["{label}"] is "{mode}"; it is ambient or none',))


def _nodes(read: schema.ServiceAccountDocument) -> frozenset[str] | None:
    annotation = read.metadata.annotations.get(NODES)
    if annotation is None:
        return None
    return frozenset(name for part in annotation.split(",") if (name := part.strip()))


def _service(read: schema.ServiceDocument) -> Translated:
    spec, metadata = read.spec, read.metadata
    warnings = [
        f"spec.ports[{i}] is {port.protocol} and has no effect; the mesh carries TCP"
        for i, port in enumerate(spec.ports)
        if port.protocol != "TCP"
    ]
    addresses = tuple(
        dict.fromkeys(
            ip
            for text in (spec.cluster_ips or (spec.cluster_ip,))
            if (ip := schema.ip_or_none(text)) is not None
        )
    )
    is_headless = "None" in {spec.cluster_ip, *spec.cluster_ips}
    if spec.type == "ExternalName":
        warnings.append("spec.type is ExternalName and has no effect; the mesh does not rename hosts")
    elif not addresses and not is_headless:
        warnings.append(
            "spec.clusterIP is missing, so the service has no address; write one, or None for a headless service"
        )
    ports = tuple(
        TargetPort(port.port, port.port if port.target_port is None else port.target_port)
        for port in spec.ports
        if port.protocol == "TCP"
    )
    service = Service(
        name=metadata.name,
        namespace=metadata.namespace,
        hostname=f"{metadata.name}.{metadata.namespace}.{DOMAIN}",
        addresses=tuple(NetworkAddress("", ip) for ip in addresses),
        ports=tuple(
            Port(port.service_port, port.target if isinstance(port.target, int) else 0) for port in ports
        ),
        allow_unhealthy=spec.publish_not_ready_addresses,
    )
    selector = Map(spec.selector) if spec.selector and spec.type != "ExternalName" else None
    return Translated(SelectingService(service, selector, ports), tuple(warnings))


def _workload_entry(read: schema.WorkloadEntryDocument) -> Translated:
    spec, metadata = read.spec, read.metadata
    region, zone, subzone = f"{spec.locality}//".split("/")[:3]
    tunnel = spec.labels.get(TUNNEL) or metadata.labels.get(TUNNEL) or metadata.annotations.get(TUNNEL) or ""
    if tunnel not in {"", "none", "hbone"}:
        raise Untranslatable((f'metadata.annotations["{TUNNEL}"] is "{tunnel}"; it is hbone or none',))
    entry = WorkloadEntry(
        namespace=metadata.namespace,
        name=metadata.name,
        service_account=spec.service_account or "default",
        address=spec.address,
        ports=Map(spec.ports),
        # Selectors see both, and the spec's own count more. Source: Istio's WorkloadEntry.
        labels=Map({**metadata.labels, **spec.labels}),
        network=spec.network,
        locality=Locality(region, zone, subzone),
        capacity=spec.weight or 1,
        speaks_hbone=tunnel == "hbone",
    )
    return Translated(entry)


def _peer_authentication(
    read: schema.PeerAuthenticationDocument, root_namespaces: tuple[str, ...]
) -> Translated:
    spec, metadata = read.spec, read.metadata
    selector = Map(spec.selector.match_labels) if spec.selector else Map[str, str]()
    ports = {int(port): Mode(mtls.mode) for port, mtls in (spec.port_level_mtls or {}).items()}
    warnings: tuple[str, ...] = ()
    if selector and metadata.namespace in root_namespaces:
        warnings = (
            "spec.selector has no effect in a root namespace, and neither has the object; move it to the workloads' namespace",
        )
    mode = Mode(spec.mtls.mode) if spec.mtls else Mode.UNSET
    policy = PeerAuthentication(
        metadata.namespace, metadata.name, metadata.creation_timestamp or "", selector, mode, Map(ports)
    )
    return Translated(policy, warnings)


def _authorization_policy(
    read: schema.AuthorizationPolicyDocument, root_namespaces: tuple[str, ...]
) -> Translated:
    spec, metadata = read.spec, read.metadata
    if spec.target_ref is not None or spec.target_refs:
        return Translated(
            AuthorizationPolicy(metadata.namespace, metadata.name, None, Map()),
            ("spec.targetRefs has no effect; only a waypoint enforces it",),
        )
    action = Action(spec.action.lower())
    rules: list[Rule] = []
    warnings: list[str] = []
    for i, rule in enumerate(spec.rules):
        kept, said = _Rule(action, metadata.namespace, f"spec.rules[{i}]").translate(rule)
        warnings += said
        if kept is not None:
            rules.append(kept)
    if action is Action.DENY and not spec.rules:
        warnings.append(
            "spec.rules is missing, so this DENY has no effect; write `rules: [{}]` to deny everything"
        )
    selector = Map(spec.selector.match_labels) if spec.selector else Map[str, str]()
    if selector:
        scope = Scope.WORKLOAD_SELECTOR
    else:
        scope = Scope.GLOBAL if metadata.namespace in root_namespaces else Scope.NAMESPACE
    authorization = Authorization(
        name=metadata.name,
        namespace=metadata.namespace,
        scope=scope,
        action=action,
        rules=tuple(rules),
        dry_run=metadata.annotations.get(DRY_RUN, "").lower() == "true",
    )
    return Translated(
        AuthorizationPolicy(metadata.namespace, metadata.name, authorization, selector), tuple(warnings)
    )


_L7_OPERATION: Final = ("hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths")
_L7_SOURCE: Final = (
    "request_principals",
    "not_request_principals",
    "remote_ip_blocks",
    "not_remote_ip_blocks",
)


class _Rule:
    """One rule's translation, with what it has to say on the way."""

    def __init__(self, action: Action, namespace: str, where: str) -> None:
        self._action, self._namespace, self._where = action, namespace, where
        self._l7: list[str] = []
        self._warnings: list[str] = []

    def translate(self, rule: schema.AuthorizationRule) -> tuple[Rule | None, list[str]]:
        """The rule as clauses, or None if it is dropped; and the warnings."""
        clauses = [
            self._clause([self._source(entry.source, i) for i, entry in enumerate(rule.from_ or ())]),
            self._clause([self._operation(entry.operation, i) for i, entry in enumerate(rule.to or ())]),
            *(self._clause([self._condition(entry, i)]) for i, entry in enumerate(rule.when or ())),
        ]
        kept = tuple(clause for clause in clauses if clause)
        if not self._l7:
            return kept, self._warnings
        fields = ", ".join(self._l7)
        match self._action:
            case Action.ALLOW:
                return None, [
                    *self._warnings,
                    f"{self._where} is dropped, so less is allowed: {fields} needs a waypoint",
                ]
            case Action.DENY if kept:
                return kept, [
                    *self._warnings,
                    f"{self._where} is enforced without {fields}, so more is denied: that needs a waypoint",
                ]
            case Action.DENY:
                return None, [*self._warnings, f"{self._where} has no effect: {fields} needs a waypoint"]

    @staticmethod
    def _clause(matches: list[Match]) -> Clause:
        return tuple(match for match in matches if match != Match())

    def _source(self, source: schema.Source, i: int) -> Match:
        self._note_l7(source, _L7_SOURCE, f"from[{i}].source")
        where = f"{self._where}.from[{i}].source"
        return Match(
            namespaces=_patterns(source.namespaces),
            not_namespaces=_patterns(source.not_namespaces),
            principals=self._principals(source.principals, f"{where}.principals"),
            not_principals=self._principals(source.not_principals, f"{where}.notPrincipals"),
            service_accounts=self._accounts(source.service_accounts),
            not_service_accounts=self._accounts(source.not_service_accounts),
            source_ips=source.ip_blocks,
            not_source_ips=source.not_ip_blocks,
        )

    def _operation(self, operation: schema.Operation, i: int) -> Match:
        self._note_l7(operation, _L7_OPERATION, f"to[{i}].operation")
        return Match(destination_ports=operation.ports, not_destination_ports=operation.not_ports)

    def _condition(self, condition: schema.Condition, i: int) -> Match:
        where = f"{self._where}.when[{i}]"
        yes, no = condition.values, condition.not_values
        match condition.key:
            case "source.ip":
                return Match(source_ips=_networks(yes), not_source_ips=_networks(no))
            case "destination.ip":
                return Match(destination_ips=_networks(yes), not_destination_ips=_networks(no))
            case "source.namespace":
                return Match(namespaces=_patterns(yes), not_namespaces=_patterns(no))
            case "source.principal":
                return Match(
                    principals=self._principals(yes, f"{where}.values"),
                    not_principals=self._principals(no, f"{where}.notValues"),
                )
            case "source.serviceAccount":
                return Match(service_accounts=self._accounts(yes), not_service_accounts=self._accounts(no))
            case "destination.port":
                return Match(
                    destination_ports=tuple(map(int, yes)), not_destination_ports=tuple(map(int, no))
                )
            case key:
                self._l7.append(f"when[{i}] ({key})")
                return Match()

    def _note_l7(self, shape: schema.Shape, fields: tuple[str, ...], where: str) -> None:
        self._l7 += [
            f"{where}.{type(shape).model_fields[field].alias}" for field in fields if getattr(shape, field)
        ]

    def _principals(self, values: tuple[str, ...], where: str) -> tuple[StringMatch, ...]:
        stripped = tuple(value.removeprefix("spiffe://") for value in values)
        self._warnings += [
            f'{where}[{i}] is "{value}"; it is read as "{short}", as principals are written without spiffe://'
            for i, (value, short) in enumerate(zip(values, stripped, strict=True))
            if value != short
        ]
        return _patterns(stripped)

    def _accounts(self, values: tuple[str, ...]) -> tuple[ServiceAccountMatch, ...]:
        return tuple(
            ServiceAccountMatch(*value.split("/"))
            if "/" in value
            else ServiceAccountMatch(self._namespace, value)
            for value in values
        )


def _patterns(values: tuple[str, ...]) -> tuple[StringMatch, ...]:
    return tuple(_pattern(value) for value in values)


def _pattern(value: str) -> StringMatch:
    if value == "*":
        return StringMatch(StringMatchKind.PRESENCE, "")
    if value.startswith("*"):
        return StringMatch(StringMatchKind.SUFFIX, value[1:])
    if value.endswith("*"):
        return StringMatch(StringMatchKind.PREFIX, value[:-1])
    return StringMatch(StringMatchKind.EXACT, value)


def _networks(values: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(schema.network(value) for value in values)


# --- PeerAuthentication, once all of them are known ---

STATIC_STRICT: Final = "istio_converted_static_strict"
_ANYBODY: Final = (StringMatch(StringMatchKind.PRESENCE, ""),)


def static_strict(root_namespace: str) -> Authorization:
    """Denies every plaintext connection. No file can hold an object of this name: an underscore is not allowed."""
    return _synthetic(root_namespace, STATIC_STRICT, Match(not_principals=_ANYBODY))


def port_level(policy: PeerAuthentication, inherited: Mode) -> Authorization | None:
    """What a policy with port exceptions denies; None if all of its ports are as its default.

    ``inherited`` is the mode where the policy sets none.
    """
    default = is_strict(policy, inherited)
    exceptions = tuple(
        sorted(
            port
            for port, mode in policy.ports.items()
            if mode is not Mode.UNSET and (mode is Mode.STRICT) != default
        )
    )
    if not exceptions:
        return None
    plaintext = Match(not_principals=_ANYBODY)
    match = (
        replace(plaintext, not_destination_ports=exceptions)
        if default
        else replace(plaintext, destination_ports=exceptions)
    )
    return _synthetic(policy.namespace, f"converted_peer_authentication_{policy.name}", match)


def is_strict(policy: PeerAuthentication, inherited: Mode) -> bool:
    """Whether ports without an exception of their own take no plaintext."""
    return (inherited if policy.mode is Mode.UNSET else policy.mode) is Mode.STRICT


def oldest(policies: tuple[PeerAuthentication, ...]) -> PeerAuthentication | None:
    """The one that counts. With no time of creation a policy is younger than any; names break ties."""
    return min(
        policies,
        key=lambda policy: (policy.created == "", policy.created, policy.namespace, policy.name),
        default=None,
    )


def _synthetic(namespace: str, name: str, match: Match) -> Authorization:
    return Authorization(name, namespace, Scope.WORKLOAD_SELECTOR, Action.DENY, (((match,),),))
