"""Whoever is found by labels is whoever a look at everyone finds."""

from hypothesis import given, strategies as st
from immutables import Map

from ambient.control.objects import selects
from ambient.control.selection import Selection

labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
names = st.sampled_from("pqrst")
steps = st.lists(st.tuples(names, st.none() | labels) | names, max_size=20)


@given(steps, labels)
def test_those_that_are_held_and_select_are_found(steps, carried):
    selection, plain = Selection(), {}
    for number, step in enumerate(steps):
        match step:
            case str() as name:
                selection.drop(name)
                plain.pop(name, None)
            case (name, selector):
                thing = (name, number)
                selection.hold(name, thing, None if selector is None else Map(selector))
                plain[name] = selector, thing
    wanted = [
        thing for selector, thing in plain.values() if selector is not None and selects(selector, carried)
    ]
    assert sorted(selection.of(carried)) == sorted(wanted)
    assert sorted(selection.values()) == sorted(thing for _, thing in plain.values())
