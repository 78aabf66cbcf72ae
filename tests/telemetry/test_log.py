import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from ambient.telemetry.line import Format, Level, render
from ambient.telemetry.log import Log

AT = datetime(2026, 1, 31, 23, 59, 59, 123456, UTC)


def text(**fields):
    return render(Format.TEXT, AT, Level.INFO, "it happened", fields).decode()


def test_a_line_of_text():
    assert text(pod="shop/web", count=3, ratio=0.5, done=True, error=None) == (
        '2026-01-31T23:59:59.123Z INFO "it happened" pod=shop/web count=3 ratio=0.5 done=true error=null\n'
    )


def test_a_line_of_json():
    line = render(
        Format.JSON, AT, Level.WARNING, "it happened", {"src.addr": "10.0.0.1:1", "flag": Level.INFO}
    )
    assert json.loads(line) == {
        "time": "2026-01-31T23:59:59.123Z",
        "level": "warning",
        "message": "it happened",
        "src.addr": "10.0.0.1:1",
        "flag": 20,
    }


ESCAPED = {
    "line-break": ("a\nb", r'v="a\nb"'),
    "terminal-escape": ("\x1b[31mred", r'v="\u001b[31mred"'),
    "delete": ("a\x7f", r'v="a\u007f"'),
    "c1-control": ("\x9b31m", r'v="\u009b31m"'),
    "bidirectional-mark": ("a\u202eb", r'v="a\u202eb"'),
    "quote": ('a"b', r'v="a\"b"'),
    "space": ("a b", 'v="a b"'),
    "equals": ("a=b", 'v="a=b"'),
    "backslash": ("a\\b", r'v="a\\b"'),
    "lone-surrogate": ("\ud800", r'v="\ud800"'),
    "bytes": (b"\xff\x00ok", r'v="\\xff\u0000ok"'),
    "not-a-number": (float("nan"), "v=nan"),
    "nothing": ("", 'v=""'),
}


@pytest.mark.parametrize(("value", "shown"), list(ESCAPED.values()), ids=ESCAPED)
def test_no_value_breaks_out(value, shown):
    assert text(v=value).endswith(f" {shown}\n")


@given(st.text(), st.one_of(st.text(), st.binary(), st.floats(), st.integers(), st.none(), st.booleans()))
def test_every_line_is_one_line_of_printable_ascii(key, value):
    for style in Format:
        line = render(style, AT, Level.ERROR, "x", {key: value})
        assert line.endswith(b"\n")
        assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    json.loads(line)


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue  # The test closed it itself.


def test_levels_are_kept(pipe):
    log = Log(pipe[1])
    log.debug("quiet")
    log.info("loud")
    log.configure(level=Level.ERROR)
    log.warning("quiet")
    log.error("louder")
    log.configure(Format.JSON)
    log.error("loudest")
    lines = os.read(pipe[0], 4096).decode().splitlines()
    assert [line.split(" ", 1)[1] for line in lines[:2]] == ["INFO loud", "ERROR louder"]
    assert json.loads(lines[2])["message"] == "loudest"
    assert not log.is_enabled(Level.WARNING)


def test_a_log_that_nobody_reads_counts_and_goes_on(pipe):
    log = Log(pipe[1])
    os.close(pipe[0])
    log.info("lost")
    assert log.lost == 1


def test_level_names():
    assert Level.of("Debug") is Level.DEBUG
    with pytest.raises(
        ValueError, match="'loud' is not a log level; choose one of debug, info, warning, error"
    ):
        Level.of("loud")
