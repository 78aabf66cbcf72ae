"""``ambient certs`` as its operator types it, against a control plane in a process of its own, and without one."""

import json
import re
import shutil
import signal
import sqlite3

import pytest
from control.test_cli import ambient, running

__all__ = ["running"]

ROW = re.compile(r"^(root|issuer) +([0-9a-f]{16}) +(\d+d(?: \d+h)?) +(yes)? +(here|away)$", re.MULTILINE)


@pytest.fixture
def certs(running):
    _, state, process = running

    def call(*words, code=0):
        ran = ambient("certs", *words, "--state-dir", state)
        assert ran.returncode == code, ran
        return ran.stdout + ran.stderr

    call.state, call.process = state, process
    return call


def test_an_operator_has_another_root(certs):
    before = certs("verify")
    [(_, old, *_), _] = ROW.findall(before)
    assert [(role, signs, key) for role, _, _, signs, key in ROW.findall(before)] == [
        ("root", "yes", "here"),
        ("issuer", "yes", "here"),
    ]
    assert "phase      steady\n" in before
    assert certs("list") == "no certificate lives\n"
    assert "phase      spreading\n" in certs("rotate")
    while "phase      spreading" in (after := certs("verify")):
        pass
    # No node is there to be waited for; the last leaf of the old root could live for a day.
    assert "phase      retiring\nwaits for  certificates of the root before live until 20" in after
    assert [(root == old, signs) for _, root, _, signs, _ in ROW.findall(after)] == [(False, "yes")] * 2 + [(True, "")] * 2  # fmt: skip
    said = json.loads(certs("verify", "-o", "json"))
    assert (said["phase"], said["findings"], said["unaware_nodes"]) == ("retiring", [], [])
    assert "one root follows another already" in certs("rotate", code=1)
    assert "`ambient certs rotate` replaces it and fails nobody" in certs("recover", code=1)
    assert "no certificate that lives and is not revoked has the serial number or identity feed" in certs("revoke", "feed", code=1)  # fmt: skip


def test_without_a_control_plane_it_is_looked_at_and_begun_anew(certs):
    old = (certs.state / "root-cert.pem").read_bytes()
    certs.process.send_signal(signal.SIGTERM)
    certs.process.wait(10)
    assert "waits for  the control plane, which does not run" in certs("verify")
    [key] = certs.state.glob("roots/*/root-key.pem")
    key.unlink()
    assert re.search(r"^root +[0-9a-f]{16} +3649d.* yes +away$", certs("verify"), re.MULTILINE)
    assert "no control plane answers" in certs("rotate", code=3)
    assert "no control plane answers" in certs("list", code=3)
    assert "`ambient certs rotate` replaces it and fails nobody" in certs("recover", code=1)
    assert (certs.state / "root-cert.pem").read_bytes() == old
    told = certs("recover", "--force")
    assert told.startswith(
        f"there is a new root: {certs.state}/root-cert.pem\n"
        "1. start the control plane: ambient control …\n"
        "2. on each node, put that file where its proxy has its --root-cert\n"
        "3. for each node, `ambient token create --node NODE` here, and put it where its proxy has its --token-file\n"
        "Proxies read both files again by themselves; nothing needs to be restarted on a node.\n"
    )
    assert (certs.state / "root-cert.pem").read_bytes() != old
    audited = [json.loads(line) for line in (certs.state / "audit.log").read_text().splitlines()]
    assert [(line["message"], line["force"]) for line in audited] == [("root replaced", True)]


def test_a_folder_that_is_no_control_planes_is_named(tmp_path):
    for verb in ("verify", "recover"):
        ran = ambient("certs", verb, "--state-dir", tmp_path)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith(f"error: --state-dir {tmp_path} is not the folder of a control plane")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_version_with_one_root_is_looked_at_as_well(certs, tmp_path):
    certs.process.send_signal(signal.SIGTERM)
    certs.process.wait(10)
    [root] = (certs.state / "roots").iterdir()
    shutil.move(root / "root-key.pem", certs.state / "root-key.pem")
    shutil.rmtree(certs.state / "roots")
    with sqlite3.connect(certs.state / "control.db") as database:
        database.execute("DELETE FROM setting WHERE name = 'succession'")
    database.close()
    assert f"root       {root.name}" in certs("verify")
