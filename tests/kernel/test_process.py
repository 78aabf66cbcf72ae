"""Secrets in memory, and which cgroup a process is in."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest
from kernel.pods import folder_of_cgroup, in_child

from ambient.core.errors import ConfigError, PeerError
from ambient.kernel import process


def test_what_is_sealed_comes_back_and_cannot_be_changed() -> None:
    secret = os.urandom(100_000)
    fd = process.seal("key", secret)
    assert process.unseal(fd) == process.unseal(fd) == secret
    for change in (
        lambda: os.pwrite(fd, b"x", 0),
        lambda: os.ftruncate(fd, 1),
        lambda: os.ftruncate(fd, 1 << 20),
    ):
        with pytest.raises(PermissionError):
            change()
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_what_its_sender_can_change_is_refused() -> None:
    fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    with pytest.raises(PeerError, match="can still change"):
        process.unseal(fd)
    os.close(fd)
    with Path("/dev/null").open("rb") as other, pytest.raises(PeerError, match="not a memfd"):
        process.unseal(other.fileno())


def test_a_process_that_forbids_core_dumps_has_none() -> None:
    def check() -> None:
        process.forbid_core_dumps()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)

    in_child(None, None, check)


@pytest.mark.usefixtures("needs_root")
def test_the_cgroup_of_a_process_is_its_v2_folder() -> None:
    with folder_of_cgroup("x") as group:
        inner = group / "inner"
        inner.mkdir()
        child = subprocess.Popen(["sleep", "60"])
        try:
            (inner / "cgroup.procs").write_text(str(child.pid))
            assert process.cgroup_of(child.pid) == str(inner)
            assert process.cgroup_id(str(inner)) == inner.stat().st_ino
        finally:
            child.kill()
            child.wait()
    with pytest.raises(ConfigError, match="No such file"):
        process.cgroup_id(str(group))


@pytest.mark.usefixtures("needs_root")
def test_the_root_of_the_hierarchy_is_nobodys_cgroup() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        Path(str(process.cgroup_root()), "cgroup.procs").write_text(str(child.pid))
        assert process.cgroup_of(child.pid) is None
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_not_there_has_no_cgroup() -> None:
    with pytest.raises(ConfigError, match="there is no such process"):
        process.cgroup_of(4194304)
