"""What is said of one service, and what comes of it: worlds and tables."""

import pytest
from control.routes.said import (
    API,
    Written,
    match,
    route,
    rule,
    service,
)

OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        pytest.param([rule("prefix", match("/a")), rule("exact", match("=/a"))], ["exact", "prefix"], id="exact-path-first"),
        pytest.param([rule("short", match("/a")), rule("long", match("/a/b"))], ["long", "short"], id="longest-prefix"),
        pytest.param([rule("none"), rule("root", match("/"))], ["none", "root"], id="no-path-is-the-root"),
        pytest.param([rule("prefix", match("/aaaa")), rule("regex", match("~/a.*"))], ["regex", "prefix"], id="a-pattern-before-a-prefix"),
        pytest.param([rule("regex", match("~/a.*")), rule("exact", match("=/a"))], ["exact", "regex"], id="a-pattern-after-an-exact-path"),
        pytest.param([rule("any", match("/a")), rule("get", match("/a", method="GET"))], ["get", "any"], id="method"),
        pytest.param([rule("method", match("/a", method="GET")), rule("path", match("/a/b"))], ["path", "method"], id="path-before-method"),
        pytest.param([rule("one", match("/a", headers={"a": "1"})), rule("two", match("/a", headers={"a": "1", "b": "2"}))], ["two", "one"], id="most-headers"),
        pytest.param([rule("headers", match("/a", headers={"a": "1"})), rule("method", match("/a", method="GET"))], ["method", "headers"], id="method-before-headers"),
        pytest.param([rule("one", match("/a", queries={"a": "1"})), rule("two", match("/a", queries={"a": "1", "b": "2"}))], ["two", "one"], id="most-queries"),
        pytest.param([rule("queries", match("/a", queries={"a": "1", "b": "2"})), rule("header", match("/a", headers={"a": "1"}))], ["header", "queries"], id="headers-before-queries"),
        pytest.param([rule("first", match("/a")), rule("second", match("/a"))], ["first", "second"], id="first-in-the-list"),
    ],
)  # fmt: skip
def test_matches_of_an_http_route(rules, order):
    written = Written(service(), route("r", *rules))
    assert written.tables() == [("", [], "http", order)]


def test_a_rule_stands_where_each_of_its_matches_belongs():
    both = rule("both", match("=/a"), match("/"))
    written = Written(service(), route("r", both, rule("middle", match("/b"))))
    assert written.tables() == [("", [], "http", ["both", "middle", "both"])]
    assert [len(one.matches) for one in written.routes[API].tables[0].rules] == [1, 1, 1]


def test_matches_of_a_rule_that_stand_together_stay_together():
    written = Written(service(), route("r", rule("one", match("=/a"), match("/b"), match("/a"))))
    assert [len(one.matches) for one in written.routes[API].tables[0].rules] == [3]
