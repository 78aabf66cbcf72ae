"""What each verb says of itself, and that a shell learns the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.rich_utils
from typer.main import get_command
from typer.testing import CliRunner

from ambient.cli.main import COMPLETION, app

AMBIENT = Path(sys.executable).with_name("ambient")


def verbs(command, path=()):
    """The whole tree, as words."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from verbs(child, (*path, name))


def all_verbs():
    root = get_command(app)
    yield ()
    for name in root.list_commands(None):
        yield from verbs(root.get_command(None, name), (name,))


@pytest.mark.parametrize("words", list(all_verbs()), ids=lambda words: " ".join(words) or "ambient")
def test_a_verb_explains_itself(words, golden, monkeypatch):
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", 100)
    ended = CliRunner().invoke(app, [*words, "--help"], prog_name="ambient")
    assert ended.exit_code == 0
    text = "".join(f"{line.rstrip()}\n" for line in ended.stdout.strip("\n").splitlines())
    golden(f"cli/help{''.join(f'-{word}' for word in words)}.txt", text)


def asked(*words, **environment):
    return subprocess.run(
        [AMBIENT, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ambient wor", ["workload"]),
        ("ambient workload ", ["add", "list", "health", "remove"]),
        ("ambient token create --n", ["--node", "--name"]),
        ("ambient get servi", ["service", "serviceaccount", "serviceentry", "serviceprofile"]),
        ("ambient completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_a_shell_is_told_what_could_come(typed, offered):
    words = typed.split(" ")
    environment = {COMPLETION: "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    assert asked(**environment).split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_ambient(shell):
    script = asked("completion", shell)
    assert f"{COMPLETION}=complete_{shell}" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
