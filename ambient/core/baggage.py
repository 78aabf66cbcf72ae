"""Headers of a CONNECT request that say who calls and why: ``baggage``, ``forwarded`` and ``traceparent``.

They feed telemetry, and no decision lets anybody in for what they say. Parsing takes anything: what is not well formed is as if it
had not been sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ambient.core.model.address import SocketAddress

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Baggage:
    """What a workload says of itself; empty where it does not."""

    cluster: str = ""
    namespace: str = ""
    workload_kind: str = ""
    """``deployment``, ``cronjob``, ``pod`` or ``job``."""
    workload: str = ""
    service_name: str = ""
    service_version: str = ""
    region: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """On whose behalf a connection is made, and which host (a service) it meant."""

    source: SocketAddress | None
    host: str = ""


def baggage_of(workload: Workload) -> Baggage:
    """What ``workload`` says of itself. One that is named after no other object is a bare pod."""
    is_pod = workload.workload_name in ("", workload.name)
    return Baggage(
        cluster=workload.cluster,
        namespace=workload.namespace,
        workload_kind="pod" if is_pod else "deployment",
        workload=workload.workload_name or workload.name,
        service_name=workload.canonical_name,
        service_version=workload.canonical_revision,
        region=workload.locality.region,
        zone=workload.locality.zone,
    )


def build_baggage(baggage: Baggage) -> str:
    """The ``baggage`` header (W3C): what is empty is left out, what would break it is percent-encoded."""
    pairs = (
        ("k8s.cluster.name", baggage.cluster),
        ("k8s.namespace.name", baggage.namespace),
        (f"k8s.{baggage.workload_kind}.name", baggage.workload),
        ("service.name", baggage.service_name),
        ("service.version", baggage.service_version),
        ("cloud.region", baggage.region),
        ("cloud.availability_zone", baggage.zone),
    )
    return ",".join(f"{key}={quote(value, _BAGGAGE_SAFE, errors='replace')}" for key, value in pairs if value)


def parse_baggage(header: str | bytes) -> Baggage:
    """Read a ``baggage`` header; unknown keys are skipped, the first of a repeated key counts."""
    text = _text(header)
    found: dict[str, str] = {}
    for member in text.split(",") if len(text) <= _LONGEST_HEADER else ():
        key, _, value = member.partition(";")[0].partition("=")
        field = _FIELDS.get(key.strip())
        plain = unquote(value.strip(), errors="replace")
        if field is None or field in found or not _is_decent(plain):
            continue
        found[field] = plain
        if field == "workload":
            found["workload_kind"] = key.strip().split(".")[1]
    return Baggage(**found)


def build_forwarded(source: SocketAddress, host: str = "") -> str:
    """The ``forwarded`` header (RFC 7239)."""
    who = f'for="{source}"'
    if not host:
        return who
    return f"{who};host={host if _TOKEN.fullmatch(host) else _quoted(host)}"


def parse_forwarded(header: str | bytes) -> Forwarded | None:
    """Read the first element of a ``forwarded`` header; None if it is not well formed."""
    text = _text(header)
    if len(text) > _LONGEST_HEADER:
        return None
    if plain := _ADDRESS_ALONE.fullmatch(text):
        return Forwarded(_source(plain[1]))
    found: dict[str, str] = {}
    at = 0
    while pair := _PAIR.match(text, at):
        name, value, end = pair["name"].lower(), pair["token"] or _unquoted(pair["quoted"]), pair["end"]
        if name in found or not (value == "" or _is_decent(value)):
            return None
        found[name] = value
        at = pair.end()
        if end != ";":
            return Forwarded(_source(found.get("for", "")), found.get("host", ""))
    return None


def build_traceparent(trace_id: bytes, parent_id: bytes) -> str:
    """The ``traceparent`` header of 16 and 8 random bytes, not sampled."""
    if len(trace_id) != 16 or len(parent_id) != 8:
        raise ValueError(
            f"trace id of {len(trace_id)} and parent id of {len(parent_id)} bytes; they have 16 and 8"
        )
    return f"00-{trace_id.hex()}-{parent_id.hex()}-00"


def parse_traceparent(header: str | bytes) -> tuple[bytes, bytes] | None:
    """Trace and parent id; None if it is not well formed (W3C Trace Context, version 00)."""
    found = _TRACEPARENT.fullmatch(_text(header))
    if found is None:
        return None
    trace_id, parent_id = bytes.fromhex(found["trace"]), bytes.fromhex(found["parent"])
    return (trace_id, parent_id) if any(trace_id) and any(parent_id) else None


_LONGEST_HEADER = 8192
"""The most that W3C Baggage asks anyone to read."""
_LONGEST_VALUE = 253
"""As long as any Kubernetes name: what is longer names nothing, and would become a metric label."""
_BAGGAGE_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
"""baggage-octet, without the percent sign that starts an escape."""
_FIELDS = {
    "k8s.cluster.name": "cluster",
    "k8s.namespace.name": "namespace",
    "k8s.deployment.name": "workload",
    "k8s.cronjob.name": "workload",
    "k8s.pod.name": "workload",
    "k8s.job.name": "workload",
    "service.name": "service_name",
    "service.version": "service_version",
    "cloud.region": "region",
    "cloud.availability_zone": "zone",
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PAIR = re.compile(
    rf"[ \t]*(?P<name>{_TOKEN.pattern})="
    rf'(?:(?P<token>{_TOKEN.pattern})|"(?P<quoted>(?:[^"\\]|\\.)*)")'
    r"[ \t]*(?P<end>[;,]|\Z)"
)
_ADDRESS_ALONE = re.compile(r'for="([0-9.:\[\]a-f]{1,53})"')
"""What the peers send for a connection that meant no service."""
_TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}")


def _text(header: str | bytes) -> str:
    return header.decode("latin-1") if isinstance(header, bytes) else header


def _is_decent(value: str) -> bool:
    return 0 < len(value) <= _LONGEST_VALUE and value.isprintable()


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _source(text: str) -> SocketAddress | None:
    try:
        return SocketAddress.parse(text)
    except ValueError:
        return None
