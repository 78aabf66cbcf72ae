"""Every import contract is seen failing: one forbidden import is planted in a copy, and only its contract breaks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

PLANTED: dict[str, list[tuple[str, str]]] = {
    "Storeys: programs use adapters, adapters use core, core uses nobody": [
        ("ambient/net/planted.py", "import ambient.control"),
        ("ambient/net/planted.py", "import ambient.telemetry"),
        ("ambient/control/planted.py", "import ambient.proxy"),
        ("ambient/unheard_of/__init__.py", ""),
    ],
    "Core touches nothing: no sockets, event loop, files, clocks or wires": [
        ("ambient/core/planted.py", "import asyncio"),
        ("ambient/core/model/planted.py", "import time"),
        ("ambient/core/pki/planted.py", "from pathlib import Path"),
    ],
    "Only kernel speaks to the kernel": [("ambient/node/planted.py", "import ctypes")],
    "Only rpc speaks gRPC and protobuf": [("ambient/proxy/planted.py", "import grpc")],
    "Only net holds TLS and fast sockets": [("ambient/rpc/planted.py", "import ssl")],
    "Only core/hbone and core/http speak HTTP/2": [("ambient/proxy/planted.py", "import ngh2")],
    "Only core/pki makes and checks certificates": [
        ("ambient/control/planted.py", "from cryptography import x509"),
    ],
    "Only core/patterns meets regular expressions of users": [("ambient/control/planted.py", "import re2")],
    "Only telemetry counts for Prometheus": [("ambient/proxy/planted.py", "import prometheus_client")],
    "pydantic and YAML only at borders": [("ambient/rpc/planted.py", "import yaml")],
    "No package is in a cycle with a sibling": [
        (
            "ambient/core/model/planted/first/__init__.py",
            "import ambient.core.model.planted.second",
        ),
    ],
}
"""Contract to imports that break it, each a file and its text."""

COMPANIONS = {
    "ambient/core/model/planted/first/__init__.py": {
        "ambient/core/model/planted/__init__.py": "",
        "ambient/core/model/planted/second/__init__.py": "import ambient.core.model.planted.first",
    },
}
"""Files that a planted one needs beside it."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(
        REPOSITORY / "ambient", tmp_path / "ambient", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(folder: Path) -> set[str]:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in ran.stdout, ran.stdout + ran.stderr
    return set(re.findall(r"^(.+) BROKEN$", ran.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("contract", "file", "text"),
    [(contract, file, text) for contract, plants in PLANTED.items() for file, text in plants],
)
def test_a_contract_breaks_when_its_import_is_planted(
    copy: Path, contract: str, file: str, text: str
) -> None:
    for name, content in {file: text, **COMPANIONS.get(file, {})}.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(content + "\n")
    assert broken_contracts(copy) == {contract}


def test_every_contract_has_an_import_that_breaks_it() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert {contract["name"] for contract in pyproject["tool"]["importlinter"]["contracts"]} == set(PLANTED)
