"""A call as it is typed, and its explanation as it is read."""

import json

import pytest
import typer
from immutables import Map

from ambient.cli import explaining
from ambient.cli.output import Output
from ambient.core.explain.answer import Explanation, Question, Step, Topic, Verdict
from ambient.core.model.route import Origin

WORKS = (
    Step(
        Topic.SOURCE,
        Verdict.OK,
        "shop/web on node n1 runs as spiffe://cluster.local/ns/shop/sa/web and is captured",
        Origin("Namespace", "", "shop", 'metadata.labels["ambient.dev/dataplane-mode"]'),
    ),
    Step(Topic.NAME, Verdict.OK, "api is service shop/api.shop.svc.cluster.local at 10.88.0.10"),
    Step(Topic.PROTOCOL, Verdict.OK, "mutual TLS (HBONE) to port 15008"),
)
DENIED = Step(
    Topic.POLICY,
    Verdict.FAILS,
    "AuthorizationPolicy shop/no-web denies it at shop/api",
    Origin("AuthorizationPolicy", "shop", "no-web"),
    "change the rule that fits, or call as somebody whom it does not name",
)
OUTSIDE = Step(
    Topic.NAME,
    Verdict.WARNING,
    "203.0.113.9 is nobody that the mesh knows: the call leaves it as plain TCP",
    remedy="add a Service of that address if it should be known",
)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("api", ("api", None)),
        ("api:80", ("api", 80)),
        ("api.shop.svc.cluster.local:8080", ("api.shop.svc.cluster.local", 8080)),
        ("shop/api:80", ("shop/api", 80)),
        ("10.0.0.1", ("10.0.0.1", None)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("fd00::1", ("fd00::1", None)),
        ("[fd00::1]:80", ("fd00::1", 80)),
        ("[fd00::1]", ("fd00::1", None)),
    ],
)
def test_a_destination_has_a_port_or_not(typed, expected):
    assert explaining.question("web", typed) == Question("web", *expected)


@pytest.mark.parametrize("typed", ["api:", "api:http", "api:70000", ":80", "[fd00::1]:x"])
def test_what_is_no_port_is_said(typed):
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT"):
        explaining.question("web", typed)


def test_a_request_is_asked_for_as_it_is_sent():
    asked = explaining.question("web", "api:80", "get", "/orders", Map({"x-canary": "true"}))
    assert (asked.method, asked.path, asked.headers["x-canary"]) == ("GET", "/orders", "true")


@pytest.mark.parametrize(
    ("name", "steps"), [("works", WORKS), ("fails", (*WORKS, DENIED)), ("doubt", (WORKS[0], OUTSIDE))]
)
def test_an_explanation_is_read(name, steps, golden):
    golden(f"cli/why-{name}.txt", "".join(f"{line}\n" for line in explaining.lines(Explanation(steps))))


def test_a_finding_ends_with_one_and_all_is_there_for_programs(capsys):
    explanation = Explanation((*WORKS, DENIED))
    with pytest.raises(typer.Exit) as ended:
        explaining.show(explanation, Output.JSON)
    assert ended.value.exit_code == 1
    read = json.loads(capsys.readouterr().out)
    assert read["verdict"] == "fails"
    assert read["steps"][-1]["object"] == {
        "kind": "AuthorizationPolicy", "namespace": "shop", "name": "no-web", "field": "",
    }  # fmt: skip


def test_policies_alone_are_shown_with_who_calls_whom():
    shown = explaining.of_policies(Explanation((*WORKS, DENIED)))
    assert [step.topic for step in shown.steps] == [Topic.SOURCE, Topic.NAME, Topic.POLICY]


def test_what_others_wrote_cannot_reach_the_terminal():
    wrote = Step(Topic.NAME, Verdict.FAILS, "no service is called \x1b[2J", remedy="\x07")
    assert "\x1b" not in "".join(explaining.lines(Explanation((wrote,))))
