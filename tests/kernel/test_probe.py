"""What is tried of the kernel is found, and nothing of the trial is left."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

import pytest
from kernel.pods import OUTSIDE4, OUTSIDE6, POD4, POD6, folder_of_cgroup, joined, namespace
from topology import cgroup

from ambient.kernel import bpf, loader, probe
from ambient.kernel.redirector import Redirector, uninstall


def left() -> list[str]:
    mine = [path.name for path in cgroup.mount().iterdir() if path.name == f"ambient-check-{os.getpid()}"]
    pins = loader.PINS.iterdir() if loader.PINS.exists() else ()
    return mine + [path.name for path in pins if path.name == f"check-{os.getpid()}"]


@pytest.mark.usefixtures("needs_root")
def test_every_program_is_tried_and_nothing_is_left() -> None:
    assert probe.why_not_loaded() == {}
    assert probe.why_no_cgroup() == ""
    assert left() == []


@pytest.mark.usefixtures("needs_root")
def test_what_hinders_every_program_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "DEBIAN_PYTHON", "/nonexistent/python3")
    assert list(probe.why_not_loaded()) == [""]
    assert "install Debian's python3" in probe.why_not_loaded()[""]
    assert left() == []


def test_a_program_on_a_cgroup_is_named(node_name: str) -> None:
    Redirector.open(node_name).close()
    (folder,) = loader.node_folder(node_name).iterdir()
    with folder_of_cgroup("watched") as group:
        target = os.open(group, os.O_RDONLY)
        assert bpf.attached(target, bpf.Attach.CONNECT4) == ()
        program = bpf.get(folder / "progs" / "redirect_connect4")
        link = bpf.link(program, target, bpf.Attach.CONNECT4)
        assert bpf.attached(target, bpf.Attach.CONNECT4) == ("redirect_connec",)
        for fd in (link, program, target):
            os.close(fd)
    uninstall(node_name)


@pytest.mark.usefixtures("needs_root")
def test_who_is_seen_is_told() -> None:
    with namespace("pod") as pod, namespace("outside") as outside, joined(pod, outside):
        here, there = str(pod.path), str(outside.path)
        for own, its in ((POD4, OUTSIDE4), (POD6, OUTSIDE6)):
            assert str(probe.seen_source(here, there, ip_address(its))) == own
        # From another address, as if a network between them had put it there.
        pod.ip("addr add 10.123.0.9/32 dev eth0", f"route add {OUTSIDE4}/32 dev eth0 src 10.123.0.9")
        outside.ip("route add 10.123.0.9/32 dev pod0")
        assert str(probe.seen_source(here, there, ip_address(OUTSIDE4))) == "10.123.0.9"
        pod.ip(f"route add blackhole {OUTSIDE6}/128")
        assert probe.seen_source(here, there, ip_address(OUTSIDE6)) is None


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("", 0)) as taken:
        port: int = taken.getsockname()[1]
        assert probe.why_not_bound(port) == "Address already in use"
    assert probe.why_not_bound(port) == ""


def test_the_clock_is_asked_and_not_set() -> None:
    assert probe.is_clock_synchronised() in (True, False)
