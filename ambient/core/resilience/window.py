"""Two counts of what happened lately: a ring of slices of time, as plain numbers.

A ring is ``(newest, slice, slice, …)``: the number of the newest slice since the beginning of time, and what each of
``SLICES`` holds, the slice with number n at ``n % SLICES``. Both counts of a slice are packed in one number, which stays
exact up to 67 million of each.
"""

from __future__ import annotations

from typing import Final

from ambient.core.resilience.state import State

SLICES: Final = 10
_PACK: Final = float(2**26)
_MOST: Final = 2**26 - 1


def rolled(ring: State, number: int) -> State:
    """The ring with slice ``number`` as its newest, what is too old forgotten; ``()`` is an empty one.

    A clock that stands behind the newest slice changes nothing.
    """
    if not ring:
        return (float(number), *(0.0,) * SLICES)
    gone = number - int(ring[0])
    if gone <= 0:
        return ring
    if gone >= SLICES:
        return (float(number), *(0.0,) * SLICES)
    slices = list(ring[1:])
    for late in range(number - gone + 1, number + 1):
        slices[late % SLICES] = 0.0
    return (float(number), *slices)


def added(ring: State, number: int, first: int, second: int) -> State:
    """With so much more in slice ``number``; nothing, if that is forgotten already."""
    if not 0 <= int(ring[0]) - number < SLICES:
        return ring
    at = 1 + number % SLICES
    held_first, held_second = _unpacked(ring[at])
    packed = min(held_first + first, _MOST) * _PACK + min(held_second + second, _MOST)
    return (*ring[:at], packed, *ring[at + 1 :])


def totals(ring: State, newest: int = SLICES) -> tuple[int, int]:
    """Both counts over so many of the newest slices."""
    first = second = 0
    if newest == SLICES:
        held = ring[1:]
    else:
        last = int(ring[0])
        held = tuple(ring[1 + number % SLICES] for number in range(last - newest + 1, last + 1))
    for packed in held:
        one, other = _unpacked(packed)
        first += one
        second += other
    return first, second


def _unpacked(packed: float) -> tuple[int, int]:
    first, second = divmod(packed, _PACK)
    return int(first), int(second)
