"""networking.istio.io DestinationRule.

A subset's settings stand in place of the rule's, one block (`loadBalancer`, `connectionPool`, …) at a time; those of
a port stand in place of all blocks but the retry budget, which ports do not have. Source: Istio's merge of policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from immutables import Map

from ambient.control.objects import DestinationRule
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_destination_rule as schema
from ambient.control.translate.istio import exported_to, whole_host
from ambient.control.translate.kind import Kind, Translated
from ambient.core.model.traffic import (
    Balancer,
    ConcurrencyBudget,
    ConnectionLimits,
    HashCookie,
    HashHeader,
    HashKey,
    HashQuery,
    HashSource,
    LocalityPolicy,
    LocalityWeights,
    Maglev,
    Outlier,
    RatioBudget,
    RetryBudget,
    RingHash,
    Simple,
    Subset,
    TrafficPolicies,
    TrafficPolicy,
)

VERSIONS: Final = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")

_SIMPLE: Final = {
    "LEAST_CONN": Simple.LEAST_REQUEST,
    "LEAST_REQUEST": Simple.LEAST_REQUEST,
    "RANDOM": Simple.RANDOM,
    "ROUND_ROBIN": Simple.ROUND_ROBIN,
    "PASSTHROUGH": Simple.PASSTHROUGH,
}
_RETRY_PERCENT: Final = 20.0
_RETRY_CONCURRENCY: Final = 3
"""Defaults of a retry budget. Source: Istio."""


def _destination_rule(read: schema.DestinationRuleDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    translation = _Translation()
    traffic = translation.traffic(spec)
    visible = exported_to(spec.export_to, metadata.namespace)
    if spec.workload_selector is not None:
        translation.warn(
            "spec.workloadSelector",
            "has no effect, and neither has the object: policies are for all callers; leave it out",
        )
        visible = frozenset()
    rule = DestinationRule(
        namespace=metadata.namespace,
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        host=whole_host(spec.host, metadata.namespace),
        traffic=traffic,
        exported_to=visible,
    )
    return Translated(rule, tuple(translation.warnings))


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A policy as Istio merges it; what is None is not given."""

    load_balancer: schema.LoadBalancer | None = None
    connection_pool: schema.ConnectionPool | None = None
    outlier_detection: schema.OutlierDetection | None = None
    retry_budget: schema.RetryBudget | None = None

    def under(self, over: schema.TrafficPolicy) -> _Blocks:
        """The same with what a subset sets in its place."""
        return _Blocks(
            over.load_balancer or self.load_balancer,
            over.connection_pool or self.connection_pool,
            over.outlier_detection or self.outlier_detection,
            over.retry_budget or self.retry_budget,
        )

    def at(self, port: schema.PortPolicy) -> _Blocks:
        """The same for a port with settings of its own."""
        return _Blocks(port.load_balancer, port.connection_pool, port.outlier_detection, self.retry_budget)

    def at_ports(self, settings: Sequence[schema.PortPolicy]) -> dict[int, _Blocks]:
        return {setting.port.number: self.at(setting) for setting in settings}


class _Translation:
    """One object's translation, with what it has to say on the way."""

    def __init__(self) -> None:
        self.warnings: list[Problem] = []

    def warn(self, field: str, text: str) -> None:
        """Say that something has no effect."""
        self.warnings.append(no_effect(field, text))

    def traffic(self, spec: schema.DestinationRuleSpec) -> TrafficPolicies:
        """The rule, its ports and its subsets."""
        rule = spec.traffic_policy or schema.TrafficPolicy()
        self._warn_of_policy(rule, "spec.trafficPolicy", rule)
        blocks = _Blocks().under(rule)
        ports = blocks.at_ports(rule.port_level_settings)
        subsets: dict[str, Subset] = {}
        for i, subset in enumerate(spec.subsets):
            own = subset.traffic_policy
            if own is not None:
                self._warn_of_policy(own, f"spec.subsets[{i}].trafficPolicy", rule)
            subsets[subset.name] = Subset(
                subset.name,
                Map(subset.labels),
                _policy(blocks.under(own)) if own else None,
                _policies(_subset_ports(blocks, ports, own)) if own else Map(),
            )
        return TrafficPolicies(_policy(blocks), _policies(ports), Map(subsets))

    # What has no effect

    def _warn_of_policy(self, policy: schema.TrafficPolicy, where: str, rule: schema.TrafficPolicy) -> None:
        self._warn_of_blocks(policy, where, policy.outlier_detection or rule.outlier_detection)
        for i, setting in enumerate(policy.port_level_settings):
            self._warn_of_blocks(setting, f"{where}.portLevelSettings[{i}]", setting.outlier_detection)
        if policy.tunnel is not None:
            self.warn(f"{where}.tunnel", "has no effect; nothing is tunnelled through another proxy")
        if policy.proxy_protocol is not None:
            self.warn(
                f"{where}.proxyProtocol", "has no effect; the application sees its caller's address anyway"
            )

    def _warn_of_blocks(
        self, policy: schema.Policy, where: str, outlier: schema.OutlierDetection | None
    ) -> None:
        if policy.load_balancer is not None:
            self._warn_of_balancer(policy.load_balancer, outlier, f"{where}.loadBalancer")
        if policy.connection_pool is not None:
            self._warn_of_pool(policy.connection_pool, f"{where}.connectionPool")
        if policy.outlier_detection is not None:
            self._warn_of_outlier(policy.outlier_detection, f"{where}.outlierDetection")
        match policy.tls and policy.tls.mode:
            case None | "ISTIO_MUTUAL":
                pass
            case "DISABLE":
                self.warn(
                    f"{where}.tls.mode", "is DISABLE and has no effect; the mesh always speaks mutual TLS"
                )
            case mode:
                self.warn(
                    f"{where}.tls.mode", f"is {mode} and has no effect; let the application speak TLS itself"
                )

    def _warn_of_balancer(
        self, balancer: schema.LoadBalancer, outlier: schema.OutlierDetection | None, where: str
    ) -> None:
        hashing = balancer.consistent_hash
        if hashing is not None and _hash_key(hashing) is None:
            self.warn(
                f"{where}.consistentHash", "names nothing to go by, and has no effect; give httpHeaderName"
            )
        if hashing is not None and hashing.http_cookie is not None and hashing.http_cookie.attributes:
            self.warn(f"{where}.consistentHash.httpCookie.attributes", "has no effect; the cookie has none")
        if balancer.backend_utilization is not None:
            self.warn(f"{where}.backendUtilization", "has no effect; write simple: LEAST_REQUEST")
        if balancer.zone_aware_lb_setting is not None:
            self.warn(f"{where}.zoneAwareLbSetting", "has no effect; use localityLbSetting")
        locality = balancer.locality_lb_setting
        if locality is not None and outlier is None:
            for field, value in (
                ("failover", locality.failover),
                ("failoverPriority", locality.failover_priority),
            ):
                if value:
                    self.warn(
                        f"{where}.localityLbSetting.{field}", "has no effect without outlierDetection; add it"
                    )
        if balancer.warmup is not None:
            for field, number in (
                ("minimumPercent", balancer.warmup.minimum_percent),
                ("aggression", balancer.warmup.aggression),
            ):
                if number is not None:
                    self.warn(f"{where}.warmup.{field}", "has no effect; the share grows with time alone")

    def _warn_of_pool(self, pool: schema.ConnectionPool, where: str) -> None:
        if pool.tcp.tcp_keepalive is not None:
            self.warn(
                f"{where}.tcp.tcpKeepalive", "has no effect; connections of the mesh have their own keepalive"
            )
        if pool.http.http2_keep_alive is not None:
            self.warn(
                f"{where}.http.http2KeepAlive",
                "has no effect; connections of the mesh have their own keepalive",
            )
        http, tcp = pool.http.idle_timeout, pool.tcp.idle_timeout
        if http is not None and tcp is not None and http != tcp:
            self.warn(f"{where}.tcp.idleTimeout", "has no effect beside http.idleTimeout; make them the same")

    def _warn_of_outlier(self, outlier: schema.OutlierDetection, where: str) -> None:
        for field, value, remedy in (
            ("consecutiveErrors", outlier.consecutive_errors, "use consecutive5xxErrors"),
            (
                "outlierDetectionHttpErrorCodes",
                outlier.outlier_detection_http_error_codes,
                "statuses from 500 count",
            ),
            (
                "failurePercentageThreshold",
                outlier.failure_percentage_threshold,
                "use consecutive5xxErrors",
            ),
        ):
            if value is not None:
                self.warn(f"{where}.{field}", f"has no effect; {remedy}")
        if (
            outlier.consecutive_local_origin_failures is not None
            and not outlier.split_external_local_origin_errors
        ):
            self.warn(
                f"{where}.consecutiveLocalOriginFailures",
                "has no effect without splitExternalLocalOriginErrors: true; add it",
            )


def _subset_ports(
    blocks: _Blocks, ports: Mapping[int, _Blocks], own: schema.TrafficPolicy
) -> dict[int, _Blocks]:
    """By port: the rule's settings for it under the subset's, or the subset's own for it."""
    return {
        **{number: port.under(own) for number, port in ports.items()},
        **blocks.under(own).at_ports(own.port_level_settings),
    }


def _policies(ports: Mapping[int, _Blocks]) -> Map[int, TrafficPolicy]:
    return Map({number: _policy(blocks) for number, blocks in ports.items()})


def _policy(blocks: _Blocks) -> TrafficPolicy:
    balancer, outlier = blocks.load_balancer, blocks.outlier_detection
    policy = TrafficPolicy(locality=_locality(balancer, outlier))
    if balancer is not None:
        warmup = balancer.warmup.duration if balancer.warmup else balancer.warmup_duration_secs
        policy = replace(policy, balancer=_balancer(balancer), warmup=warmup)
    if blocks.connection_pool is not None:
        policy = replace(policy, limits=_limits(blocks.connection_pool))
    if outlier is not None:
        policy = replace(policy, outlier=_outlier(outlier))
    if blocks.retry_budget is not None:
        policy = replace(policy, budget=_budget(blocks.retry_budget))
    return policy


def _balancer(balancer: schema.LoadBalancer) -> Balancer | None:
    hashing = balancer.consistent_hash
    key = _hash_key(hashing) if hashing is not None else None
    if hashing is None or key is None:
        return _SIMPLE.get(balancer.simple or "")
    if hashing.maglev is not None:
        return Maglev(key, hashing.maglev.table_size or Maglev(key).size)
    size = hashing.ring_hash.minimum_ring_size if hashing.ring_hash else hashing.minimum_ring_size
    return RingHash(key, size or RingHash(key).size)


def _hash_key(hashing: schema.ConsistentHash) -> HashKey | None:
    if hashing.http_header_name is not None:
        return HashHeader(hashing.http_header_name.lower())
    if hashing.http_cookie is not None:
        cookie = hashing.http_cookie
        return HashCookie(cookie.name, cookie.path, cookie.ttl)
    if hashing.http_query_parameter_name:
        return HashQuery(hashing.http_query_parameter_name)
    return HashSource() if hashing.use_source_ip else None


def _locality(
    balancer: schema.LoadBalancer | None, outlier: schema.OutlierDetection | None
) -> LocalityPolicy | None:
    """To look for outliers turns near endpoints first on, unless a setting says otherwise. Source: Istio."""
    setting = balancer.locality_lb_setting if balancer else None
    if setting is None:
        return LocalityPolicy() if outlier is not None else None
    fails_over = outlier is not None
    return LocalityPolicy(
        is_on=setting.enabled is not False,
        weights=tuple(LocalityWeights(entry.from_, Map(entry.to)) for entry in setting.distribute),
        failover=tuple((entry.from_, entry.to) for entry in setting.failover) if fails_over else (),
        priorities=setting.failover_priority if fails_over else (),
    )


def _limits(pool: schema.ConnectionPool) -> ConnectionLimits:
    tcp, http = pool.tcp, pool.http
    upgrade = {"UPGRADE": True, "DO_NOT_UPGRADE": False}.get(http.h2_upgrade_policy)
    return ConnectionLimits(
        connections=tcp.max_connections or None,
        pending_requests=http.http1_max_pending_requests or None,
        requests=http.http2_max_requests or None,
        requests_per_connection=http.max_requests_per_connection or None,
        retries=http.max_retries or None,
        streams_per_connection=http.max_concurrent_streams or None,
        connect_timeout=tcp.connect_timeout,
        idle_timeout=http.idle_timeout if http.idle_timeout is not None else tcp.idle_timeout,
        longest_connection=tcp.max_connection_duration,
        upgrade_to_http2=False if http.use_client_protocol else upgrade,
    )


def _outlier(outlier: schema.OutlierDetection) -> Outlier:
    return Outlier(
        consecutive_5xx=outlier.consecutive_5xx_errors,
        consecutive_gateway_errors=outlier.consecutive_gateway_errors,
        consecutive_local_failures=outlier.consecutive_local_origin_failures,
        splits_local_failures=outlier.split_external_local_origin_errors,
        interval=outlier.interval,
        base_ejection=outlier.base_ejection_time,
        most_ejected_percent=outlier.max_ejection_percent or None,
        least_healthy_percent=outlier.min_health_percent or None,
    )


def _budget(budget: schema.RetryBudget) -> RetryBudget:
    """With an interval, requests that began within it count, and not only those that are under way."""
    ratio = (_RETRY_PERCENT if budget.percent is None else budget.percent) / 100
    least = budget.min_retry_concurrency or _RETRY_CONCURRENCY
    if budget.budget_interval:
        return RatioBudget(ratio, least / budget.budget_interval.total_seconds(), budget.budget_interval)
    return ConcurrencyBudget(ratio, least)


KINDS: Final = (Kind("DestinationRule", VERSIONS, schema.DestinationRuleDocument, _destination_rule),)
