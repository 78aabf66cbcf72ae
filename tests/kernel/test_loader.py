"""The programs load and attach on this kernel, and what was loaded can be removed without trace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel.pods import folder_of_cgroup, namespace, unique

from ambient.core.errors import ConfigError
from ambient.kernel import bpf, compiler, loader, mounts, redirector
from ambient.kernel.netns import Netns
from ambient.kernel.redirector import Redirector, uninstall

HOOKS = {**redirector.SOCKET_HOOKS, **redirector.PROBER_HOOK, **redirector.PROXY_HOOK}


def test_every_program_loads_and_attaches(node_name: str) -> None:
    Redirector.open(node_name).close()
    (folder,) = loader.node_folder(node_name).iterdir()
    programs = folder / "progs"
    assert {path.name for path in (folder / "maps").iterdir()} == set(compiler.MAPS)
    assert {path.name for path in programs.iterdir()} | compiler.OPTIONAL == set(compiler.PROGRAMS)
    with folder_of_cgroup("scratch") as group, namespace("scratch") as scratch:
        target = os.open(group, os.O_RDONLY)
        netns = Netns.open(str(scratch.path))
        places = {
            path.name: (target, group.stat().st_ino, HOOKS.get(path.name)) for path in programs.iterdir()
        }
        places["capture_inbound"] = (netns.fd, netns.inode, bpf.Attach.SK_LOOKUP)
        for name, (fd, identity, attach) in places.items():
            assert attach is not None
            program = bpf.get(programs / name)
            link = bpf.link(program, fd, attach)
            assert bpf.link_info(link) == bpf.LinkInfo(bpf.program_id(program), identity, attach)
            os.close(link)
            os.close(program)
        os.close(target)
        netns.close()


def test_uninstalling_leaves_nothing(node_name: str) -> None:
    was_mounted = mounts.at(loader.BPFFS) is not None
    opened = Redirector.open(node_name)
    program = opened._program_ids["capture_inbound"]
    with pytest.raises(ConfigError, match="already has a daemon"):
        uninstall(node_name)
    opened.close()
    uninstall(node_name)
    assert not loader.node_folder(node_name).exists()
    assert (mounts.at(loader.BPFFS) is not None) == was_mounted
    assert not bpf.exists_program(program)
    uninstall(node_name)


def test_a_node_name_with_dots_is_a_folder_too(node_name: str) -> None:
    dotted = f"{node_name}.example/../x"
    Redirector.open(dotted).close()
    assert loader.node_folder(dotted).parent == loader.PINS
    uninstall(dotted)
    assert not loader.node_folder(dotted).exists()


def test_a_killed_build_is_built_again(node_name: str) -> None:
    Redirector.open(node_name).close()
    folder = loader.node_folder(node_name)
    (ready,) = folder.iterdir()
    ready.rename(folder / loader.BUILDING)
    Redirector.open(node_name).close()
    assert list(folder.iterdir()) == [ready]


def test_the_compiler_takes_no_longer_than_a_start_may(node_name: str) -> None:
    lock = loader.lock_node(node_name)
    try:
        loader.load(loader.node_folder(node_name))
    finally:
        os.close(lock)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'bcc'\" >&2; exit 1\n", "python3-bpfcc"),
        ("#!/bin/sh\necho \"fatal error: 'linux/types.h' file not found\" >&2; exit 1\n", "linux-libc-dev"),
        ("#!/bin/sh\necho 'the kernel refused program capture_inbound' >&2; exit 1\n", "capture_inbound"),
        ("#!/bin/sh\nexec sleep 60\n", "within 1 seconds"),
        (None, "is not there"),
    ],
    ids=["no-bcc", "no-headers", "verifier", "hangs", "no-python"],
)
def test_a_failed_build_says_what_to_do_and_leaves_nothing(
    node_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    python = tmp_path / "python3"
    if script is not None:
        python.write_text(script)
        python.chmod(0o700)
    monkeypatch.setattr(loader, "DEBIAN_PYTHON", str(python))
    monkeypatch.setattr(loader, "COMPILE_SECONDS", 1)
    with pytest.raises(ConfigError, match=said):
        Redirector.open(node_name)
    assert list(loader.node_folder(node_name).iterdir()) == []


def test_sources_that_the_kernel_refuses_are_named(
    node_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "bpf"
    shutil.copytree(loader.source_folder(), source)
    text = (source / "mark.c").read_text()
    (source / "mark.c").write_text(text.replace("return 1;", "return 7;"))
    monkeypatch.setattr(loader, "source_folder", lambda: source)
    with pytest.raises(ConfigError, match=r"refused program mark_proxy \(mark.c\)"):
        Redirector.open(node_name)
    (source / "mark.c").write_text(text.replace("return 1;", "return one;"))
    with pytest.raises(ConfigError, match=r"mark\.c:\d+:\d+: error"):
        Redirector.open(node_name)


@pytest.mark.parametrize(
    ("release", "fits"), [("6.1.0-30-amd64", True), ("6.18.44", True), ("10.2", True), ("5.15.0-1", False)]
)
def test_old_kernels_are_refused(monkeypatch: pytest.MonkeyPatch, release: str, fits: bool) -> None:
    monkeypatch.setattr(loader.os, "geteuid", lambda: 0)
    monkeypatch.setattr(loader.platform, "release", lambda: release)
    monkeypatch.setattr(loader.mounts, "first_of", lambda kind: Path("/sys/fs/cgroup"))
    if fits:
        loader.check_machine()
    else:
        with pytest.raises(ConfigError, match=r"needs 6\.1 or later"):
            loader.check_machine()


def test_without_cgroup_v2_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.os, "geteuid", lambda: 0)
    monkeypatch.setattr(loader.mounts, "first_of", lambda kind: None)
    with pytest.raises(ConfigError, match="mount -t cgroup2"):
        loader.check_machine()


def test_without_root_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="must run as root"):
        Redirector.open(unique("never"))


def test_the_compiler_imports_nothing_of_ambient() -> None:
    assert "ambient" not in [
        word for line in loader.COMPILER.read_text().splitlines() if "import" in line for word in line.split()
    ]
    done = subprocess.run(
        [loader.DEBIAN_PYTHON, "-I", loader.COMPILER, "/nowhere", "/nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FileNotFoundError" in done.stderr
