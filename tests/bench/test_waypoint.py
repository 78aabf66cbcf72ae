"""Requests through a waypoint: what h2load writes is read, and one round of each kind of answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.waypoint import Seen

TESTS = Path(__file__).parents[1]


def test_what_was_answered_within_the_time_counts() -> None:
    lines = [
        "9000000\t200\t999999\t1",  # Just before.
        "9500000\t200\t1234567\t1",
        "10000000\t200\t45\t1",
        "10500000\t503\t10\t1",
        "10999999\t200\t1\t1",  # Just after.
    ]
    seen = Seen.of(lines, 10.0, 11.0)
    assert seen == Seen([(45_000, 1), (1_230_000_000, 1)], 2, 1)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")
@pytest.mark.skipif(
    not (shutil.which("h2load") and shutil.which("nghttpd")), reason="./dev bench installs them"
)
def test_one_round_of_every_kind_of_answer(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'vm-tests'}"}
    cases = ["waypoint-h1-small-1", "waypoint-h1-large-1", "waypoint-h2-large-1", "waypoint-grpc-1"]
    command = [
        sys.executable, "-m", "bench", *cases,
        "--peers", "ambient,envoy", "--rounds", "1", "--seconds", "0.3", "--output", str(tmp_path),
    ]  # fmt: skip
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert ran.returncode == 0, ran.stderr
    rounds = json.loads((tmp_path / "bench.json").read_text())["rounds"]
    assert {(one["case"], one["peer"]) for one in rounds} == {
        (case, peer) for case in cases for peer in ("ambient", "envoy")
    }
    for one in rounds:
        assert one["figures"]["rate"] > 0
        assert one["figures"]["errors"] == 0
        assert one["figures"]["waypoint's memory"] > 10
