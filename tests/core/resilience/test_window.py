"""What happened lately."""

from hypothesis import given, strategies as st

from ambient.core.resilience import window

moves = st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 5), st.integers(0, 5)), max_size=60)


@given(moves, st.integers(1, window.SLICES))
def test_it_counts_what_fell_in_its_slices(steps, newest):
    ring, seen, last, number = (), [], 0, 100
    for step, first, second in steps:
        number = max(0, number + step)
        ring = window.rolled(ring, number)
        ring = window.added(ring, number, first, second)
        last = max(last, number)
        if number > last - window.SLICES:
            seen.append((number, first, second))
        assert ring[0] == last
        within = [one for one in seen if one[0] > last - newest]
        assert window.totals(ring, newest) == (sum(one[1] for one in within), sum(one[2] for one in within))


def test_a_slice_holds_no_more_than_can_be_told_apart():
    ring = window.rolled((), 7)
    for _ in range(3):
        ring = window.added(ring, 7, 2**26 - 2, 3)
    assert window.totals(ring) == (2**26 - 1, 9)
