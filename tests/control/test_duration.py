from datetime import timedelta

import pytest
from hypothesis import given, strategies as st
from pydantic_core import PydanticCustomError

from ambient.control.schema.duration import gateway_duration, go_duration

MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", timedelta()),
        ("1h", timedelta(hours=1)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("500ms", 500 * MILLISECOND),
        ("1h1m1s1ms", timedelta(hours=1, minutes=1, seconds=1, milliseconds=1)),
        ("10s30m1h", timedelta(hours=1, minutes=30, seconds=10)),
        ("99999h", timedelta(hours=99999)),
    ],
)
def test_durations_of_the_gateway_api(text, expected):
    assert gateway_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "1.5s", "-1s", "+1s", "1d", "1us", "100000s", "1s1s1s1s1s", "1 s", "1S", 10, None]
)
def test_what_is_no_duration_of_the_gateway_api(text):
    with pytest.raises(PydanticCustomError, match="a duration is such as 10s, 1h30m or 500ms"):
        gateway_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("1.5s", 1500 * MILLISECOND),
        (".5s", 500 * MILLISECOND),
        ("1.s", timedelta(seconds=1)),
        ("1h15m30.918s", timedelta(hours=1, minutes=15, seconds=30.918)),
        ("2us", timedelta(microseconds=2)),
        ("2µs", timedelta(microseconds=2)),
        ("1500ns", timedelta(microseconds=1)),
    ],
)  # fmt: skip
def test_durations_of_go(text, expected):
    assert go_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "-1s", "+1s", "1d", "s", ".s", "1..5s", "1e3s", 10, True, None, "9" * 70 + "s"]
)
def test_what_is_no_duration_of_go(text):
    with pytest.raises(PydanticCustomError, match=r"a duration is such as 10s, 1\.5h or 500ms"):
        go_duration(text)


def test_a_duration_beyond_a_life_is_refused():
    with pytest.raises(PydanticCustomError, match="a hundred years"):
        go_duration("999999999999999h")


@given(st.integers(0, 99999), st.integers(0, 99999), st.integers(0, 99999))
def test_what_both_write_is_the_same(hours, seconds, milliseconds):
    text = f"{hours}h{seconds}s{milliseconds}ms"
    assert gateway_duration(text) == go_duration(text)
    assert gateway_duration(text) == timedelta(hours=hours, seconds=seconds, milliseconds=milliseconds)
