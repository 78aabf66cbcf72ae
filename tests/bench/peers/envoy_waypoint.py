"""Envoy configured as Istio does for a waypoint: HBONE ends, requests are routed, HBONE begins, in one process.

The three parts are listeners that are joined inside of it. Its routes are static, and no filter asks a policy.
"""

from __future__ import annotations

from pathlib import Path

from bench.applications import APPLICATIONS, ROUTES, Application
from bench.certificates import CLIENT, SERVER, Files
from bench.peers import envoy_config as part
from bench.peers.envoy_config import HBONE, Json

VIP, PORT = "203.0.113.1", 80
"""Where requests are said to go; each application has a port from here on."""
_TIMEOUT = "15s"


def authority(application: Application) -> str:
    """What a tunnel to the waypoint asks for."""
    return f"{VIP}:{PORT + APPLICATIONS.index(application)}"


def waypoint(files: Files, host: str, server: str, log: Path) -> Json:
    """A whole configuration; ``server`` is the address of all applications."""
    terminated = part.tunnel_in(
        "terminate",
        {authority(one): f"main-{one.name}" for one in APPLICATIONS},
        part.connections_log(log.with_suffix(".tunnels.log"), "inbound"),
    )
    terminate = part.listener("terminate", host, HBONE, terminated)
    terminate["connection_balance_config"] = {"exact_balance": {}}
    terminate["filter_chains"][0]["transport_socket"] = part.downstream_tls(files, str(CLIENT))
    tunnels = part.cluster(
        "tunnels",
        part.at(server, HBONE),
        transport_socket=part.upstream_tls(files, str(SERVER)),
        typed_extension_protocol_options=part.upstream("http2_protocol_options", part.http2()),
    )
    listeners, clusters = [terminate], [tunnels]
    for one in APPLICATIONS:
        listeners += [_main(one, log), _originate(one, server)]
        protocol = "http2_protocol_options" if one.http2 else "http_protocol_options"
        clusters += [
            _inside(f"main-{one.name}"),
            _inside(
                f"originate-{one.name}",
                typed_extension_protocol_options=part.upstream(protocol, part.http2() if one.http2 else {}),
            ),
        ]
    internal = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
    return {
        "bootstrap_extensions": [
            {"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": internal}}
        ],
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _main(application: Application, log: Path) -> Json:
    """Requests, by their routes."""
    routes = [
        {
            "match": {"prefix": f"/r/{number}/"},
            "route": {"cluster": f"originate-{application.name}", "timeout": _TIMEOUT},
        }
        for number in range(ROUTES)
    ]
    fields = {
        "time": "%START_TIME%",
        "src.addr": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "src.identity": "%DOWNSTREAM_PEER_URI_SAN%",
        "method": "%REQ(:METHOD)%",
        "authority": "%REQ(:AUTHORITY)%",
        "path": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "user_agent": "%REQ(USER-AGENT)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "route": "%ROUTE_NAME%",
        "endpoint": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "bytes_sent": "%BYTES_SENT%",
        "bytes_recv": "%BYTES_RECEIVED%",
        "duration": "%DURATION%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    manager = part.typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=f"main-{application.name}",
        codec_type="AUTO",
        http2_protocol_options={"max_concurrent_streams": 100},
        use_remote_address=True,
        route_config={
            "name": application.name,
            "virtual_hosts": [{"name": application.name, "domains": ["*"], "routes": routes}],
        },
        http_filters=[part.named("router", part.typed("filters.http.router.v3.Router"))],
        access_log=[part.log_to(log, fields)],
    )
    return _internal(f"main-{application.name}", part.named("manager", manager))


def _originate(application: Application, server: str) -> Json:
    """A connection to the server, through HBONE."""
    out = part.tunnel_out("tunnels", f"{server}:{application.port}")
    return _internal(f"originate-{application.name}", out)


def _internal(name: str, network_filter: Json) -> Json:
    return {
        "name": name,
        "internal_listener": {},
        "filter_chains": [{"filters": [network_filter]}],
    }


def _inside(listener: str, **more: object) -> Json:
    """A cluster that is a listener of the same process."""
    endpoint = {"address": {"envoy_internal_address": {"server_listener_name": listener}}}
    raw = part.named(
        "envoy.transport_sockets.raw_buffer", part.typed("transport_sockets.raw_buffer.v3.RawBuffer")
    )
    socket = part.typed(
        "transport_sockets.internal_upstream.v3.InternalUpstreamTransport", transport_socket=raw
    )
    return part.cluster(
        listener,
        endpoint,
        transport_socket=part.named("envoy.transport_sockets.internal_upstream", socket),
        **more,
    )
