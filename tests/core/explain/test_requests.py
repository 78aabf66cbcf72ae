from dataclasses import replace

import pytest
from core.explain.circumstances import Known
from core.explain.test_call import API, KEY, NOW, SERVICE, WEB
from core.explain.test_routes import BEHIND, WAYPOINT
from core.worlds import exactly, service, world

from ambient.core.explain.answer import Question, Topic, Verdict
from ambient.core.explain.call import explain
from ambient.core.model.authorization import Action, Match
from ambient.core.model.request_authorization import RequestAuthorization, RequestMatch, Target

READ = RequestAuthorization(
    "read", "shop", (Target("Service", "api"),), Action.ALLOW,
    (((RequestMatch(connection=Match(principals=exactly("cluster.local/ns/shop/sa/web"))),), (RequestMatch(methods=exactly("GET")),)),),
)  # fmt: skip
NO_ADMIN = replace(
    READ, name="no-admin", action=Action.DENY, rules=(((RequestMatch(paths=exactly("/admin")),),),)
)
ELSEWHERE = replace(NO_ADMIN, name="elsewhere", targets=(Target("Service", "db"),))


def said(*policies, to=BEHIND, source=WEB, **question):
    snapshot = world(source, API, WAYPOINT, service("way", "10.88.0.77", ports=((15008, 15008),)), to)
    asked = Question("shop/web", "api", 80, **question)
    explanation = explain(snapshot, Known(policies=policies), asked, NOW)
    return [
        (step.verdict, step.text, str(step.origin or ""))
        for step in explanation.steps
        if step.topic is Topic.POLICY and "waypoint" in step.text
    ]


@pytest.mark.parametrize(
    ("policies", "question", "expected"),
    [
        pytest.param((READ,), {"method": "GET", "path": "/x"}, (Verdict.OK, "AuthorizationPolicy shop/read lets GET /x pass the waypoint", "AuthorizationPolicy shop/read spec.rules"), id="allowed"),
        pytest.param((READ,), {"method": "POST"}, (Verdict.FAILS, "the waypoint answers POST / with 403: no rule of AuthorizationPolicy shop/read fits it", "AuthorizationPolicy shop/read spec.rules"), id="not-allowed"),
        pytest.param((READ, NO_ADMIN), {"path": "/a/../admin"}, (Verdict.FAILS, "the waypoint answers GET /a/../admin with 403: AuthorizationPolicy shop/no-admin denies it", "AuthorizationPolicy shop/no-admin spec.rules"), id="denied"),
        pytest.param((READ,), {"path": "/a%2Fb"}, (Verdict.FAILS, "the waypoint answers /a%2Fb with 400: the path has an escape that is read in several ways: %2F", ""), id="ambiguous"),
        pytest.param((NO_ADMIN,), {"path": "/x"}, (Verdict.OK, "no policy of the waypoint denies GET /x", ""), id="nothing-denies"),
    ],
)  # fmt: skip
def test_what_a_waypoint_says_of_a_request(policies, question, expected):
    assert said(*policies, **question) == [expected]


def test_a_caller_that_nobody_vouches_for_is_nobody():
    plain = replace(WEB, tunnel=type(WEB.tunnel).NONE)
    assert [verdict for verdict, *_ in said(READ, source=plain, method="GET", path="/")] == [Verdict.FAILS]


def test_a_connection_is_asked_nothing_about_requests():
    assert said(READ) == []


def test_policies_of_other_services_say_nothing():
    assert said(ELSEWHERE, path="/admin") == []


def test_without_a_waypoint_they_have_no_effect():
    ((verdict, text, _),) = said(READ, to=SERVICE, method="POST")
    assert verdict is Verdict.WARNING
    assert text == (
        f"AuthorizationPolicy shop/read has no effect: service {KEY} has no waypoint, which alone asks policies with targets"
    )
