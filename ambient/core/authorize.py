"""Whether a connection may reach a workload.

Policies considered: GLOBAL ones, those of the workload's namespace, and those that select it. Order: any DENY that
matches denies; without any ALLOW, allow; any ALLOW that matches allows; else deny. Dry-run policies are only noted.
Within each group policies are asked in key order, so that every node names the same one. A connection without an
identity (plaintext) matches no namespace, principal or service account, and every ``not_*`` of them; STRICT arrives
as a DENY of connections whose principal is not present. Source: reference of ztunnel's rbac, section 3.1.

Policies are compiled to closures, once for each policy object. That memo is the only state here, and changes no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ambient.core.model.address import IpAddress, SocketAddress
from ambient.core.model.authorization import Action, Match, StringMatchKind
from ambient.core.model.identity import SpiffeId
from ambient.core.snapshot import EMPTY

if TYPE_CHECKING:
    from immutables import Map

    from ambient.core.model.authorization import Authorization, Clause, IpNetwork, Rule, StringMatch
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Connection:
    """Who calls whom."""

    source_identity: SpiffeId | None
    """None: it came as plaintext, so nobody has proved anything."""
    source: SocketAddress
    destination: SocketAddress
    """Address and port of the workload, never of a service."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The connection may pass."""

    policy: str | None
    """``namespace/name`` of the ALLOW policy that matched; None: no ALLOW policy is in force."""
    would_deny: str | None = None
    """The first dry-run DENY policy that matches."""
    would_allow: str | None = None
    """The first dry-run ALLOW policy that matches."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The connection must not pass."""

    policy: str | None
    """``namespace/name`` of the DENY policy that matched; None: ALLOW policies exist and none did."""
    why: str
    would_deny: str | None = None
    would_allow: str | None = None


def authorize(snapshot: Snapshot, workload: Workload, connection: Connection) -> Allowed | Denied:
    """Whether ``connection`` may reach ``workload``, and which policy says so."""
    policies = _policies_for(snapshot, workload)
    facts = _Facts(connection)
    would_deny = _first(policies.dry_run_deny, facts)
    denying = _first(policies.deny, facts)
    if denying is not None:
        return Denied(denying, f"explicitly denied by: {denying}", would_deny)
    would_allow = _first(policies.dry_run_allow, facts)
    if not policies.allow:
        return Allowed(None, would_deny, would_allow)
    allowing = _first(policies.allow, facts)
    if allowing is not None:
        return Allowed(allowing, would_deny, would_allow)
    return Denied(None, "allow policies exist, but none allowed", would_deny, would_allow)


class _Facts:
    """A connection as the tests below read it: strings and integers."""

    __slots__ = ("account", "destination", "namespace", "port", "principal", "source")

    def __init__(self, connection: Connection) -> None:
        identity = connection.source_identity
        self.principal = None if identity is None else str(identity).removeprefix("spiffe://")
        self.namespace = None if identity is None else identity.namespace
        self.account = None if identity is None else (identity.namespace, identity.service_account)
        self.source = _bits(connection.source.ip)
        self.destination = _bits(connection.destination.ip)
        self.port = connection.destination.port


_Test: TypeAlias = Callable[[_Facts], bool]
_Named: TypeAlias = tuple[tuple[str, _Test], ...]


def _first(policies: _Named, facts: _Facts) -> str | None:
    for key, matches in policies:
        if matches(facts):
            return key
    return None


class _Policies:
    """Every policy that concerns one workload, compiled, each group in key order."""

    __slots__ = ("allow", "deny", "dry_run_allow", "dry_run_deny")

    def __init__(self, authorizations: list[Authorization], compiled: _Compiled) -> None:
        self.deny = _group(authorizations, compiled, Action.DENY, dry_run=False)
        self.allow = _group(authorizations, compiled, Action.ALLOW, dry_run=False)
        self.dry_run_deny = _group(authorizations, compiled, Action.DENY, dry_run=True)
        self.dry_run_allow = _group(authorizations, compiled, Action.ALLOW, dry_run=True)


def _group(
    authorizations: list[Authorization], compiled: _Compiled, action: Action, *, dry_run: bool
) -> _Named:
    return tuple(
        (policy.key, compiled.test_of(policy))
        for policy in authorizations
        if policy.action is action and policy.dry_run is dry_run
    )


class _Compiled:
    """Tests by policy key, each for exactly one policy object; an update compiles only what it changed."""

    def __init__(self) -> None:
        self._tests: dict[str, tuple[Authorization, _Test]] = {}

    def test_of(self, policy: Authorization) -> _Test:
        known = self._tests.get(policy.key)
        if known is not None and known[0] is policy:
            return known[1]
        test = _policy_test(policy)
        self._tests[policy.key] = policy, test
        return test

    def forget_others(self, authorizations: Map[str, Authorization]) -> None:
        if len(self._tests) > 2 * len(authorizations) + 16:
            self._tests = {key: test for key, test in self._tests.items() if key in authorizations}


class _Memo:
    """The policies of each kind of workload under the snapshot that was asked last."""

    __slots__ = ("authorizations", "authorizations_for", "policies")

    def __init__(self, snapshot: Snapshot) -> None:
        self.authorizations = snapshot.authorizations
        self.authorizations_for = snapshot.authorizations_for
        self.policies: dict[tuple[str, tuple[str, ...]], _Policies] = {}

    def is_of(self, snapshot: Snapshot) -> bool:
        return (
            self.authorizations is snapshot.authorizations
            and self.authorizations_for is snapshot.authorizations_for
        )


_compiled = _Compiled()
_memo = [_Memo(EMPTY)]


def _policies_for(snapshot: Snapshot, workload: Workload) -> _Policies:
    memo = _memo[0]
    if not memo.is_of(snapshot):
        memo = _memo[0] = _Memo(snapshot)
        _compiled.forget_others(snapshot.authorizations)
    kind = workload.namespace, workload.policies
    policies = memo.policies.get(kind)
    if policies is None:
        keys = snapshot.authorizations_for.get("", frozenset()).union(
            snapshot.authorizations_for.get(workload.namespace, frozenset()),
            (key for key in workload.policies if key in snapshot.authorizations),
        )
        ordered = [snapshot.authorizations[key] for key in sorted(keys)]
        policies = memo.policies[kind] = _Policies(ordered, _compiled)
    return policies


def _policy_test(policy: Authorization) -> _Test:
    """Rules are OR, and so are the matches of a rule with one clause: they are asked as one list.

    Those that name principals or namespaces in full are looked up instead of asked one by one.
    """
    if any(not rule for rule in policy.rules):
        return _always
    by_principal: dict[str | None, list[_Test]] = {}
    by_namespace: dict[str | None, list[_Test]] = {}
    networks: list[IpNetwork] = []
    tests = [_rule_test(rule) for rule in policy.rules if len(rule) > 1]
    for match in (match for rule in policy.rules if len(rule) == 1 for match in rule[0]):
        if _is_exact(match.principals):
            rest = _match_test(replace(match, principals=())) or _always
            for name in match.principals:
                by_principal.setdefault(name.value, []).append(rest)
        elif _is_exact(match.namespaces):
            rest = _match_test(replace(match, namespaces=())) or _always
            for name in match.namespaces:
                by_namespace.setdefault(name.value, []).append(rest)
        elif match == Match(source_ips=match.source_ips):
            networks += match.source_ips
        elif (test := _match_test(match)) is not None:
            tests.append(test)
    if by_principal:
        tests.append(_look_up_principal({name: _any(rests) for name, rests in by_principal.items()}))
    if by_namespace:
        tests.append(_look_up_namespace({name: _any(rests) for name, rests in by_namespace.items()}))
    if networks:
        tests.append(_source_test(_networks(networks)))
    return _any(tests)


def _is_exact(patterns: tuple[StringMatch, ...]) -> bool:
    return bool(patterns) and all(pattern.kind is StringMatchKind.EXACT for pattern in patterns)


def _look_up_principal(tests: Mapping[str | None, _Test]) -> _Test:
    def matches(facts: _Facts) -> bool:
        test = tests.get(facts.principal)
        return test is not None and test(facts)

    return matches


def _look_up_namespace(tests: Mapping[str | None, _Test]) -> _Test:
    def matches(facts: _Facts) -> bool:
        test = tests.get(facts.namespace)
        return test is not None and test(facts)

    return matches


def _rule_test(rule: Rule) -> _Test:
    return _all([_clause_test(clause) for clause in rule])


def _clause_test(clause: Clause) -> _Test:
    return _any([test for test in map(_match_test, clause) if test is not None])


def _match_test(match: Match) -> _Test | None:
    """A test of all fields that are set; None: it is empty and matches nothing."""
    tests: list[_Test] = []
    if match.principals:
        tests.append(_principal_test(_strings(match.principals)))
    if match.not_principals:
        tests.append(_not(_principal_test(_strings(match.not_principals))))
    if match.namespaces:
        tests.append(_namespace_test(_strings(match.namespaces)))
    if match.not_namespaces:
        tests.append(_not(_namespace_test(_strings(match.not_namespaces))))
    if match.service_accounts:
        tests.append(_account_test(frozenset(map(tuple, match.service_accounts))))
    if match.not_service_accounts:
        tests.append(_not(_account_test(frozenset(map(tuple, match.not_service_accounts)))))
    if match.destination_ports:
        tests.append(_port_test(frozenset(match.destination_ports)))
    if match.not_destination_ports:
        tests.append(_not(_port_test(frozenset(match.not_destination_ports))))
    if match.source_ips:
        tests.append(_source_test(_networks(match.source_ips)))
    if match.not_source_ips:
        tests.append(_not(_source_test(_networks(match.not_source_ips))))
    if match.destination_ips:
        tests.append(_destination_test(_networks(match.destination_ips)))
    if match.not_destination_ips:
        tests.append(_not(_destination_test(_networks(match.not_destination_ips))))
    return _all(tests) if tests else None


def _always(_: _Facts) -> bool:
    return True


def _never(_: _Facts) -> bool:
    return False


def _not(test: _Test) -> _Test:
    return lambda facts: not test(facts)


def _any(tests: Sequence[_Test]) -> _Test:
    if not tests:
        return _never
    if len(tests) == 1:
        return tests[0]

    def matches(facts: _Facts) -> bool:
        for test in tests:  # noqa: SIM110  any() would make a generator for each call
            if test(facts):
                return True
        return False

    return matches


def _all(tests: Sequence[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]

    def matches(facts: _Facts) -> bool:
        for test in tests:  # noqa: SIM110  as in _any
            if not test(facts):
                return False
        return True

    return matches


def _strings(patterns: Iterable[StringMatch]) -> Callable[[str | None], bool]:
    """Whether a string is there and any of ``patterns`` fits."""
    of_kind = {
        kind: [pattern.value for pattern in patterns if pattern.kind is kind] for kind in StringMatchKind
    }
    exact = frozenset(of_kind[StringMatchKind.EXACT])
    prefixes = tuple(of_kind[StringMatchKind.PREFIX])
    suffixes = tuple(of_kind[StringMatchKind.SUFFIX])
    if of_kind[StringMatchKind.PRESENCE]:
        return bool
    if not prefixes and not suffixes:
        return exact.__contains__

    def fits(text: str | None) -> bool:
        return text is not None and (text in exact or text.startswith(prefixes) or text.endswith(suffixes))

    return fits


def _principal_test(fits: Callable[[str | None], bool]) -> _Test:
    return lambda facts: fits(facts.principal)


def _namespace_test(fits: Callable[[str | None], bool]) -> _Test:
    return lambda facts: fits(facts.namespace)


def _account_test(accounts: frozenset[tuple[str, ...]]) -> _Test:
    return lambda facts: facts.account in accounts


def _port_test(ports: frozenset[int]) -> _Test:
    return lambda facts: facts.port in ports


_Networks: TypeAlias = frozenset[tuple[int, int]]
"""Each a shift and what is left of an address in it when it is shifted so."""


def _source_test(networks: _Networks) -> _Test:
    shifts = tuple({shift for shift, _ in networks})
    return lambda facts: _is_in(facts.source, shifts, networks)


def _destination_test(networks: _Networks) -> _Test:
    shifts = tuple({shift for shift, _ in networks})
    return lambda facts: _is_in(facts.destination, shifts, networks)


def _is_in(bits: int, shifts: tuple[int, ...], networks: _Networks) -> bool:
    for shift in shifts:  # noqa: SIM110  as in _any
        if (shift, bits >> shift) in networks:
            return True
    return False


def _networks(networks: Iterable[IpNetwork]) -> _Networks:
    return frozenset(
        (shift, _bits(network.network_address) >> shift)
        for network in networks
        for shift in (network.max_prefixlen - network.prefixlen,)
    )


def _bits(ip: IpAddress) -> int:
    """The address, a v6 one with a bit above it, so that no shift makes one family look like the other."""
    return int(ip) if ip.version == 4 else int(ip) | 1 << 128
