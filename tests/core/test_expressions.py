"""Expressions of telemetry: what they are worth, and what none is."""

import time

import pytest
from hypothesis import given, strategies as st
from telemetry import seen as requests
from telemetry.seen import refused, seen

from ambient.core.expressions import DEEPEST, LONGEST, ExpressionError, Failed, read
from ambient.core.request_attributes import KNOWN, attributes_of, of_request

VALUES = {
    "request.path": "/a/b",
    "request.headers": {"x-user": "ann", "odd name": "1"},
    "response.code": 404,
    "connection.mtls": True,
    "ratio": 0.5,
}
NAMES = {*VALUES, "missing"}


def attributes(name):
    return VALUES[name]


WORTH = {
    "true": True,
    "!false": True,
    "!!true": True,
    "null == null": True,
    "-1 < 0": True,
    "- -1 == 1": True,
    "1.5 + 1": 2.5,
    "'a' + \"b\"": "ab",
    r"'a\n\'' == r'a\n'": False,
    r"r'\d' == '\\d'": True,
    "response.code >= 400": True,
    "response.code == 404 && request.path == '/a/b'": True,
    "response.code >= 500 || ratio > 0.25": True,
    "response.code in [200, 404]": True,
    "'404' in [200, 404]": False,
    "'x-user' in request.headers": True,
    "request.headers['x-user']": "ann",
    "request.headers['odd name'] == '1'": True,
    "has(request.headers.x)": False,
    "has(request.path)": True,
    "has(missing)": False,
    "size(request.path)": 4,
    "size(request.headers) + size([1, 2])": 4,
    "request.path.startsWith('/a')": True,
    "request.path.endsWith('/a')": False,
    "request.path.contains('a/')": True,
    "request.path.matches('^/[a-z]/')": True,
    "request.path.matches('b')": True,
    "request.path.matches('^b')": False,
    "string(response.code) + '!'": "404!",
    "string(true)": "true",
    "int('12') + int(1.9)": 13,
    "response.code < 400 ? 'good' : response.code < 500 ? 'bad' : 'worse'": "bad",
    "(true || false) && false": False,
    "true || false && false": True,
    "1 == 1.0": True,
    "true == 1": False,
    "'b' > 'a'": True,
    "[1, 'a'][1]": "a",
    # What one side decides is decided, whatever is wrong with the other.
    "missing == 1 || true": True,
    "true || missing == 1": True,
    "missing == 1 && false": False,
}


@pytest.mark.parametrize(("text", "value"), WORTH.items(), ids=WORTH)
def test_what_an_expression_is_worth(text, value):
    found = read(text, NAMES).evaluate(attributes)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "missing == 1",
            "missing == 1 || false",
            "missing == 1 && true",
            "1 + 'a'",
            "'a' < 1",
            "!1",
            "-'a'",
        ),
        *(
            "request.headers['x']",
            "[1][1]",
            "[1][-1]",
            "[1][true]",
            "1 in 2",
            "size(1)",
            "int('x')",
            "int('1e3')",
        ),
        *(
            "string([1])",
            "request.path.x",
            "1 ? 2 : 3",
            "true + true",
            "(1).startsWith('a')",
            "'a'.contains(1)",
        ),
        "int('" + "9" * 100 + "')",
    ],
)
def test_what_has_no_value_fails_and_does_not_hold(text):
    expression = read(text, NAMES)
    with pytest.raises(Failed):
        expression.evaluate(attributes)
    assert expression.holds(attributes) is False
    assert expression.text(attributes, "unknown") == "unknown"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("(1", "ends too early"),
        ("1 1", "'1' is not expected"),
        ("1)", "is not expected"),
        ("'open", "cannot be read from"),
        ("a.b", "no attribute a here"),
        ("request", "no attribute request here"),
        ("request.other", "no attribute request.other here"),
        ("eval('1')", "no function eval"),
        ("request.path.upper()", "no function upper"),
        ("[1].all(x, x > 0)", "no function all"),
        ("request.path.startsWith()", "takes 1"),
        ("size(1, 2)", "takes 1"),
        ("request.path.matches(request.path)", "written there"),
        ("request.path.matches('(')", "missing"),
        ("request.path.matches('a)(b')", "unexpected"),
        (r"'\q'", "no escape"),
        ("1 @ 2", "cannot be read from"),
        ("!-1", "not expected"),
        ("1.2.3", "cannot be read from"),
        ("(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1), "deeper"),
        ("!" * 100 + "true", "not expected"),
        ("1" + "+1" * LONGEST, "characters"),
        ("é == 1", "cannot be read from"),
    ],
)
def test_what_is_no_expression(text, words):
    with pytest.raises(ExpressionError, match=words):
        read(text, NAMES)


@given(st.text("()[]!&|=<>+-.,?:'\"\\ a1", max_size=60) | st.text(max_size=40))
def test_no_text_breaks_the_reader(text):
    try:
        expression = read(text, NAMES)
    except ExpressionError:
        return
    expression.holds(attributes)
    expression.text(attributes, "")


def test_what_it_costs_is_bounded_by_its_length():
    text = "request.path.matches('(a+)+$') && " * 29 + "true"
    expression = read(text, NAMES)
    began = time.process_time()
    expression.holds(lambda _: "a" * 20_000 + "!")
    assert time.process_time() - began < 5


# Requests


def test_every_attribute_can_be_asked_for():
    for one in (seen(), requests.RETRIED, refused(), requests.HOSTILE):
        for name in KNOWN:
            expression = of_request(f"has({name})")
            assert expression.attributes == {name}
            expected = name != "response.grpc_status" or one.grpc_status is not None
            assert expression.evaluate(attributes_of(one)) is expected


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("request.url_path", "/cart"),
        ("request.query", "token=secret"),
        ("request.headers['user-agent']", "curl/8.5.0"),
        ("request.useragent", "curl/8.5.0"),
        ("response.code", "200"),
        ("destination.port", "80"),
        ("upstream.address", "10.0.1.1:8080"),
        ("response.grpc_status", "unknown"),
        ("request.headers['x']", "unknown"),
    ],
)
def test_attributes_of_a_request(text, worth):
    assert of_request(text).text(attributes_of(seen()), "unknown") == worth
