"""The whole bench, as short as it can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")
def test_one_round_of_all_who_need_no_further_package(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'vm-tests'}"}
    command = [
        sys.executable, "-m", "bench", "rps-1", "bulk-1-up", "spread",
        "--peers", "none,ambient,envoy", "--rounds", "1", "--seconds", "0.3", "--output", str(tmp_path),
    ]  # fmt: skip
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    written = json.loads((tmp_path / "bench.json").read_text())
    seen = {(one["case"], one["peer"]): one["figures"] for one in written["rounds"]}
    peers = ("none", "ambient", "envoy")
    assert seen.keys() == {(case, peer) for case in ("rps-1", "bulk-1-up") for peer in peers} | {
        ("spread", "ambient")
    }
    assert all(figures["rate"] > 0 for figures in seen.values())
    assert seen["rps-1", "ambient"]["errors"] == 0
    assert 50 <= seen["spread", "ambient"]["busiest"] <= 100
