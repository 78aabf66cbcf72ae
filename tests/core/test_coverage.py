import pytest
from core.test_routing import (
    connections,
    few_fields,
    header,
    match_holds,
    path,
    requests,
    rule,
    rules,
    table,
    text,
)
from hypothesis import assume, given, strategies as st

from ambient.core.coverage import covers, unreachable
from ambient.core.model.route import RouteMatch

GET = RouteMatch(method=text("exact", "GET"))


@pytest.mark.parametrize(
    ("wider", "match", "expected"),
    [
        (RouteMatch(), RouteMatch(), True),
        (RouteMatch(), path("exact", "/a"), True),
        (path("exact", "/a"), RouteMatch(), False),
        (path("prefix", "/a"), path("exact", "/ab"), True),
        (path("segments", "/a"), path("exact", "/ab"), False),
        (path("segments", "/a"), path("exact", "/a"), True),
        (path("segments", "/a"), path("segments", "/a/b"), True),
        (path("segments", "/"), path("regex", "/.*"), False),
        (path("prefix", "/a/"), path("segments", "/a"), False),
        (path("prefix", "/A", ignore_case=True), path("exact", "/ab"), True),
        (path("regex", "/a+"), path("regex", "/a+"), True),
        (path("regex", "/a+"), path("exact", "/aa"), False),
        (GET, RouteMatch(), False),
        (RouteMatch(method=text("present")), GET, True),
        (header("x", text("exact", "1")), header("x", text("exact", "1")), True),
        (header("x", text("exact", "1")), header("x", text("exact", "2")), False),
        (RouteMatch(ports=frozenset({80, 81})), RouteMatch(ports=frozenset({80})), True),
        (RouteMatch(ports=frozenset({80})), RouteMatch(), False),
        (RouteMatch(source_namespace="shop"), RouteMatch(), False),
        (RouteMatch(), RouteMatch(source_namespace="shop"), True),
    ],
)
def test_a_match_covers_another_or_not(wider, match, expected):
    assert covers(wider, match) is expected


@given(few_fields, few_fields, st.one_of(requests, connections))
def test_what_a_covered_match_is_for_the_wider_is_for(wider, match, asked):
    assume(covers(wider, match) and match_holds(match, asked))
    assert match_holds(wider, asked)


def test_rules_behind_one_for_everything_are_never_met():
    everything, orders = rule("all", RouteMatch()), rule("orders", path("prefix", "/orders"))
    assert list(unreachable(table(orders, everything))) == []
    assert list(unreachable(table(everything, orders))) == [(orders, everything)]


def test_a_rule_with_one_match_left_is_met():
    first, second = rule("a", path("exact", "/a")), rule("b", path("exact", "/a"), path("exact", "/b"))
    assert list(unreachable(table(first, second))) == []
    assert list(unreachable(table(first, rule("b", path("exact", "/b")), second))) == [(second, first)]


@given(st.lists(rules, max_size=4), st.one_of(requests, connections))
def test_a_rule_that_is_found_is_never_the_first_to_hold(some, asked):
    found = {id(one) for one, _ in unreachable(table(*some))}
    first = next((one for one in some if any(match_holds(match, asked) for match in one.matches)), None)
    assert first is None or id(first) not in found
