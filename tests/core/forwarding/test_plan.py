"""What is done with a request: tables of worlds and decisions."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from core.worlds import at, exactly, workload
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.authorize_request import Token
from ambient.core.forwarding import grpc
from ambient.core.forwarding.answer import written
from ambient.core.forwarding.client import ERROR, Client
from ambient.core.forwarding.edits import Edit
from ambient.core.forwarding.outcome import is_failure
from ambient.core.forwarding.plan import Answered, Checks, Planner, Send, Unverified, Verified, joined
from ambient.core.forwarding.reason import Flag, Reason
from ambient.core.http.message import RequestHead
from ambient.core.model.authorization import Action
from ambient.core.model.identity import SpiffeId
from ambient.core.model.jwt import JwtRule, KeysGiven
from ambient.core.model.limit import ByClaim, ByHeader, ByIdentity, RateLimit
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import (
    HeaderTest,
    RequestAuthorization,
    RequestMatch,
    Target,
)
from ambient.core.model.route import (
    DEFAULT_RETRY,
    Backend,
    Cors,
    Fault,
    Filters,
    Forward,
    HeaderEdits,
    HeaderMatch,
    Mirror,
    Origin,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Profile,
    ProfileRoute,
    Protocol,
    Redirect,
    Respond,
    ResponseClass,
    Retry,
    Rewrite,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)
from ambient.core.resilience import bucket

API, V2 = "shop/api.shop.svc.cluster.local", "shop/v2.shop.svc.cluster.local"
ORIGIN = Origin("HTTPRoute", "shop", "r", "spec.rules[0]")
WEB = SpiffeId("cluster.local", "web", "front")
CLIENT = Client.of(WEB, at("10.0.0.9:4000"), at("10.96.0.1:80"), None)
GET = RequestHead("GET", "api.shop", "/a/b?c=1", (("accept", "*/*"), ("x-request-id", "r1")))
CALL = replace(
    GET,
    method="POST",
    path="/S/M",
    headers=(("content-type", "application/grpc"), ("x-request-id", "r1")),
    length=None,
)
TOLD = (
    ("x-forwarded-for", "10.0.0.9"),
    ("forwarded", "for=10.0.0.9;proto=http"),
    ("x-forwarded-proto", "http"),
)


def checks(*chances: float, token=None, take=None) -> Checks:
    drawn = iter(chances)
    return Checks(
        token or (lambda _rules, _head: Verified()),
        take or (lambda _limit, _key: bucket.Taken(4, 1.2)),
        lambda: next(drawn),
        lambda: "made",
    )


def rule(action=None, *matches: RouteMatch, **fields) -> RouteRule:
    return RouteRule(
        ORIGIN, action or Forward((Backend(API, 80),)), matches or (RouteMatch(),), "r0", **fields
    )


def planner(*rules: RouteRule, policies=None, unmatched=Unmatched.NOT_FOUND, **fields) -> Planner:
    tables = (RouteTable(Protocol.HTTP, rules, unmatched),) if rules else ()
    return Planner(API, ServiceRoutes(API, tables, **fields), policies)


def sent(*rules: RouteRule, head=GET, client=CLIENT, with_=None, policies=None, **fields) -> Send:
    plan = planner(*rules, policies=policies, **fields).plan(
        client, head, joined(head.headers), with_ or checks()
    )
    assert isinstance(plan, Send)
    return plan


def answered(*rules: RouteRule, head=GET, with_=None, policies=None, **fields) -> Answered:
    plan = planner(*rules, policies=policies, **fields).plan(
        CLIENT, head, joined(head.headers), with_ or checks()
    )
    assert isinstance(plan, Answered)
    return plan


def of_policies(**fields) -> ServicePolicies:
    return ServicePolicies(API, **fields)


def authorization(name: str, action: Action, match: RequestMatch, *, dry_run=False) -> RequestAuthorization:
    return RequestAuthorization(name, "shop", (Target("Service", "api"),), action, (((match,),),), dry_run)


def with_headers(*pairs: tuple[str, str], head=GET) -> RequestHead:
    return replace(head, headers=head.headers + pairs)


# Where it goes


def test_without_routes_a_request_goes_to_its_service():
    plan = sent()
    assert (plan.service, plan.port, plan.subset) == (API, 80, "")
    assert plan.head == RequestHead("GET", "api.shop", "/a/b?c=1", GET.headers + TOLD)
    assert plan.retry == DEFAULT_RETRY


def test_a_workload_that_is_called_by_address_has_no_routes():
    plan = Planner("", None, None).plan(CLIENT, GET, joined(GET.headers), checks())
    assert isinstance(plan, Send)
    assert (plan.service, plan.port) == ("", 80)


@pytest.mark.parametrize(("chance", "service"), [(0.0, API), (0.89, API), (0.91, V2), (0.999999, V2)])
def test_backends_are_drawn_by_weight(chance, service):
    action = Forward((Backend(API, 80, weight=90), Backend(V2, 8080, weight=10), Backend("shop/x", weight=0)))
    assert sent(rule(action), with_=checks(chance)).service == service


def test_a_header_leads_to_a_subset():
    v2 = RouteMatch(headers=(HeaderMatch("end-user", TextMatch(TextMatchKind.EXACT, "jason")),))
    rules = rule(Forward((Backend(API, subset="v2"),)), v2), rule(Forward((Backend(API, subset="v1"),)))
    assert sent(*rules, head=with_headers(("end-user", "jason"))).subset == "v2"
    assert sent(*rules).subset == "v1"


def test_routes_see_the_path_that_the_application_gets():
    only_admin = rule(None, RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/admin")))
    for path in ("/admin", "/x/../admin", "//admin", "/%61dmin", "\\admin", "/admin/"):
        plan = sent(only_admin, head=replace(GET, path=path))
        assert plan.head.path.rstrip("/") == "/admin"
    assert answered(only_admin, head=replace(GET, path="/ADMIN")).answer.reason is Reason.NO_ROUTE


ANSWERS = {
    "no-rule": (answered, [rule(None, RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/x")))], {}, 404, Reason.NO_ROUTE),
    "no-backend": (answered, [rule(Forward(()))], {}, 500, Reason.NO_BACKEND),
    "no-weight": (answered, [rule(Forward((Backend(API, weight=0),)))], {}, 500, Reason.NO_BACKEND),
    "bad-backend": (answered, [rule(Forward((Backend("shop/x", trouble="is no Service"),)))], {}, 500, Reason.BAD_BACKEND),
    "escaped-slash": (answered, [], {"head": replace(GET, path="/a%2Fb")}, 400, Reason.AMBIGUOUS_PATH),
    "direct": (answered, [rule(Respond(418, "tea"))], {}, 418, None),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "rules", "fields", "status", "reason"), list(ANSWERS.values()), ids=ANSWERS)
def test_what_is_answered_at_once(ask, rules, fields, status, reason):
    answer = ask(*rules, **fields).answer
    assert (answer.status, answer.reason) == (status, reason)


# What the application is told


def test_what_a_client_says_of_itself_is_taken_away():
    lies = (
        ("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-client-cert", "URI=spiffe://x"),
        ("x-real-ip", "1.2.3.4"), ("x-forwarded-host", "bank"), (ERROR, "x"),
    )  # fmt: skip
    assert sent(head=with_headers(*lies)).head.headers == GET.headers + TOLD


def test_the_scheme_that_an_ingress_was_called_by_stays():
    headers = sent(head=with_headers(("x-forwarded-proto", "https"))).head.headers
    assert [value for name, value in headers if name == "x-forwarded-proto"] == ["https"]


def test_whoever_is_trusted_says_for_whom_it_asks():
    client = Client.of(WEB, at("10.0.0.9:4000"), at("10.96.0.1:80"), None, is_trusted=True)
    head = with_headers(("x-forwarded-for", "1.2.3.4, 5.6.7.8"))
    assert ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 10.0.0.9") in sent(head=head, client=client).head.headers
    assert client.forwards({"x-forwarded-for": "1.2.3.4, 5.6.7.8"})[1] == at("5.6.7.8:0").ip
    assert client.forwards({"x-forwarded-for": "nobody"})[1] is None


def test_the_identity_is_told_when_asked_for():
    client = Client.of(WEB, at("[fd00::9]:4000"), at("10.96.0.1:80"), None, by="spiffe://td/ns/a/sa/w")
    headers = dict(sent(client=client).head.headers)
    assert headers["x-forwarded-client-cert"] == f"By=spiffe://td/ns/a/sa/w;URI={WEB}"
    assert (headers["x-forwarded-for"], headers["forwarded"]) == ("fd00::9", 'for="[fd00::9]";proto=http')


@pytest.mark.parametrize(
    ("shown", "kept"),
    [((), "made"), ((("x-request-id", "mine"),), "mine"), ((("x-request-id", "x" * 300),), "made")],
)
def test_a_request_has_an_id(shown, kept):
    plan = sent(head=replace(GET, headers=shown))
    assert [value for name, value in plan.head.headers if name == "x-request-id"] == [kept]
    assert plan.notes.request_id == kept


def test_a_callers_labels_are_the_workloads():
    web = workload("front", "10.0.0.9", namespace="web", labels=Map({"app": "front"}))
    match = RouteMatch(source_labels=Map({"app": "front"}), source_namespace="web")
    client = Client.of(WEB, at("10.0.0.9:4000"), at("10.96.0.1:80"), web)
    assert sent(rule(None, match), client=client).notes.rule == "r0"
    assert answered(rule(None, match)).answer.reason is Reason.NO_ROUTE


# Filters


def test_headers_are_edited_by_the_rule_and_then_by_the_backend():
    of_rule = Filters(
        HeaderEdits(set=(("a", "rule"),), add=(("b", "rule"),)), HeaderEdits(set=(("s", "rule"),))
    )
    of_backend = Filters(HeaderEdits(set=(("a", "backend"),)), HeaderEdits(remove=("s",), add=(("t", "1"),)))
    plan = sent(rule(Forward((Backend(API, filters=of_backend),)), filters=of_rule))
    assert plan.head.headers == (*GET.headers, *TOLD, ("b", "rule"), ("a", "backend"))
    assert plan.response.of((("s", "x"), ("u", "y"))) == (("u", "y"), ("t", "1"))


def test_a_path_and_an_authority_are_rewritten():
    match = RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/a"))
    filters = Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.PREFIX, "/z"), "other.example"))
    head = sent(
        rule(None, RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/q")), match, filters=filters)
    ).head
    assert (head.path, head.authority) == ("/z/b?c=1", "other.example")
    assert ("x-forwarded-host", "api.shop") in head.headers


def test_a_backend_rewrites_in_place_of_the_rule():
    backend = Backend(API, filters=Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.FULL, "/backend"))))
    filters = Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.FULL, "/rule"), "other"))
    head = sent(rule(Forward((backend,)), filters=filters)).head
    assert (head.path, head.authority) == ("/backend?c=1", "other")


@pytest.mark.parametrize(
    ("redirect", "authority", "location"),
    [
        (Redirect(scheme="https", port=443), "api.shop", "https://api.shop/a/b?c=1"),
        (Redirect(scheme="https"), "api.shop:8080", "https://api.shop/a/b?c=1"),
        (Redirect(authority="example.org"), "api.shop", "http://example.org/a/b?c=1"),
        (Redirect(authority="example.org"), "api.shop:8080", "http://example.org:8080/a/b?c=1"),
        (Redirect(authority="example.org:99"), "api.shop:8080", "http://example.org:99/a/b?c=1"),
        (Redirect(port=8083), "api.shop", "http://api.shop:8083/a/b?c=1"),
        (Redirect(port=80), "api.shop:8080", "http://api.shop/a/b?c=1"),
        (Redirect(path=PathRewrite(PathRewriteKind.FULL, "/x")), "[fd00::1]", "http://[fd00::1]/x?c=1"),
        (
            Redirect(path=PathRewrite(PathRewriteKind.PREFIX, "/x")),
            "[fd00::1]:81",
            "http://[fd00::1]:81/x/b?c=1",
        ),
    ],
)
def test_a_redirection_says_where(redirect, authority, location):
    match = RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/a"))
    answer = answered(rule(redirect, match), head=replace(GET, authority=authority)).answer
    assert (answer.status, dict(answer.headers)["location"]) == (302, location)


@pytest.mark.parametrize(
    ("chances", "mirrors"), [((0.0, 0.49), 2), ((0.0, 0.5), 1), ((0.3, 0.0), 1), ((0.9, 0.9), 0)]
)
def test_a_share_of_requests_is_mirrored(chances, mirrors):
    filters = Filters(mirrors=(Mirror(Backend(V2), 0.25), Mirror(Backend(V2, 90), 0.5)))
    plan = sent(rule(filters=filters), with_=checks(*chances))
    assert len(plan.mirrors) == mirrors
    assert {mirror.port for mirror in plan.mirrors} <= {80, 90}


def test_a_mirror_that_serves_nothing_is_left_out():
    assert sent(rule(filters=Filters(mirrors=(Mirror(Backend("x", trouble="is none")),)))).mirrors == ()


# Faults

HELD = Fault(timedelta(seconds=2), 0.5, 500, "", 0.1)


@pytest.mark.parametrize(
    ("chances", "delay", "status"), [((0.4, 0.5), 2.0, None), ((0.6, 0.05), 0.0, 500), ((0.1, 0.05), 2.0, 500), ((0.9, 0.9), 0.0, None)]
)  # fmt: skip
def test_faults_are_injected_by_share(chances, delay, status):
    plan = planner(rule(filters=Filters(fault=HELD))).plan(CLIENT, GET, joined(GET.headers), checks(*chances))
    assert plan.delay == delay
    assert (plan.answer.status if isinstance(plan, Answered) else None) == status


def test_an_abort_of_a_call_has_its_own_status():
    fault = Fault(abort_grpc_status="DATA_LOSS", aborted_share=1.0)
    answer = answered(rule(filters=Filters(fault=fault)), head=CALL, with_=checks(0.0)).answer
    head, body = written(answer, for_grpc=True)
    assert (head.status, dict(head.headers)["grpc-status"], body) == (200, "15", b"")
    assert answer.status == 503


# CORS

ASKING = (
    ("origin", "https://a.example"),
    ("access-control-request-method", "PUT"),
    ("access-control-request-headers", "x-a, x-b"),
)
PAGES = Cors(
    allow_origins=(TextMatch(TextMatchKind.EXACT, "https://a.example"),),
    allow_methods=("GET", "PUT"),
    allow_headers=("x-a",),
    expose_headers=("x-c",),
    max_age=timedelta(hours=1),
    allow_credentials=True,
)
ALL = Cors((TextMatch(TextMatchKind.PRESENT, ""),), ("*",), ("*",))


def preflight(*headers: tuple[str, str]) -> RequestHead:
    return replace(GET, method="OPTIONS", headers=headers)


def test_a_preflight_is_answered():
    plan = answered(rule(filters=Filters(cors=PAGES)), head=preflight(*ASKING))
    assert (plan.answer.status, plan.answer.reason) == (200, None)
    assert dict(plan.answer.headers) == {
        "access-control-allow-origin": "https://a.example",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-a",
        "access-control-allow-credentials": "true",
        "access-control-max-age": "3600",
        "vary": "origin",
    }


def test_what_is_for_everyone_says_so_unless_credentials_are_shown():
    plain = dict(answered(rule(filters=Filters(cors=ALL)), head=preflight(*ASKING)).answer.headers)
    assert plain == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "*",
        "access-control-allow-headers": "*",
    }
    credentials = replace(ALL, allow_credentials=True)
    shown = dict(answered(rule(filters=Filters(cors=credentials)), head=preflight(*ASKING)).answer.headers)
    assert shown["access-control-allow-origin"] == "https://a.example"
    assert (shown["access-control-allow-methods"], shown["access-control-allow-headers"]) == (
        "PUT",
        "x-a, x-b",
    )


@pytest.mark.parametrize(
    "headers",
    [(), ASKING[:1], ASKING[1:], (("origin", "https://b.example"), *ASKING[1:])],
    ids=["nothing", "no-method", "no-origin", "another-origin"],
)
def test_what_is_no_preflight_of_ours_goes_to_the_backend(headers):
    plan = sent(rule(filters=Filters(cors=PAGES)), head=preflight(*headers))
    backend = (("access-control-allow-origin", "https://b.example"),)
    own = headers[:1] == ASKING[:1]
    assert (plan.response.of(backend) == backend) is not own


def test_a_response_says_who_may_read_it():
    plan = sent(rule(filters=Filters(cors=PAGES)), head=with_headers(ASKING[0]))
    said = dict(plan.response.of((("access-control-allow-origin", "*"), ("a", "b"))))
    assert said == {
        "a": "b",
        "access-control-allow-origin": "https://a.example",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-c",
        "vary": "origin",
    }


# Policies, tokens, limits

DENY = of_policies(
    authorizations=(authorization("no-puts", Action.DENY, RequestMatch(methods=exactly("PUT"))),)
)


def test_a_denied_request_names_its_policy():
    plan = answered(policies=DENY, head=replace(GET, method="PUT"))
    assert (plan.answer.status, plan.answer.reason) == (403, Reason.DENIED)
    assert plan.answer.detail == "RBAC: access denied: explicitly denied by: shop/no-puts"
    assert (plan.notes.policy, str(plan.notes.origin)) == ("shop/no-puts", "AuthorizationPolicy shop/no-puts")
    assert sent(policies=DENY).notes.policy is None


def test_a_dry_run_is_noted():
    policies = of_policies(
        authorizations=(
            authorization("later", Action.DENY, RequestMatch(methods=exactly("GET")), dry_run=True),
        )
    )
    assert sent(policies=policies).notes.would_deny == "shop/later"


def test_policies_come_before_routes_and_preflights():
    plan = answered(rule(Respond(200)), policies=DENY, head=replace(GET, method="PUT"))
    assert plan.answer.reason is Reason.DENIED


TOKENS = of_policies(
    tokens=(JwtRule("issuer", KeysGiven("{}")),),
    authorizations=(
        authorization("users", Action.ALLOW, RequestMatch(request_principals=exactly("issuer/ann"))),
    ),
)


def test_a_token_is_for_policies_and_for_the_application():
    good = Verified(Token("issuer", "ann"), Edit(frozenset({"authorization"}), (("x-user", "ann"),)))
    head = with_headers(("authorization", "Bearer t"))
    plan = sent(policies=TOKENS, head=head, with_=checks(token=lambda _rules, _head: good))
    assert ("x-user", "ann") in plan.head.headers
    assert "authorization" not in dict(plan.head.headers)
    assert answered(policies=TOKENS).answer.reason is Reason.DENIED


def test_a_token_in_the_query_goes_no_further():
    good = Verified(parameters=frozenset({"access_token"}))
    asked = replace(GET, path="/a?access_token=t&x=1")
    only_tokens = of_policies(tokens=TOKENS.tokens)
    plan = sent(head=asked, policies=only_tokens, with_=checks(token=lambda _rules, _head: good))
    assert plan.head.path == "/a?x=1"


@pytest.mark.parametrize("said", ["admin", "nobody"])
def test_policies_see_what_the_waypoint_says_of_claims_and_not_the_client(said):
    told = Edit(frozenset({"x-role"}), (("x-role", "user"),))
    match = RequestMatch(headers=(HeaderTest("x-role", exactly("admin")),))
    policy = RequestAuthorization("admins", "shop", (Target("Service", "api"),), Action.ALLOW, (((match,),),))
    policies = of_policies(tokens=TOKENS.tokens, authorizations=(policy,))
    asked = replace(GET, headers=(("x-role", said),))
    check = checks(token=lambda _rules, _head: Verified(edit=told))
    assert answered(head=asked, policies=policies, with_=check).answer.status == 403
    right = checks(token=lambda _rules, _head: Verified(edit=Edit(told.gone, (("x-role", "admin"),))))
    assert dict(sent(head=asked, policies=policies, with_=right).head.headers)["x-role"] == "admin"


def test_a_bad_token_is_refused():
    bad = Unverified("Jwt is expired", 'Bearer error="invalid_token"')
    plan = answered(policies=TOKENS, with_=checks(token=lambda _rules, _head: bad))
    assert (plan.answer.status, plan.answer.reason, plan.answer.detail) == (
        401,
        Reason.BAD_TOKEN,
        "Jwt is expired",
    )
    assert plan.answer.headers == (("www-authenticate", 'Bearer error="invalid_token"'),)
    forbidden = Unverified("Audiences in Jwt are not allowed", status=403)
    plan = answered(policies=TOKENS, with_=checks(token=lambda _rules, _head: forbidden))
    assert (plan.answer.status, plan.answer.reason) == (403, Reason.BAD_TOKEN)


LIMIT = RateLimit("shop/slow/all", 10, timedelta(seconds=1), 20)


def test_a_limit_is_told_in_every_response():
    said = (("ratelimit-policy", '"shop/slow/all";q=20;w=2'), ("ratelimit", '"shop/slow/all";r=4;t=2'))
    assert sent(policies=of_policies(limits=(LIMIT,))).added == said
    assert answered(rule(Respond(200)), policies=of_policies(limits=(LIMIT,))).answer.headers == said


def test_a_limit_that_is_exceeded_says_when_to_come_again():
    taken = lambda _limit, _key: bucket.TooMany(0.3, 1.2)  # noqa: E731
    plan = answered(policies=of_policies(limits=(LIMIT,)), with_=checks(take=taken))
    assert (plan.answer.status, plan.answer.reason) == (429, Reason.RATE_LIMITED)
    assert dict(plan.answer.headers)["retry-after"] == "1"
    assert str(plan.notes.origin) == "RateLimitPolicy shop/slow all"
    head, _ = written(plan.answer, for_grpc=True)
    assert dict(head.headers)["grpc-status"] == str(int(grpc.Status.RESOURCE_EXHAUSTED))


@pytest.mark.parametrize(("ports", "is_over"), [((), True), ((80, 81), True), ((81,), False)])
def test_a_limit_of_some_ports_counts_the_requests_to_these(ports, is_over):
    taken = lambda _limit, _key: bucket.TooMany(0.3, 1.2)  # noqa: E731
    policies = of_policies(limits=(replace(LIMIT, dry_run=True, ports=frozenset(ports)),))
    assert sent(policies=policies, with_=checks(take=taken)).notes.over == (LIMIT.name,) * is_over


def test_a_limit_that_is_a_dry_run_is_noted():
    taken = lambda _limit, _key: bucket.TooMany(0.3, 1.2)  # noqa: E731
    plan = sent(policies=of_policies(limits=(replace(LIMIT, dry_run=True),)), with_=checks(take=taken))
    assert plan.notes.over == ("shop/slow/all",)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(ByIdentity(), str(WEB)), (ByHeader("x-user"), "ann"), (ByHeader("x-none"), ""), (ByClaim("tier"), "gold"), (ByClaim("none"), "")],
)  # fmt: skip
def test_limits_tell_requests_apart(key, expected):
    keys: list[str] = []

    def take(_limit, key):
        keys.append(key)
        return bucket.Taken(4, 1.2)

    token = Verified(Token("issuer", "ann", {"tier": "gold"}))
    policies = of_policies(limits=(replace(LIMIT, key=key),), tokens=TOKENS.tokens)
    with_ = checks(take=take, token=lambda _rules, _head: token)
    sent(policies=policies, head=with_headers(("x-user", "ann")), with_=with_)
    assert keys == [expected]


# Timeouts, retries, classes


def test_a_profile_fills_in_what_the_rule_leaves_open():
    of_profile = ProfileRoute(
        ORIGIN,
        "read",
        RouteMatch(),
        Timeouts(request=timedelta(seconds=3)),
        Retry(5),
        (ResponseClass(404, 404, True),),
    )
    plan = sent(rule(timeouts=Timeouts(attempt=timedelta(seconds=1))), profile=Profile((of_profile,)))
    assert (plan.timings.request, plan.timings.attempt, plan.retry.attempts) == (3.0, 1.0, 5)
    assert (plan.classes, plan.notes.profile_route) == (of_profile.responses, "read")


@pytest.mark.parametrize(
    ("own", "said", "expected"),
    [
        (None, "2S", 2.0),
        (1, "2S", 1.0),
        (3, "2S", 2.0),
        (3, "junk", 3.0),
        (0, "2S", 2.0),
        (0, "", None),
        (None, "0S", 0.0),
    ],
)
def test_a_call_takes_no_longer_than_its_caller_waits(own, said, expected):
    timeouts = Timeouts(request=None if own is None else timedelta(seconds=own))
    plan = sent(rule(timeouts=timeouts), head=with_headers(("grpc-timeout", said), head=CALL))
    assert plan.timings.request == expected


def test_what_is_no_call_has_no_deadline_of_one():
    assert sent(head=with_headers(("grpc-timeout", "1S"))).timings.request is None


@pytest.mark.parametrize(
    ("status", "grpc_status", "classes", "expected"),
    [
        (200, None, (), False), (500, None, (), True), (499, None, (), False), (200, 14, (), True), (200, 0, (), False), (200, 5, (), False),
        (404, None, (ResponseClass(400, 499, True),), True), (503, None, (ResponseClass(503, 503, False),), False),
        (200, 14, (ResponseClass(200, 200, False),), False), (500, None, (ResponseClass(200, 299, False, True),), False),
    ],
)  # fmt: skip
def test_a_response_is_a_failure_or_not(status, grpc_status, classes, expected):
    assert is_failure(status, grpc_status, classes) is expected


# What stands in an answer


def test_an_answer_says_why():
    plan = answered(rule(None, RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/x"))))
    head, body = written(plan.answer, for_grpc=False)
    assert (head.status, head.length, body) == (404, len(body), b"no rule is for this request\n")
    assert dict(head.headers) == {"content-type": "text/plain; charset=utf-8", ERROR: "no_route"}
    head, body = written(plan.answer, for_grpc=True)
    assert (head.status, head.length, body) == (200, 0, b"")
    assert dict(head.headers)["grpc-status"] == "12"


def test_an_answer_of_a_rule_is_as_it_says():
    head, body = written(answered(rule(Respond(204, "no"))).answer, for_grpc=False)
    assert (head, body) == (replace(head, status=204, headers=(), length=0), b"")


def test_every_reason_has_a_status_and_a_flag():
    assert all(reason.status >= 400 and reason.flag is not Flag.NONE for reason in Reason)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "cookie"]), st.sampled_from("12"))).map(tuple))
def test_headers_are_joined(headers):
    found = joined(headers)
    for name in {name for name, _ in headers}:
        mark = "; " if name == "cookie" else ","
        assert found[name] == mark.join(value for other, value in headers if other == name)
    assert set(found) == {name for name, _ in headers}


_planned = partial(
    planner, rule(None, RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/admin"))), policies=DENY
)


@given(st.text("/.%2eEfFaDdmin\\;?", max_size=12))
def test_what_is_forwarded_is_what_was_judged(text):
    plan = _planned().plan(CLIENT, replace(GET, path="/" + text), joined(GET.headers), checks())
    if isinstance(plan, Send):
        bare = plan.head.path.partition("?")[0]
        assert bare == "/admin" or bare.startswith("/admin/")


# What nobody decides by


def test_no_policy_route_or_limit_believes_what_a_client_says_of_itself():
    lie = with_headers(("x-forwarded-for", "10.1.1.1"), ("x-ambient-client-namespace", "bank"))
    for name, value in (("x-forwarded-for", "10.1.1.1"), ("x-ambient-client-namespace", "bank")):
        allow = authorization("a", Action.ALLOW, RequestMatch(headers=(HeaderTest(name, exactly(value)),)))
        assert (
            answered(head=lie, policies=of_policies(authorizations=(allow,))).answer.reason is Reason.DENIED
        )
        match = RouteMatch(headers=(HeaderMatch(name, TextMatch(TextMatchKind.EXACT, value)),))
        assert answered(rule(None, match), head=lie).answer.reason is Reason.NO_ROUTE
        keys: list[str] = []
        limit = RateLimit("shop/l/0", 1, timedelta(seconds=1), 1, ByHeader(name))
        take = checks(take=lambda _limit, key, keys=keys: keys.append(key) or bucket.Taken(4, 1.2))
        sent(head=lie, with_=take, policies=of_policies(limits=(limit,)))
        assert value not in keys


def test_policies_see_the_address_that_the_application_is_told():
    told = RequestMatch(headers=(HeaderTest("x-forwarded-for", exactly("10.0.0.9")),))
    policies = of_policies(authorizations=(authorization("d", Action.DENY, told),))
    assert answered(policies=policies).answer.reason is Reason.DENIED


@pytest.mark.parametrize(
    ("path", "prefix", "value"),
    [
        ("/api../admin", "/api", "/public/"),
        ("/api%2e%2e/admin", "/api", "/public/"),
        ("/api..", "/api", "/public/"),
        ("/api..;x/admin", "/api", "/public/"),
        ("/api./admin", "/api", "/public/"),
    ],
)
def test_a_rewritten_path_does_not_climb_out_of_where_it_was_put(path, prefix, value):
    filters = Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.PREFIX, value)))
    match = RouteMatch(path=PathMatch(PathMatchKind.PREFIX, prefix))
    plan = answered(rule(None, match, filters=filters), head=replace(GET, path=path))
    assert (plan.answer.status, plan.answer.reason) == (400, Reason.AMBIGUOUS_PATH)


def test_a_rewritten_path_may_have_names_with_dots():
    filters = Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.PREFIX, "/public/")))
    match = RouteMatch(path=PathMatch(PathMatchKind.PREFIX, "/api/"))
    plan = sent(
        rule(None, match, filters=filters), head=replace(GET, path="/api/.well-known/a..b/...?q=/../")
    )
    assert plan.head.path == "/public/.well-known/a..b/...?q=/../"


@pytest.mark.parametrize(("said", "scheme"), [("https", "https"), ("http", "http"), ("javascript", "http")])
def test_a_redirect_leads_to_http_whatever_a_client_says(said, scheme):
    plan = answered(rule(Redirect(authority="o.example")), head=with_headers(("x-forwarded-proto", said)))
    assert dict(plan.answer.headers)["location"].partition(":")[0] == scheme
