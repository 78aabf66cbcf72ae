"""Every reader of others' bytes, fed with anything. By default a second of Hypothesis; with ``--long`` atheris."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz.found import FOUND
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from hypothesis import given, settings, strategies as st

SEEDS = seeds()
SECONDS = 20


def bent(target: str) -> st.SearchStrategy[bytes]:
    """Noise, or a good input with a piece replaced."""
    noise = st.binary(max_size=300)
    if not SEEDS[target]:
        return noise
    piece = st.tuples(
        st.sampled_from(SEEDS[target]), st.integers(0, 4000), st.integers(0, 20), st.binary(max_size=20)
    )
    return noise | piece.map(
        lambda it: it[0][: it[1] % (len(it[0]) + 1)] + it[3] + it[0][it[1] % (len(it[0]) + 1) + it[2] :]
    )


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_others_send_is_read_or_is_their_fault(target: str) -> None:
    @settings(max_examples=150, deadline=None, database=None)
    @given(bent(target))
    def fed(data: bytes) -> None:
        TARGETS[target](data)

    fed()


@pytest.mark.parametrize("target", TARGETS)
def test_good_input_is_read_and_what_was_found_once_is_their_fault(target: str) -> None:
    for seed in (*SEEDS[target], *FOUND.get(target, ())):
        TARGETS[target](seed)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not installed: ./dev test --long does it"
)
@pytest.mark.parametrize("target", TARGETS)
def test_guided_by_coverage_nothing_else_is_found(target: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", target, tmp_path, str(SECONDS)],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 90,
    )
    found = [
        path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith(("crash", "timeout", "oom"))
    ]
    assert ran.returncode == 0, f"{ran.stderr[-3000:]}\n{found}"
