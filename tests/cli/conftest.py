"""A control plane in a process of its own, and the verbs as a person types them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ambient.cli.main import app

FOLDER = "apiVersion: v1\nkind: Namespace\nmetadata: {name: infra}\n"


@dataclass
class Running:
    """A control plane."""

    state_dir: Path
    process: subprocess.Popen[str]

    def ambient(self, *words: object, stdin: str | None = None) -> Result:
        """A verb that asks it."""
        return typed(*words, "--state-dir", self.state_dir, stdin=stdin)


def typed(*words: object, stdin: str | None = None) -> Result:
    """A verb."""
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="ambient")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One control plane for the tests of a file, with a folder that has a namespace."""
    folder = tmp_path_factory.mktemp("control")
    config, state_dir = folder / "config", folder / "state"
    config.mkdir()
    (config / "infra.yaml").write_text(FOLDER)
    words = ["control", "--config", config, "--state-dir", state_dir, "--advertise", "192.0.2.7"]
    words += ["--listen", f"127.0.0.1:{free_port()}", "--bootstrap-listen", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ambient.cli.main", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "control plane ready" in line:
                break
        yield Running(state_dir, process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def nobody(tmp_path: Path) -> Running:
    """A state folder that no control plane has."""
    return Running(tmp_path, None)  # type: ignore[arg-type]
