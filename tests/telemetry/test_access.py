import os
import re

import pytest
from core.worlds import at, service, workload

from ambient.core.observation import Observation, Party, Reporter, ResponseFlag, Security
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format, Level

CLIENT = workload("client", "10.0.0.1", cluster="local")
SERVER = workload("web-1", "10.0.1.1", cluster="local")
OUTBOUND = Observation(
    Reporter.SOURCE,
    Party.of(CLIENT, CLIENT.identity),
    Party.of(SERVER, SERVER.identity),
    at("10.0.0.1:40000"),
    at("10.96.0.1:80"),
    at("10.0.1.1:15008"),
    service("web", "10.96.0.1"),
    Security.MUTUAL_TLS,
)
HOSTILE = Observation(
    Reporter.DESTINATION,
    Party(workload='evil\n2026 INFO "connection complete"\x1b[2J', namespace="a b"),
    Party.of(SERVER),
    at("[fd00::9]:40000"),
    at("[fd00::1]:80"),
)


@pytest.mark.parametrize("style", list(Format), ids=lambda style: style.value)
def test_lines_are_as_agreed(tmp_path, style, golden):
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = AccessLog(fd, style, Level.DEBUG)
    log.opened(OUTBOUND)
    log.opened(HOSTILE, "shop/allow")
    log.complete(OUTBOUND, 4096, 512, 0.0124)
    log.complete(OUTBOUND, 0, 1, 3.5, "connection reset by the server", ResponseFlag.CONNECT)
    log.failed(
        HOSTILE,
        0.001,
        "connection closed due to policy rejection: explicitly denied by: shop/no",
        ResponseFlag.DENY,
        "shop/no",
    )
    os.close(fd)
    lines = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", file.read_text())
    golden(f"access.{style.value}", lines)


@pytest.mark.parametrize(
    ("level", "events"),
    [
        (Level.DEBUG, ["opened", "complete", "complete", "failed"]),
        (Level.INFO, ["complete", "complete", "failed"]),
        (Level.WARNING, ["complete", "failed"]),
        (Level.ERROR, ["complete"]),
    ],
    ids=lambda value: value.name if isinstance(value, Level) else "",
)
def test_levels(tmp_path, level, events):
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    log = AccessLog(fd)
    log.set_level(level)
    log.opened(OUTBOUND)
    log.complete(OUTBOUND, 0, 0, 0)
    log.complete(OUTBOUND, 0, 0, 0, "broke")
    log.failed(OUTBOUND, 0, "never", ResponseFlag.CONNECT)
    os.close(fd)
    assert re.findall(r'"connection (\w+)"', file.read_text()) == events
    assert log.lost == 0
