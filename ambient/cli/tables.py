"""Tables for people and for their pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDE = 1000
"""Columns of a pipe: what reads it must find every value whole."""


def printable(text: str) -> str:
    """``text`` with nothing in it that a terminal would act upon: others wrote it."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a terminal folds what is too wide, a pipe gets every value on one line."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    width = None if sys.stdout.isatty() else _WIDE
    Console(highlight=False, markup=False, width=width).print(table)
