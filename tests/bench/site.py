"""Where peers stand: two nodes, and the programs that make load and take it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from topology import Node, Pod, Process, Topology

HTTP, SOURCE, SINK = 8080, 8081, 8082
"""Ports of the server, behind every peer."""
PORTS = (HTTP, SOURCE, SINK)
CLIENTS = 8
_SOURCES = Path(__file__).parent / "load"


class Programs:
    """The C programs, compiled into ``folder`` when their sources are newer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        newest = max(path.stat().st_mtime for path in _SOURCES.iterdir())
        for source in _SOURCES.glob("*.c"):
            program = folder / source.stem
            if not program.exists() or program.stat().st_mtime < newest:
                subprocess.run(
                    ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True
                )

    def path(self, name: str) -> Path:
        return self.folder / name


@dataclass
class Site:
    """One fabric with nodes ``one`` (of clients) and ``two`` (of servers), for all peers of a run."""

    topology: Topology
    programs: Programs
    servers: dict[str, Process] = field(default_factory=dict)

    @cached_property
    def one(self) -> Node:
        return self.topology.node("one")

    @cached_property
    def two(self) -> Node:
        return self.topology.node("two")

    def client(self, name: str) -> Pod:
        """A pod to make load from: its namespace has every port to itself, and need not wait for used ones."""
        pod = self.one.pod(name)
        pod.namespace.sysctl("net.ipv4.ip_local_port_range", "10000 65535")
        pod.namespace.sysctl("net.ipv4.tcp_tw_reuse", 1)
        return pod

    def server(self, name: str) -> Pod:
        """A pod whose server listens."""
        pod = self.two.pod(name)
        pod.namespace.sysctl("net.ipv4.ip_local_port_range", "10000 65535")
        pod.namespace.sysctl("net.ipv4.tcp_tw_reuse", 1)
        process = pod.popen(self.programs.path("serve"), "0.0.0.0", str(HTTP))
        process.wait_for_line(event="listening")
        self.servers[name] = process
        return pod

    def start(self, pod: Pod, program: str, *arguments: object) -> Process:
        """Start a load in a pod."""
        return pod.popen(self.programs.path(program), *(str(argument) for argument in arguments))
