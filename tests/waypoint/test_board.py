"""The log of who is left out, as each worker reads it."""

from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st
from waypoint.shared import SECRET, memory

from ambient.waypoint import board
from ambient.waypoint.board import Board

START, LINES = 128, 8


def boards(lines: int = LINES) -> Iterator[tuple[Board, Board]]:
    with memory(START + board.size(lines)) as (view, locks):
        yield tuple(Board(view, START, lines, locks, SECRET) for _ in range(2))


pair = pytest.fixture(boards)


def seen(one: Board, key: str, now: float) -> dict[str, float]:
    return {uid: out.until for uid, out in one.out(one.scope(key)).items() if now < out.forgotten_at}


def add(one: Board, key: str, uid: str, now: float, until: float, most: int | None = None) -> bool:
    return one.add(one.scope(key), uid, now, lambda: (until, until), most) is not None


def test_each_service_has_its_own(pair):
    one, other = pair
    assert add(one, "s", "a", 0, 10)
    assert add(other, "t", "a", 0, 20)
    for each in pair:
        assert seen(each, "s", 0) == {"a": 10}
        assert seen(each, "t", 0) == {"a": 20}
    one.remove(one.scope("s"), "a", 1)
    other.remove(other.scope("t"), "nobody", 1)
    assert seen(other, "s", 1) == {}
    assert seen(other, "t", 1) == {"a": 20}


def test_no_more_are_left_out_than_may_be_whoever_does_it(pair):
    one, other = pair
    assert add(one, "s", "a", 0, 10, most=2)
    assert add(other, "s", "b", 0, 20, most=2)
    assert not add(one, "s", "c", 5, 30, most=2)
    assert add(one, "t", "c", 5, 30, most=2)
    assert add(one, "s", "c", 10, 30, most=2), "a is back"
    assert not add(other, "s", "d", 15, 30, most=2)


def test_who_is_left_out_already_is_not_left_out_again(pair):
    one, other = pair
    assert add(one, "s", "a", 0, 10)
    version = one.version
    assert not add(other, "s", "a", 9, 99)
    assert (seen(one, "s", 9), one.version) == ({"a": 10}, version)
    assert add(other, "s", "a", 10, 99)
    assert seen(one, "s", 10) == {"a": 99}


def test_what_still_says_something_outlives_the_ring(pair):
    one, other = pair
    assert add(one, "s", "long", 0, 1e9)
    for now in range(1, 100):
        assert add(one, "s", f"short-{now % 5}", now, now + 0.5)
    assert seen(other, "s", 100) == {"long": 1e9}
    assert seen(one, "s", 100) == {"long": 1e9}


def test_a_full_board_takes_nobody_more_and_gives_back_who_returns(pair):
    one, other = pair
    taken = [add(one, "s", f"e{n}", 0, 100) for n in range(LINES)]
    assert taken == [True] * (LINES - 1) + [False]
    assert one.full == 1
    assert len(seen(other, "s", 0)) == LINES - 1
    for _ in range(20):
        other.remove(other.scope("s"), "e3", 1)
        assert len(seen(one, "s", 1)) == LINES - 2
        assert add(one, "s", "e3", 1, 100)
    assert add(one, "s", "late", 100, 200), "the others say nothing any more"


def test_a_uid_too_long_for_a_line_is_not_left_out(pair):
    one, _ = pair
    assert add(one, "s", "u" * 340, 0, 10)
    assert not add(one, "s", "ü" * 200, 0, 10)
    assert one.full == 1


moves = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["add", "remove", "forget", "read"]),
        st.sampled_from("abcdefghij"),
        st.sampled_from(["s", "t"]),
        st.floats(0, 3),
        st.floats(0.1, 20),
    ),
    max_size=80,
)


@given(moves, st.integers(0, 4))
def test_all_workers_come_to_the_view_that_one_would_have(steps, most):
    for pair in boards():
        now, plain = 1.0, {}
        for worker, what, uid, key, wait, lasts in steps:
            now += wait
            live = {one: until for one, until in plain.items() if now < until}
            match what:
                case "add":
                    done = add(pair[worker], key, uid, now, now + lasts, most)
                    of_service = [one for one in live if one[0] == key]
                    room = len(live) < LINES - 1
                    assert done is ((key, uid) not in live and len(of_service) < most and room)
                    if done:
                        plain[key, uid] = now + lasts
                case "remove":
                    pair[worker].remove(pair[worker].scope(key), uid, now)
                    plain.pop((key, uid), None)
                case "forget":
                    pair[worker].forget(now)
                case "read":
                    expected = {
                        one[1]: until for one, until in plain.items() if one[0] == key and now < until
                    }
                    assert seen(pair[worker], key, now) == expected
