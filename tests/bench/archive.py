"""A run on disk: every round as it was, and what it was taken on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.case import Failure, Round
from bench.histogram import percentile, pooled
from bench.loads import PERCENTILES
from bench.results import Results
from bench.targets import judged

_FILE = "bench.json"


@dataclass(frozen=True, slots=True)
class Run:
    """Rounds, and what must be known to judge them."""

    machine: dict[str, str]
    peers: dict[str, str]
    """What ran."""
    options: dict[str, Any]
    rounds: list[Round]
    failures: list[Failure]


def write(run: Run, folder: Path) -> Path:
    """Write ``bench.json``."""
    path = folder / _FILE
    results = Results(run.rounds)
    verdicts = [
        {
            "target": verdict.target.what,
            "wanted": verdict.target.wanted,
            "found": verdict.value,
            "reached": verdict.reached,
        }
        for verdict in judged(results)
    ]
    content = {**asdict(run), "targets": verdicts, "percentiles of all rounds together": _pooled(run.rounds)}
    path.write_text(json.dumps(content) + "\n")
    return path


def read(folder: Path) -> Run:
    """The last run that was written there. Raises FileNotFoundError."""
    content = json.loads((folder / _FILE).read_text())
    rounds = [Round(**one) for one in content["rounds"]]
    failures = [Failure(**one) for one in content["failures"]]
    return Run(content["machine"], content["peers"], content["options"], rounds, failures)


def _pooled(rounds: list[Round]) -> dict[str, dict[str, dict[str, float | None]]]:
    """By case and peer: for the far tail one round has too few requests."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for case, peer in dict.fromkeys((one.case, one.peer) for one in rounds if "latency" in one.outcome):
        histogram = pooled(one.outcome["latency"] for one in rounds if (one.case, one.peer) == (case, peer))
        of_peer = {name: percentile(histogram, share) for name, share in PERCENTILES.items()}
        found.setdefault(case, {})[peer] = of_peer
    return found
