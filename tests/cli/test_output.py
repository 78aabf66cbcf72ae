"""What people and programs get to read."""

import json
import os
import pty
import subprocess
import sys

import pytest
import yaml

from ambient.cli import output
from ambient.cli.output import Output

CONTENT = [{"name": "a", "when": None, "many": ["x", "y"]}, {"name": "ü: 'b'", "when": "2026-01-01T00:00:00Z", "many": []}]  # fmt: skip


@pytest.mark.parametrize(("form", "read"), [(Output.JSON, json.loads), (Output.YAML, yaml.safe_load)])
def test_programs_read_what_was_meant(form, read, capsys):
    output.show(form, CONTENT, ("NAME",), lambda: [("never asked",)])
    assert read(capsys.readouterr().out) == CONTENT


def test_a_table_has_every_value_on_one_line_for_a_pipe(capsys):
    output.show(Output.TABLE, [], ("NAME", "WHAT"), lambda: [("a", "long " * 60), ("b", "\x1b[31mred")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "a", "b"]
    assert lines[1].count("long") == 60
    assert "\\x1b[31mred" in lines[2]


def test_an_empty_table_is_said_beside_the_output(capsys):
    output.show(Output.TABLE, [], ("NAME",), list, nothing="there is nothing")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "there is nothing\n")
    output.show(Output.JSON, [], ("NAME",), list, nothing="there is nothing")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("[]\n", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90061, "1d 1h"), (86400 * 3 + 120, "3d"), (-61, "1m 1s")],
)  # fmt: skip
def test_a_distance_has_two_units(seconds, said):
    assert output.distance(seconds) == said


SLOW = """
import time

from ambient.cli import output
output._PATIENCE_SECONDS = 0.05
with output.progress("waiting for Godot"):
    time.sleep(0.6)
"""


def test_only_a_terminal_hears_that_it_takes_long(monkeypatch):
    piped = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("", "")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", SLOW], stderr=theirs, env=environment) as slow:
        os.close(theirs)
        heard = b""
        try:
            while piece := os.read(ours, 4096):
                heard += piece
        except OSError:
            pass  # How a terminal ends.
        assert slow.wait(10) == 0
    os.close(ours)
    assert b"waiting for Godot" in heard
