"""A waypoint as its operator runs it: replicas, each a process in a pod-like namespace of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from topology import cgroup
from topology.nodes import Node, Pod
from topology.process import Process
from topology.teller import Teller

AMBIENT = Path(sys.executable).with_name("ambient")


class Waypoint:
    """All replicas of one; ``token`` makes one for a node, as the control plane's operator does."""

    def __init__(
        self,
        control: IPv4Address,
        root_cert: Path,
        token: Callable[[str], str],
        namespace: str,
        name: str,
        *,
        join: bool,
    ) -> None:
        self.join = join
        """By one word alone, instead of by a root certificate, addresses and a token."""
        self.control, self.root_cert, self.token = control, root_cert, token
        self.namespace, self.name = namespace, name
        self.replicas: list[Replica] = []

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}.{self.namespace}.svc.cluster.local"

    def add(self, node: Node, *, workers: int = 2, flags: Sequence[object] = ()) -> Replica:
        """One more that runs and is called; whether nodes know of it is for them to say."""
        number = len(self.replicas)
        pod = node.pod(f"{self.namespace}-{self.name}-{number}")
        replica = Replica(self, pod, str(number), workers, [str(flag) for flag in flags])
        self.replicas.append(replica)
        replica.start()
        replica.wait_ready()
        return replica


class Replica(Teller):
    """One process of a waypoint with its workers, and how to ask and disturb it."""

    admin = ("127.0.0.1", 15020)

    def __init__(self, waypoint: Waypoint, pod: Pod, number: str, workers: int, flags: Sequence[str]) -> None:
        self.waypoint, self.pod, self.number, self.workers, self.flags = waypoint, pod, number, workers, flags
        folder = pod.topology.folder / pod.name
        self.run_dir, self.state_dir = folder / "run", folder / "state"
        for path in (self.run_dir, self.state_dir):
            path.mkdir(parents=True)
        self.access_log, self.token_file = folder / "access.log", folder / "token"
        self.process: Process | None = None
        self.joins = waypoint.join

    @property
    def netns(self) -> Path:
        return self.pod.netns

    @property
    def programs(self) -> Sequence[Process]:
        return [] if self.process is None else [self.process]

    @property
    def node(self) -> str:
        """What it is called as a node."""
        return f"{self.pod.topology.prefix}{self.pod.short_name}"

    @property
    def workload(self) -> str:
        return f"{self.waypoint.name}-{self.number}"

    @property
    def uid(self) -> str:
        return f"local/ambient.dev/Workload/{self.waypoint.namespace}/{self.workload}"

    @property
    def identity(self) -> str:
        return f"spiffe://cluster.local/ns/{self.waypoint.namespace}/sa/{self.waypoint.name}"

    def start(self) -> Process:
        """Start it, with a new token: its node's certificate ended with the process that had it."""
        waypoint, word = self.waypoint, self.waypoint.token(self.node)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(word)
        met: list[str | Path] = [
            "--node", self.node,
            "--control", f"{waypoint.control}:15012", "--bootstrap", f"{waypoint.control}:15013",
            "--root-cert", waypoint.root_cert, "--token-file", self.token_file,
        ]  # fmt: skip
        command: list[str | Path] = [
            AMBIENT, "waypoint", "run", waypoint.name, "--namespace", waypoint.namespace,
            "--replica", self.number, *(["--join", word] if self.joins else met),
            "--run-dir", self.run_dir, "--state-dir", self.state_dir,
            "--workers", str(self.workers), "--admin", "{}:{}".format(*self.admin),
            "--access-log", self.access_log, "--log-format", "json", "--log-level", "debug",
            *self.flags,
        ]  # fmt: skip
        self.process = self.pod.popen(*command)
        return self.process

    def wait_ready(self) -> None:
        """Wait until callers are told of it."""
        self.wait(lambda: self.get("/healthz/ready")[0] == 200, "the waypoint to be ready")

    def worker_pids(self) -> list[int]:
        """Processes of it besides its parent."""
        assert self.process is not None
        found = []
        for pid in cgroup.members(self.pod.cgroup):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"ambient.waypoint.worker" in words:
                found.append(pid)
        return found

    def sees(self, part: str, **fields: object) -> bool:
        """Whether an object with these fields is in this part of its dump."""
        wanted = json.loads(json.dumps(fields))
        return any(wanted.items() <= one.items() for one in self.dump()[part])
