"""security.istio.io AuthorizationPolicy: at L4 for nodes, and whole for the waypoints of its targets.

A policy without targets is for nodes, whose proxies enforce L4 alone (source: Istio's ambient translation): a rule of
an ALLOW with an L7 attribute is dropped, so that less is allowed; from a DENY the L7 part is dropped and the rest
stands, so that more is denied; a DENY with nothing left is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from immutables import Map

from ambient.control.objects import AuthorizationPolicy
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_security as schema
from ambient.control.schema.shape import Shape, network
from ambient.control.translate.istio import selected
from ambient.control.translate.istio_security import VERSIONS
from ambient.control.translate.kind import Kind, Translated
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
from ambient.core.model.request_authorization import (
    ClaimTest,
    HeaderTest,
    PathPattern,
    PathTemplate,
    RequestAuthorization,
    RequestMatch,
)

DRY_RUN: Final = "istio.io/dry-run"


def _authorization_policy(
    read: schema.AuthorizationPolicyDocument, root_namespaces: tuple[str, ...]
) -> Translated:
    spec, metadata = read.spec, read.metadata
    if spec.targets:
        return _of_waypoints(read)
    action = Action(spec.action.lower())
    rules: list[Rule] = []
    warnings: list[Problem] = []
    for i, rule in enumerate(spec.rules):
        kept, said = _Rule(action, metadata.namespace, f"spec.rules[{i}]").translate(rule)
        warnings += said
        if kept is not None:
            rules.append(kept)
    warnings += _denies_nothing(read)
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
        dry_run=_is_dry_run(read),
    )
    return Translated(
        AuthorizationPolicy(metadata.namespace, metadata.name, authorization, selector), tuple(warnings)
    )


def _denies_nothing(read: schema.AuthorizationPolicyDocument) -> Iterator[Problem]:
    if read.spec.action == "DENY" and not read.spec.rules:
        yield no_effect(
            "spec.rules", "is missing, so this DENY has no effect; write `rules: [{}]` to deny everything"
        )


def _of_waypoints(read: schema.AuthorizationPolicyDocument) -> Translated:
    spec, metadata = read.spec, read.metadata
    warnings = list(_denies_nothing(read))
    rules = []
    for i, rule in enumerate(spec.rules):
        one = _RequestRule(Action(spec.action.lower()), metadata.namespace, f"spec.rules[{i}]")
        kept, said = one.translate_whole(rule)
        warnings += said
        if kept is not None:
            rules.append(kept)
    requests = RequestAuthorization(
        name=metadata.name,
        namespace=metadata.namespace,
        targets=selected(spec)[1],
        action=Action(spec.action.lower()),
        rules=tuple(rules),
        dry_run=_is_dry_run(read),
    )
    policy = AuthorizationPolicy(metadata.namespace, metadata.name, None, Map(), requests)
    return Translated(policy, tuple(warnings))


def _left(clause: list[Match]) -> Clause:
    """The matches of a clause that have anything left."""
    return tuple(match for match in clause if match != Match())


def _is_dry_run(read: schema.AuthorizationPolicyDocument) -> bool:
    return read.metadata.annotations.get(DRY_RUN, "").lower() == "true"


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
        self._beyond: list[str] = []
        """Fields that nobody enforces."""
        self._warnings: list[Problem] = []

    def translate(self, rule: schema.AuthorizationRule) -> tuple[Rule | None, list[Problem]]:
        """The rule as clauses, or None if it is dropped; and the warnings."""
        clauses = [
            [self._source(entry.source, i) for i, entry in enumerate(rule.from_ or ())],
            [self._operation(entry.operation, i) for i, entry in enumerate(rule.to or ())],
            *([self._condition(entry, i)] for i, entry in enumerate(rule.when or ())),
        ]
        # Where a match has nothing left it may be for anybody, so its clause asks for nothing.
        kept = tuple(tuple(clause) for clause in clauses if clause and Match() not in clause)
        if not self._l7 and not self._beyond:
            return kept, self._warnings
        fields = ", ".join((*self._l7, *self._beyond))
        need = "cannot be enforced" if self._beyond else "needs a waypoint"
        match self._action:
            case Action.ALLOW:
                return None, [
                    *self._warnings,
                    no_effect(self._where, f"is dropped, so less is allowed: {fields} {need}"),
                ]
            case Action.DENY if kept:
                return kept, [
                    *self._warnings,
                    no_effect(
                        self._where,
                        f"is enforced without {fields}, so more is denied: that {need}",
                    ),
                ]
            case Action.DENY if rest := tuple(clause for one in clauses if (clause := _left(one))):
                return rest, [
                    *self._warnings,
                    no_effect(self._where, f"denies nothing by {fields}: that {need}"),
                ]
            case Action.DENY:
                return None, [
                    *self._warnings,
                    no_effect(self._where, f"has no effect: {fields} {need}"),
                ]

    def _source(self, source: schema.Source, i: int) -> Match:
        self._note_l7(source, _L7_SOURCE, f"from[{i}].source")
        where = f"{self._where}.from[{i}].source"
        principals = self._principals(source.principals, f"{where}.principals")
        domains = self._domains(source.trust_domains, f"from[{i}].source.trustDomains")
        if principals and domains:
            self._beyond.append(f"from[{i}].source.trustDomains (beside principals)")
        return Match(
            namespaces=_patterns(source.namespaces),
            not_namespaces=_patterns(source.not_namespaces),
            principals=principals or domains,
            not_principals=(
                *self._principals(source.not_principals, f"{where}.notPrincipals"),
                *self._domains(source.not_trust_domains, f"from[{i}].source.notTrustDomains"),
            ),
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
            case "source.trustDomain":
                return Match(
                    principals=self._domains(yes, f"when[{i}].values"),
                    not_principals=self._domains(no, f"when[{i}].notValues"),
                )
            case "destination.port":
                return Match(
                    destination_ports=tuple(map(int, yes)), not_destination_ports=tuple(map(int, no))
                )
            case key:
                self._l7.append(f"when[{i}] ({key})")
                return Match()

    def _note_l7(self, shape: Shape, fields: tuple[str, ...], where: str) -> None:
        self._l7 += [
            f"{where}.{type(shape).model_fields[field].alias}" for field in fields if getattr(shape, field)
        ]

    def _principals(self, values: tuple[str, ...], where: str) -> tuple[StringMatch, ...]:
        stripped = tuple(value.removeprefix("spiffe://") for value in values)
        self._warnings += [
            Problem(
                f"{where}[{i}]",
                f'is "{value}"; it is read as "{short}", as principals are written without spiffe://',
            )
            for i, (value, short) in enumerate(zip(values, stripped, strict=True))
            if value != short
        ]
        return _patterns(stripped)

    def _domains(self, values: tuple[str, ...], field: str) -> tuple[StringMatch, ...]:
        """Trust domains as principals, which begin with theirs; the end of one cannot be told so."""
        if any(value != "*" and value.startswith("*") for value in values):
            self._beyond.append(f"{field} (with * first)")
            return ()
        return _patterns(
            tuple(value if value.endswith("*") else f"{value}/*" for value in dict.fromkeys(values))
        )

    def _accounts(self, values: tuple[str, ...]) -> tuple[ServiceAccountMatch, ...]:
        return tuple(
            ServiceAccountMatch(*value.split("/"))
            if "/" in value
            else ServiceAccountMatch(self._namespace, value)
            for value in values
        )


class _RequestRule(_Rule):
    """One rule as a waypoint enforces it: what nodes look at is a part of it."""

    def translate_whole(
        self, rule: schema.AuthorizationRule
    ) -> tuple[tuple[tuple[RequestMatch, ...], ...] | None, list[Problem]]:
        """The rule as clauses, or None if it is dropped; and the warnings."""
        clauses = [
            tuple(self._whole_source(entry.source, i) for i, entry in enumerate(rule.from_ or ())),
            tuple(self._whole_operation(entry.operation, i) for i, entry in enumerate(rule.to or ())),
            *((self._whole_condition(entry, i),) for i, entry in enumerate(rule.when or ())),
        ]
        unknown = [
            f"when[{i}] ({entry.key})"
            for i, entry in enumerate(rule.when or ())
            if entry.key.startswith(schema.ENVOY_FILTERS)
        ] + self._beyond
        why = "cannot be enforced" if self._beyond else "is of Envoy's own filters"
        if unknown and self._action is Action.ALLOW:
            text = f"is dropped, so less is allowed: {', '.join(unknown)} {why}"
            return None, [*self._warnings, no_effect(self._where, text)]
        if unknown:
            text = f"is enforced without {', '.join(unknown)}, so more is denied: that {why}"
            self._warnings.append(no_effect(self._where, text))
            clauses = [clause for clause in clauses if clause != (RequestMatch(),)]
            if not any(clauses):
                return None, self._warnings
        return tuple(clause for clause in clauses if clause), self._warnings

    def _whole_source(self, source: schema.Source, i: int) -> RequestMatch:
        return RequestMatch(
            connection=self._source(source, i),
            remote_ips=source.remote_ip_blocks,
            not_remote_ips=source.not_remote_ip_blocks,
            request_principals=_patterns(source.request_principals),
            not_request_principals=_patterns(source.not_request_principals),
        )

    def _whole_operation(self, operation: schema.Operation, i: int) -> RequestMatch:
        return RequestMatch(
            connection=self._operation(operation, i),
            hosts=_hosts(operation.hosts),
            not_hosts=_hosts(operation.not_hosts),
            methods=_patterns(operation.methods),
            not_methods=_patterns(operation.not_methods),
            paths=_paths(operation.paths),
            not_paths=_paths(operation.not_paths),
        )

    def _whole_condition(self, condition: schema.Condition, i: int) -> RequestMatch:
        yes, no = _patterns(condition.values), _patterns(condition.not_values)
        name, *steps = condition.key.replace("]", "").split("[")
        match name:
            case "remote.ip":
                return RequestMatch(
                    remote_ips=_networks(condition.values), not_remote_ips=_networks(condition.not_values)
                )
            case "request.auth.principal":
                return RequestMatch(request_principals=yes, not_request_principals=no)
            case "request.auth.audiences":
                return RequestMatch(audiences=yes, not_audiences=no)
            case "request.auth.presenter":
                return RequestMatch(presenters=yes, not_presenters=no)
            case "connection.sni":
                return RequestMatch(server_names=yes, not_server_names=no)
            case "request.headers":
                return RequestMatch(headers=(HeaderTest(steps[0].lower(), yes, no),))
            case "request.auth.claims":
                return RequestMatch(claims=(ClaimTest(tuple(steps), yes, no),))
            case _:
                return RequestMatch(connection=self._condition(condition, i))


def _hosts(values: tuple[str, ...]) -> tuple[StringMatch, ...]:
    return _patterns(tuple(value.lower() for value in values))


def _paths(values: tuple[str, ...]) -> tuple[PathPattern, ...]:
    return tuple(PathTemplate(value) if "{" in value else _pattern(value) for value in values)


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
    return tuple(network(value) for value in values)


KINDS: Final = (
    Kind("AuthorizationPolicy", VERSIONS, schema.AuthorizationPolicyDocument, _authorization_policy),
)
