"""What was measured: a table for people, in tests/README.md, and a file for programs."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

HEADING: Final = "## Scale"
_README: Final = Path(__file__).parents[1] / "README.md"
_JSON: Final = Path(__file__).with_name("figures.json")
_ABOUT: Final = """\
`./dev scale` makes this table anew, and `tests/scale/figures.json`. Memory is what a process has of its own
(`RssAnon`). Costs in µs and ms are processor time of the best of several rounds. Figures of whole meshes depend on what
else the machine does; ratios are of one run. What the last
run did not measure stands as an earlier one left it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row."""

    part: str
    what: str
    measured: str
    goal: str


class Figures:
    """What a run of the tests has measured."""

    def __init__(self) -> None:
        self._rows: list[Figure] = []

    def note(self, part: str, what: str, measured: str, goal: str = "") -> None:
        """Keep a row; ``part`` is what rows are grouped by."""
        self._rows.append(Figure(part, what, measured, goal))

    def write(self) -> None:
        """Replace the section of the README, and the file."""
        machine = {
            "date": time.strftime("%Y-%m-%d"),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
        }
        measured = {row.part for row in self._rows}
        kept = json.loads(_JSON.read_text())["figures"] if _JSON.exists() else []
        self._rows += [Figure(**row) for row in kept if row["part"] not in measured]
        rows = [asdict(row) for row in self._rows]
        _JSON.write_text(
            json.dumps({"machine": machine, "figures": rows}, indent=1, ensure_ascii=False) + "\n"
        )
        ran = ", ".join(f"{name} {value}" for name, value in machine.items())
        section = f"{HEADING}\n\n{_ABOUT}\n\nLast run: {ran}.\n\n{self._table()}\n"
        text = _README.read_text() if _README.exists() else "# The tests of ambient\n"
        found = re.search(rf"^{HEADING}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            text = text.rstrip("\n") + "\n\n" + section
        else:
            rest = text[found.end() :]
            text = text[: found.start()] + section + ("\n" if rest else "") + rest
        _README.write_text(text)

    def _table(self) -> str:
        lines = ["| | What | Measured | Goal |", "|---|---|---|---|"]
        before = ""
        for row in sorted(self._rows, key=lambda row: row.part):
            lines.append(
                f"| {'' if row.part == before else row.part} | {row.what} | {row.measured} | {row.goal} |"
            )
            before = row.part
        return "\n".join(lines)
