"""Probes as words, and what their answers make of a workload."""

import pytest

from ambient.core.errors import ConfigError
from ambient.core.health import FAILURES, Health, is_answer
from ambient.core.model.pod import Probe


@pytest.mark.parametrize(
    ("answers", "healthy"),
    [
        ("", True),
        ("-", True),
        ("--", True),
        ("---", False),
        ("--+--", True),
        ("---+", True),
        ("---+--", True),
        ("---+---", False),
        ("-" * 50, False),
    ],
    ids=lambda value: str(value) or "nothing",
)
def test_failures_in_a_row_make_it_unhealthy_and_one_answer_healthy(answers, healthy):
    health = Health(healthy=True)
    for answer in answers:
        health = health.after(answered=answer == "+")
    assert health.healthy is healthy
    assert health.failures <= FAILURES


def test_one_that_starts_is_not_healthy_before_it_has_answered():
    starting = Health(healthy=False).after(answered=False)
    assert not starting.healthy
    assert starting.after(answered=True).healthy


@pytest.mark.parametrize(
    ("head", "well"),
    [
        (b"HTTP/1.1 200", True),
        (b"HTTP/1.0 204 No Content\r\n", True),
        (b"HTTP/1.1 302 Found", True),
        (b"HTTP/1.1 404 Not Found", False),
        (b"HTTP/1.1 500", False),
        (b"HTTP/1.1 2", False),
        (b"SSH-2.0-OpenSSH 200", False),
        (b"", False),
    ],
    ids=str,
)
def test_what_an_http_answer_says(head, well):
    assert is_answer(head) is well


@pytest.mark.parametrize("text", ["tcp:8080", "http:80/", "http:8080/healthz?deep=1"])
def test_a_probe_is_read_as_it_is_printed(text):
    assert str(Probe.parse(text)) == text


def test_a_probe_of_http_without_a_path_asks_for_the_root():
    assert Probe.parse("http:80") == Probe(80, "/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        "tcp",
        "tcp:",
        "tcp:0",
        "tcp:65536",
        "tcp:80/x",
        "udp:53",
        "http:80/a b",
        "http:80/\r\nx",
        "tcp:\uff18\uff10",
    ],
)
def test_what_is_no_probe_is_refused(text):
    with pytest.raises(ConfigError, match="is not tcp:PORT or http:PORT/PATH"):
        Probe.parse(text)
