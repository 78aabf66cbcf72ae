"""Answers of a running control plane to those who ask why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from ambient.core.explain.call import explain

if TYPE_CHECKING:
    from ambient.control.index import Index
    from ambient.core.explain.answer import Circumstances, Explanation, Question


class Explainer:
    """See ``rpc.explanation``."""

    def __init__(self, index: Index, circumstances: Circumstances, clock: Callable[[], datetime]) -> None:
        self._index, self._circumstances, self._clock = index, circumstances, clock

    def explain(self, question: Question) -> tuple[Explanation, int]:
        """On the mesh as it stands now."""
        snapshot = self._index.snapshot
        return explain(snapshot, self._circumstances, question, self._clock()), snapshot.version
