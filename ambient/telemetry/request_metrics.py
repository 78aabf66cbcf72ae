"""Counting requests: plain lists in a worker, summed over workers by their parent.

A set of labels has one number for requests and, for each histogram, one for every bucket and the sum of all values. A
worker names a set, and a row of one, to its parent once, by numbers of its own, and from then on tells these.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from ambient.core.errors import PeerError
from ambient.core.observation import Labels
from ambient.core.request_observation import REQUEST_LABELS
from ambient.telemetry.metrics import OVERFLOW

BOUNDS: Final = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0),
    *(2500.0, 5000.0, 10000.0, 30000.0, 60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0),
)
"""Upper ends of buckets, for milliseconds and for bytes alike. Source: Envoy's default, which Istio keeps."""
MOST_SERIES: Final = 2_000
"""Sets of labels of one metric. A histogram has 22 lines for each."""
_KEPT: Final = frozenset({"reporter", "request_protocol", "response_flags", "connection_security_policy"})


class Metric(NamedTuple):
    """One of Istio's metrics of requests."""

    name: str
    """Without ``_total``."""
    istio: str
    """In a Telemetry object."""
    text: str
    is_histogram: bool


METRICS: Final = (
    Metric("istio_requests", "REQUEST_COUNT", "Requests.", is_histogram=False),
    Metric(
        "istio_request_duration_milliseconds",
        "REQUEST_DURATION",
        "How long requests took, in milliseconds.",
        is_histogram=True,
    ),
    Metric("istio_request_bytes", "REQUEST_SIZE", "Bytes of the bodies of requests.", is_histogram=True),
    Metric("istio_response_bytes", "RESPONSE_SIZE", "Bytes of the bodies of responses.", is_histogram=True),
)
Cells: TypeAlias = list[float]
"""Of a counter: its number. Of a histogram: a number for each bucket, the last one without end, then the sum."""
Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of labels."""
Key: TypeAlias = tuple[int, Pairs]
"""Which of METRICS, and the labels."""
Table: TypeAlias = Mapping[Key, Cells]
Cause: TypeAlias = tuple[str, str]
"""What is counted, and why: the labels of the small counters of our own."""


def empty(metric: int) -> Cells:
    """Cells of one of METRICS before anything was counted."""
    return [0] * (len(BOUNDS) + 2) if METRICS[metric].is_histogram else [0]


def observe(cells: Cells, value: float) -> None:
    """Count a value in a histogram."""
    cells[bisect_left(BOUNDS, value)] += 1
    cells[-1] += value


def pairs(labels: Labels) -> Pairs:
    """Values of ``REQUEST_LABELS`` with their names; empty ones stand for no label."""
    return tuple((name, value) for name, value in zip(REQUEST_LABELS, labels, strict=True) if value)


def overflowed(labels: Pairs) -> Pairs:
    """What stands for all sets beyond the cap: labels of few values are kept, and of a status its class."""

    def kept(name: str, value: str) -> str:
        if name == "response_code":
            return f"{value[0]}xx"
        return value if name in _KEPT else OVERFLOW

    return tuple((name, kept(name, value)) for name, value in labels)


class RequestCounts:
    """The counters of one worker; at most ``most`` sets of labels for each metric, then new ones share ``overflow``."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self._sizes = [0] * len(METRICS)
        self._cells: dict[Key, tuple[int, Cells]] = {}
        self._reported: dict[int, Cells] = {}
        self._numbers: dict[Pairs, int] = {}
        """Of label sets, in the order in which the parent hears of them."""
        self._told = 0
        """How many rows the parent knows."""
        self.causes: Counter[Cause] = Counter()
        """``retried``, ``refused``, ``limited`` …, by reason."""

    def cells(self, metric: int, labels: Pairs) -> Cells:
        """Where to count in one of METRICS."""
        found = self._cells.get((metric, labels))
        if found is None and self._sizes[metric] >= self._most:
            labels = overflowed(labels)
            found = self._cells.get((metric, labels))
        if found is None:
            found = self._cells[metric, labels] = len(self._cells), empty(metric)
            self._sizes[metric] += 1
        return found[1]

    def report(self) -> bytes:
        """What changed since the last report, as absolute numbers, for ``RequestTotals.update``."""
        sets: list[Pairs] = []
        named, changed = [], []
        for (metric, labels), (number, cells) in self._cells.items():
            if number >= self._told:
                if labels not in self._numbers:
                    self._numbers[labels] = len(self._numbers)
                    sets.append(labels)
                named.append([number, metric, self._numbers[labels]])
            if self._reported.get(number) != cells:
                self._reported[number] = cells.copy()
                changed.append([number, cells])
        self._told = len(self._cells)
        causes = [[*cause, count] for cause, count in self.causes.items()]
        content = {"sets": sets, "named": named, "rows": changed, "causes": causes}
        return json.dumps(content, separators=(",", ":")).encode("ascii")

    def tell_all(self) -> None:
        """The next report is for someone who has heard none: it holds everything."""
        self._reported.clear()
        self._numbers.clear()
        self._told = 0


class _Known:
    """What one worker has told."""

    def __init__(self) -> None:
        self.sets: list[Pairs] = []
        self.keys: dict[int, Key] = {}
        self.rows: dict[int, Cells] = {}
        self.causes: dict[Cause, int] = {}


class RequestTotals:
    """The sum of all workers, living and dead. One owner: the workers' parent."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self._living: dict[int, _Known] = {}
        self._ended: dict[Key, Cells] = {}
        self._ended_sizes = [0] * len(METRICS)
        self._ended_causes: Counter[Cause] = Counter()

    def update(self, worker: int, report: bytes) -> None:
        """Take a report of a worker (any number that is its own). Raises PeerError if it is not one."""
        known = self._living.setdefault(worker, _Known())
        try:
            content = json.loads(report)
            sets = [*known.sets, *(_labels(one) for one in content["sets"])]
            keys = {int(number): _key(metric, labels, sets) for number, metric, labels in content["named"]}
            rows = dict(_rows(content["rows"], known.keys | keys))
            causes = {(str(what), str(why)): int(count) for what, why, count in content["causes"]}
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise PeerError(f"a worker's report of requests is not one: {error}") from error
        known.sets = sets
        known.keys.update(keys)
        known.rows.update(rows)
        known.causes.update(causes)

    def ended(self, worker: int) -> None:
        """A worker is gone: its totals stay."""
        known = self._living.pop(worker, None)
        if known is None:
            return
        for number, row in known.rows.items():
            _add(self._cells_of_ended(known.keys[number]), row)
        self._ended_causes.update(known.causes)

    def table(self) -> Table:
        """All rows, summed; the lists are the caller's."""
        total = {key: cells.copy() for key, cells in self._ended.items()}
        for known in self._living.values():
            for number, row in known.rows.items():
                key = known.keys[number]
                if key in total:
                    _add(total[key], row)
                else:
                    total[key] = row.copy()
        return total

    def causes(self) -> Mapping[Cause, int]:
        """The small counters of our own."""
        total = Counter(self._ended_causes)
        for known in self._living.values():
            total.update(known.causes)
        return total

    def _cells_of_ended(self, key: Key) -> Cells:
        metric, labels = key
        if key not in self._ended and self._ended_sizes[metric] >= self._most:
            key = metric, overflowed(labels)
        if key not in self._ended:
            self._ended[key] = empty(metric)
            self._ended_sizes[metric] += 1
        return self._ended[key]


def _add(cells: Cells, row: Cells) -> None:
    for at, value in enumerate(row):
        cells[at] += value


def _labels(labels: list[list[str]]) -> Pairs:
    return tuple((str(name), str(value)) for name, value in labels)


def _key(metric: int, labels: int, sets: list[Pairs]) -> Key:
    if not (0 <= metric < len(METRICS) and 0 <= labels < len(sets)):
        raise ValueError(f"there is no metric {metric}, or no set {labels}")
    return metric, sets[labels]


def _rows(rows: list[tuple[int, list[float]]], keys: Mapping[int, Key]) -> Iterator[tuple[int, Cells]]:
    for number, cells in rows:
        wanted = len(empty(keys[number][0]))
        if len(cells) != wanted:
            raise ValueError(f"{len(cells)} cells; there are {wanted}")
        yield int(number), [_number(cell) for cell in cells]


def _number(cell: float) -> float:
    if type(cell) not in {int, float}:
        raise ValueError(f"{cell!r} is not a number")
    return cell
