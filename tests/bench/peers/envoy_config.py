"""Parts of Envoy's configuration that several of its roles have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.certificates import Files

Json = dict[str, Any]
HBONE = 15008
STREAM_WINDOW, CONNECTION_WINDOW = 4 << 20, 16 << 20
"""Source: ztunnel's. Ours begin with 256 KiB and grow to the same 4 MiB."""
STREAMS = 1024
_TYPES = "type.googleapis.com/envoy.extensions"
_HTTP = "upstreams.http.v3.HttpProtocolOptions"

NO_LIMITS = {
    "thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]
}


def http2() -> Json:
    return {
        "initial_stream_window_size": STREAM_WINDOW,
        "initial_connection_window_size": CONNECTION_WINDOW,
        "max_concurrent_streams": STREAMS,
    }


def upstream(protocol: str, options: Json) -> Json:
    """What a cluster speaks: ``http_protocol_options`` or ``http2_protocol_options``."""
    return {f"{_TYPES[20:]}.{_HTTP}": typed(_HTTP, explicit_http_config={protocol: options})}


def upstream_tls(files: Files, *peers: str) -> Json:
    """The transport of connections to any of these identities."""
    made = typed("transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=_tls(files, peers))
    return named("envoy.transport_sockets.tls", made)


def downstream_tls(files: Files, *peers: str) -> Json:
    """The transport of connections from any of these identities."""
    made = typed(
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_tls(files, peers),
    )
    return named("envoy.transport_sockets.tls", made)


def _tls(files: Files, peers: tuple[str, ...]) -> Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": str(files.chain)}, "private_key": {"filename": str(files.key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(files.root)},
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": peer}} for peer in peers
            ],
        },
    }


def log_to(path: Path, fields: Json) -> Json:
    made = typed("access_loggers.file.v3.FileAccessLog", path=str(path), log_format={"json_format": fields})
    return named("file", made)


def connections_log(path: Path, direction: str) -> Json:
    """The fields that ours has, as far as Envoy knows them."""
    return log_to(
        path,
        {
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
        },
    )


def tunnel_in(prefix: str, clusters: dict[str, str], log: Json) -> Json:
    """The filter that ends HBONE: streams of an authority go to its cluster."""
    hosts = [
        {
            "name": cluster,
            "domains": [authority],
            "routes": [
                {
                    "match": {"connect_matcher": {}},
                    "route": {
                        "cluster": cluster,
                        "timeout": "0s",
                        "idle_timeout": "0s",
                        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                    },
                }
            ],
        }
        for authority, cluster in clusters.items()
    ]
    return named(
        "manager",
        typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=prefix,
            codec_type="HTTP2",
            stream_idle_timeout="0s",
            http2_protocol_options={**http2(), "allow_connect": True},
            upgrade_configs=[{"upgrade_type": "CONNECT"}],
            route_config={"name": prefix, "virtual_hosts": hosts},
            http_filters=[named("router", typed("filters.http.router.v3.Router"))],
            access_log=[log],
        ),
    )


def tunnel_out(cluster: str, authority: str, *logs: Json) -> Json:
    """The filter that sends a connection through HBONE."""
    return named(
        "tcp_proxy",
        typed(
            "filters.network.tcp_proxy.v3.TcpProxy",
            stat_prefix="out",
            cluster=cluster,
            idle_timeout="0s",
            tunneling_config={"hostname": authority},
            access_log=list(logs),
        ),
    )


def listener(name: str, host: str, port: int, network_filter: Json) -> Json:
    return {
        "name": name,
        "address": address(host, port),
        "filter_chains": [{"filters": [network_filter]}],
    }


def cluster(name: str, endpoint: Json, **more: object) -> Json:
    """A cluster of one endpoint, with no limit."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": NO_LIMITS,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        **more,
    }


def at(host: str, port: int) -> Json:
    return {"address": address(host, port)}


def address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def named(name: str, config: Json) -> Json:
    return {"name": name, "typed_config": config}


def typed(kind: str, **fields: object) -> Json:
    return {"@type": f"{_TYPES}.{kind}", **fields}
