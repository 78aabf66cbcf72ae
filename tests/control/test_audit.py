"""The audit log: whole lines, only ever appended."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from ambient.control.audit import Audit
from ambient.core.model.identity import NodeId

NOW = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "audit.log"


def test_each_line_is_one_json_object(file):
    audit = Audit(file, lambda: NOW)
    audit.record("certificate issued", node="n1", identity=NodeId("cluster.local", "n1"))
    Audit(file, lambda: NOW).record("certificate refused", why='a "word"\nand another')
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {
            "time": "2026-01-31T23:59:59.000Z",
            "level": "info",
            "message": "certificate issued",
            "node": "n1",
            "identity": "spiffe://cluster.local/node/n1",
        },
        {
            "time": "2026-01-31T23:59:59.000Z",
            "level": "info",
            "message": "certificate refused",
            "why": 'a "word"\nand another',
        },
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_moved_away_is_begun_anew(file, tmp_path):
    audit = Audit(file, lambda: NOW)
    audit.record("first")
    file.rename(tmp_path / "audit.log.1")
    audit.record("second")
    assert "second" in file.read_text()
    assert "second" not in (tmp_path / "audit.log.1").read_text()


def test_strangers_fill_no_disk_and_what_is_left_out_is_counted(file):
    now = NOW
    audit = Audit(file, lambda: now)
    for number in range(200):
        audit.record_sparingly("certificate refused", number=number)
    audit.record("certificate issued")
    now += timedelta(minutes=1)
    audit.record_sparingly("certificate refused", number=200)
    audit.record_sparingly("certificate refused", number=201)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.get("number") for line in lines] == [*range(60), None, 200, 201]
    assert [line.get("left_out_before") for line in lines[-2:]] == [140, None]


@pytest.mark.parametrize("place", ["/dev/full", "/nowhere/audit.log"])
def test_a_line_that_cannot_be_kept_is_counted_and_in_the_ordinary_log(place, capfd):
    audit = Audit(place, lambda: NOW)
    audit.record("certificate issued", node="n1")
    assert audit.lost == 1
    said = capfd.readouterr().err
    assert "certificate issued" in said
    assert "audit line not kept" in said
