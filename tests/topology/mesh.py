"""A whole mesh on a topology, through the commands and files that an operator has."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml

from topology import cgroup
from topology.disk import Disk
from topology.nodes import Host, Node, Pod, Topology
from topology.objects import Object
from topology.process import Process
from topology.teller import READY_SECONDS, Teller
from topology.waypoint import Waypoint

AMBIENT = Path(sys.executable).with_name("ambient")


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod as the mesh knows it."""

    pod: Pod
    node: MeshNode
    name: str
    namespace: str
    service_account: str

    @property
    def uid(self) -> str:
        return f"local/ambient.dev/Workload/{self.namespace}/{self.name}"

    @property
    def identity(self) -> str:
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.service_account}"


class Mesh:
    """A control plane on a host of its own, and nodes with daemon and proxy."""

    def __init__(self, topology: Topology, *, on_disks: bool = False) -> None:
        """``on_disks``: each state, run and log folder is on a small disk of its own, which can be full."""
        self.topology = topology
        self.host: Host = topology.host("control")
        self.folder = topology.folder / "control"
        self.config = self.folder / "config"
        self.state = self.folder / "state"
        self.config.mkdir(parents=True)
        self.state.mkdir()
        self.disks: dict[str, Disk] | None = None
        self.root_cert = self.state / "root-cert.pem"
        self._inside: tuple[str, ...] = ()
        if on_disks:
            disk = self.host.disk(self.state)
            self.disks = {"state": disk}
            self.root_cert = disk.path / "root-cert.pem"
            # SQLite follows the links of a path by itself, out of the disk: whoever uses the database lives inside.
            self._inside = disk.inside
        self.nodes: list[MeshNode] = []
        self.control: Process | None = None

    # ---- configuration

    def apply(self, file: str, *objects: Object) -> None:
        """Write a file of the configuration folder, as an editor does: beside it, then in its place."""
        self.write(file, yaml.safe_dump_all(objects, sort_keys=False))

    def write(self, file: str, text: str) -> None:
        """The same with the file's text."""
        path = self.config / f"{file}.yaml"
        unfinished = path.with_suffix(".new")
        unfinished.write_text(text)
        unfinished.rename(path)

    def delete(self, file: str) -> None:
        (self.config / f"{file}.yaml").unlink()

    # ---- the control plane

    def start_control(self, *flags: object) -> Process:
        """Start the control plane, or start it again, and wait until it serves."""
        self.launch_control(*flags).wait_for_line(READY_SECONDS, message="control plane ready")
        assert self.control is not None
        return self.control

    def launch_control(self, *flags: object) -> Process:
        """The same without waiting: it may have a reason not to start."""
        self.control = self.host.popen(
            "control", *self._inside,
            AMBIENT, "control", "--config", self.config, "--state-dir", self.state,
            "--advertise", str(self.host.v4), "--log-format", "json", *map(str, flags),
        )  # fmt: skip
        return self.control

    def token(self, node: str) -> str:
        ran = self.operate("token", "create", "--node", node)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def operate(self, *command: str) -> CompletedProcess[str]:
        """A command of the control plane's operator."""
        return self.host.run(*self._inside, AMBIENT, *command, "--state-dir", self.state)

    # ---- nodes and workloads

    def node(
        self,
        name: str,
        *,
        node_flags: Sequence[object] = (),
        proxy_flags: Sequence[object] = (),
        workers: int = 2,
    ) -> MeshNode:
        """A node whose daemon and proxy run and are connected."""
        node = MeshNode(
            self,
            self.topology.node(name),
            [str(flag) for flag in node_flags],
            [str(flag) for flag in proxy_flags],
            workers,
        )
        self.nodes.append(node)
        node.start_daemon()
        node.start_proxy()
        node.wait_ready()
        return node

    def waypoint(
        self,
        namespace: str,
        name: str = "waypoint",
        *,
        on: Sequence[MeshNode] = (),
        replicas: int = 1,
        workers: int = 2,
        flags: Sequence[object] = (),
        join: bool = False,
    ) -> Waypoint:
        """Replicas that run, each in a pod of its own that no node captures; one after another on these nodes, or all."""
        nodes = on or self.nodes
        made = Waypoint(self.host.v4, self.root_cert, self.token, namespace, name, join=join)
        for number in range(replicas):
            made.add(nodes[number % len(nodes)].node, workers=workers, flags=flags)
        return made

    def settle(self, *captured: Workload) -> None:
        """Wait until these workloads are captured and every connected node knows that they speak HBONE."""
        for workload in captured:
            workload.node.wait_captured(workload)
        for node in self.nodes:
            if node.proxy is not None and node.proxy.running:
                for workload in captured:
                    node.wait_for_dump(
                        "workloads", lambda found, uid=workload.uid: found["uid"] == uid and found["protocol"] == "HBONE",  # type: ignore[misc]
                        f"{workload.uid} to speak HBONE",
                    )  # fmt: skip

    def wait_everywhere(self, part: str, wanted: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Wait until an object of this part of the dump is on every node."""
        for node in self.nodes:
            node.wait_for_dump(part, wanted, what)


@dataclass
class MeshNode(Teller):
    """A node of the mesh: its daemon, its proxy, and how to ask and disturb them."""

    mesh: Mesh
    node: Node
    node_flags: list[str] = field(default_factory=list)
    proxy_flags: list[str] = field(default_factory=list)
    workers: int = 2
    daemon: Process | None = None
    proxy: Process | None = None
    admin: tuple[str, int] = ("127.0.0.1", 15000)

    def __post_init__(self) -> None:
        folder = self.mesh.topology.folder / self.node.name
        self.run_dir, self.daemon_state, self.proxy_state = (
            folder / "run",
            folder / "state",
            folder / "proxy",
        )
        for path in (self.run_dir, self.daemon_state, self.proxy_state):
            path.mkdir(parents=True)
        self.disks: dict[str, Disk] = {}
        self.log_dir = folder
        if self.mesh.disks is not None:
            for name in ("run", "state", "proxy", "log"):
                self.disks[name] = self.node.disk(folder / name)
            self.run_dir, self.daemon_state, self.proxy_state, self.log_dir = (
                self.disks[name].path for name in ("run", "state", "proxy", "log")
            )
        self.access_log = self.log_dir / "access.log"
        self.token_file = folder / "token"
        self.mesh.topology.at_exit(self.uninstall)

    @property
    def name(self) -> str:
        return self.node.mesh_name

    @property
    def netns(self) -> Path:
        return self.node.netns

    @property
    def programs(self) -> Sequence[Process]:
        return [process for process in (self.daemon, self.proxy) if process is not None]

    # ---- processes

    def start_daemon(self) -> Process:
        self.daemon = self.node.popen(
            "daemon",
            AMBIENT, "node", "--name", self.name, "--run-dir", self.run_dir, "--state-dir", self.daemon_state,
            "--log-format", "json", *self.node_flags,
        )  # fmt: skip
        self.daemon.wait_for_line(READY_SECONDS, message="ready")
        return self.daemon

    def start_proxy(self, *flags: str) -> Process:
        """Start the proxy, with a new token if it never had a certificate."""
        if not self.token_file.exists():
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(self.mesh.token(self.name))
        self.proxy = self.node.popen(
            "proxy",
            AMBIENT, "proxy", "--run-dir", self.run_dir, "--state-dir", self.proxy_state,
            "--root-cert", self.mesh.root_cert, "--token-file", self.token_file,
            "--control", f"{self.mesh.host.v4}:15012", "--bootstrap", f"{self.mesh.host.v4}:15013",
            "--admin", "{}:{}".format(*self.admin), "--workers", str(self.workers),
            "--access-log", self.access_log, "--log-format", "json", "--log-level", "debug",
            *self.proxy_flags, *flags,
        )  # fmt: skip
        return self.proxy

    def wait_ready(self) -> None:
        """Wait until the proxy has all that it was told to serve, and the control plane."""
        self.wait(lambda: self.get("/healthz/ready")[0] == 200, "the proxy to be ready")
        self.wait(lambda: self.metric("ambient_control_connected") == 1, "the control plane to be connected")

    def worker_pids(self) -> list[int]:
        """Processes of the proxy besides its parent."""
        assert self.proxy is not None
        return [pid for pid in cgroup.members(self.proxy.cgroup) if pid != self.proxy.pid]

    def uninstall(self) -> None:
        """Stop both and have the daemon remove all of the node from the kernel."""
        for process in (self.proxy, self.daemon):
            if process is not None:
                process.stop()
        ran = self.node.run(
            AMBIENT, "node", "--name", self.name, "--run-dir", self.run_dir,
            "--state-dir", self.daemon_state, "--uninstall",
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr

    # ---- workloads

    def workload(self, *arguments: object) -> CompletedProcess[str]:
        """``ambient workload …`` as its operator types it."""
        words = [str(argument) for argument in arguments]
        return self.node.run(AMBIENT, "workload", *words, "--run-dir", self.run_dir, timeout=60)

    def add(
        self,
        pod: Pod,
        namespace: str,
        service_account: str,
        *flags: object,
        labels: Mapping[str, str] | None = None,
        own_cgroup: bool = True,
    ) -> Workload:
        """Register a pod; it is captured if its namespace is enrolled, which is not waited for."""
        arguments: list[object] = [
            "add", pod.short_name, "--namespace", namespace, "--service-account", service_account,
            "--netns", pod.netns, *flags,
        ]  # fmt: skip
        if own_cgroup:
            arguments += ["--cgroup", pod.cgroup]
        for key, value in (labels or {}).items():
            arguments += ["--label", f"{key}={value}"]
        ran = self.workload(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return Workload(pod, self, pod.short_name, namespace, service_account)

    def listed(self) -> list[dict[str, Any]]:
        ran = self.workload("list", "--output", "json")
        assert ran.returncode == 0, ran.stderr
        listed: list[dict[str, Any]] = json.loads(ran.stdout)
        return listed

    def wait_captured(self, workload: Workload, capture: str = "on") -> None:
        self.wait(
            lambda: any(pod["uid"] == workload.uid and pod["capture"] == capture for pod in self.get_json("/pods")),
            f"{workload.uid} to be {capture}",
        )  # fmt: skip
