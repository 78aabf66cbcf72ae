"""Istio's metrics of requests as Prometheus reads them.

A set of labels has some seventy lines, so these are written by hand: each set's labels once, and not once for every line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from ambient.telemetry.exposition import Written
from ambient.telemetry.request_metrics import BOUNDS, METRICS, Cells

if TYPE_CHECKING:
    from ambient.telemetry.exposition import Source
    from ambient.telemetry.request_metrics import Cause, Pairs, RequestTotals, Table

_ENDS: Final = (*map(repr, BOUNDS), "+Inf")
_CAUSES: Final = {
    "refused": "Requests that were not passed on, by reason.",
    "failed": "Requests that were passed on and failed, by reason.",
    "retried": "Tries of requests that were followed by another, by why they were not the last.",
    "token_refused": "Tokens of users that were not taken, by reason.",
    "limited": "Rate limits that requests exceeded without being refused, by reason.",
}
"""Of our own; what is not here is counted under its own name all the same."""


def requests(totals: RequestTotals) -> Source:
    """Requests, how long they took, and how large they were; and why they were not answered by a backend."""
    return lambda: partial(_metrics, totals.table(), totals.causes())


def _metrics(table: Table, causes: Mapping[Cause, int]) -> Iterator[Metric]:
    yield _written(table)
    by_name: dict[str, list[tuple[str, int]]] = {name: [] for name in _CAUSES}
    for (what, why), count in sorted(causes.items()):
        by_name.setdefault(what, []).append((why, count))
    for what, counts in by_name.items():
        text = _CAUSES.get(what, what)
        family = CounterMetricFamily(f"ambient_requests_{what}", text, labels=["reason"])
        for why, count in counts:
            family.add_metric([why], count)
        yield family


def _written(table: Table) -> Written:
    texts: dict[Pairs, str] = {}
    lines: list[list[str]] = [[] for _ in METRICS]
    for (at, labels), cells in table.items():
        text = texts.get(labels)
        if text is None:
            text = texts[labels] = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
        metric = METRICS[at]
        if metric.is_histogram:
            lines[at] += _histogram(metric.name, text, cells)
        else:
            lines[at].append(f"{metric.name}_total{{{text}}} {cells[0]}\n")
    parts = []
    for metric, own in zip(METRICS, lines, strict=True):
        kind = "histogram" if metric.is_histogram else "counter"
        parts.append((metric.name, metric.text, kind, "".join(own)))
    return Written(parts)


def _histogram(name: str, labels: str, cells: Cells) -> Iterable[str]:
    *buckets, total = cells
    counts = list(accumulate(buckets))
    head = f"{name}_bucket{{{labels}{',' if labels else ''}le="
    for end, count in zip(_ENDS, counts, strict=True):
        yield f'{head}"{end}"}} {count}\n'
    yield f"{name}_count{{{labels}}} {counts[-1]}\n"
    yield f"{name}_sum{{{labels}}} {total}\n"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value
