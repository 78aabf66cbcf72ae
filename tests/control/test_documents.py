"""Files as such: encodings, sizes, how documents are told apart, Lists and JSON."""

import json
import resource
import time

import pytest
from hypothesis import given, strategies as st

from ambient.control.documents import LARGEST, LARGEST_DOCUMENT, MOST_BAD, BadDocument, Document, documents

A = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
B = A.replace("name: a", "name: b")
LIST = "apiVersion: v1\nkind: List\nitems:\n"


def read(content):
    return list(documents(content.encode() if isinstance(content, str) else content))


def names(content):
    return [(one.line, one.content["metadata"]["name"]) for one in read(content)]


def as_json(*names):
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    return json.dumps(
        items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}, indent=1
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("---\n---\n# a comment\n---\n\n", [], id="only-dashes-and-comments"),
        pytest.param("null\n---\n~\n", [], id="nulls"),
        pytest.param(A, [(1, "a")], id="one"),
        pytest.param("# why\n\n" + A, [(3, "a")], id="after-a-comment"),
        pytest.param("---\n" + A + "---\n", [(2, "a")], id="dashes-around"),
        pytest.param(A + "---\n" + B, [(1, "a"), (5, "b")], id="two"),
        pytest.param(A + "--- # the other\n" + B, [(1, "a"), (5, "b")], id="comment-after-dashes"),
        pytest.param("--- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n" + B, [(1, "a"), (3, "b")], id="document-after-dashes"),
        pytest.param(A + "...\n---\n" + B, [(1, "a"), (6, "b")], id="document-end"),
        pytest.param("%YAML 1.2\n---\n" + A, [(3, "a")], id="directive"),
        pytest.param(A + "...\n%YAML 1.2\n---\n" + B, [(1, "a"), (7, "b")], id="directive-between"),
        pytest.param(A.rstrip("\n") + "\n---", [(1, "a")], id="no-line-end"),
        pytest.param((A + "---\n" + B).replace("\n", "\r\n"), [(1, "a"), (5, "b")], id="crlf"),
        pytest.param((A + "---\n" + B).replace("\n", "\r"), [(1, "a"), (5, "b")], id="cr"),
        pytest.param("\ufeff" + A + "---\n\ufeff" + B, [(1, "a"), (5, "b")], id="byte-order-marks"),
        pytest.param(A + "  # ---\n----\n".replace("----\n", "") + "---\n" + B, [(1, "a"), (6, "b")], id="dashes-in-a-comment"),
        pytest.param(A.replace("{name: a}", "\n  name: a\n  annotations: {x: 'a---b'}"), [(1, "a")], id="dashes-in-a-text"),
        pytest.param(LIST + "- " + A.replace("\n", "\n  ") + "\n- " + B.replace("\n", "\n  "), [(4, "a"), (8, "b")], id="list"),
        pytest.param(LIST.replace("items:", "items: []"), [], id="empty-list"),
        pytest.param(as_json("a"), [(1, "a")], id="json"),
        pytest.param("\n\n" + as_json("a"), [(3, "a")], id="json-after-lines"),
        pytest.param(as_json("a").replace("\n", "\n\t"), [(1, "a")], id="json-with-tabs"),
        pytest.param(as_json("a", "b"), [(5, "a"), (12, "b")], id="json-list"),
        pytest.param(as_json("a") + "\n---\n" + as_json("b"), [(1, "a"), (9, "b")], id="json-documents"),
        pytest.param("{apiVersion: v1, kind: Namespace, metadata: {name: a}}", [(1, "a")], id="braces-that-are-no-json"),
    ],
)  # fmt: skip
def test_documents_are_told_apart(content, found):
    assert names(content) == found


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        pytest.param(A.encode("utf-16"), 1, "this is UTF-16; save the file as UTF-8", id="utf-16"),
        pytest.param(A.encode("utf-16-le"), 1, "this is UTF-16", id="utf-16-le-without-a-mark"),
        pytest.param(A.encode("utf-16-be"), 1, "this is UTF-16", id="utf-16-be-without-a-mark"),
        pytest.param(("# ok\n" + A.replace("name: a", "name: café")).encode("latin-1"), 4, "byte 56 is not UTF-8; save the file as UTF-8", id="latin-1"),
        pytest.param(b"a: \xed\xa0\x80", 1, "byte 3 is not UTF-8", id="surrogate-in-utf-8"),
        pytest.param(b"a: \xc0\xaf", 1, "byte 3 is not UTF-8", id="overlong-utf-8"),
        pytest.param(A + "# \x00\n", 4, "the control character 0x00 is in it; remove it", id="nul"),
        pytest.param("x" * (LARGEST + 1), 1, "the file has more than 10 MiB; split it", id="huge-file"),
        pytest.param("a:\n" + "- x\n" * (LARGEST_DOCUMENT // 4), 1, "the document has more than 4 MiB; split it", id="huge-document"),
        pytest.param("{" + " " * LARGEST_DOCUMENT + "}", 1, "the document has more than 4 MiB", id="huge-json"),
        pytest.param("[" + "1," * 600_000 + "1]", 1, "this has more than 500000 values", id="many-values"),
        pytest.param('{"a": [' + "1," * 600_000 + "1]}", 1, "this has more than 500000 values", id="many-values-of-json"),
        pytest.param("[" * 1_000_000, 1, "this is more than 64 levels deep; no object is", id="deep"),
        pytest.param('{"a":' * 500_000, 1, "this is more than 64 levels deep", id="deep-braces"),
        pytest.param('{"a":' * 70 + "1" + "}" * 70, 1, "this is more than 64 levels deep", id="deep-json"),
        pytest.param("a: 1\n" * 100_000, 2, "the key 'a' comes twice", id="a-key-very-often"),
        pytest.param("".join(f"? {'x' * 2000}{n}\n: 1\n" for n in range(1000)) + "? a\n? a\n", 2002, "the key 'a' comes twice", id="long-keys"),
        pytest.param('{"a": 1, "a": 2}', 1, "the key 'a' comes twice; remove one of them", id="json-key-twice"),
        pytest.param('{"a": NaN}', 1, "NaN is no number that an object can have", id="json-nan"),
        pytest.param('{"a": -Infinity}', 1, "-Infinity is no number", id="json-infinity"),
        pytest.param('{"a": 1e999}', 1, "a number that is too large", id="json-overflow"),
        pytest.param('{"a": %s}' % ("9" * 5000), 1, "99999999999999999999... is no number that an object can have", id="json-long-number"),
        pytest.param('{"a": ["\\ud800"]}', 1, "half a surrogate pair", id="json-lone-surrogate"),
        pytest.param('{"\\ud800": 1}', 1, "half a surrogate pair", id="json-lone-surrogate-key"),
        pytest.param('{"a": 1', 2, "did not find expected ',' or '}'", id="json-cut-off"),
        pytest.param("[]", 1, "this is not an object; it has apiVersion, kind and metadata", id="empty-sequence"),
        pytest.param("just text", 1, "this is not an object", id="text"),
        pytest.param("<html></html>", 1, "this is not an object", id="html"),
        pytest.param("--- >\n folded\n", 1, "this is not an object", id="folded-text"),
        pytest.param(LIST + "- a", 4, "items[0] is not an object", id="list-of-text"),
        pytest.param(LIST + "- {apiVersion: v1, kind: List, items: []}", 4, "items[0] is a List in a List", id="list-in-a-list"),
        pytest.param("{{ if .Values.x }}\n" + A, 1, "a key is not text", id="helm-template"),
        pytest.param("<<<<<<< HEAD\n" + A, 1, "a merge conflict is left in the file; settle it", id="merge-conflict"),
        pytest.param(A + ">>>>>>> theirs\n", 4, "a merge conflict is left in the file", id="end-of-a-merge-conflict"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_once_and_soon(content, line, why):
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    (bad,) = read(content)
    assert isinstance(bad, BadDocument)
    assert bad.line == line
    assert why in bad.why
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


pieces = st.sampled_from(
    ["a", "kind", "List", "v1", "apiVersion", "items", ": ", ":", "- ", "\n", "\n  ", "---", "...", "%YAML 1.1\n", "{", "}", "[", "]",
     ",", '"', "'", "&x ", "*x", "<<", "!!str ", "!b ", "|", ">", "#", "\t", "\ufeff", "\x00", "\r", "\u2028", "é", "1e999", "0x", "~", "\\ud800"]
)  # fmt: skip


@given(st.binary(max_size=40) | st.lists(pieces, max_size=25).map("".join).map(str.encode))
def test_whatever_a_file_has_it_is_documents_or_told(content):
    for one in read(content):
        match one:
            case Document(line, body):
                json.dumps(body, allow_nan=False).encode()
                assert 1 <= one.line_of("a.b[0]") <= content.count(b"\n") + content.count(b"\r") + 2
            case BadDocument(line, why):
                assert why
        assert (
            1
            <= line
            <= content.count(b"\n")
            + content.count(b"\r")
            + content.decode(errors="replace").count("\u2028")
            + 2
        )


def test_a_file_of_rubbish_is_not_named_line_by_line():
    found = read("---\nx\n" * 100_000)
    assert len(found) == MOST_BAD + 1
    assert found[-1].why == "100 documents before this are bad; mend them first"


def test_a_document_before_a_bad_one_is_good():
    good, bad, other = read(A + "---\na: {\n---\n" + B)
    assert (good.content["metadata"]["name"], other.content["metadata"]["name"]) == ("a", "b")
    assert (good.line, bad.line, other.line) == (1, 6, 7)


@pytest.mark.parametrize(
    ("content", "which", "line"),
    [
        (A + "---\n" + B, 1, 7),
        (LIST + "- " + A.replace("\n", "\n  "), 0, 6),
        (as_json("a"), 0, 5),
        (as_json("a", "b"), 1, 16),
        ('{"apiVersion": "v1",\n"kind": "x", "t": "\t", \n"metadata": {\n\n"name": "\\/"}}', 0, 5),
    ],
)
def test_a_field_has_its_line(content, which, line):
    document = read(content)[which]
    assert isinstance(document, Document)
    assert document.line_of("metadata.name") == line
    assert document.line_of("metadata.name.nothing") == line
