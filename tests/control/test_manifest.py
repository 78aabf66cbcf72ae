"""A manifest that is read again: what it means does not depend on how often it was read before."""

from hypothesis import given, strategies as st

from ambient.control.documents import MOST_BAD
from ambient.control.manifest import Reader, read
from ambient.control.problem import Reason

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
PARTS = [
    NAMESPACE % "a", NAMESPACE % "b", NAMESPACE % "B", "# nothing\n", "a: {\n", "\n\n" + NAMESPACE % "c",
    NAMESPACE % "a, labels: {istio-injection: enabled}", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
    "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: d}}\n- 1\n",
    '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e"}}\n',
]  # fmt: skip


def seen(items):
    return [
        (item.line, item.key, item.document, item.translated, item.problems, item.warnings,
         [item.line_of(problem.field) for problem in (*item.problems, *item.warnings)])
        for item in items
    ]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=5), max_size=4))
def test_what_is_read_again_means_what_it_means(versions):
    reader = Reader(())
    for version in versions:
        content = "---\n".join(version).encode()
        assert seen(reader.read(content)) == seen(read(content, ()))


def test_what_stands_where_it_stood_or_elsewhere_is_not_read_again():
    reader = Reader(())
    (first,) = reader.read((NAMESPACE % "a").encode())
    other, again = reader.read((NAMESPACE % "b" + "---\n" + NAMESPACE % "a").encode())
    assert again.translated is first.translated
    assert (other.line, first.line, again.line) == (1, 1, 5)


def test_very_many_bad_documents_end_the_reading():
    items = read(b"---\nx\n" * 1000, ())
    assert len(items) == MOST_BAD + 1
    assert {problem.reason for item in items for problem in item.problems} == {Reason.SYNTAX}
    assert str(items[-1].problems[0]) == "100 documents before this are bad; mend them first"
