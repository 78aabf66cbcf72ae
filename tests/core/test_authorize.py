from dataclasses import replace
from ipaddress import ip_network

import pytest
from core.worlds import (
    PRESENT,
    at,
    authorizations,
    exactly,
    identities,
    policy,
    snapshots,
    socket_addresses,
    workload,
    workloads,
    world,
)
from hypothesis import given, strategies as st

from ambient.core import delta
from ambient.core.authorize import Allowed, Connection, Denied, authorize
from ambient.core.model.authorization import (
    Action,
    Match,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.identity import SpiffeId

SERVER = workload("server", "10.0.0.1", "fd00::1")
CLIENT = SpiffeId("td", "from", "caller")
STRANGER = SpiffeId("td", "elsewhere", "someone")

PLAIN = Connection(None, at("10.0.9.9:40000"), at("10.0.0.1:80"))
TLS = Connection(CLIENT, at("10.0.9.9:40000"), at("10.0.0.1:80"))
OTHER_TLS = Connection(STRANGER, at("10.0.8.8:40000"), at("10.0.0.1:8080"))
V6 = Connection(CLIENT, at("[fd00::9]:40000"), at("[fd00::1]:80"))

PRINCIPAL = "td/ns/from/sa/caller"


def networks(*texts):
    return tuple(ip_network(text) for text in texts)


def pattern(kind, value):
    return (StringMatch(StringMatchKind[kind], value),)


# Whether a match fits: plaintext, the client over TLS, another identity, address and port over TLS.
FIELDS = {
    "namespaces": (Match(namespaces=exactly("from")), (False, True, False)),
    "not-namespaces": (Match(not_namespaces=exactly("from")), (True, False, True)),
    "principals": (Match(principals=exactly(PRINCIPAL)), (False, True, False)),
    "principals-with-scheme-never": (
        Match(principals=exactly(f"spiffe://{PRINCIPAL}")),
        (False, False, False),
    ),
    "not-principals": (Match(not_principals=exactly(PRINCIPAL)), (True, False, True)),
    "principal-presence": (Match(principals=PRESENT), (False, True, True)),
    "principal-absence": (Match(not_principals=PRESENT), (True, False, False)),
    "namespace-presence": (Match(namespaces=PRESENT), (False, True, True)),
    "principal-prefix": (Match(principals=pattern("PREFIX", "td/ns/from/")), (False, True, False)),
    "principal-suffix": (Match(principals=pattern("SUFFIX", "/sa/someone")), (False, False, True)),
    "not-principal-prefix": (Match(not_principals=pattern("PREFIX", "td/ns/from/")), (True, False, True)),
    "service-accounts": (
        Match(service_accounts=(ServiceAccountMatch("from", "caller"),)),
        (False, True, False),
    ),
    "service-account-of-other-namespace": (
        Match(service_accounts=(ServiceAccountMatch("elsewhere", "caller"),)),
        (False, False, False),
    ),
    "not-service-accounts": (
        Match(not_service_accounts=(ServiceAccountMatch("from", "caller"),)),
        (True, False, True),
    ),
    "source-ips": (Match(source_ips=networks("10.0.9.9/32")), (True, True, False)),
    "source-ip-range": (Match(source_ips=networks("10.0.9.0/24", "fd00::/8")), (True, True, False)),
    "not-source-ips": (Match(not_source_ips=networks("10.0.9.0/24")), (False, False, True)),
    "all-v6-is-no-v4": (Match(source_ips=networks("::/0")), (False, False, False)),
    "all-v4": (Match(source_ips=networks("0.0.0.0/0")), (True, True, True)),
    "destination-ips": (Match(destination_ips=networks("10.0.0.0/31")), (True, True, True)),
    "not-destination-ips": (Match(not_destination_ips=networks("10.0.0.0/31")), (False, False, False)),
    "destination-ports": (Match(destination_ports=(80, 81)), (True, True, False)),
    "not-destination-ports": (Match(not_destination_ports=(80, 81)), (False, False, True)),
    "values-are-or": (Match(namespaces=exactly("from", "elsewhere")), (False, True, True)),
    "fields-are-and": (Match(namespaces=exactly("from"), destination_ports=(8080,)), (False, False, False)),
    "positive-and-negative": (
        Match(namespaces=exactly("from", "elsewhere"), not_principals=exactly(PRINCIPAL)),
        (False, False, True),
    ),
    "strict-but-for-a-port": (
        Match(not_principals=PRESENT, not_destination_ports=(80,)),
        (False, False, False),
    ),
    "empty-matches-nothing": (Match(), (False, False, False)),
}


@pytest.mark.parametrize(("match", "fits"), list(FIELDS.values()), ids=FIELDS)
@pytest.mark.parametrize(
    ("which", "connection"), list(enumerate([PLAIN, TLS, OTHER_TLS])), ids=["plaintext", "tls", "other-tls"]
)
def test_a_match_fits(match, fits, which, connection):
    allow = policy("p", Action.ALLOW, match)
    deny = policy("p", Action.DENY, match)
    assert isinstance(authorize(world(allow), SERVER, connection), Allowed) is fits[which]
    assert isinstance(authorize(world(deny), SERVER, connection), Denied) is fits[which]


def test_addresses_of_both_families_are_told_apart():
    assert authorize(world(policy("p", Action.ALLOW, Match(source_ips=networks("fd00::/16")))), SERVER, V6)
    only_v4 = policy("p", Action.ALLOW, Match(source_ips=networks("0.0.0.0/0")))
    assert isinstance(authorize(world(only_v4), SERVER, V6), Denied)


YES, NO = Match(destination_ports=(80,)), Match(destination_ports=(1,))
RULES = {
    "no-rules-match-nothing": ((), False),
    "rule-without-clauses-matches-all": (((),), True),
    "clause-without-matches-matches-nothing": ((((),),), False),
    "rules-are-or": ((((NO,),), ((YES,),)), True),
    "clauses-are-and": ((((YES,), (NO,)),), False),
    "both-clauses": ((((YES,), (YES,)),), True),
    "matches-are-or": ((((NO, YES),),), True),
    "or-in-each-clause": ((((NO, YES), (YES, NO)),), True),
    "empty-match-beside-another": ((((Match(), YES),),), True),
    "empty-match-in-a-clause": ((((YES,), (Match(),)),), False),
}


@pytest.mark.parametrize(("rules", "matches"), list(RULES.values()), ids=RULES)
def test_rules_clauses_and_matches_nest(rules, matches):
    decision = authorize(world(policy("p", Action.DENY, *rules)), SERVER, TLS)
    assert isinstance(decision, Denied) is matches


ALL = ()
ALLOW_ALL = policy("allow-all", Action.ALLOW, ALL)
ALLOW_NONE = policy("allow-none", Action.ALLOW)
DENY_ALL = policy("deny-all", Action.DENY, ALL)
NOT_ALLOWED = Denied(None, "allow policies exist, but none allowed")
DENIED = Denied("shop/deny-all", "explicitly denied by: shop/deny-all")

ORDER = {
    "no-policies": ([], Allowed(None)),
    "only-deny-that-does-not-match": ([policy("d", Action.DENY, NO)], Allowed(None)),
    "allow": ([ALLOW_ALL], Allowed("shop/allow-all")),
    "no-allow-matches": ([ALLOW_NONE], NOT_ALLOWED),
    "one-of-two-allows": ([ALLOW_NONE, ALLOW_ALL], Allowed("shop/allow-all")),
    "deny-before-allow": ([ALLOW_ALL, DENY_ALL], DENIED),
    "first-deny-by-name-is-named": (
        [policy("z", Action.DENY, ALL), policy("b", Action.DENY, ALL)],
        Denied("shop/b", "explicitly denied by: shop/b"),
    ),
    "global": (
        [policy("g", Action.DENY, ALL, scope=Scope.GLOBAL, namespace="root")],
        Denied("root/g", "explicitly denied by: root/g"),
    ),
    "other-namespace": ([policy("d", Action.DENY, ALL, namespace="bank")], Allowed(None)),
    "selector-that-does-not-select": (
        [policy("d", Action.DENY, ALL, scope=Scope.WORKLOAD_SELECTOR)],
        Allowed(None),
    ),
    "dry-run-deny": ([replace(DENY_ALL, dry_run=True)], Allowed(None, would_deny="shop/deny-all")),
    "dry-run-allow-is-no-allow": (
        [replace(ALLOW_NONE, dry_run=True)],
        Allowed(None),
    ),
    "dry-run-allow-is-noted": (
        [replace(ALLOW_ALL, dry_run=True), ALLOW_NONE],
        replace(NOT_ALLOWED, would_allow="shop/allow-all"),
    ),
    "dry-run-deny-beside-deny": (
        [policy("a", Action.DENY, ALL, dry_run=True), DENY_ALL],
        replace(DENIED, would_deny="shop/a"),
    ),
}


@pytest.mark.parametrize(("policies", "decision"), list(ORDER.values()), ids=ORDER)
def test_policies_are_asked_in_order(policies, decision):
    assert authorize(world(*policies), SERVER, TLS) == decision


def test_a_policy_that_selects_the_workload_counts():
    selecting = policy("s", Action.DENY, ALL, scope=Scope.WORKLOAD_SELECTOR, namespace="elsewhere")
    selected = replace(SERVER, policies=("elsewhere/s", "gone/policy"))
    assert authorize(world(selecting), selected, TLS) == Denied(
        "elsewhere/s", "explicitly denied by: elsewhere/s"
    )


def test_strict_denies_plaintext_only():
    strict = world(policy("istio_converted_static_strict", Action.DENY, Match(not_principals=PRESENT)))
    assert isinstance(authorize(strict, SERVER, TLS), Allowed)
    assert authorize(strict, SERVER, PLAIN) == Denied(
        "shop/istio_converted_static_strict", "explicitly denied by: shop/istio_converted_static_strict"
    )


def test_a_policy_that_changed_is_asked_in_its_new_form():
    before = world(DENY_ALL)
    after = delta.apply(before, delta.Delta((replace(DENY_ALL, rules=()),)))
    assert [isinstance(authorize(one, SERVER, TLS), Denied) for one in (before, after, before)] == [
        True,
        False,
        True,
    ]
    gone = delta.apply(after, delta.Delta(removed_authorizations=(DENY_ALL.key,)))
    assert isinstance(authorize(gone, SERVER, TLS), Allowed)


connections = st.builds(Connection, identities, socket_addresses, socket_addresses)


@given(snapshots, workloads, connections)
def test_compiled_policies_decide_as_the_plain_reading_of_the_rules(snapshot, server, connection):
    assert authorize(snapshot, server, connection) == plainly(snapshot, server, connection)


@given(
    snapshots, st.lists(st.lists(authorizations, min_size=1), max_size=6), workloads, st.lists(connections)
)
def test_policies_that_come_change_and_go_are_asked_as_they_are(snapshot, updates, server, asking):
    versions = [snapshot]
    for number, upserted in enumerate(updates):
        gone = tuple(versions[-1].authorizations)[: number % 3]
        versions.append(delta.apply(versions[-1], delta.Delta(tuple(upserted), removed_authorizations=gone)))
    for version in (*versions, *versions[::2]):
        for connection in asking:
            assert authorize(version, server, connection) == plainly(version, server, connection)


def test_of_many_policies_the_first_that_fits_is_named():
    many = [
        policy(f"p{n:04}", Action.DENY, Match(principals=exactly(f"td/ns/from/sa/n{n % 7}"), destination_ports=(80 + n % 3,)))
        for n in range(500)
    ]  # fmt: skip
    always = policy("p0300-not", Action.DENY, Match(not_namespaces=exactly("elsewhere")))
    for caller in range(8):
        one = Connection(SpiffeId("td", "from", f"n{caller}"), at("10.0.9.9:40000"), at("10.0.0.1:82"))
        for snapshot in (world(*many), world(*many, always), world(*many[250:], always)):
            assert authorize(snapshot, SERVER, one) == plainly(snapshot, SERVER, one)


def test_a_match_that_names_too_much_to_be_filed_in_pairs_fits_all_the_same():
    principals = exactly(*(f"td/ns/from/sa/n{n}" for n in range(100)), PRINCIPAL)
    ports = tuple(range(1, 101))
    wide = ((Match(principals=principals, destination_ports=ports),),)
    clauses = (
        tuple(Match(destination_ports=(port,)) for port in ports),
        tuple(Match(principals=exactly(name.value)) for name in principals),
    )
    for rule in (wide, clauses):
        snapshot = world(policy("wide", Action.DENY, rule))
        for connection in (PLAIN, TLS, OTHER_TLS, V6):
            decision = authorize(snapshot, SERVER, connection)
            assert decision == plainly(snapshot, SERVER, connection)
        assert isinstance(authorize(snapshot, SERVER, TLS), Denied)


@given(snapshots, workloads, connections, authorizations)
def test_adding_a_deny_never_allows(snapshot, server, connection, extra):
    more = world(*snapshot.authorizations.values(), replace(extra, name="new", action=Action.DENY))
    if isinstance(authorize(snapshot, server, connection), Denied):
        assert isinstance(authorize(more, server, connection), Denied)


def plainly(snapshot, server, connection):
    """The rules word for word, slowly."""
    every = [
        one
        for key, one in sorted(snapshot.authorizations.items())
        if one.scope is Scope.GLOBAL
        or (one.scope is Scope.NAMESPACE and one.namespace == server.namespace)
        or key in server.policies
    ]

    def first(action, dry_run):
        fitting = (
            one.key
            for one in every
            if one.action is action and one.dry_run is dry_run and _policy_fits(one, connection)
        )
        return next(fitting, None)

    would_deny = first(Action.DENY, True)
    if denying := first(Action.DENY, False):
        return Denied(denying, f"explicitly denied by: {denying}", would_deny)
    would_allow = first(Action.ALLOW, True)
    if not any(one.action is Action.ALLOW and not one.dry_run for one in every):
        return Allowed(None, would_deny, would_allow)
    if allowing := first(Action.ALLOW, False):
        return Allowed(allowing, would_deny, would_allow)
    return Denied(None, "allow policies exist, but none allowed", would_deny, would_allow)


def _policy_fits(one, connection):
    return any(
        all(any(_fits(match, connection) for match in clause) for clause in rule) for rule in one.rules
    )


def _fits(match, connection):
    identity = connection.source_identity
    fields = [
        ("namespaces", lambda value: identity is not None and _string_fits(value, identity.namespace)),
        (
            "principals",
            lambda value: identity is not None and _string_fits(value, str(identity)[len("spiffe://") :]),
        ),
        (
            "service_accounts",
            lambda value: identity is not None and value == (identity.namespace, identity.service_account),
        ),
        ("source_ips", lambda value: connection.source.ip in value),
        ("destination_ips", lambda value: connection.destination.ip in value),
        ("destination_ports", lambda value: connection.destination.port == value),
    ]
    if match == Match():
        return False
    return all(
        (not getattr(match, name) or any(map(fits, getattr(match, name))))
        and not any(map(fits, getattr(match, f"not_{name}")))
        for name, fits in fields
    )


def _string_fits(wanted, text):
    match wanted.kind:
        case StringMatchKind.EXACT:
            return text == wanted.value
        case StringMatchKind.PREFIX:
            return text.startswith(wanted.value)
        case StringMatchKind.SUFFIX:
            return text.endswith(wanted.value)
        case StringMatchKind.PRESENCE:
            return text != ""
