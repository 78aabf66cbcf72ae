"""networking.istio.io DestinationRule. Source: its CustomResourceDefinition, and Istio's validation."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from ambient.control.schema.duration import GoDuration
from ambient.control.schema.istio import (
    Count,
    Duration,
    ExportTo,
    Host,
    Many,
    Percent,
    SubsetName,
    WholePercent,
)
from ambient.control.schema.shape import (
    Document,
    HeaderName,
    Labels,
    PortNumber,
    Shape,
    WorkloadSelector,
    between,
    say,
    wrong,
    wrong_at,
)

_LARGEST_TABLE: Final = 5_000_011
"""Source: Envoy's Maglev."""
_LARGEST_RING: Final = 8 << 20
"""Source: Envoy's ring hash."""


def _table_size(size: int) -> int:
    if size and not _is_prime(size):
        raise wrong(f"is {size}; it is a prime of at most {_LARGEST_TABLE}, such as 65537")
    return size


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _locality(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 3 or not all(parts) or any("*" in part for part in parts[:-1]) or "*" in parts[-1][:-1]:
        raise wrong(
            f"is {say(text)}; it is region, region/zone or region/zone/subzone, with * at its end for any"
        )
    return text


def _region(text: str) -> str:
    if not text or "/" in text or "*" in text:
        raise wrong(f"is {say(text)}; it is a region, without a zone or *")
    return text


TableSize: TypeAlias = Annotated[int, AfterValidator(between(0, _LARGEST_TABLE)), AfterValidator(_table_size)]
RingSize: TypeAlias = Annotated[int, AfterValidator(between(0, _LARGEST_RING))]
Locality: TypeAlias = Annotated[str, AfterValidator(_locality)]
Region: TypeAlias = Annotated[str, AfterValidator(_region)]
ShareOfAll: TypeAlias = Annotated[int, AfterValidator(between(1, 100))]


class HttpCookie(Shape):
    """A cookie to go by."""

    name: str
    path: str = ""
    ttl: GoDuration | None = None
    attributes: Any = None


class RingHash(Shape):
    """A ring."""

    minimum_ring_size: RingSize = 0


class Maglev(Shape):
    """A table."""

    table_size: TableSize = 0


class ConsistentHash(Shape):
    """What requests that go together have in common."""

    http_header_name: HeaderName | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: RingSize = 0

    @model_validator(mode="after")
    def _goes_by_one_thing(self) -> Self:
        keys = ("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name")
        if sum(bool(getattr(self, key)) for key in keys) > 1:
            raise wrong(
                "goes by two things; keep one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName"
            )
        if self.ring_hash is not None and self.maglev is not None:
            raise wrong_at("maglev", "is set together with ringHash; keep one of them")
        return self


class Distribute(Shape):
    """Where the requests of one locality go, in percent."""

    from_: Locality = Field(alias="from")
    to: dict[Locality, ShareOfAll]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        total = sum(self.to.values())
        if total != 100:
            raise wrong_at("to", f"has shares of {total} together; they make 100")
        return self


class Failover(Shape):
    """Which region takes over from another."""

    from_: Region = Field(alias="from")
    to: Region

    @model_validator(mode="after")
    def _goes_elsewhere(self) -> Self:
        if self.from_ == self.to:
            raise wrong_at("to", f"is {say(self.to)}, as from is; name another region")
        return self


class LocalityLbSetting(Shape):
    """How near endpoints come first."""

    enabled: bool | None = None
    distribute: Many[Distribute] = ()
    failover: Many[Failover] = ()
    failover_priority: Many[str] = ()

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [
            name
            for name, value in (
                ("distribute", self.distribute),
                ("failover", self.failover),
                ("failoverPriority", self.failover_priority),
            )
            if value
        ]
        # Istio lets a failover of regions stand beside priorities of labels.
        if "distribute" in given and len(given) > 1:
            raise wrong_at(given[1], "is set together with distribute; keep one of them")
        seen: set[str] = set()
        for i, entry in enumerate(self.distribute):
            if entry.from_ in seen:
                raise wrong_at(
                    f"distribute[{i}].from", f"is {say(entry.from_)} again; name each locality once"
                )
            seen.add(entry.from_)
        return self


class Warmup(Shape):
    """How new endpoints get their share."""

    duration: Duration
    minimum_percent: Percent | None = None
    aggression: float | None = None


class LoadBalancer(Shape):
    """How an endpoint is chosen."""

    simple: (
        Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None
    ) = None
    consistent_hash: ConsistentHash | None = None
    backend_utilization: Any = None
    locality_lb_setting: LocalityLbSetting | None = None
    zone_aware_lb_setting: Any = None
    warmup_duration_secs: Duration | None = None
    warmup: Warmup | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.simple is not None and self.consistent_hash is not None:
            raise wrong_at("consistentHash", "is set together with simple; keep one of them")
        if self.locality_lb_setting is not None and self.zone_aware_lb_setting is not None:
            raise wrong_at("zoneAwareLbSetting", "is set together with localityLbSetting; keep one of them")
        return self


class TcpPool(Shape):
    """How much is open to a service."""

    max_connections: Count = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: Any = None
    max_connection_duration: Duration | None = None
    idle_timeout: GoDuration | None = None


class HttpPool(Shape):
    """How much is asked of a service."""

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Annotated[int, AfterValidator(between(0, 2**29))] = 0
    max_retries: Count = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Count = 0
    http2_keep_alive: Any = None

    @model_validator(mode="after")
    def _has_one_protocol(self) -> Self:
        if self.use_client_protocol and self.h2_upgrade_policy == "UPGRADE":
            raise wrong_at(
                "useClientProtocol", "is true together with h2UpgradePolicy: UPGRADE; keep one of them"
            )
        return self


class ConnectionPool(Shape):
    """Limits."""

    tcp: TcpPool = TcpPool()
    http: HttpPool = HttpPool()


class OutlierDetection(Shape):
    """When an endpoint is left out."""

    consecutive_errors: Any = None
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Count | None = None
    consecutive_gateway_errors: Count | None = None
    consecutive_5xx_errors: Count | None = Field(default=None, alias="consecutive5xxErrors")
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: WholePercent = 0
    min_health_percent: WholePercent = 0
    outlier_detection_http_error_codes: Any = None
    failure_percentage_threshold: Any = None


class ClientTls(Shape):
    """TLS to the endpoints."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    ca_cert_credential_name: str = ""
    subject_alt_names: Many[str] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class RetryBudget(Shape):
    """How many retries there may be at once."""

    percent: Percent | None = None
    min_retry_concurrency: Count = 0
    budget_interval: GoDuration | None = None


class PortSelector(Shape):
    """A port of a service."""

    number: PortNumber


class Policy(Shape):
    """What holds for a port."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None


class PortPolicy(Policy):
    """What holds for one port."""

    port: PortSelector


class TrafficPolicy(Policy):
    """What holds for a service or a subset."""

    port_level_settings: Many[PortPolicy] = ()
    tunnel: Any = None
    proxy_protocol: Any = None
    retry_budget: RetryBudget | None = None

    @model_validator(mode="after")
    def _names_each_port_once(self) -> Self:
        seen: set[int] = set()
        for i, setting in enumerate(self.port_level_settings):
            number = setting.port.number
            if number in seen:
                raise wrong_at(
                    f"portLevelSettings[{i}].port.number", f"is {number} again; give each port once"
                )
            seen.add(number)
        return self


class Subset(Shape):
    """Some endpoints of a service."""

    name: SubsetName
    labels: Labels = Field(default={})
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Shape):
    """networking.istio.io DestinationRule."""

    host: Host
    traffic_policy: TrafficPolicy | None = None
    subsets: Many[Subset] = ()
    export_to: Many[ExportTo] = ()
    workload_selector: WorkloadSelector | None = None

    @model_validator(mode="after")
    def _names_each_subset_once(self) -> Self:
        seen: set[str] = set()
        for i, subset in enumerate(self.subsets):
            if subset.name in seen:
                raise wrong_at(
                    f"subsets[{i}].name", f"is {say(subset.name)} again; give each subset its own name"
                )
            seen.add(subset.name)
        return self


class DestinationRuleDocument(Document):
    """networking.istio.io DestinationRule."""

    spec: DestinationRuleSpec
