"""Tests that a page names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = (TESTS / "README.md").read_text()
NAMED = re.compile(r"\b(?:tests/)?([\w/]+\.py)::(\w+)`?(?: ?\[([\w, -]+)\])?")


def named() -> dict[tuple[str, str], set[str]]:
    """File and function, and the rows that are named of it."""
    found: dict[tuple[str, str], set[str]] = {}
    for file, function, row in NAMED.findall(README):
        found.setdefault((file, function), set()).update(row and [row])
    return found


@pytest.mark.parametrize(("file", "function"), sorted(named()))
def test_a_test_that_is_named_exists(file: str, function: str) -> None:
    text = (TESTS / file).read_text()
    assert re.search(rf"^(async )?def {function}\(", text, re.MULTILINE), f"{file} has no {function}"
    for row in named()[file, function]:
        assert f'"{row}"' in text, f"{file} has no row {row}"


def test_many_are_named() -> None:
    assert len(named()) > 100
