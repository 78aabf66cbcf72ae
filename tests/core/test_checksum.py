from functools import reduce

from hypothesis import given, strategies as st

from ambient.core.checksum import digest, moved

resources = st.dictionaries(st.text(max_size=3), st.binary(max_size=3), max_size=6)


def total(state):
    return reduce(lambda checksum, one: moved(checksum, came=digest(*one)), state.items(), 0)


@given(resources, resources)
def test_equal_states_and_only_they_have_equal_checksums(one, other):
    assert (total(one) == total(other)) == (one == other)


@given(resources, resources, st.randoms(use_true_random=False))
def test_the_way_to_a_state_does_not_matter(before, after, random):
    changes = list({*before, *after})
    random.shuffle(changes)
    checksum = total(before)
    for name in changes:
        checksum = moved(
            checksum,
            came=digest(name, after[name]) if name in after else 0,
            went=digest(name, before[name]) if name in before else 0,
        )
    assert checksum == total(after)


def test_a_name_and_its_content_are_told_apart():
    assert digest("a", b"bc") != digest("ab", b"c")
