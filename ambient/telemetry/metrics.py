"""Counting connections and bytes: plain integers in the data path, summed over workers by their parent.

A worker looks its ``Counts`` up once for each connection and adds to them; now and then it sends ``report()``, which
holds what changed. The parent keeps the totals of workers that are gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ambient.core.errors import PeerError
from ambient.core.observation import LABELS, Labels

OVERFLOW = "overflow"
MOST_ROWS = 10_000
_KEPT = frozenset({"reporter", "request_protocol", "response_flags", "connection_security_policy"})
_KEPT_ON_OVERFLOW = tuple(name in _KEPT for name in LABELS)
_REPORTER = LABELS.index("reporter")


class Counts:
    """What happened under one set of labels. Add to the fields."""

    __slots__ = ("closed", "failed", "opened", "received", "sent")

    def __init__(
        self, opened: int = 0, closed: int = 0, failed: int = 0, sent: int = 0, received: int = 0
    ) -> None:
        self.opened = opened
        self.closed = closed
        self.failed = failed
        """Never opened."""
        self.sent = sent
        """Bytes from the server to the client: Istio counts from the server's view on both sides."""
        self.received = received
        """Bytes from the client to the server."""

    def values(self) -> Row:
        """As a tuple."""
        return self.opened, self.closed, self.failed, self.sent, self.received

    def add(self, row: Row) -> None:
        """Add a tuple of ``values``."""
        self.opened += row[0]
        self.closed += row[1]
        self.failed += row[2]
        self.sent += row[3]
        self.received += row[4]


Row: TypeAlias = tuple[int, int, int, int, int]
Table: TypeAlias = Mapping[Labels, Row]
Reason: TypeAlias = tuple[str, str]
"""Reporter and the reason's label."""


class Traffic:
    """The counters of one worker; at most ``most`` sets of labels, then all new ones share ``overflow``."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._counts: dict[Labels, Counts] = {}
        self._reported: dict[Labels, Row] = {}
        self._refused: Counter[Reason] = Counter()

    def counts(self, labels: Labels) -> Counts:
        """Where to count a connection; labels in the order of ``observation.LABELS``."""
        counts = self._counts.get(labels)
        return counts if counts is not None else self._new(labels)

    def refused(self, reporter: str, reason: str, times: int = 1) -> None:
        """Count connections that a decision turned away."""
        self._refused[reporter, reason] += times

    def report(self) -> bytes:
        """What changed since the last report, as absolute numbers, for ``Totals.update``."""
        changed = []
        for labels, counts in self._counts.items():
            row = counts.values()
            if self._reported.get(labels) != row:
                self._reported[labels] = row
                changed.append([labels, row])
        refused = [[*reason, count] for reason, count in self._refused.items()]
        return json.dumps({"rows": changed, "refused": refused}, separators=(",", ":")).encode("ascii")

    def tell_all(self) -> None:
        """The next report is for someone who has heard none: it holds everything."""
        self._reported.clear()

    def _new(self, labels: Labels) -> Counts:
        if len(self._counts) >= self._most:
            labels = overflowed(labels)
        return self._counts.setdefault(labels, Counts())


def overflowed(labels: Labels) -> Labels:
    """The labels that stand for all sets beyond the cap: only those of few values are kept."""
    return tuple(label if kept else OVERFLOW for label, kept in zip(labels, _KEPT_ON_OVERFLOW, strict=True))


class Totals:
    """The sum of all workers, living and dead. One owner: the workers' parent."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._living: dict[int, tuple[dict[Labels, Row], dict[Reason, int]]] = {}
        self._ended: dict[Labels, Counts] = {}
        self._ended_refused: Counter[Reason] = Counter()
        self.lost = 0
        """Connections that were open in workers that died."""

    def update(self, worker: int, report: bytes) -> None:
        """Take a report of a worker (any number that is its own). Raises PeerError if it is not one."""
        rows, refused = _parse(report)
        known_rows, known_refused = self._living.setdefault(worker, ({}, {}))
        known_rows.update(rows)
        known_refused.update(refused)

    def ended(self, worker: int) -> int:
        """A worker is gone: keep its totals, close what it had open; how many connections that were."""
        rows, refused = self._living.pop(worker, ({}, {}))
        lost = 0
        for labels, (opened, closed, failed, sent, received) in rows.items():
            lost += opened - closed
            self._row_of_ended(labels).add((opened, opened, failed, sent, received))
        self._ended_refused.update(refused)
        self.lost += lost
        return lost

    def table(self) -> Table:
        """All rows, summed."""
        total = {labels: Counts(*counts.values()) for labels, counts in self._ended.items()}
        for rows, _ in self._living.values():
            for labels, row in rows.items():
                total.setdefault(labels, Counts()).add(row)
        return {labels: counts.values() for labels, counts in total.items()}

    def refused(self) -> Mapping[Reason, int]:
        """Connections that decisions turned away."""
        total = Counter(self._ended_refused)
        for _, refused in self._living.values():
            total.update(refused)
        return total

    def _row_of_ended(self, labels: Labels) -> Counts:
        if labels not in self._ended and len(self._ended) >= self._most:
            labels = overflowed(labels)
        return self._ended.setdefault(labels, Counts())


def open_sockets(table: Table) -> Mapping[str, int]:
    """How many connections are open, by reporter."""
    count: Counter[str] = Counter()
    for labels, (opened, closed, _, _, _) in table.items():
        count[labels[_REPORTER]] += opened - closed
    return count


def _parse(report: bytes) -> tuple[dict[Labels, Row], dict[Reason, int]]:
    try:
        fields = json.loads(report)
        rows = dict(_rows(fields["rows"]))
        refused = {
            (str(direction), str(reason)): int(count) for direction, reason, count in fields["refused"]
        }
    except (ValueError, TypeError, KeyError) as error:
        raise PeerError(f"a worker's traffic report is not one: {error}") from error
    return rows, refused


def _rows(rows: list[tuple[list[str], list[int]]]) -> Iterator[tuple[Labels, Row]]:
    for names, numbers in rows:
        if len(names) != len(LABELS):
            raise ValueError(f"{len(names)} labels; there are {len(LABELS)}")
        opened, closed, failed, sent, received = map(int, numbers)
        yield tuple(map(str, names)), (opened, closed, failed, sent, received)
