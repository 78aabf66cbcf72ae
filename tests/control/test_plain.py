"""YAML as plain data: how scalars are read, what is refused, and where things stand."""

import json

import pytest
from hypothesis import given, strategies as st

from ambient.cli import yaml_text
from ambient.control import plain
from ambient.control.plain import NotPlain


def one(text):
    ((_, value),) = plain.read(text)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("Yes", True), ("on", True), ("OFF", False), ("no", False), ("y", "y"), ("tRue", "tRue"),
        ("~", None), ("", None), ("null", None), ("'null'", "null"), ('""', ""), ("|\n  yes", "yes"),
        ("80", 80), ("-1", -1), ("+1", 1), ("0", 0), ("010", 8), ("0o10", 8), ("-010", -8), ("0x10", 16), ("0b11", 3),
        ("08", 8.0), ("1_000", 1000), ("12:30", "12:30"), ("1e3", 1000.0), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0),
        ("1.2.3", "1.2.3"), ("v1", "v1"), ("+", "+"), ("1__0_", 10), ("0o", "0o"), ("10.0.0.1", "10.0.0.1"), ("'80'", "80"),
        ("9" * 41, "9" * 41), ("2026-01-01", "2026-01-01"), ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("!!str 80", "80"), ("! 80", "80"), ("=", "="), ("{80: a, true: b, ~: c}", {"80": "a", "true": "b", "~": "c"}),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
        ("{a: &x {p: 1, q: 2}, b: {<<: *x, q: 3}}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("{a: &x {p: 1}, b: &y {p: 2, q: 2}, c: {q: 3, <<: [*x, *y]}}", {"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 3}}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)  # fmt: skip
def test_a_scalar(text, value):
    read = one(text if text.startswith("{") else f"a: {text}")
    read = read if text.startswith("{") else read["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        pytest.param("a: 1\na: 2", 1, "the key 'a' comes twice; remove one of them", id="key-twice"),
        pytest.param("80: 1\n'80': 2", 1, "the key '80' comes twice", id="key-twice-in-json"),
        pytest.param("a: {b: 1, b: 1}", 0, "the key 'b' comes twice", id="key-twice-within"),
        pytest.param("a: &x {}\nb: {<<: *x, <<: *x}\nc: {<<: {a: 1}, <<: {b: 1}}", 2, "the key '<<' comes twice", id="two-merges"),
        pytest.param("a: {<<: 1}", 0, "<< brings something that is no mapping", id="merge-of-a-number"),
        pytest.param("? [a]\n: b", 0, "a key is not text", id="list-as-key"),
        pytest.param("a: &x 1\n*x : 2", 1, "a key is not text", id="alias-as-key"),
        pytest.param("a: &x [*x]", 0, "the value &x contains itself, as *x", id="contains-itself"),
        pytest.param("a: &x {b: {c: *x}}", 0, "contains itself", id="contains-itself-deep"),
        pytest.param("a: *nobody", 0, "*nobody stands for nothing", id="unknown-alias"),
        pytest.param("a: !!python/object/apply:os.system [id]", 0, "the tag 'tag:yaml.org,2002:python/object/apply:os.system' asks for more than plain data", id="python"),
        pytest.param("a: !Ref b", 0, "the tag '!Ref' asks", id="local-tag"),
        pytest.param("a: !!binary aGk=", 0, "asks for more than plain data; remove it", id="binary"),
        pytest.param("!!int 1: b", 0, "asks for more", id="tagged-key"),
        pytest.param("a: !!set {b}", 0, "asks for more", id="set"),
        pytest.param("a: .inf", 0, ".inf is no number that an object can have; put it in quotes if it is text", id="infinity"),
        pytest.param("a: .NaN", 0, ".NaN is no number", id="nan"),
        pytest.param("a: 12e4567", 0, "12e4567 is no number that an object can have; put it in quotes", id="git-hash"),
        pytest.param("a:\n\tb: 1", 1, "it is indented with a tab; use spaces", id="tab"),
        pytest.param("a: @b", 0, "a value begins with @; put it in quotes", id="at"),
        pytest.param("a: `b`", 0, "a value begins with `", id="backtick"),
        pytest.param("a: b: c", 0, "quote a value that has ': ' in it", id="colon"),
        pytest.param("a: 'b\nc: d\n", 2, "close the quote that is open", id="open-quote"),
        pytest.param("a: {b: 1", 1, "did not find expected ',' or '}'", id="open-brace"),
        pytest.param("a: 1\n...\nb: 2", 2, "write --- before another document", id="document-without-dashes"),
        pytest.param("a: 1\n b: 2", 1, "check the indentation", id="indentation"),
        pytest.param("a: 1\nb: \x07", 1, "the control character 0x07 is in it; remove it", id="bell"),
        pytest.param("a: 1\nb: \x00", 1, "the control character 0x00 is in it; remove it", id="nul"),
        pytest.param('a: "\\ud800"', 0, "found invalid Unicode character escape code", id="lone-surrogate"),
        pytest.param("[" * 70, 0, "more than 64 levels deep", id="deep"),
        pytest.param("- " * 70 + "a", 0, "more than 64 levels deep", id="deep-in-blocks"),
    ],
)  # fmt: skip
def test_what_is_no_plain_data(text, line, why):
    with pytest.raises(NotPlain) as caught:
        list(plain.read(text))
    assert caught.value.line == line
    assert why in caught.value.why


def bomb(levels, width):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(("levels", "width"), [(10, 9), (60, 2), (2, 80_000)])
def test_a_few_lines_do_not_stand_for_a_million_values(levels, width):
    with pytest.raises(NotPlain, match="more than 500000 values, counting what aliases stand for; split it"):
        list(plain.read(bomb(levels, width)))


def test_aliases_of_honest_size_are_no_bomb():
    assert len(one(bomb(4, 9))["a3"]) == 9


def test_many_documents_of_a_stream_have_their_lines():
    assert list(plain.read("%YAML 1.1\n---\na: 1\n...\n---\n# x\nb: 2\n")) == [(2, {"a": 1}), (6, {"b": 2})]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc<.80~-", max_size=4), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_what_is_printed_reads_the_same(value):
    assert one(yaml_text.of(value)) == value
    assert one(json.dumps(value, ensure_ascii=False)) == value


TEXT = """\
apiVersion: v1
metadata:
  labels:
    app: x
    app.kubernetes.io/name: y
spec:
  ports:
  - port: 80

  - name: b
    port: 81
  more: {a: [1,
    {b: 2}]}
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("", 0), ("nothing", 0), ("metadata", 1), ("metadata.name", 1), ("metadata.labels.app", 3),
        ("metadata.labels.app.kubernetes.io/name", 4), ('metadata.labels["app.kubernetes.io/name"]', 4),
        ("spec.ports[0]", 7), ("spec.ports[0].port", 7), ("spec.ports[1].port", 10), ("spec.ports[2].port", 6),
        ("spec.more.a[1].b", 12), ("spec.more.a[99999999999]", 11), ("spec.ports.port", 6), ("spec[0]", 5),
    ],
)  # fmt: skip
def test_where_a_field_stands(field, line):
    (place,) = plain.places(TEXT)
    assert place.line_of(field) == line
