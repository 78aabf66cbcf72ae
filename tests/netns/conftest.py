"""The world of these tests, one for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netns.world import World, shop


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with shop() as made:
        yield made
