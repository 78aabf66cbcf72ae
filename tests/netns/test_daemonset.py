"""Node and proxy as the two containers of a DaemonSet: they share a folder and the node's network, and nothing else."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from netns.world import MARKER
from topology import Mesh, MeshNode, Process, Topology, Workload, cgroup, objects
from topology.leftovers import processes
from topology.mesh import AMBIENT
from topology.teller import READY_SECONDS

from ambient.kernel import loader

NODE_CAPABILITIES = ("net_admin", "sys_admin")
"""SYS_ADMIN: to load programs and enter namespaces. NET_ADMIN: to attach programs, and to reset connections."""
PROXY_CAPABILITIES = ("sys_admin",)
"""To make sockets in the namespaces of pods."""
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Container:
    """What a process sees and may do. Its root is the machine's, read-only, with nothing in /tmp and /run."""

    root: Path
    """An empty folder, to put it together in."""
    read_only: Sequence[Path]
    writable: Sequence[Path]
    capabilities: Sequence[str]

    def command(self, *argv: object) -> list[str]:
        """``argv`` inside, as pid 1 of a pid namespace."""
        self.root.mkdir(exist_ok=True)
        bounding = ",".join(["-all", *(f"+{name}" for name in self.capabilities)])
        return [
            "unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child",
            "sh", "-ec", self._script(), "container",
            "setpriv", "--bounding-set", bounding, "--no-new-privs", *map(str, argv),
        ]  # fmt: skip

    def _script(self) -> str:
        lines = [f"cd {shlex.quote(str(self.root))}", "mount --bind / .", f"cd {shlex.quote(str(self.root))}"]
        lines += [
            "mount -t proc proc proc",
            "mount --bind /sys sys",
            "mount --bind /dev dev",
            "mount -t tmpfs tmpfs dev/shm",
        ]
        lines += ["mount -t tmpfs tmpfs tmp", "mount -t tmpfs tmpfs run", "mkdir run/netns"]
        lines += ["mount --rbind /run/netns run/netns", "mount --rbind /sys/fs/cgroup sys/fs/cgroup"]
        for path in (*self.read_only, *self.writable):
            source = shlex.quote(str(path))
            target = shlex.quote(str(path).lstrip("/"))
            make = "mkdir -p" if path.is_dir() else "mkdir -p tmp; install -D /dev/null"
            lines += [f"[ -e {target} ] || {make} {target}", f"mount --bind {source} {target}"]
        frozen = ["", "/sys", "/dev", "/tmp", "/run", "/run/netns", cgroup.mount(), *self.read_only]
        lines += [f"mount -o remount,bind,ro ./{shlex.quote(str(path).lstrip('/'))}" for path in frozen]
        lines += ["pivot_root . .", "umount -l .", "cd /", 'exec "$@"']
        return "\n".join(lines)


class ContainedNode(MeshNode):
    """A node whose daemon and proxy are containers."""

    def start_daemon(self) -> Process:
        self.daemon = self.node.popen(
            "daemon",
            *self._daemon_container().command(
                AMBIENT, "node", "--name", self.name, "--run-dir", self.run_dir, "--state-dir", self.daemon_state,
                "--log-format", "json", *self.node_flags,
            ),
        )  # fmt: skip
        self.daemon.wait_for_line(READY_SECONDS, message="ready")
        return self.daemon

    def start_proxy(self, *flags: str) -> Process:
        if not self.token_file.exists():
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(self.mesh.token(self.name))
        root_cert = self.mesh.state / "root-cert.pem"
        container = Container(
            self.mesh.topology.folder / f"{self.node.name}-proxy-root",
            [REPOSITORY, root_cert, self.token_file],
            [self.run_dir, self.proxy_state],
            PROXY_CAPABILITIES,
        )
        self.proxy = self.node.popen(
            "proxy",
            *container.command(
                AMBIENT, "proxy", "--run-dir", self.run_dir, "--state-dir", self.proxy_state,
                "--root-cert", root_cert, "--token-file", self.token_file,
                "--control", f"{self.mesh.host.v4}:15012", "--workers", "2", "--log-format", "json", *flags,
            ),
        )  # fmt: skip
        self.access_log = self.proxy.output
        return self.proxy

    def kill(self, process: Process) -> None:
        """End a container as its runtime does when it must: everything in it at once."""
        (process.cgroup / "cgroup.kill").write_text("1")
        process.wait(10)

    def stop(self, process: Process) -> None:
        """End a container as its runtime does when it may take its time."""
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
        assert process.wait(10) == 0

    def uninstall(self) -> None:
        for process in (self.proxy, self.daemon):
            if process is not None and process.running:
                self.stop(process)
        ran = self.node.run(
            *self._daemon_container().command(
                AMBIENT, "node", "--name", self.name, "--run-dir", self.run_dir, "--state-dir", self.daemon_state,
                "--uninstall",
            )
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr

    def _daemon_container(self) -> Container:
        return Container(
            self.mesh.topology.folder / f"{self.node.name}-daemon-root",
            [REPOSITORY],
            [self.run_dir, self.daemon_state, loader.BPFFS],
            NODE_CAPABILITIES,
        )


@dataclass(frozen=True)
class World:
    mesh: Mesh
    node: ContainedNode
    client: Workload
    """On the contained node."""
    guest: Workload
    """There as well, with no cgroup of its own."""
    server: Workload
    """On the other node."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        hold = loader.PINS / f"{topology.prefix}hold"
        with (
            loader.bpffs()
        ):  # The machine's, as systemd mounts it: one mounted in a container would end with it.
            hold.mkdir(parents=True)
        topology.at_exit(loader.leave)
        topology.at_exit(hold.rmdir)
        mesh = Mesh(topology)
        enrol(mesh, enrolled=True)
        mesh.start_control()
        one = ContainedNode(mesh, topology.node("one"))
        mesh.nodes.append(one)
        one.start_daemon()
        one.start_proxy()
        one.wait_ready()
        two = mesh.node("two")
        client = one.add(one.node.pod("client"), "shop", "client")
        guest = one.add(one.node.pod("guest"), "shop", "client", own_cgroup=False)
        pod = two.node.pod("server")
        pod.serve("echo", 8080, "--name", "server")
        server = two.add(pod, "shop", "server")
        mesh.settle(client, guest, server)
        yield World(mesh, one, client, guest, server)


def enrol(mesh: Mesh, *, enrolled: bool) -> None:
    mesh.apply(
        "shop",
        objects.namespace("shop", enrolled=enrolled),
        objects.service_account("shop", "client"),
        objects.service_account("shop", "server"),
    )


@pytest.mark.parametrize("who", ["client", "guest"])
def test_traffic_is_mutual_tls_counted_and_logged(world: World, who: str) -> None:
    client = {"client": world.client, "guest": world.guest}[who]
    wire = world.mesh.topology.wire(MARKER)
    seen = client.pod.call(world.server.pod.v4, 8080, "--send", MARKER.decode())
    assert (seen["error"], seen["echoed"]) == (None, MARKER.decode())
    line = world.node.wait_for_access(
        message="connection complete", src__workload=client.name, dst__workload="server"
    )
    assert (line["src.identity"], line["dst.identity"]) == (client.identity, world.server.identity)
    world.node.wait_for_metric(
        1, "istio_tcp_connections_opened_total",
        reporter="source", source_workload=client.name, connection_security_policy="mutual_tls",
    )  # fmt: skip
    wire.drain()
    assert wire.leaks() == []
    assert [flow for flow in wire.to_port(15008) if flow.opened and not flow.is_tls] == []
    wire.close()


def test_what_the_proxy_carries_is_not_taken_for_older_than_the_mesh(world: World) -> None:
    steady = world.client.pod.start("steady", world.server.pod.v4, 8080, "--every", 0.05)
    steady.wait_for_line(event="request", kind="held", ok=True)
    enrol(world.mesh, enrolled=False)
    world.node.wait_captured(world.client, "draining")
    enrol(world.mesh, enrolled=True)
    world.mesh.settle(world.client, world.guest, world.server)
    assert {pod["name"]: pod["older_connections"] for pod in world.node.listed()} == {"client": 0, "guest": 0}
    steady.stop()


def test_a_killed_proxy_container_is_followed_by_the_next_and_no_connection_is_refused(world: World) -> None:
    assert world.node.proxy is not None
    world.node.kill(world.node.proxy)
    waiting = world.client.pod.start("call", world.server.pod.v4, 8080)
    world.node.start_proxy()
    (seen,) = waiting.finished()
    assert (seen["error"], seen["echoed"]) == (None, "hello")
    world.node.wait_ready()


def test_a_killed_daemon_container_is_followed_by_one_that_adopts_the_kernel(world: World) -> None:
    assert world.node.daemon is not None
    steady = world.client.pod.start("steady", world.server.pod.v4, 8080, "--every", 0.05)
    steady.wait_for_line(event="request", kind="held", ok=True)
    world.node.kill(world.node.daemon)
    assert world.client.pod.call(world.server.pod.v4, 8080)["error"] is None
    daemon = world.node.start_daemon()
    assert daemon.wait_for_line(message="ready")["kernel_writes"] == 0
    world.node.wait_ready()
    assert world.client.pod.call(world.server.pod.v4, 8080)["error"] is None
    steady.stop()
    assert [line for line in steady.lines() if line.get("ok") is False] == []


@pytest.mark.parametrize(
    ("program", "capabilities", "message"),
    [
        (
            "node",
            ["net_admin"],
            "ambient node lacks the capability SYS_ADMIN; give it NET_ADMIN and SYS_ADMIN",
        ),
        (
            "node",
            ["sys_admin"],
            "ambient node lacks the capability NET_ADMIN; give it NET_ADMIN and SYS_ADMIN",
        ),
        ("proxy", ["net_admin"], "ambient proxy lacks the capability SYS_ADMIN; give it SYS_ADMIN"),
    ],
)
def test_a_capability_that_is_lacking_is_named(
    world: World, program: str, capabilities: list[str], message: str
) -> None:
    node = world.node
    flags: dict[str, list[object]] = {
        "node": ["--name", "amb-none", "--run-dir", "/run/none", "--state-dir", "/run/none"],
        "proxy": ["--control", "192.0.2.1:15012", "--root-cert", "/none", "--run-dir", "/run/none"],
    }
    container = Container(world.mesh.topology.folder / "lacking-root", [REPOSITORY], [], capabilities)
    ran = node.node.run(*container.command(AMBIENT, program, *flags[program]))
    assert (ran.returncode, ran.stderr) == (1, f"error: {message}\n")


def test_uninstall_leaves_nothing(world: World) -> None:
    for workload in (world.client, world.guest):
        ran = world.node.workload("remove", workload.name, "--namespace", "shop", "--now")
        assert ran.returncode == 0, ran.stderr
    world.node.uninstall()
    assert not list(loader.PINS.glob(f"{world.node.name}*"))
    assert [
        path for folder in (world.node.run_dir, world.node.daemon_state) for path in folder.iterdir()
    ] == []
    assert [process for process in processes(os.getpid()) if world.node.name in process[1]] == []


def test_a_daemon_without_the_hosts_bpf_file_system_says_so(topology: Topology) -> None:
    host = topology.host("host")
    name = f"{topology.prefix}alone"
    folders = "--run-dir", topology.folder / "run", "--state-dir", topology.folder / "state"
    daemon = host.popen(
        "daemon", "unshare", "--mount", "sh", "-c", 'while umount -l /sys/fs/bpf 2>/dev/null; do :; done; exec "$@"', "sh",
        AMBIENT, "node", "--name", name, *folders, "--log-format", "json",
    )  # fmt: skip
    daemon.wait_for_line(READY_SECONDS, message="ready")
    (warning,) = [line for line in daemon.lines() if line["level"] == "warning"]
    assert "no BPF file system was mounted" in warning["message"]
    daemon.stop()
