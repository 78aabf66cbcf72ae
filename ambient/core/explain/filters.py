"""What is done to requests on the way, and what holds for those who serve them, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core.model.limit import ByAddress, ByClaim, ByHeader, ByIdentity, LimitKey, LimitScope, Together
from ambient.core.model.route import PathRewriteKind
from ambient.core.model.traffic import ConcurrencyBudget, RatioBudget, RetryBudget

if TYPE_CHECKING:
    from ambient.core.model.limit import RateLimit
    from ambient.core.model.route import Fault, Filters, HeaderEdits, PathRewrite
    from ambient.core.model.traffic import Accrual, ConnectionLimits, Outlier, TrafficPolicy


def of_filters(filters: Filters) -> Iterator[str]:
    """What a rule's filters do, in the order of doing."""
    if filters.fault is not None:
        yield from _fault(filters.fault)
    if filters.cors is not None:
        yield "CORS is answered and checked"
    yield from _edits(filters.request_headers, "of the request")
    if filters.rewrite is not None:
        if filters.rewrite.path is not None:
            yield _path(filters.rewrite.path)
        if filters.rewrite.authority:
            yield f"the authority becomes {filters.rewrite.authority}"
    for mirror in filters.mirrors:
        yield f"{mirror.share:.4g} of them are sent to {mirror.backend.service} too"
    yield from _edits(filters.response_headers, "of the response")


def _fault(fault: Fault) -> Iterator[str]:
    if fault.delayed_share:
        yield f"{fault.delayed_share:.4g} of them are held up for {fault.delay.total_seconds():g} s"
    if fault.aborted_share:
        status = fault.abort_grpc_status or str(fault.abort_status)
        yield f"{fault.aborted_share:.4g} of them are answered with {status}"


def _edits(edits: HeaderEdits, where: str) -> Iterator[str]:
    for word, names in (
        ("set", [name for name, _ in edits.set]),
        ("added", [name for name, _ in edits.add]),
        ("removed", list(edits.remove)),
    ):
        if names:
            yield f"headers {where} are {word}: {', '.join(names)}"


def _path(rewrite: PathRewrite) -> str:
    match rewrite.kind:
        case PathRewriteKind.FULL:
            return f"the path becomes {rewrite.value}"
        case PathRewriteKind.PREFIX:
            return f"the prefix of the path becomes {rewrite.value}"
        case PathRewriteKind.REGEX:
            return f"what {rewrite.pattern} finds in the path becomes {rewrite.value}"


def of_limit(limit: RateLimit) -> str:
    """How many requests a limit lets through, and of whom."""
    seconds = limit.period.total_seconds()
    many = f"{limit.requests} requests in {seconds:g} s{_sharers(limit.key)}, {limit.burst} of them at once"
    where = " over all replicas" if limit.scope is LimitScope.MESH else ""
    return f"{many}{where}{', which is only counted' if limit.dry_run else ''}"


def _sharers(key: LimitKey) -> str:
    match key:
        case Together():
            return ""
        case ByIdentity():
            return " for each identity"
        case ByAddress():
            return " for each address"
        case ByHeader(name):
            return f" for each value of header {name}"
        case ByClaim(name):
            return f" for each value of claim {name}"


def of_traffic(policy: TrafficPolicy) -> Iterator[str]:
    """What keeps too much from endpoints, and failing ones from requests."""
    yield from _limits(policy.limits)
    if policy.outlier is not None:
        yield from _outlier(policy.outlier)
    if policy.accrual is not None:
        yield from _accrual(policy.accrual)
    if policy.budget is not None:
        yield of_budget(policy.budget)


def of_budget(budget: RetryBudget) -> str:
    """How many retries there may be."""
    match budget:
        case RatioBudget(ratio, least, window):
            return f"retries are at most {ratio:.4g} of the requests in {window.total_seconds():g} s, and {least:g} a second"
        case ConcurrencyBudget(ratio, fewest):
            return f"retries under way are at most {ratio:.4g} of the requests under way, or {fewest}"


def _limits(limits: ConnectionLimits) -> Iterator[str]:
    for number, what in (
        (limits.connections, "connections"),
        (limits.pending_requests, "requests that wait"),
        (limits.requests, "requests under way"),
        (limits.retries, "retries under way"),
    ):
        if number is not None:
            yield f"at most {number} {what}"


def _outlier(outlier: Outlier) -> Iterator[str]:
    for number, what in (
        (outlier.consecutive_5xx, "answers of 500 and more"),
        (outlier.consecutive_gateway_errors, "answers of 502, 503 or 504"),
        (outlier.consecutive_local_failures, "failures to connect"),
    ):
        if number:
            yield f"an endpoint is left out after {number} {what} in a row"


def _accrual(accrual: Accrual) -> Iterator[str]:
    if accrual.consecutive_failures:
        yield f"the breaker of an endpoint trips after {accrual.consecutive_failures} failures in a row"
    rate = accrual.success_rate
    if rate is not None:
        yield f"the breaker of an endpoint trips where fewer than {rate.threshold:.4g} of its requests succeed"
