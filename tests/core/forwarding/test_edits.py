"""Changes to headers: a table, and that one after the other is the same as both at once."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.forwarding.edits import Edit, edit
from ambient.core.model.route import HeaderEdits

CAME = (("a", "1"), ("b", "2"), ("a", "3"))
_pairs = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123")), max_size=4).map(tuple)
_edits = st.builds(
    Edit, st.frozensets(st.sampled_from("abcd"), max_size=2), _pairs, st.sampled_from(["", "other"])
)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        pytest.param(HeaderEdits(), CAME, id="nothing"),
        pytest.param(HeaderEdits(set=(("a", "9"),)), (("b", "2"), ("a", "9")), id="set-replaces-all"),
        pytest.param(HeaderEdits(set=(("c", "9"),)), (*CAME, ("c", "9")), id="set-what-was-not-there"),
        pytest.param(HeaderEdits(add=(("a", "9"),)), (*CAME, ("a", "9")), id="add-keeps"),
        pytest.param(HeaderEdits(remove=("a",)), (("b", "2"),), id="remove-all-of-a-name"),
        pytest.param(HeaderEdits(set=(("a", "8"),), add=(("a", "9"),)), (("b", "2"), ("a", "8"), ("a", "9")), id="set-then-add"),
        pytest.param(HeaderEdits(add=(("c", "9"),), remove=("c",)), CAME, id="add-then-remove"),
        pytest.param(HeaderEdits(set=(("content-length", "9"), ("te", "x")), remove=("connection",)), CAME, id="what-a-connection-needs-stays"),
        pytest.param(HeaderEdits(set=(("host", "other"),)), CAME, id="host-is-no-header"),
    ],
)  # fmt: skip
def test_headers_are_changed(edits, expected):
    assert edit(edits).of(CAME) == expected


def test_a_host_that_is_set_is_the_authority():
    assert edit(HeaderEdits(set=(("host", "other"),))).authority == "other"


@given(_edits, _edits, _pairs)
def test_two_edits_are_one(first, second, headers):
    both = first.then(second)
    assert both.of(headers) == second.of(first.of(headers))
    assert both.authority == (second.authority or first.authority)
