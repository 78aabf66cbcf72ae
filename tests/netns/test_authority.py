"""Roots that follow each other, end, and are made anew, while real proxies carry traffic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from topology import Mesh, MeshNode, Process, Topology, Workload, objects, until

from ambient.control import keyfiles
from ambient.core.pki import intermediate, issue, verify

LEAF = ("--certificate-lifetime", 15)
"""Seconds: short, and half of it is time enough to renew it on a machine that has other work."""
FOLLOWED = 60
"""Seconds in which each step of a root that follows another is taken, with leaves of half a minute at most."""


class Site:
    """``client`` on node one calls ``server`` on node two, STRICT."""

    def __init__(self, topology: Topology, *flags: object) -> None:
        self.mesh = Mesh(topology)
        self.mesh.apply(
            "shop",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server")),
            objects.peer_authentication("shop", "STRICT"),
        )
        self.mesh.start_control(*LEAF, *flags)
        self.one, self.two = self.mesh.node("one"), self.mesh.node("two")
        self.client = self.one.add(self.one.node.pod("client"), "shop", "client")
        pod = self.two.node.pod("server")
        pod.serve("echo", 8080, "--name", "server")
        self.server = self.two.add(pod, "shop", "server")
        self.mesh.settle(self.client, self.server)

    def certs(self, *words: object, code: int = 0) -> str:
        ran = self.mesh.operate("certs", *map(str, words))
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout

    def standing(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.mesh.operate("certs", "verify", "-o", "json").stdout)
        return found

    def wait_for_phase(self, phase: str) -> None:
        until(lambda: self.standing()["phase"] == phase, FOLLOWED, f"the roots to be {phase}")

    def call(self) -> object:
        return self.client.pod.call(self.server.pod.v4, 8080)["error"]

    def works_again(self, seconds: float = 30) -> None:
        until(lambda: self.call() is None, seconds, "calls to work again")

    def wait_for_new_root(self) -> None:
        """Every workload proves itself by the root of now, and trusts no other."""
        root = self.mesh.root_cert.read_bytes()
        until(
            lambda: all(is_under(workload, root) for workload in (self.client, self.server)),
            60,
            "the new root to be in force",
        )
        self.works_again()

    def load(self) -> Process:
        load = self.client.pod.start("load", self.server.pod.v4, 8080, "--every", "0.05")
        load.wait_for_line(event="progress")
        return load

    def audited(self, message: str) -> list[dict[str, Any]]:
        lines = (self.mesh.state / "audit.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["message"] == message]

    def new_token(self, node: MeshNode) -> None:
        node.token_file.write_text(self.mesh.token(node.name))


def held_by(workload: Workload) -> dict[str, Any]:
    """The certificate that its node has for it."""
    [held] = [one for one in workload.node.dump()["certificates"] if one["identity"] == workload.identity]
    return held  # type: ignore[no-any-return]


def roots_of(workload: Workload) -> int:
    """How many its node trusts for it."""
    return sum(root.count("BEGIN CERTIFICATE") for root in held_by(workload)["rootCerts"])


def is_under(workload: Workload, root: bytes) -> bool:
    held = held_by(workload)
    if "".join(held.get("rootCerts", ())).encode() != root:
        return False
    try:
        verify.check_chain([pem.encode() for pem in held["certChain"]], root, datetime.now(UTC))
    except verify.BadCertificate:
        return False
    return True


def unharmed(load: Process) -> None:
    """Not one request or connection of it has failed."""
    assert load.stop() == 0
    [summary] = [line for line in load.lines() if line["event"] == "summary"]
    assert summary["new"]["ok"] > 100, summary
    assert summary["held"]["ok"] > 100, summary
    assert (summary["new"]["failed"], summary["held"]["failed"]) == (0, 0), load.tail()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Topology() as topology:
        yield Site(topology)


def test_a_root_follows_another_under_load_and_no_request_fails(site: Site) -> None:
    before = site.standing()
    assert (before["phase"], before["unaware_nodes"]) == ("steady", [])
    load = site.load()
    site.certs("rotate")
    refused = site.mesh.operate("certs", "rotate")
    assert (refused.returncode, "one root follows another already" in refused.stderr) == (1, True)
    site.wait_for_phase("retiring")
    assert [roots_of(workload) for workload in (site.client, site.server)] == [2, 2]
    site.wait_for_phase("steady")
    for workload in (site.client, site.server):
        until(lambda workload=workload: roots_of(workload) == 1, 10, "the old root to be gone")  # type: ignore[misc]
    unharmed(load)
    after = site.standing()
    old, new = before["authorities"][0]["root"], after["authorities"][0]["root"]
    assert old != new
    assert [line["authority"] for line in site.audited("root follows")] == [new]
    assert [(line["authority"], line["left_behind"]) for line in site.audited("root signs")] == [(new, "")]
    assert [line["authority"] for line in site.audited("root removed")] == [old]
    assert site.mesh.root_cert.read_text().count("BEGIN CERTIFICATE") == 1


@pytest.mark.long
def test_a_control_plane_that_is_killed_at_each_step_goes_on_and_no_request_fails() -> None:
    with Topology() as topology:
        site = Site(topology, "--certificate-lifetime", 30)
        load = site.load()
        old = site.standing()["authorities"][0]["root"]
        site.certs("rotate")
        for phase in ("retiring", "steady"):
            assert site.mesh.control is not None
            site.mesh.control.kill()
            site.mesh.start_control("--certificate-lifetime", 30)
            site.wait_for_phase(phase)
        unharmed(load)
        assert site.standing()["authorities"][0]["root"] != old


@pytest.mark.long
def test_a_node_that_was_away_for_a_whole_rotation_comes_back_with_the_file_and_a_token(site: Site) -> None:
    assert site.two.proxy is not None
    site.two.proxy.stop(30)
    site.certs("rotate")
    site.wait_for_phase("retiring")  # Not before its certificate has ended: until then it is waited for.
    site.wait_for_phase("steady")
    assert [line["left_behind"] for line in site.audited("root signs")][-1] == ""
    site.new_token(site.two)
    site.two.start_proxy()
    site.works_again()


def test_what_the_authority_revokes_is_cut_and_refused_everywhere(site: Site) -> None:
    live = site.client.pod.start("steady", site.server.pod.v4, 8080, "--no-new")
    live.wait_for_line(kind="held", ok=True)

    def is_listed() -> bool:
        listed = json.loads(site.certs("list", "-o", "json"))
        serials = {one["serial"] for one in listed if one["identity"] == site.client.identity}
        return held_by(site.client)["serialNumber"] in serials

    until(is_listed, 20, "the certificate of now to be listed")
    revoked = site.certs("revoke", site.client.identity)
    # Perhaps the next one: they live for so short a time here that it may have been renewed meanwhile.
    found = re.search(rf"revoked (\w+) of {site.client.identity} on node {site.one.name}", revoked)
    assert found is not None, revoked
    serial = found[1]
    assert live.wait_for_line(kind="held", lost=True)["error"] == "ConnectionResetError"
    live.stop()
    line = site.two.wait_for_access(message="connection complete", response_flags="CERT_REVOKED")
    assert line["error"].startswith("connection closed: peer certificate revoked by CRL")
    # The workload itself is not sent away: its node asks for another certificate.
    site.works_again()
    assert serial in {line["serial"] for line in site.audited("certificate revoked")}
    nobody = site.mesh.operate("certs", "revoke", "feed")
    assert (nobody.returncode, "no certificate that lives" in nobody.stderr) == (1, True)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_authority_that_has_ended_is_made_anew_and_nodes_come_back_without_a_restart() -> None:
    with Topology() as topology:
        given = topology.folder / "given"
        given.mkdir()
        ends = _give(given, timedelta(seconds=45))
        site = Site(topology, "--ca-dir", given)
        site.works_again()
        refused = site.mesh.operate("certs", "rotate")
        assert (refused.returncode, "the authority is given by --ca-dir" in refused.stderr) == (1, True)
        until(lambda: datetime.now(UTC) > ends, 60, "the root to end")
        until(lambda: site.call() is not None, 20, "nobody to be believed")
        assert site.mesh.control is not None
        site.mesh.control.stop()
        ended = site.mesh.launch_control(*LEAF)
        assert ended.wait() == 1
        said = ended.errors.read_text()
        assert f"`ambient certs recover --state-dir {site.mesh.state}` makes another" in said
        assert "has ended; `ambient certs recover` makes another" in site.certs("verify", code=1)

        told = site.certs("recover")
        assert told.startswith(
            f"there is a new root: {site.mesh.state}/root-cert.pem\n1. start the control plane"
        )
        site.mesh.start_control(*LEAF)
        for node in site.mesh.nodes:
            site.new_token(node)
        site.wait_for_new_root()
        again = site.mesh.operate("certs", "recover")
        assert (again.returncode, "`ambient certs rotate` replaces it and fails nobody" in again.stderr) == (
            1,
            True,
        )

        # The same while the control plane runs, and the old root is good but, say, stolen.
        site.certs("recover", "--force")
        for node in site.mesh.nodes:
            site.new_token(node)
        site.wait_for_new_root()


def _give(folder: Path, lifetime: timedelta) -> datetime:
    """An authority as cert-manager would put it there; when it ends."""
    now = datetime.now(UTC)
    root = issue.new_authority("corporate", now, lifetime)
    issuer = intermediate.new_issuer(root, "corporate", now)
    (folder / "ca.crt").write_bytes(root.root_pem)
    (folder / "tls.crt").write_bytes(verify.to_pem(issuer.certificate))
    keyfiles.write(folder / "tls.key", issuer.key_pem)
    return issuer.not_after
