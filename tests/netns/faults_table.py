"""Write the table of faults in ``tests/README.md`` from the figures of a run: ``faults_table.py FIGURES``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- faults: measured -->\n", "<!-- /faults -->\n"
WHO = {
    "worker": "a worker",
    "parent": "the proxy's parent",
    "daemon": "the node daemon",
    "control": "the control plane",
    "link": "the link between the nodes",
}
WHAT = {
    "kill": "kill -9",
    "stop": "SIGSTOP {seconds:g} s",
    "oom": "OOM kill",
    "fds": "no descriptors, {seconds:g} s",
    "disk": "disk full, {seconds:g} s",
    "down": "down {seconds:g} s",
}
HEAD = (
    "| Struck | Fault | Where | Load | New: carried | refused | slowest ms | longest gap ms | Held: lost | stalled ms | Leaks | Healed after |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    newest: dict[tuple[object, ...], dict[str, Any]] = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        figures = json.loads(line)
        keys = ("victim", "fault", "seconds", "side", "path", "control")
        newest[tuple(figures.get(key) for key in keys)] = figures
    order = list(WHO)
    ranked = sorted(
        newest.values(),
        key=lambda one: (one.get("control", ""), order.index(one["victim"]), list(WHAT).index(one["fault"])),
    )
    table = "".join(f"{line}\n" for line in (*HEAD, *map(row, ranked)))
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table + END + after)


def row(figures: dict[str, Any]) -> str:
    who = WHO[figures["victim"]] + (", no control plane" if figures.get("control") == "gone" else "")
    where = "—" if figures["victim"] in {"control", "link"} else f"{figures['side']}'s node"
    healed = f"{figures['healed_seconds']} s" if "healed_seconds" in figures else "not measured"
    cells = [
        who, WHAT[figures["fault"]].format(**figures), where, figures["path"], figures["ok"], figures["refused"],
        figures["slowest_ms"], figures["gap_ms"], f"{figures['held_lost']} of {figures['held']}",
        figures["held_stall_ms"], figures["leaks"], healed,
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


main()
