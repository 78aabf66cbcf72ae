"""What must hold for the checkout as a whole."""

from __future__ import annotations

import filecmp
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

TRACKED = [
    REPOSITORY / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    if name and (REPOSITORY / name).is_file()
]

NEVER = {
    "a package index": re.compile(r"(--(extra-)?index-url|--find-links|--trusted-host)\b"),
    "a registry's host": re.compile(
        r"\b(pypi|pythonhosted|npmjs|crates|deb\.debian|snapshot\.debian|proxy\.golang)\.(org|io|com)\b"
        r"|files\.pythonhosted|artifact-?registry|security\.debian",
        re.IGNORECASE,
    ),
    "a path of somebody's machine": re.compile(r"(?<![\w.])/(work|home)/[a-z]"),
}

WITHOUT_MIRROR = {
    "arch",
    "bench",
    "demo",
    "fuzz",
    "golden",
    "hostile",
    "interop",
    "netns",
    "scale",
    "seed",
    "topology",
}
"""Folders of tests/ that follow no room."""


@pytest.mark.parametrize("what", NEVER)
def test_no_file_names(what: str) -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
        for file in TRACKED
        if file != Path(__file__)
        for number, line in enumerate(file.read_bytes().decode(errors="replace").splitlines(), 1)
        if NEVER[what].search(line)
    ]
    assert not found, "\n".join(found)


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([REPOSITORY / "dev", "generate", tmp_path], check=True, capture_output=True)
    assert (
        list(differences(filecmp.dircmp(REPOSITORY / "ambient/rpc/pb", tmp_path, ignore=["__pycache__"])))
        == []
    )


def differences(compared: filecmp.dircmp[str]) -> list[str]:
    here = [*compared.left_only, *compared.right_only, *compared.diff_files, *compared.funny_files]
    return here + [name for folder in compared.subdirs.values() for name in differences(folder)]


def test_tests_mirror_the_rooms() -> None:
    rooms = {folder.name for folder in (REPOSITORY / "ambient").iterdir() if folder.is_dir()}
    folders = {
        path.relative_to(REPOSITORY / "tests").parts[0]
        for path in TRACKED
        if path.is_relative_to(REPOSITORY / "tests") and path.parent != REPOSITORY / "tests"
    }
    assert folders <= rooms | WITHOUT_MIRROR
