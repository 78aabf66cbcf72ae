"""Which policies about requests a call meets, as its service's waypoint asks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.authorize_request import RequestFacts, authorize_request
from ambient.core.explain import filters
from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.explain.parties import of
from ambient.core.http import paths
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action
from ambient.core.model.jwt import HeaderSource
from ambient.core.model.route import Origin
from ambient.core.model.workload import TunnelProtocol

if TYPE_CHECKING:
    from ambient.core.explain.answer import Circumstances, Question
    from ambient.core.model.policies import ServicePolicies
    from ambient.core.model.request_authorization import RequestAuthorization
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload


def counted(policies: ServicePolicies | None, port: int, question: Question) -> Iterator[Step]:
    """What tokens and limits the waypoint asks for, before any rule is looked at."""
    if policies is None or not (question.method or question.path):
        return
    if any(rule.is_required for rule in policies.tokens) and not _shows_token(policies, question):
        yield Step(
            Topic.POLICY,
            Verdict.FAILS,
            "the waypoint answers a request without a token with 401: a RequestAuthentication of it demands one",
            remedy="ask with --header 'authorization: Bearer …', or take `presence: REQUIRED` from its rules",
        )
    elif _shows_token(policies, question):
        said = "the request carries a token, which is not looked into here: the waypoint answers one that is not good with 401"
        yield Step(Topic.POLICY, Verdict.WARNING, said)
    for limit in policies.limits:
        if not limit.ports or port in limit.ports:
            namespace, _, rest = limit.name.partition("/")
            name, _, own = rest.partition("/")
            said = f"limit {own}: {filters.of_limit(limit)}"
            yield Step(
                Topic.POLICY, Verdict.OK, said, Origin("RateLimitPolicy", namespace, name, "spec.limits")
            )


def _shows_token(policies: ServicePolicies, question: Question) -> bool:
    named = {name.lower() for name in question.headers}
    return any(
        isinstance(source, HeaderSource) and source.name in named
        for rule in policies.tokens
        for source in rule.sources
    )


def steps(
    circumstances: Circumstances,
    source: Workload,
    service: Service,
    target: SocketAddress,
    question: Question,
) -> Iterator[Step]:
    """What policies with targets say of the call, or that nobody is there to ask them."""
    policies = circumstances.request_policies(service)
    if not policies:
        return
    named = ", ".join(f"AuthorizationPolicy {policy.key}" for policy in policies)
    if service.waypoint is None:
        yield Step(
            Topic.POLICY,
            Verdict.WARNING,
            f"{named} has no effect: service {service.key} has no waypoint, which alone asks policies with targets",
            of(service, "metadata.labels"),
            "give the service a waypoint, or let the policy select workloads instead",
        )
        return
    if not (question.method or question.path) or not source.addresses:
        return
    path = paths.normal(question.path or "/")
    match path:
        case paths.Path():
            facts = _facts(source, target, question, path)
            yield _decided(policies, facts, f"{facts.method} {question.path or '/'}")
        case paths.Ambiguous(why):
            said = f"the waypoint answers {question.path} with 400: {why}"
            yield Step(
                Topic.POLICY, Verdict.FAILS, said, remedy="write the path in a way that all read alike"
            )


def _facts(source: Workload, target: SocketAddress, question: Question, path: paths.Path) -> RequestFacts:
    identity = source.identity if source.tunnel is TunnelProtocol.HBONE else None
    return RequestFacts(
        Connection(identity, SocketAddress(source.addresses[0], 0), target),
        question.method or "GET",
        path,
        question.headers.get("host", question.destination),
        {name.lower(): value for name, value in question.headers.items()},
    )


def _decided(policies: tuple[RequestAuthorization, ...], request: RequestFacts, shown: str) -> Step:
    match authorize_request(policies, request):
        case Allowed(policy):
            return _allowed(policy, shown)
        case Denied(policy):
            return _not_allowed(policies, shown) if policy is None else _denied(policy, shown)


def _allowed(policy: str | None, shown: str) -> Step:
    if policy is None:
        return Step(Topic.POLICY, Verdict.OK, f"no policy of the waypoint denies {shown}")
    said = f"AuthorizationPolicy {policy} lets {shown} pass the waypoint"
    return Step(Topic.POLICY, Verdict.OK, said, _origin(policy))


def _denied(policy: str, shown: str) -> Step:
    said = f"the waypoint answers {shown} with 403: AuthorizationPolicy {policy} denies it"
    remedy = "change the rule that fits, or ask for something that it does not name"
    return Step(Topic.POLICY, Verdict.FAILS, said, _origin(policy), remedy)


def _not_allowed(policies: tuple[RequestAuthorization, ...], shown: str) -> Step:
    allowing = [one.key for one in policies if one.action is Action.ALLOW and not one.dry_run]
    said = (
        f"the waypoint answers {shown} with 403: no rule of AuthorizationPolicy {', '.join(allowing)} fits it"
    )
    remedy = "add a rule for the request, and see that what the rules ask of tokens is there"
    return Step(Topic.POLICY, Verdict.FAILS, said, _origin(allowing[0]), remedy)


def _origin(key: str) -> Origin:
    namespace, _, name = key.partition("/")
    return Origin("AuthorizationPolicy", namespace, name, "spec.rules")
