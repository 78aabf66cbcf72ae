"""Delays that double."""

from __future__ import annotations

import pytest

from ambient.aio.backoff import Backoff


@pytest.mark.parametrize(
    ("chance", "delays"),
    [(1.0, [1, 2, 4, 8, 10, 10]), (0.0, [0.5, 1, 2, 4, 5, 5])],
    ids=["longest", "shortest"],
)
def test_delays_double_up_to_the_most_and_are_at_least_half(chance, delays):
    backoff = Backoff(1, 10, lambda: chance)
    assert [backoff.next_delay() for _ in delays] == delays


def test_after_a_success_the_first_delay_comes_again():
    backoff = Backoff(1, 10, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(3)] == [1, 2, 4]
    backoff.reset()
    assert backoff.next_delay() == 1
