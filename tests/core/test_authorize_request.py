from dataclasses import fields, replace
from ipaddress import ip_address, ip_network

import pytest
from core.worlds import PRESENT, at, exactly, gateway, service
from hypothesis import given, strategies as st

from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.authorize_request import RequestFacts, Token, authorize_request, concerns
from ambient.core.http.paths import Path, normal
from ambient.core.model.authorization import Action, Match, StringMatch, StringMatchKind
from ambient.core.model.identity import SpiffeId
from ambient.core.model.request_authorization import (
    ClaimTest,
    HeaderTest,
    PathTemplate,
    RequestAuthorization,
    RequestMatch,
    Target,
)

CALLER = SpiffeId("td", "shop", "web")
CONNECTION = Connection(CALLER, at("10.0.0.9:40000"), at("10.0.0.1:80"))
TOKEN = Token(
    "issuer",
    "ann",
    {"aud": ["shop", "bank"], "azp": "app", "group": "staff", "realm": {"roles": ["admin", "user"]}, "scope": "read write", "age": 7},
)  # fmt: skip
GET = RequestFacts(
    CONNECTION,
    "GET",
    Path("/orders/7", "?x=1"),
    "API.shop:80",
    {"x-user": "ann"},
    TOKEN,
    ip_address("192.0.2.1"),
    "api.shop",
)
BARE = RequestFacts(CONNECTION, "POST", Path("/"), "")


def prefix(text):
    return (StringMatch(StringMatchKind.PREFIX, text),)


def suffix(text):
    return (StringMatch(StringMatchKind.SUFFIX, text),)


def policy(name, action, *rules, **more):
    return RequestAuthorization(name, "shop", (Target("Service", "api"),), action, rules, **more)


def match(**named):
    return ((RequestMatch(**named),),)


def fits(one, request):
    denied = authorize_request([policy("p", Action.DENY, ((one,),))], request)
    allowed = authorize_request([policy("p", Action.ALLOW, ((one,),))], request)
    assert isinstance(denied, Denied) is isinstance(allowed, Allowed)
    return isinstance(denied, Denied)


# Whether a match fits: the request with everything, the one with nothing.
FIELDS = {
    "empty-matches-nothing": (RequestMatch(), (False, False)),
    "connection": (RequestMatch(connection=Match(namespaces=exactly("shop"))), (True, True)),
    "connection-not": (RequestMatch(connection=Match(not_namespaces=exactly("shop"))), (False, False)),
    "connection-and-method": (RequestMatch(connection=Match(destination_ports=(81,)), methods=exactly("GET")), (False, False)),
    "method": (RequestMatch(methods=exactly("GET")), (True, False)),
    "method-is-of-this-case": (RequestMatch(methods=exactly("get")), (False, False)),
    "not-method": (RequestMatch(not_methods=exactly("GET", "PUT")), (False, True)),
    "methods-are-or": (RequestMatch(methods=exactly("PUT", "GET")), (True, False)),
    "any-method": (RequestMatch(methods=PRESENT), (True, True)),
    "fields-are-and": (RequestMatch(methods=exactly("GET"), paths=exactly("/")), (False, False)),
    "host-in-any-case": (RequestMatch(hosts=exactly("api.shop:80")), (True, False)),
    "host-without-port": (RequestMatch(hosts=exactly("api.shop")), (False, False)),
    "host-with-any-port": (RequestMatch(hosts=prefix("api.shop:")), (True, False)),
    "no-host": (RequestMatch(not_hosts=PRESENT), (False, True)),
    "path-without-query": (RequestMatch(paths=exactly("/orders/7")), (True, False)),
    "path-with-query-never": (RequestMatch(paths=exactly("/orders/7?x=1")), (False, False)),
    "path-prefix": (RequestMatch(paths=prefix("/orders")), (True, False)),
    "path-suffix": (RequestMatch(paths=suffix("/7")), (True, False)),
    "path-template": (RequestMatch(paths=(PathTemplate("/orders/{*}"),)), (True, False)),
    "not-path-template": (RequestMatch(not_paths=(PathTemplate("/{**}"),)), (False, False)),
    "remote": (RequestMatch(remote_ips=(ip_network("192.0.2.0/24"),)), (True, False)),
    "remote-is-the-source-where-nobody-says": (RequestMatch(remote_ips=(ip_network("10.0.0.9/32"),)), (False, True)),
    "not-remote": (RequestMatch(not_remote_ips=(ip_network("192.0.2.0/24"),)), (False, True)),
    "remote-of-the-other-family": (RequestMatch(remote_ips=(ip_network("::/0"),)), (False, False)),
    "request-principal": (RequestMatch(request_principals=exactly("issuer/ann")), (True, False)),
    "any-request-principal": (RequestMatch(request_principals=PRESENT), (True, False)),
    "no-request-principal": (RequestMatch(not_request_principals=PRESENT), (False, True)),
    "audience": (RequestMatch(audiences=exactly("bank")), (True, False)),
    "not-audience": (RequestMatch(not_audiences=exactly("bank")), (False, True)),
    "presenter": (RequestMatch(presenters=exactly("app")), (True, False)),
    "server-name": (RequestMatch(server_names=suffix(".shop")), (True, False)),
    "not-server-name": (RequestMatch(not_server_names=suffix(".shop")), (False, True)),
    "header": (RequestMatch(headers=(HeaderTest("x-user", exactly("ann")),)), (True, False)),
    "any-header": (RequestMatch(headers=(HeaderTest("x-user", PRESENT),)), (True, False)),
    "not-header": (RequestMatch(headers=(HeaderTest("x-user", (), exactly("ann")),)), (False, True)),
    "headers-are-and": (RequestMatch(headers=(HeaderTest("x-user", PRESENT), HeaderTest("x-other", PRESENT))), (False, False)),
    "claim": (RequestMatch(claims=(ClaimTest(("group",), exactly("staff")),)), (True, False)),
    "claim-in-a-list": (RequestMatch(claims=(ClaimTest(("realm", "roles"), exactly("user")),)), (True, False)),
    "not-claim-in-a-list": (RequestMatch(claims=(ClaimTest(("realm", "roles"), (), exactly("user")),)), (False, True)),
    "claim-with-spaces": (RequestMatch(claims=(ClaimTest(("scope",), exactly("write")),)), (True, False)),
    "claim-that-is-no-text": (RequestMatch(claims=(ClaimTest(("age",), PRESENT),)), (False, False)),
    "claim-below-a-text": (RequestMatch(claims=(ClaimTest(("group", "x"), PRESENT),)), (False, False)),
}  # fmt: skip


@pytest.mark.parametrize(("one", "expected"), list(FIELDS.values()), ids=FIELDS)
def test_a_match_fits(one, expected):
    assert (fits(one, GET), fits(one, BARE)) == expected


@pytest.mark.parametrize(
    ("pattern", "authority", "expected"),
    [
        ("api.shop", "api.shop.", True),
        ("api.shop", "API.shop.", True),
        ("api.shop:80", "api.shop.:80", True),
        ("api.shop.", "api.shop.", True),
        ("api.shop", "api.shop..", False),
        ("api.shop.", "api.shop", False),
        ("[::1]", "[::1]", True),
        ("[::1]:80", "[::1]:80", True),
    ],
)
def test_a_dot_behind_a_host_makes_it_no_other(pattern, authority, expected):
    asked = replace(GET, authority=authority)
    assert fits(RequestMatch(hosts=exactly(pattern)), asked) is expected
    assert fits(RequestMatch(not_hosts=exactly(pattern)), asked) is not expected


@pytest.mark.parametrize("token", [Token("issuer", ""), Token("", "ann"), Token("", "")])
def test_a_token_without_issuer_or_subject_is_nobodys(token):
    asked = replace(GET, token=token)
    assert not fits(RequestMatch(request_principals=PRESENT), asked)
    assert fits(RequestMatch(not_request_principals=PRESENT), asked)


@pytest.mark.parametrize(
    ("template", "fitting", "others"),
    [
        ("/a/{*}", ["/a/b", "/a/%2F"], ["/a", "/a/", "/a/b/c", "/b/b"]),
        ("/a/{*}/c", ["/a/b/c"], ["/a//c", "/a/b/d", "/a/b/b/c"]),
        ("/a/{**}", ["/a/", "/a/b", "/a/b/c", "/a//"], ["/a", "/ab", "/"]),
        ("/{**}", ["/", "/a", "/a/b"], []),
        ("/{*}/x/{**}", ["/a/x/", "/a/x/b/c"], ["/a/x", "/x/b"]),
        ("/a/{**}/z", ["/a//z", "/a/b/z", "/a/b/c/z"], ["/a/z", "/a/b/z/", "/a/b"]),
        ("/{*}/{*}", ["/a/b"], ["/a", "/a/b/c"]),
    ],
)
def test_a_template(template, fitting, others):
    one = RequestMatch(paths=(PathTemplate(template),))
    assert [path for path in fitting + others if fits(one, replace(GET, path=Path(path)))] == fitting


def test_a_denied_path_cannot_be_written_otherwise():
    deny = policy("admin", Action.DENY, match(paths=prefix("/admin")))
    for path in ("/admin", "/x/../admin", "/%61dmin", "/./admin/", "/x/%2e%2e/admin", "/x\\..\\admin"):
        assert isinstance(authorize_request([deny], replace(GET, path=normal(path))), Denied), path


YES, NO = RequestMatch(methods=exactly("GET")), RequestMatch(methods=exactly("PUT"))
RULES = {
    "no-rules-match-nothing": ((), False),
    "rule-without-clauses-matches-all": (((),), True),
    "clause-without-matches-matches-nothing": ((((),),), False),
    "rules-are-or": ((((NO,),), ((YES,),)), True),
    "clauses-are-and": ((((YES,), (NO,)),), False),
    "matches-are-or": ((((NO, YES),),), True),
    "empty-match-beside-another": ((((RequestMatch(), YES),),), True),
    "empty-match-in-a-clause": ((((YES,), (RequestMatch(),)),), False),
}


@pytest.mark.parametrize(("rules", "matches"), list(RULES.values()), ids=RULES)
def test_rules_clauses_and_matches_nest(rules, matches):
    assert isinstance(authorize_request([policy("p", Action.DENY, *rules)], GET), Denied) is matches


ALL = ()
ALLOW_ALL, ALLOW_NONE = policy("allow-all", Action.ALLOW, ALL), policy("allow-none", Action.ALLOW)
DENY_ALL = policy("deny-all", Action.DENY, ALL)
NOT_ALLOWED = Denied(None, "allow policies exist, but none allowed")
DENIED = Denied("shop/deny-all", "explicitly denied by: shop/deny-all")
ORDER = {
    "no-policies": ([], Allowed(None)),
    "deny-that-does-not-match": ([policy("d", Action.DENY, ((NO,),))], Allowed(None)),
    "allow": ([ALLOW_ALL], Allowed("shop/allow-all")),
    "allow-nothing": ([ALLOW_NONE], NOT_ALLOWED),
    "one-of-two-allows": ([ALLOW_NONE, ALLOW_ALL], Allowed("shop/allow-all")),
    "deny-before-allow": ([ALLOW_ALL, DENY_ALL], DENIED),
    "first-by-name": ([replace(DENY_ALL, name="z"), replace(DENY_ALL, name="b")], Denied("shop/b", "explicitly denied by: shop/b")),
    "dry-run-deny": ([replace(DENY_ALL, dry_run=True)], Allowed(None, would_deny="shop/deny-all")),
    "dry-run-allow-is-no-allow": ([replace(ALLOW_NONE, dry_run=True)], Allowed(None)),
    "dry-run-allow-is-noted": ([replace(ALLOW_ALL, dry_run=True), ALLOW_NONE], replace(NOT_ALLOWED, would_allow="shop/allow-all")),
}  # fmt: skip


@pytest.mark.parametrize(("policies", "decision"), list(ORDER.values()), ids=ORDER)
def test_policies_are_asked_in_order(policies, decision):
    assert authorize_request(policies, GET) == decision


@pytest.mark.parametrize(
    ("targets", "asked", "expected"),
    [
        ([("Service", "api")], service("api"), True),
        ([("Service", "api")], service("api", namespace="bank"), False),
        ([("Service", "web"), ("Service", "api")], service("api"), True),
        ([("Gateway", "w")], service("api", waypoint=gateway("shop/w.shop.svc.cluster.local")), True),
        ([("Gateway", "w")], service("api", namespace="bank", waypoint=gateway("shop/w.shop.svc.cluster.local")), True),
        ([("Gateway", "w")], service("api", waypoint=gateway("bank/w.bank.svc.cluster.local")), False),
        ([("Gateway", "w")], service("api"), False),
        ([("Gateway", "api")], service("api"), False),
        ([("GatewayClass", "istio-waypoint")], service("api", waypoint=gateway("10.0.0.1")), False),
        ([("GatewayClass", "nginx")], service("api", waypoint=gateway("10.0.0.1")), False),
    ],
)  # fmt: skip
def test_whom_a_policy_concerns(targets, asked, expected):
    one = replace(ALLOW_ALL, targets=tuple(Target(*target) for target in targets))
    assert concerns(one, asked, ("istio-system",)) is expected


def test_a_service_that_no_cluster_tells_of_is_a_target_of_its_own_kind():
    outside = replace(service("db"), hostname="db.example.com")
    assert (service("db").kind, outside.kind) == ("Service", "ServiceEntry")
    for kind in ("Service", "ServiceEntry"):
        one = replace(ALLOW_ALL, targets=(Target(kind, "db"),))
        assert concerns(one, outside, ()) is (kind == "ServiceEntry")
        assert concerns(one, service("db"), ()) is (kind == "Service")


def test_a_policy_for_a_class_is_of_the_root_namespace():
    one = replace(ALLOW_ALL, targets=(Target("GatewayClass", "istio-waypoint"),), namespace="istio-system")
    assert concerns(one, service("api", waypoint=gateway("10.0.0.1")), ("istio-system",))
    assert not concerns(one, service("api"), ("istio-system",))


patterns = st.lists(
    st.builds(
        StringMatch, st.sampled_from(StringMatchKind), st.sampled_from(["", "GET", "/a", "ann", "issuer/ann"])
    ),
    max_size=2,
).map(tuple)
networks = st.lists(st.sampled_from([ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24")]), max_size=1).map(
    tuple
)
matches = st.builds(
    RequestMatch,
    connection=st.sampled_from([Match(), Match(namespaces=exactly("shop")), Match(not_principals=PRESENT)]),
    headers=st.lists(st.builds(HeaderTest, st.just("x-user"), patterns, patterns), max_size=1).map(tuple),
    claims=st.lists(st.builds(ClaimTest, st.just(("group",)), patterns, patterns), max_size=1).map(tuple),
    **{
        one.name: networks if one.name.endswith("remote_ips") else patterns
        for one in fields(RequestMatch)
        if one.name not in {"connection", "headers", "claims"}
    },
)
policies = st.builds(
    RequestAuthorization,
    name=st.sampled_from("abcd"),
    namespace=st.just("shop"),
    targets=st.just(()),
    action=st.sampled_from(Action),
    rules=st.lists(st.lists(st.lists(matches, max_size=2).map(tuple), max_size=2).map(tuple), max_size=2).map(
        tuple
    ),
    dry_run=st.booleans(),
)
requests = st.sampled_from(
    [GET, BARE, replace(GET, token=None), replace(GET, connection=replace(CONNECTION, source_identity=None))]
)


@given(st.lists(policies, max_size=4), policies, requests)
def test_adding_a_deny_never_allows(some, extra, request_):
    if isinstance(authorize_request(some, request_), Denied):
        more = [*some, replace(extra, name="new", action=Action.DENY)]
        assert isinstance(authorize_request(more, request_), Denied)


@given(st.lists(policies, max_size=4, unique_by=lambda one: one.name), requests, st.randoms())
def test_the_order_of_policies_is_no_matter(some, request_, random):
    decision = authorize_request(some, request_)
    random.shuffle(some)
    assert authorize_request(some, request_) == decision


@given(policies, requests)
def test_a_dry_run_changes_nothing(one, request_):
    decision = authorize_request([replace(one, dry_run=True)], request_)
    assert isinstance(decision, Allowed)
    assert decision.policy is None
