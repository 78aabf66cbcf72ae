"""A figure stands still from the look that saw it first."""

from ambient.core.stillness import Stillness


def test_the_same_figure_has_stood_still_since_it_was_seen_first() -> None:
    seen = Stillness.seen(None, 7, 10.0)
    seen = Stillness.seen(seen, 7, 25.0)
    assert (seen.figure, seen.since) == (7, 10.0)


def test_another_figure_begins_anew() -> None:
    seen = Stillness.seen(Stillness(7, 10.0), 8, 25.0)
    assert (seen.figure, seen.since) == (8, 25.0)
