"""`ambient check` as it is typed."""

import json
import os
import pty
import subprocess
import sys

import pytest
from cli.conftest import typed

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it tries BPF programs")
MACHINE = [
    "kernel-version",
    "privileges",
    "cgroup-v2",
    "bpf-programs",
    "bpf-filesystem",
    "socket-programs",
    "cni",
]


@needs_root
def test_before_there_is_a_mesh_only_the_machine_is_looked_at():
    ended = typed("check", "--pre", "-o", "json")
    found = json.loads(ended.stdout)
    assert {one["about"] for one in found} == {"this machine"}
    codes = dict.fromkeys(one["code"] for one in found)
    assert [*codes] == [*MACHINE, "ports", "clock"]
    assert ended.exit_code == any(one["level"] == "fail" for one in found)
    assert all(one["remedy"] for one in found if one["level"] != "ok")


def test_a_control_plane_is_looked_at(running, tmp_path):
    ended = running.ambient("check", "--run-dir", tmp_path, "-o", "yaml")
    assert "about: the control plane" in ended.stdout
    for code in ("control-plane", "clock-skew", "configuration", "authority"):
        assert f"code: {code}\n  level: ok\n" in ended.stdout
    table = running.ambient("check", "--run-dir", tmp_path)
    assert "\nthe control plane\n  ok    control-plane" in table.stdout
    assert "\x1b" not in table.stdout


def test_without_a_mesh_the_code_is_3(nobody, tmp_path):
    ended = nobody.ambient("check", "--run-dir", tmp_path)
    assert ended.exit_code == 3
    assert "fail  mesh                 no control plane answers on" in ended.stdout
    assert "→ is `ambient control` running" in ended.stdout


def test_an_admin_endpoint_that_is_none_is_typed_wrongly():
    assert typed("check", "--admin", "nonsense").exit_code == 2


SHOWN = """
from ambient.cli import check
from ambient.cli.output import Output
from ambient.core.check import Finding, Level

check._show({"it": [Finding("a", Level.FAIL, "is odd \\x1b[2J", "mend it")]}, Output.TABLE)
"""


@pytest.mark.parametrize(
    ("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["colour", "no-colour"]
)
def test_colours_are_for_terminals_that_want_them(more, coloured):
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", **more}
    with subprocess.Popen([sys.executable, "-c", SHOWN], stdout=theirs, env=environment) as showing:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:
            pass  # How a terminal ends.
        assert showing.wait(10) == 0
    os.close(ours)
    assert b"mend it" in seen
    assert (b"\x1b[1;31mfail" in seen) is coloured
    assert b"\x1b[2J" not in seen
