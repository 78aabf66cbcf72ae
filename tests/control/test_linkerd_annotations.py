"""What Linkerd's annotations on routes and Services mean."""

from datetime import timedelta

import pytest

from ambient.control.objects import BackendPolicy, ServiceRef
from ambient.control.problem import Reason
from ambient.control.translate.kinds import translate
from ambient.core.model.route import (
    DEFAULT_RETRY,
    AllOf,
    HeaderMatch,
    Origin,
    ProfileRoute,
    Retry,
    RetryOn,
    RouteMatch,
    TextMatch,
    TextMatchKind,
    Timeouts,
)
from ambient.core.model.traffic import Accrual, SuccessRate

SECOND = timedelta(seconds=1)
OFF = timedelta()


def read(kind, version, spec, **annotations):
    document = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": "a",
            "namespace": "shop",
            "annotations": {_name(short): value for short, value in annotations.items()},
        },
        "spec": spec,
    }
    return translate(document, ("ambient-system",))


def _name(short):
    """``retry_http`` for ``retry.linkerd.io/http``."""
    group, _, rest = short.partition("_")
    domain = {
        "alpha": "balancer.alpha.linkerd.io",
        "balancer": "balancer.linkerd.io",
        "config": "config.linkerd.io",
        "retry": "retry.linkerd.io",
        "timeout": "timeout.linkerd.io",
    }[group]
    return f"{domain}/{rest.replace('_', '-')}"


def route(kind="HTTPRoute", rule=None, **annotations):
    parents = [{"group": "", "kind": "Service", "name": "a"}]
    translated = read(
        kind, "gateway.networking.k8s.io/v1", {"parentRefs": parents, "rules": [rule or {}]}, **annotations
    )
    [found] = translated.object.rules
    return found, [(warning.field, warning.reason) for warning in translated.warnings]


def service(**annotations):
    spec = {"clusterIP": "10.0.0.1", "ports": [{"port": port} for port in (80, 3306, 8001)]}
    translated = read("Service", "v1", spec, **annotations)
    return translated.object.annotated, [(warning.field, warning.reason) for warning in translated.warnings]


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ("5xx", ((500, 599),)),
        ("gateway-error", ((502, 504),)),
        ("GATEWAY-ERROR", ((502, 504),)),
        ("429", ((429, 429),)),
        ("429,500-503", ((429, 429), (500, 503))),
        ("5xx, 429", ((500, 599), (429, 429))),
    ],
)
def test_statuses_to_try_again(value, codes):
    found, warnings = route(retry_http=value)
    assert (found.retry, warnings) == (Retry(1, codes=codes, any_method=True), [])


@pytest.mark.parametrize(
    ("value", "on"),
    [
        ("unavailable", {RetryOn.UNAVAILABLE}),
        (
            "cancelled, Deadline-Exceeded,internal,resource-exhausted",
            {RetryOn.CANCELLED, RetryOn.DEADLINE_EXCEEDED, RetryOn.INTERNAL, RetryOn.RESOURCE_EXHAUSTED},
        ),
    ],
)
def test_calls_to_try_again(value, on):
    found, warnings = route("GRPCRoute", retry_grpc=value)
    assert (found.retry, warnings) == (Retry(1, frozenset(on), any_method=True), [])


def test_how_often_and_how_long():
    found, _ = route(retry_http="5xx", retry_limit="3", retry_timeout="400ms")
    assert found.retry.attempts == 3
    assert found.timeouts.attempt == 0.4 * SECOND
    assert found.timeouts.last_attempt_unlimited
    assert found.retry.after_timeout


def test_a_limit_of_zero_counts_as_one_and_is_told():
    found, warnings = route(retry_http="5xx", retry_limit="0")
    assert found.retry.attempts == 1
    assert warnings == [('metadata.annotations["retry.linkerd.io/limit"]', Reason.NO_EFFECT)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5s", 5 * SECOND), ("1h30m", 5400 * SECOND), ("0", OFF), ("0s", OFF), ("1d", timedelta(days=1))],
)
def test_durations(value, expected):
    assert route(timeout_request=value)[0].timeouts.request == expected


def test_each_timeout():
    found, warnings = route(timeout_request="1s", timeout_response="2s", timeout_idle="3s")
    assert (found.timeouts, warnings) == (Timeouts(SECOND, OFF, 2 * SECOND, 3 * SECOND), [])


RULE = {"timeouts": {"request": "10s", "backendRequest": "2s"}, "retry": {"attempts": 5}}


@pytest.mark.parametrize(
    ("annotations", "timeouts", "attempts"),
    [
        pytest.param({}, Timeouts(10 * SECOND, 2 * SECOND), 5, id="none"),
        pytest.param(
            {"timeout_request": "1s"}, Timeouts(SECOND, 2 * SECOND, OFF, OFF), 5, id="request-before-the-rules"
        ),
        pytest.param(
            {"retry_http": "5xx", "retry_limit": "2"}, Timeouts(10 * SECOND, 2 * SECOND, OFF, OFF), 2, id="retry-before-the-rules"
        ),
    ],
)  # fmt: skip
def test_annotations_count_before_the_fields_of_a_rule(annotations, timeouts, attempts):
    found, _ = route(rule=RULE, **annotations)
    assert (found.timeouts, found.retry.attempts) == (timeouts, attempts)


def test_any_annotation_of_a_route_overrides_all_of_its_service():
    """So what the route does not say is off, or as it is by default, and not left to the Service."""
    found, _ = route(timeout_idle="3s")
    assert (found.timeouts, found.retry) == (Timeouts(OFF, OFF, OFF, 3 * SECOND), DEFAULT_RETRY)


@pytest.mark.parametrize(("kind", "annotation"), [("HTTPRoute", "retry_grpc"), ("GRPCRoute", "retry_http")])
def test_conditions_of_the_other_protocol_are_told(kind, annotation):
    found, warnings = route(kind, **{annotation: "unavailable"})
    assert found.retry is None
    assert warnings == [(f'metadata.annotations["{_name(annotation)}"]', Reason.NO_EFFECT)]


ORIGIN = Origin("Service", "shop", "a", "metadata.annotations")
IS_GRPC = RouteMatch(
    headers=(HeaderMatch("content-type", TextMatch(TextMatchKind.PREFIX, "application/grpc")),)
)


@pytest.mark.parametrize(
    ("annotations", "profile"),
    [
        pytest.param(
            {"timeout_request": "1s"}, (ProfileRoute(ORIGIN, "", AllOf(()), Timeouts(SECOND)),), id="timeouts",
        ),
        pytest.param(
            {"retry_http": "503", "retry_limit": "2"},
            (ProfileRoute(ORIGIN, "", AllOf(()), retry=Retry(2, codes=((503, 503),), any_method=True)),), id="retries",
        ),
        pytest.param(
            {"retry_grpc": "unavailable"},
            (ProfileRoute(ORIGIN, "", IS_GRPC, retry=Retry(1, frozenset({RetryOn.UNAVAILABLE}), any_method=True)),), id="calls",
        ),
        pytest.param(
            {"retry_grpc": "unavailable", "retry_http": "5xx"},
            (
                ProfileRoute(ORIGIN, "", IS_GRPC, retry=Retry(1, frozenset({RetryOn.UNAVAILABLE}), any_method=True)),
                ProfileRoute(ORIGIN, "", AllOf(()), retry=Retry(1, codes=((500, 599),), any_method=True)),
            ),
            id="calls-before-requests",
        ),
    ],
)  # fmt: skip
def test_what_a_service_sets_for_its_requests(annotations, profile):
    assert service(**annotations) == (
        BackendPolicy("Service", "shop", "a", "", (ServiceRef("shop", "a"),), profile=profile),
        [],
    )


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({"balancer_failure_accrual": "consecutive"}, Accrual(7), id="consecutive-by-default"),
        pytest.param(
            {
                "balancer_failure_accrual": "consecutive",
                "balancer_failure_accrual_consecutive_max_failures": "4",
                "balancer_failure_accrual_consecutive_min_penalty": "30s",
                "balancer_failure_accrual_consecutive_max_penalty": "2m",
                "balancer_failure_accrual_consecutive_jitter_ratio": "0.25",
            },
            Accrual(4, None, 30 * SECOND, 120 * SECOND, 0.25), id="consecutive",
        ),
        pytest.param({"balancer_failure_accrual": "unified"}, Accrual(7, SuccessRate()), id="unified-by-default"),
        pytest.param(
            {
                "balancer_failure_accrual": "unified",
                "alpha_failure_accrual_success_rate_threshold": "0.9",
                "alpha_failure_accrual_success_rate_window": "30s",
                "alpha_failure_accrual_success_rate_min_requests": "100",
            },
            Accrual(7, SuccessRate(0.9, 30 * SECOND, 100)), id="unified",
        ),
        pytest.param(
            {"balancer_failure_accrual": "unified", "alpha_failure_accrual_success_rate_threshold": "0"},
            Accrual(7), id="no-share-to-fall-below",
        ),
    ],
)  # fmt: skip
def test_breakers(annotations, expected):
    found, warnings = service(**annotations)
    assert (found.accrual, warnings) == (expected, [])


@pytest.mark.parametrize(
    ("value", "ports"),
    [("3306", {3306}), ("25,3306", {3306}), ("8000-8010, 80", {80, 8001}), ("1-65535", {80, 3306, 8001})],
)
def test_opaque_ports_are_the_services_own(value, ports):
    found, warnings = service(config_opaque_ports=value)
    assert (found.opaque_ports, warnings) == (ports, [])


def test_a_service_without_annotations_says_nothing():
    assert service() == (None, [])
    assert service(config_opaque_ports="") == (None, [])


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"retry_http": "oops"}, Reason.VALUE),
        ({"retry_grpc": "oops"}, Reason.VALUE),
        ({"retry_limit": "-1"}, Reason.VALUE),
        ({"timeout_request": "1.5s"}, Reason.VALUE),
        ({"balancer_failure_accrual": "latency"}, Reason.VALUE),
        ({"config_opaque_ports": "mysql"}, Reason.VALUE),
        ({"config_opaque_ports": "90-80"}, Reason.VALUE),
        ({"retry_https": "5xx"}, Reason.UNKNOWN),
        ({"balancer_failure_accrual_consecutive_max_failures": "4"}, Reason.NO_EFFECT),
        ({"alpha_penalize_failures": "true"}, Reason.NO_EFFECT),
        ({"config_skip_outbound_ports": "25"}, Reason.NO_EFFECT),
    ],
)
def test_a_slip_takes_no_service_away(annotations, reason):
    found, warnings = service(**annotations)
    [name] = annotations
    assert found is None
    assert warnings == [(f'metadata.annotations["{_name(name)}"]', reason)]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"balancer_failure_accrual_consecutive_max_penalty": "0s"}, "consecutive-max-penalty"),
        ({"balancer_failure_accrual_consecutive_min_penalty": "2m"}, "consecutive-min-penalty"),
        ({"balancer_failure_accrual_consecutive_max_failures": "0"}, "consecutive-max-failures"),
        ({"balancer_failure_accrual_consecutive_jitter_ratio": "101"}, "consecutive-jitter-ratio"),
        ({"alpha_failure_accrual_success_rate_threshold": "1.1"}, "success-rate-threshold"),
        ({"alpha_failure_accrual_success_rate_window": "1ms"}, "success-rate-window"),
    ],
)
def test_breakers_that_cannot_be(more, wrong):
    _, [(field, reason)] = service(balancer_failure_accrual="unified", **more)
    assert wrong in field
    assert reason is Reason.VALUE
