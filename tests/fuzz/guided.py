"""A run of atheris, guided by coverage: ``python -m fuzz.guided TARGET FOLDER SECONDS``. Ends badly if a target does."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ambient.core", "ambient.rpc"]):
    from fuzz.targets import TARGETS

from fuzz.seeds import seeds


def main() -> None:
    target, folder, seconds = sys.argv[1:]
    for number, seed in enumerate(seeds()[target]):
        (Path(folder) / f"seed-{number}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        "-rss_limit_mb=1024",
        "-timeout=5",
        "-max_len=8192",
        "-verbosity=0",
    ]
    atheris.Setup(["fuzz", *limits, f"-artifact_prefix={folder}/", folder], TARGETS[target])
    atheris.Fuzz()


main()
