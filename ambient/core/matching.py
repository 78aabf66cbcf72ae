"""Policies as tests of a connection's facts, and an index that finds the few of many that a connection may fit.

Every match of a policy is filed by what it names: by a principal and a port, say, once for each pair of values that it
lists. The kinds of what a match is filed by are its shape; few shapes occur, so a connection is looked up once in each.
A policy with a match that names nothing that a connection could be looked up by (``not_*`` alone) is always asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core.model.authorization import Match, StringMatchKind

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress, SocketAddress
    from ambient.core.model.authorization import Authorization, Clause, IpNetwork, Rule, StringMatch
    from ambient.core.model.identity import SpiffeId

_MOST_FILED: Final = 64
"""Times that one match is filed for pairs of values; beyond it is filed by the single values of one field."""
_MOST_ANSWERS: Final = 1024
"""Answers that are remembered of policies that can only be asked one by one."""


class Facts:
    """A connection as tests read it: strings and integers."""

    __slots__ = ("account", "destination", "namespace", "port", "principal", "source")

    def __init__(self, identity: SpiffeId | None, source: SocketAddress, destination: SocketAddress) -> None:
        self.principal = None if identity is None else str(identity).removeprefix("spiffe://")
        self.namespace = None if identity is None else identity.namespace
        self.account = None if identity is None else (identity.namespace, identity.service_account)
        self.source = _bits(source.ip)
        self.destination = _bits(destination.ip)
        self.port = destination.port


Test: TypeAlias = Callable[[Facts], bool]
_Reader: TypeAlias = tuple[str, int]
"""How a value is read from facts: a key of ``_READ``, and its parameter."""
_Place: TypeAlias = tuple[tuple[_Reader, ...], tuple[object, ...]]
"""Where a match is filed: its shape, and a value for each reader of it."""


def fits(match: Match, facts: Facts) -> bool:
    """Whether one match does, for who asks once."""
    test = _match_test(match)
    return test is not None and test(facts)


class Compiled:
    """One policy, ready to be asked."""

    __slots__ = ("_test", "places", "policy")

    def __init__(self, policy: Authorization) -> None:
        self.policy = policy
        self.places = _places(policy)
        """None: it must always be asked."""
        self._test: Test | None = None

    def fits(self, facts: Facts) -> bool:
        """Whether any of its rules does."""
        if self._test is None:
            self._test = _policy_test(self.policy)
        return self._test(facts)


class Index:
    """Some policies, of which the first that fits is wanted: the one with the smallest key."""

    def __init__(self) -> None:
        self._held: dict[str, Compiled] = {}
        self._filed: dict[tuple[_Reader, ...], dict[tuple[object, ...], set[str]]] = {}
        self._always: dict[str, Compiled] = {}
        """In key order."""
        self._answers: dict[tuple[object, ...], str | None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, policies: Mapping[str, Compiled]) -> None:
        """Hold exactly these; costs little for what was held before."""
        changed = [key for key, one in self._held.items() if policies.get(key) is not one]
        for key in changed:
            self._take_out(key, self._held.pop(key))
        came = [(key, one) for key, one in policies.items() if key not in self._held]
        for key, one in came:
            self._put_in(key, one)
        if changed or came:
            self._answers.clear()
        if any(one.places is None for _, one in came):
            self._always = dict(sorted(self._always.items()))

    def first(self, facts: Facts) -> str | None:
        """The key of the first policy that fits."""
        if not self._held:
            return None
        best = None
        for key in sorted(self._named(facts)):
            if self._held[key].fits(facts):
                best = key
                break
        others = self._first_of_others(facts) if self._always else None
        return min((key for key in (best, others) if key is not None), default=None)

    def _first_of_others(self, facts: Facts) -> str | None:
        """Among those that nothing is filed for; callers call again, so what was found is remembered."""
        asked = (facts.principal, facts.source, facts.destination, facts.port)
        if asked not in self._answers:
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            fitting = (key for key, one in self._always.items() if one.fits(facts))
            self._answers[asked] = next(fitting, None)
        return self._answers[asked]

    def _named(self, facts: Facts) -> set[str]:
        found: set[str] = set()
        for shape, filed in self._filed.items():
            keys = filed.get(tuple([_READ[kind](facts, parameter) for kind, parameter in shape]))
            if keys is not None:
                found |= keys
        return found

    def _put_in(self, key: str, one: Compiled) -> None:
        self._held[key] = one
        if one.places is None:
            self._always[key] = one
            return
        for shape, values in one.places:
            self._filed.setdefault(shape, {}).setdefault(values, set()).add(key)

    def _take_out(self, key: str, one: Compiled) -> None:
        self._always.pop(key, None)
        for shape, values in one.places or ():
            filed = self._filed[shape]
            filed[values].discard(key)
            if not filed[values]:
                del filed[values]
            if not filed:
                del self._filed[shape]


def _beginning(text: str | None, length: int) -> str | None:
    return None if text is None else text[:length]


def _end(text: str | None, length: int) -> str | None:
    return None if text is None or len(text) < length else text[len(text) - length :]


_READ: Final[Mapping[str, Callable[[Facts, int], object]]] = {
    "principal": lambda facts, _: facts.principal,
    "principal begins": lambda facts, length: _beginning(facts.principal, length),
    "principal ends": lambda facts, length: _end(facts.principal, length),
    "account": lambda facts, _: facts.account,
    "source": lambda facts, shift: facts.source >> shift,
    "namespace": lambda facts, _: facts.namespace,
    "namespace begins": lambda facts, length: _beginning(facts.namespace, length),
    "namespace ends": lambda facts, length: _end(facts.namespace, length),
    "port": lambda facts, _: facts.port,
    "destination": lambda facts, shift: facts.destination >> shift,
}


def _places(policy: Authorization) -> frozenset[_Place] | None:
    places: set[_Place] = set()
    for rule in policy.rules:
        for together in _alternatives(rule):
            named = _best([field for match in together for field in _named_by(match)])
            if named is None:
                return None
            places.update(named)
    return frozenset(places)


def _alternatives(rule: Rule) -> Iterable[Sequence[Match]]:
    """Matches that all fit if the rule does, one way after another; a way may name less than all that must fit."""
    clauses = [[match for match in clause if match != Match()] for clause in rule]
    if prod(map(len, clauses)) <= _MOST_FILED:
        return product(*clauses)
    return ([match] for match in min(clauses, key=len))


_Field: TypeAlias = Collection[tuple[_Reader, object]]


def _named_by(match: Match) -> Iterator[_Field]:
    """What can be looked up of it, by field; those come first that tell connections apart best."""
    if match.principals:
        yield _texts("principal", match.principals)
    if match.service_accounts:
        yield [(("account", 0), tuple(account)) for account in match.service_accounts]
    if match.source_ips:
        yield [(("source", shift), bits) for shift, bits in _networks(match.source_ips)]
    if match.namespaces:
        yield _texts("namespace", match.namespaces)
    if match.destination_ports:
        yield [(("port", 0), port) for port in match.destination_ports]
    if match.destination_ips:
        yield [(("destination", shift), bits) for shift, bits in _networks(match.destination_ips)]


def _texts(what: str, patterns: tuple[StringMatch, ...]) -> _Field:
    """Nothing, if one of them fits any text."""
    named: list[tuple[_Reader, object]] = []
    for kind, value in patterns:
        match kind:
            case StringMatchKind.EXACT:
                named.append(((what, 0), value))
            case StringMatchKind.PREFIX:
                named.append(((f"{what} begins", len(value)), value))
            case StringMatchKind.SUFFIX:
                named.append(((f"{what} ends", len(value)), value))
            case StringMatchKind.PRESENCE:
                return []
    return named


def _best(fields: Iterable[_Field]) -> Iterable[_Place] | None:
    """Places by two of the fields, or by one where two would be too many; None: there is none."""
    named = [field for field in fields if field]
    if not named:
        return None
    first, *others = named
    for second in others:
        if len(first) * len(second) <= _MOST_FILED:
            return [((one, two), (this, that)) for (one, this), (two, that) in product(first, second)]
    return [((reader,), (value,)) for reader, value in first]


def _policy_test(policy: Authorization) -> Test:
    """Rules are OR, and so are the matches of a rule with one clause: they are asked as one list.

    Those that name principals or namespaces in full are looked up instead of asked one by one.
    """
    if any(not rule for rule in policy.rules):
        return _always
    by_principal: dict[str | None, list[Test]] = {}
    by_namespace: dict[str | None, list[Test]] = {}
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


def _look_up_principal(tests: Mapping[str | None, Test]) -> Test:
    def matches(facts: Facts) -> bool:
        test = tests.get(facts.principal)
        return test is not None and test(facts)

    return matches


def _look_up_namespace(tests: Mapping[str | None, Test]) -> Test:
    def matches(facts: Facts) -> bool:
        test = tests.get(facts.namespace)
        return test is not None and test(facts)

    return matches


def _rule_test(rule: Rule) -> Test:
    return _all([_clause_test(clause) for clause in rule])


def _clause_test(clause: Clause) -> Test:
    return _any([test for test in map(_match_test, clause) if test is not None])


def _match_test(match: Match) -> Test | None:
    """A test of all fields that are set; None: it is empty and matches nothing."""
    tests: list[Test] = []
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


def _always(_: Facts) -> bool:
    return True


def _never(_: Facts) -> bool:
    return False


def _not(test: Test) -> Test:
    return lambda facts: not test(facts)


def _any(tests: Sequence[Test]) -> Test:
    if not tests:
        return _never
    if len(tests) == 1:
        return tests[0]

    def matches(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110  any() would make a generator for each call
            if test(facts):
                return True
        return False

    return matches


def _all(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def matches(facts: Facts) -> bool:
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


def _principal_test(fits: Callable[[str | None], bool]) -> Test:
    return lambda facts: fits(facts.principal)


def _namespace_test(fits: Callable[[str | None], bool]) -> Test:
    return lambda facts: fits(facts.namespace)


def _account_test(accounts: frozenset[tuple[str, ...]]) -> Test:
    return lambda facts: facts.account in accounts


def _port_test(ports: frozenset[int]) -> Test:
    return lambda facts: facts.port in ports


_Networks: TypeAlias = frozenset[tuple[int, int]]
"""Each a shift and what is left of an address in it when it is shifted so."""


def _source_test(networks: _Networks) -> Test:
    shifts = tuple({shift for shift, _ in networks})
    return lambda facts: _is_in(facts.source, shifts, networks)


def _destination_test(networks: _Networks) -> Test:
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
