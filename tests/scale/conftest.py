"""Figures of a run are written when ``AMBIENT_FIGURES`` is set, as ``./dev scale`` does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from scale.figures import Figures


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    kept = Figures()
    yield kept
    if os.environ.get("AMBIENT_FIGURES"):
        kept.write()
