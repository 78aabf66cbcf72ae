"""HAProxy on both nodes with mutual TLS 1.3 between them: each connection has a TLS connection of its own, no HTTP/2."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.certificates import CLIENT, SERVER, Authority
from bench.peers.peer import Peer
from bench.site import PORTS
from topology import Pod, Process, until

TLS = 10_000
"""Added to an application's port."""
THREADS = 2
_PROGRAM = Path("/usr/sbin/haproxy")


class Haproxy(Peer):
    """Two processes, two threads each. It checks the other's authority and, unlike the others, no SPIFFE identity."""

    name: ClassVar[str] = "haproxy"

    def start(self) -> None:
        self._folder = self.site.topology.folder / "haproxy"
        authority = Authority(self._folder)
        near, far = authority.issue(CLIENT), authority.issue(SERVER)
        address = self.server.v4
        self._far = self._run(
            "server", self.server,
            [
                (f"{address}:{port + TLS} ssl crt {far.both} ca-file {far.root} verify required", f"{address}:{port}")
                for port in PORTS
            ],
        )  # fmt: skip
        self._near = self._run(
            "client", self.client,
            [
                (f"127.0.0.1:{port}", f"{address}:{port + TLS} ssl crt {near.both} ca-file {near.root} verify required")
                for port in PORTS
            ],
        )  # fmt: skip
        for pod, first in ((self.server, TLS), (self.client, 0)):
            for port in PORTS:
                wanted = f":{first + port} "
                until(lambda p=pod, w=wanted: w in p.run("ss", "-Hltn").stdout, 20, f"haproxy on {wanted}")  # type: ignore[misc]

    def target(self, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def processes(self) -> Mapping[str, int]:
        return {"one: haproxy": self._near.pid, "two: haproxy": self._far.pid}

    def version(self) -> str:
        said = subprocess.run([_PROGRAM, "-v"], capture_output=True, text=True, check=True)
        return f"{said.stdout.splitlines()[0].split(' - ')[0]}, nbthread {THREADS}"

    def _run(self, role: str, pod: Pod, ways: list[tuple[str, str]]) -> Process:
        sections = [
            f"listen way-{number}\n    bind {here}\n    server there {there}\n"
            for number, (here, there) in enumerate(ways)
        ]
        path = self._folder / f"{role}.cfg"
        path.write_text(_COMMON + "\n".join(sections))
        return pod.popen(_PROGRAM, "-db", "-f", path)


_COMMON = f"""\
global
    nbthread {THREADS}
    maxconn 4000
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    log global
    option tcplog
    timeout connect 10s
    timeout client 1h
    timeout server 1h

"""
