"""The redirector brings the kernel to its wish, with no write too many, across restarts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from kernel.pods import NOTHING, POD4, folder_of_cgroup, namespace

from ambient.core.errors import ConfigError
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Redirection, Role
from ambient.kernel import abi, loader, redirector as module
from ambient.kernel.netns import Netns, listen_in
from ambient.kernel.redirector import Redirector

EXCLUDED = Exclusions(
    frozenset({25, 26}), frozenset({22}), frozenset({ip_network("10.0.0.0/8"), ip_network("fd01::/16")})
)


class Scratch:
    """A pod without a network: enough to hang programs on."""

    def __init__(self, uid: str, path: Path, group: Path) -> None:
        self.uid, self.group, self.path = uid, group, path
        self.netns = Netns.open(str(path))
        self.listeners = listen_in(self.netns)

    def wish(
        self,
        capture: Capture = Capture.ON,
        exclusions: Exclusions = NOTHING,
        ip: str = POD4,
        **changes: object,
    ) -> Redirection:
        fields = {"cgroup": str(self.group), **changes}
        return Redirection(
            self.uid, self.netns.cookie, (ip_address(ip),), capture=capture, exclusions=exclusions, **fields
        )

    def close(self) -> None:
        self.netns.close()
        for listener in self.listeners.values():
            listener.close()


@pytest.fixture
def pods() -> Iterator[tuple[Scratch, Scratch]]:
    with (
        namespace("a") as one,
        namespace("b") as two,
        folder_of_cgroup("a") as first,
        folder_of_cgroup("b") as second,
    ):
        made = Scratch("pod-a", one.path, first), Scratch("pod-b", two.path, second)
        yield made
        for pod in made:
            pod.close()


def bring(opened: Redirector, *wishes: Redirection, pods: tuple[Scratch, ...]) -> int:
    return opened.set(wishes, {pod.uid: pod.netns for pod in pods}, {pod.uid: pod.listeners for pod in pods})


def kernel(opened: Redirector) -> dict[str, dict[bytes, bytes]]:
    """What the maps really hold."""
    return {name: table.items() for name, table in opened._maps.items()}


def links(node: str) -> set[str]:
    return {str(path.relative_to(path.parents[1])) for path in loader.node_folder(node).glob("*/links/*/*")}


def test_setting_twice_writes_nothing_the_second_time(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    a, b = pods
    opened = Redirector.open(node_name)
    wish = [a.wish(exclusions=EXCLUDED), b.wish(Capture.DRAINING, ip="10.233.7.3")]
    assert bring(opened, *wish, pods=pods) > 20
    assert bring(opened, *wish, pods=pods) == 0
    assert kernel(opened) == opened._contents
    opened.close()


def test_a_restart_adopts_what_is_there(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    opened = Redirector.open(node_name)
    wish = [pods[1].wish(ip="10.233.7.3"), pods[0].wish(exclusions=EXCLUDED)]
    bring(opened, *wish, pods=pods)
    before = kernel(opened)
    programs = opened._program_ids
    opened.close()
    opened = Redirector.open(node_name)
    assert opened._program_ids == programs
    assert opened.set(reversed(wish), {}, {}) == 0
    assert kernel(opened) == before
    opened.close()


@pytest.mark.parametrize(
    ("change", "writes"),
    [
        ({"capture": Capture.DRAINING}, 2),
        ({"exclusions": Exclusions(outbound_ports=frozenset({25}))}, 4),
        ({"ip": "10.233.7.9"}, 3),
    ],
    ids=["capture", "exclusions", "address"],
)
def test_a_change_writes_only_the_difference(
    node_name: str, pods: tuple[Scratch, Scratch], change: dict[str, object], writes: int
) -> None:
    a, b = pods
    opened = Redirector.open(node_name)
    first = {"exclusions": EXCLUDED}
    bring(opened, a.wish(**first), b.wish(ip="10.233.7.3"), pods=pods)
    assert bring(opened, a.wish(**{**first, **change}), b.wish(ip="10.233.7.3"), pods=pods) == writes
    assert kernel(opened) == opened._contents
    opened.close()


def test_a_pod_that_goes_leaves_nothing(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    a, b = pods
    opened = Redirector.open(node_name, proxy_cgroup=str(b.group))
    bring(opened, a.wish(exclusions=EXCLUDED), b.wish(cgroup=None, ip="10.233.7.3"), pods=pods)
    assert any(name.startswith("root/") for name in links(node_name))
    bring(opened, pods=pods)
    assert kernel(opened) == {name: {} for name in kernel(opened)}
    assert links(node_name) == {"proxy/mark_proxy"}
    assert all(opened._listeners.lookup(module._slot(0, role)) is None for role in Role)
    opened.close()
    Redirector.open(node_name).close()
    assert links(node_name) == set()


def test_a_pod_moves_between_the_modes(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    a, b = pods
    opened = Redirector.open(node_name, proxy_cgroup=str(b.group))
    cookie = str(a.netns.cookie)
    for _ in range(2):
        bring(opened, a.wish(), pods=pods)
        assert {name.split("/")[0] for name in links(node_name)} == {cookie, "proxy"}
        bring(opened, a.wish(cgroup=None), pods=pods)
        assert f"{cookie}/redirect_connect4" not in links(node_name)
        assert {f"{cookie}/capture_inbound", "root/redirect_connect4"} <= links(node_name)
    opened.close()


def test_an_index_is_kept_and_a_freed_one_rests(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    a, b = pods
    opened = Redirector.open(node_name)

    def index(pod: Scratch) -> int:
        return abi.Pod.unpack(opened._contents["pods"][pod.netns.cookie.to_bytes(8, "little")]).index

    bring(opened, a.wish(), pods=pods)
    bring(opened, b.wish(), pods=pods)
    assert index(b) == 1
    bring(opened, a.wish(), b.wish(ip="10.233.7.3"), pods=pods)
    assert (index(a), index(b)) == (0, 1)
    opened.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cgroup": "/sys/fs/cgroup/nowhere"}, r'workload "pod-a": cgroup .*No such file'),
        ({"cgroup": "/tmp"}, r'workload "pod-a": .*not a folder of cgroup v2'),
        ({"cgroup": None}, r'workload "pod-a" has no cgroup v2 of its own'),
    ],
    ids=["gone", "another-file-system", "root-mode-without-a-proxy-cgroup"],
)
def test_one_bad_pod_is_named_and_keeps_no_other_from_its_capture(
    node_name: str, pods: tuple[Scratch, Scratch], changes: dict[str, object], said: str
) -> None:
    a, b = pods
    opened = Redirector.open(node_name)
    with pytest.raises(ConfigError, match=said):
        bring(opened, a.wish(**changes), b.wish(ip="10.233.7.3"), pods=pods)
    assert f"{b.netns.cookie}/redirect_connect4" in links(node_name)
    opened.close()


def test_links_of_a_cgroup_that_was_made_anew_are_made_anew(
    node_name: str, pods: tuple[Scratch, Scratch]
) -> None:
    a, _ = pods
    opened = Redirector.open(node_name)
    bring(opened, a.wish(), pods=pods)
    a.group.rmdir()
    a.group.mkdir()
    count = len(module.SOCKET_HOOKS) - len(module.SOCKET_HOOKS.keys() - opened._programs.keys())
    assert bring(opened, a.wish(), pods=pods) == count
    a.group.rmdir()
    a.group.mkdir()
    opened.close()
    opened = Redirector.open(node_name)
    assert bring(opened, a.wish(), pods=pods) == count
    opened.close()


def test_a_pod_without_its_namespace_is_refused(node_name: str, pods: tuple[Scratch, Scratch]) -> None:
    opened = Redirector.open(node_name)
    with pytest.raises(ConfigError, match="network namespace was not given"):
        opened.set([pods[0].wish()], {}, {})
    opened.close()


@pytest.mark.parametrize("which", ["prober_cgroup", "proxy_cgroup"])
def test_a_cgroup_of_the_node_must_be_there_and_its_own(node_name: str, which: str) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Redirector.open(node_name, **{which: "/sys/fs/cgroup/nowhere"})
    with pytest.raises(ConfigError, match="everybody's"):
        Redirector.open(node_name, **{which: str(module.mounts.first_of("cgroup2"))})


def test_two_nodes_live_in_one_kernel(pods: tuple[Scratch, Scratch], node_name: str) -> None:
    a, b = pods
    other = node_name + "-too"
    one, two = Redirector.open(node_name), Redirector.open(other)
    try:
        bring(one, a.wish(), pods=pods)
        bring(two, b.wish(ip="10.233.7.3"), pods=pods)
        assert one._contents["pods"].keys().isdisjoint(two._contents["pods"])
        one.close()
        module.uninstall(node_name)
        assert f"{b.netns.cookie}/capture_inbound" in links(other)
    finally:
        one.close()
        two.close()
        module.uninstall(other)


def test_a_newer_layout_takes_the_links_over(
    node_name: str, pods: tuple[Scratch, Scratch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never is a pod without its hooks: each link gets the new program in the place of the old."""
    a, b = pods
    wish = [a.wish(), b.wish(cgroup=None, ip="10.233.7.3")]
    opened = Redirector.open(node_name, proxy_cgroup=str(b.group))
    bring(opened, *wish, pods=pods)
    older = opened._folder
    opened.close()
    newer = tmp_path / "bpf"
    shutil.copytree(loader.source_folder(), newer)
    with (newer / "mark.c").open("a") as source:
        source.write("/* newer */\n")
    monkeypatch.setattr(loader, "source_folder", lambda: newer)
    opened = Redirector.open(node_name, proxy_cgroup=str(b.group))
    before = links(node_name)
    assert opened._folder != older
    assert bring(opened, *wish, pods=pods) > 0
    assert not older.exists()
    assert links(node_name) == before
    assert opened._pinned_links() == opened._links
    assert all(0 not in programs.values() for programs in opened._links.values())
    assert bring(opened, *wish, pods=pods) == 0
    opened.close()
