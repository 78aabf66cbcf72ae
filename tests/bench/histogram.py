"""Latencies as the loads count them, and their percentiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

Histogram = Sequence[Sequence[int]]
"""Pairs of nanoseconds and how many."""


def pooled(histograms: Iterable[Histogram]) -> list[tuple[int, int]]:
    counts: Counter[int] = Counter()
    for histogram in histograms:
        for value, count in histogram:
            counts[value] += count
    return sorted(counts.items())


def percentile(histogram: Histogram, percent: float) -> float | None:
    """Milliseconds that this share of requests did not exceed; None without requests."""
    wanted = sum(count for _, count in histogram) * percent / 100
    seen = 0
    for value, count in histogram:
        seen += count
        if seen >= wanted:
            return value / 1e6
    return None
