"""Spans on their way from a worker to its parent: in batches, and never more of them than there is room for."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ambient.core.errors import PeerError
from ambient.core.spans import Span, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.core.spans import Value

MOST_WAITING: Final = 2_048


class SpanQueue:
    """Spans of one worker that its parent has not had yet."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: deque[Span] = deque()
        self.dropped = 0
        """Spans that there was no room for, since the worker was started."""

    def add(self, spans: Iterable[Span]) -> None:
        """Take spans of one request, all or none of them."""
        taken = tuple(spans)
        if len(self._waiting) + len(taken) > self._most:
            self.dropped += len(taken)
        else:
            self._waiting.extend(taken)

    def take(self) -> bytes:
        """All that wait, for ``read_spans``; empty: none do."""
        if not self._waiting:
            return b""
        batch = [[*span[:8], dict(span.attributes), span.error] for span in self._waiting]
        self._waiting.clear()
        return json.dumps(batch, separators=(",", ":")).encode("ascii")


def read_spans(batch: bytes) -> tuple[Span, ...]:
    """What ``SpanQueue.take`` gave. Raises PeerError for anything else."""
    try:
        return tuple(_span(*fields) for fields in json.loads(batch)) if batch else ()
    except (ValueError, TypeError) as error:
        raise PeerError(f"a worker's batch of spans is not one: {error}") from error


def _span(
    trace_id: str,
    span_id: str,
    parent_id: str,
    state: str,
    name: str,
    kind: int,
    began: float,
    ended: float,
    attributes: Mapping[str, Value],
    error: str | None,
) -> Span:
    for digits, size in ((trace_id, 32), (span_id, 16), (parent_id or span_id, 16)):
        if len(bytes.fromhex(digits)) * 2 != size:
            raise ValueError(f"{digits!r} has not {size} digits")
    return Span(
        trace_id,
        span_id,
        parent_id,
        state,
        name,
        SpanKind(kind),
        float(began),
        float(ended),
        dict(attributes),
        error,
    )
