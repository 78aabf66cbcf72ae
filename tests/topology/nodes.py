"""A fabric that joins hosts, nodes among them, and pods on the nodes.

    pod 10.201.N.K  ─┐
    pod …            ├─ bridge "pods" 10.201.N.1 [node netns] eth0 192.0.2.N ── bridge "fabric" [fabric netns]
                     ┘

IPv6 is the same shape in fd00:201:N::/64 and fd00:fab::/64. Every host and pod has its own network namespace and,
for each of its processes or for the pod, a cgroup below one folder of the topology. Nothing is reachable from outside.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from topology import cgroup
from topology.disk import HOLD, Disk
from topology.leftovers import PINS
from topology.namespace import Namespace
from topology.process import OWNER, PATIENCE, Process, entering
from topology.wire import Wire

APPS = Path(__file__).parent / "apps"
PYTHON = "/usr/bin/python3"
H = TypeVar("H", bound="Host")
_numbers = itertools.count(1)


class Place:
    """Where processes run: a network namespace, and a folder for what they print."""

    def __init__(self, topology: Topology, name: str, group: Path) -> None:
        self.topology = topology
        self.name = name
        self.cgroup = group
        self.namespace = topology.namespace(name)
        self.netns = self.namespace.path
        group.mkdir(parents=True)

    def wire(self, *markers: bytes) -> Wire:
        """A watcher of every packet that enters this namespace through its interfaces."""
        wire = Wire(self.netns, markers)
        self.topology.at_exit(wire.close)
        return wire

    def _popen(
        self, group: Path, name: str, argv: Sequence[str | Path], environment: Mapping[str, str] | None
    ) -> Process:
        unique = f"{self.name}-{name}-{next(_numbers)}"
        process = Process(
            unique, argv, folder=self.topology.folder, cgroup=group, netns=self.netns, environment=environment
        )
        self.topology.processes.append(process)
        return process

    def _run(
        self, group: Path, argv: Sequence[str | Path], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        command = entering(group, self.netns, [str(argument) for argument in argv])
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout * PATIENCE,
            env=self.topology.environment,
        )


class Pod(Place):
    """A namespace and a cgroup on a node, with an address of each family of the node's pod network."""

    def __init__(self, node: Node, name: str, number: int, *, ipv6: bool) -> None:
        super().__init__(node.topology, f"{node.name}-{name}", node.cgroup / "pods" / name)
        self.node = node
        self.number = number
        self.short_name = name
        self.v4 = IPv4Address(f"10.201.{node.number}.{number}")
        self.v6 = IPv6Address(f"fd00:201:{node.number}::{number:x}") if ipv6 else None
        node.namespace.ip(
            f"link add p{number} type veth peer name eth0 netns {self.namespace.name}",
            f"link set p{number} master pods up",
        )
        self.namespace.ip(
            f"address add {self.v4}/24 dev eth0",
            "link set eth0 up",
            f"route add default via 10.201.{node.number}.1",
        )
        if self.v6 is None:
            self.namespace.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        else:
            self.namespace.ip(
                f"address add {self.v6}/64 dev eth0 nodad",
                f"route add ::/0 via fd00:201:{node.number}::1",
            )

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        return (self.v4,) if self.v6 is None else (self.v4, self.v6)

    def delete(self) -> None:
        """End what runs in it, and remove it; another may have its name and its addresses then."""
        cgroup.remove(self.cgroup)
        self.namespace.delete()
        # A namespace that others hold open keeps its interface, and with it the other half.
        self.node.namespace.ip(f"link delete p{self.number}", "neighbour flush dev pods")

    def popen(self, *argv: str | Path, environment: Mapping[str, str] | None = None) -> Process:
        """Start a process of the pod."""
        return self._popen(self.cgroup, Path(argv[0]).name, argv, environment)

    def run(self, *argv: str | Path, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a process of the pod to its end."""
        return self._run(self.cgroup, argv, timeout)

    def serve(self, app: str, *arguments: object) -> Process:
        """Start a server of ``apps/`` and wait until it listens."""
        process = self.start(app, *arguments)
        process.wait_for_line(event="listening")
        return process

    def start(self, app: str, *arguments: object) -> Process:
        """Start a program of ``apps/``."""
        return self._popen(self.cgroup, app, app_command(app, *arguments), None)

    def call(self, target: object, port: int, *arguments: object, timeout: float = 20) -> dict[str, Any]:
        """What ``apps/call.py`` saw of one connection to an echo server."""
        process = self.start("call", target, port, *arguments)
        return process.finished(timeout)[-1]


class Host(Place):
    """A machine on the fabric."""

    def __init__(self, topology: Topology, name: str, number: int) -> None:
        super().__init__(topology, name, topology.cgroup / name)
        self.number = number
        self.v4 = IPv4Address(f"192.0.2.{number}")
        self.v6 = IPv6Address(f"fd00:fab::{number:x}")
        topology.fabric.ip(
            f"link add h{number} type veth peer name eth0 netns {self.namespace.name}",
            f"link set h{number} master fabric up",
        )
        self.namespace.ip(
            f"address add {self.v4}/24 dev eth0",
            f"address add {self.v6}/64 dev eth0 nodad",
            "link set eth0 up",
        )

    def popen(self, name: str, *argv: str | Path, environment: Mapping[str, str] | None = None) -> Process:
        """Start a daemon in a cgroup of its own."""
        return self._popen(self.group(name), name, argv, environment)

    def run(self, *argv: str | Path, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command of the host's operator to its end."""
        return self._run(self.group("shell"), argv, timeout)

    def serve(self, app: str, *arguments: object) -> Process:
        """Start a server of ``apps/`` on the host itself and wait until it listens."""
        process = self.popen(app, *app_command(app, *arguments))
        process.wait_for_line(event="listening")
        return process

    def call(self, target: object, port: int, *arguments: object, timeout: float = 20) -> dict[str, Any]:
        """What ``apps/call.py`` saw of one connection from the host itself, as a probe would make it."""
        process = self.popen("call", *app_command("call", target, port, *arguments))
        return process.finished(timeout)[-1]

    def disk(self, folder: Path, size: str = "4m") -> Disk:
        """A disk for one folder of the host's programs."""
        folder.mkdir(parents=True, exist_ok=True)
        holder = self.popen("disk", "unshare", "--mount", "--", "/bin/sh", "-c", HOLD, str(folder), size)
        holder.wait_for_line(event="mounted")
        return Disk(holder, folder)

    def group(self, name: str) -> Path:
        folder = self.cgroup / name
        folder.mkdir(exist_ok=True)
        return folder


class Node(Host):
    """A host with pods, which it routes for."""

    def __init__(self, topology: Topology, name: str, number: int) -> None:
        super().__init__(topology, name, number)
        self.mesh_name = f"{topology.prefix}{name}"
        """The node's name in the mesh, unique on this machine: the pins in bpffs carry it."""
        self.pods: list[Pod] = []
        self.namespace.ip(
            # An address of its own: a bridge without one takes its ports', and its neighbours lose it when one joins.
            f"link add pods address 02:00:00:00:00:{number:02x} type bridge forward_delay 0 mcast_snooping 0",
            f"address add 10.201.{number}.1/24 dev pods",
            f"address add fd00:201:{number}::1/64 dev pods nodad",
            "link set pods up",
        )

    def pod(self, name: str, *, ipv6: bool = True, number: int | None = None) -> Pod:
        """A new pod; ``number`` is the last part of its addresses."""
        pod = Pod(self, name, number or len(self.pods) + 2, ipv6=ipv6)
        self.pods.append(pod)
        return pod

    def unplug(self) -> None:
        """The cable to the fabric is out."""
        self.topology.fabric.ip(f"link set h{self.number} down")

    def plug(self) -> None:
        """It is in again."""
        self.topology.fabric.ip(f"link set h{self.number} up")

    def routes(self) -> tuple[str, str]:
        """How another host reaches this node's pods."""
        return (
            f"route add 10.201.{self.number}.0/24 via {self.v4}",
            f"route add fd00:201:{self.number}::/64 via {self.v6}",
        )


class Topology:
    """All that is made here is gone at the end of the ``with`` block, also when it fails."""

    def __init__(self) -> None:
        self.prefix = f"amb-{os.getpid()}-{next(_numbers)}-"
        self.folder = Path(tempfile.gettempdir()) / self.prefix.rstrip("-")
        self.cgroup = cgroup.mount() / self.prefix.rstrip("-")
        self.environment = {**os.environ, OWNER: str(os.getpid())}
        self.hosts: list[Host] = []
        self.processes: list[Process] = []
        self._made = contextlib.ExitStack()
        self._callers = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o755)
            self._made.callback(shutil.rmtree, self.folder)
            self.cgroup.mkdir()
            self._made.callback(self._remove_pins)
            self._made.callback(cgroup.remove, self.cgroup)
            self.fabric = self.namespace("fabric")
            self.fabric.ip(
                "link add fabric type bridge forward_delay 0 mcast_snooping 0", "link set fabric up"
            )
        except BaseException:
            self._made.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            for process in self.processes:
                sys.stderr.write(f"---- {process.name} ({process.pid})\n{process.tail()}\n")
        daemons = [process for process in self.processes if "pods" not in process.cgroup.parts]
        with self._made, contextlib.ExitStack() as last:
            last.callback(_stop, daemons)
            last.push(self._callers)
            _stop([process for process in self.processes if process not in daemons])

    def at_exit(self, callback: Callable[[], object]) -> None:
        """Do this at the end, while processes still run and namespaces are there."""
        self._callers.callback(callback)

    def namespace(self, name: str) -> Namespace:
        namespace = Namespace(self.prefix + name)
        self._made.callback(namespace.delete)
        return namespace

    def host(self, name: str) -> Host:
        """A machine on the fabric that is no node: for the control plane, or outside the mesh."""
        return self._joined(Host(self, name, len(self.hosts) + 1))

    def node(self, name: str) -> Node:
        return self._joined(Node(self, name, len(self.hosts) + 1))

    def wire(self, *markers: bytes) -> Wire:
        """A watcher of all that passes between hosts."""
        wire = Wire(self.fabric.path, markers)
        self.at_exit(wire.close)
        return wire

    def _joined(self, host: H) -> H:
        for other in self.hosts:
            if isinstance(other, Node):
                host.namespace.ip(*other.routes())
            if isinstance(host, Node):
                other.namespace.ip(*host.routes())
        self.hosts.append(host)
        return host

    def _remove_pins(self) -> None:
        for folder in PINS.glob(f"{self.prefix}*"):
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            PINS.rmdir()


def _stop(processes: Sequence[Process]) -> None:
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        process.stop(5)


def app_command(app: str, *arguments: object) -> list[str]:
    """The command line of a program of ``apps/``."""
    return [PYTHON, "-u", str(APPS / f"{app}.py"), *map(str, arguments)]
