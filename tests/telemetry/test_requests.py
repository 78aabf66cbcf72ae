"""One request, told: its counters, its line, and how many of either there may be."""

import os
import re

import pytest
from immutables import Map
from telemetry import seen as requests
from telemetry.seen import refused, seen

from ambient.core.forwarding.plan import Notes
from ambient.core.forwarding.reason import Reason
from ambient.core.model.telemetry import AccessLog as LogSetting, MetricOverride, Metrics, Side, Telemetry
from ambient.core.request_observation import REQUEST_LABELS
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format, Level
from ambient.telemetry.request_metrics import METRICS, RequestCounts, RequestTotals
from ambient.telemetry.requests import Requests

COUNT, DURATION, RECEIVED, SENT = range(len(METRICS))


@pytest.fixture
def counts():
    return RequestCounts()


@pytest.fixture
def told(tmp_path, counts):
    """What records, and what reads the log."""
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Requests(counts, AccessLog(fd)), file.read_text
    os.close(fd)


def table(counts):
    totals = RequestTotals()
    counts.tell_all()
    totals.update(1, counts.report())
    return totals.table()


def numbers(counts, metric=COUNT, *names):
    """Values of a metric by some labels."""
    return {
        tuple(dict(labels).get(name) for name in names): cells
        for (at, labels), cells in table(counts).items()
        if at == metric
    }


@pytest.mark.parametrize("style", list(Format), ids=lambda style: style.value)
def test_lines_are_as_agreed(tmp_path, counts, style, golden):
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    told = Requests(counts, AccessLog(fd, style, Level.DEBUG))
    for one in (
        seen(),
        requests.RETRIED,
        refused(notes=Notes(request_id="1", policy="shop/no")),
        refused(Reason.NO_HEALTHY_ENDPOINT, detail="no healthy upstream: shop/web"),
        seen(reason=Reason.TIMED_OUT, status=504, detail="no answer within 1 s", answered=None),
        requests.HOSTILE,
    ):
        told.record(one)
    os.close(fd)
    lines = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", file.read_text())
    assert lines.isascii()
    assert lines.count("\n") == 6
    golden(f"requests.{style.value}", lines)


def test_a_query_is_not_in_the_log(told):
    record, log = told
    record.record(seen(path="/cart?access_token=secret"))
    assert "path=/cart " in log()
    assert "secret" not in log()


def test_labels_are_those_of_istio(told, counts):
    record, _ = told
    record.record(seen())
    ((_, labels),) = [key for key in table(counts) if key[0] == COUNT]
    assert [name for name, _ in labels] == [name for name in REQUEST_LABELS if name != "grpc_response_status"]
    assert dict(labels) == {
        "reporter": "waypoint",
        "source_workload": "client",
        "source_canonical_service": "client",
        "source_canonical_revision": "unknown",
        "source_workload_namespace": "shop",
        "source_principal": "spiffe://cluster.local/ns/shop/sa/client",
        "source_app": "client",
        "source_version": "unknown",
        "source_cluster": "local",
        "destination_service": "web.shop.svc.cluster.local",
        "destination_service_namespace": "shop",
        "destination_service_name": "web",
        "destination_workload": "web",
        "destination_canonical_service": "web",
        "destination_canonical_revision": "unknown",
        "destination_workload_namespace": "shop",
        "destination_principal": "spiffe://cluster.local/ns/shop/sa/web-1",
        "destination_app": "web",
        "destination_version": "unknown",
        "destination_cluster": "local",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
        "source_region": "unknown",
        "source_zone": "unknown",
        "destination_region": "unknown",
        "destination_zone": "unknown",
    }


def test_requests_are_counted_by_outcome(told, counts):
    record, _ = told
    for one in (seen(), seen(), requests.RETRIED, refused(), refused(Reason.NO_ROUTE)):
        record.record(one)
    names = ("request_protocol", "response_code", "grpc_response_status", "response_flags")
    assert numbers(counts, COUNT, *names) == {
        ("http", "200", None, "-"): [2],
        ("grpc", "200", "14", "-"): [1],
        ("http", "403", None, "UAEX"): [1],
        ("http", "404", None, "NR"): [1],
    }
    assert dict(counts.causes) == {
        ("retried", "reset"): 1,
        ("limited", "dry_run"): 2,
        ("refused", "denied"): 1,
        ("refused", "no_route"): 1,
    }


def test_durations_and_sizes_fall_into_buckets(told, counts):
    record, _ = told
    record.record(seen(began=0.0, ended=0.0005, received=1, sent=7_200_000))
    record.record(seen(began=0.0, ended=0.0006, received=0, sent=26))
    ((_, duration),) = numbers(counts, DURATION).items()
    assert duration[:2] == [1, 1]
    assert duration[-1] == pytest.approx(1.1)
    ((_, received),) = numbers(counts, RECEIVED).items()
    assert received[:2] == [1, 1]
    ((_, sent),) = numbers(counts, SENT).items()
    assert (sent[5], sent[-2], sent[-1]) == (1, 1, 7_200_026)


def test_hosts_paths_and_headers_make_no_labels(told, counts):
    record, _ = told
    for number in range(100):
        record.record(
            seen(
                authority=f"h{number}", path=f"/{number}", method=f"M{number}", headers=(("a", str(number)),)
            )
        )
    assert numbers(counts) == {(): [100]}


def test_a_backend_that_makes_up_statuses_is_bounded(counts, told):
    record, _ = told
    for status in range(100, 600):
        for grpc_status in (None, 0, 17, 999):
            record.record(seen(status=status, grpc_status=grpc_status))
    by = numbers(counts, COUNT, "response_code", "grpc_response_status")
    assert sum(value for (value,) in by.values()) == 2000
    assert {status for _, status in by} == {None, "0", "2"}


def test_beyond_the_cap_sets_of_labels_share_a_row(told):
    counts = RequestCounts(most=3)
    log = AccessLog(os.open(os.devnull, os.O_WRONLY))
    record = Requests(counts, log)
    for number in range(50):
        record.record(seen(caller=requests.workload(f"c{number}", workload_name=f"c{number}")))
    by = numbers(counts, COUNT, "source_workload", "destination_service", "response_code")
    assert by == {
        ("c0", "web.shop.svc.cluster.local", "200"): [1],
        ("c1", "web.shop.svc.cluster.local", "200"): [1],
        ("c2", "web.shop.svc.cluster.local", "200"): [1],
        ("overflow", "overflow", "2xx"): [47],
    }


def test_telemetry_says_what_is_told(told, counts):
    record, log = told
    quiet = Telemetry(
        access_log=(LogSetting(is_off=True),),
        metrics=(
            Metrics(
                overrides=(
                    MetricOverride("REQUEST_COUNT", tags=Map({"source_principal": None})),
                    MetricOverride("REQUEST_DURATION", is_off=True),
                    MetricOverride("REQUEST_SIZE", sides=frozenset({Side.CLIENT}), is_off=True),
                )
            ),
        ),
    )
    record.record(seen(telemetry=quiet))
    assert log() == ""
    assert numbers(counts, COUNT, "source_principal", "source_app") == {(None, "client"): [1]}
    assert numbers(counts, DURATION) == {}
    assert len(numbers(counts, RECEIVED)) == 1
    record.record(seen())
    assert "request complete" in log()
    principal = "spiffe://cluster.local/ns/shop/sa/client"
    assert set(numbers(counts, COUNT, "source_principal")) == {(None,), (principal,)}


def test_another_snapshot_is_not_mistaken_for_the_last(told, counts):
    record, _ = told
    for number in range(10_000):
        # Each is gone when the next is made, perhaps in the same place.
        record.record(seen(caller=requests.workload("c", workload_name=f"c{number % 2}")))
    assert numbers(counts, COUNT, "source_workload") == {("c0",): [5000], ("c1",): [5000]}


@pytest.mark.parametrize(
    ("level", "events"),
    [
        (Level.INFO, ["complete", "refused", "failed"]),
        (Level.WARNING, ["refused", "failed"]),
        (Level.ERROR, ["failed"]),
    ],
    ids=lambda value: value.name if isinstance(value, Level) else "",
)
def test_levels(tmp_path, counts, level, events):
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    record = Requests(counts, AccessLog(fd, level=level))
    record.record(seen())
    record.record(refused())
    record.record(seen(reason=Reason.RESET, status=503, detail="reset"))
    os.close(fd)
    assert re.findall(r'"request (\w+)"', file.read_text()) == events


def test_a_filter_says_what_is_logged(told):
    record, log = told
    failures = Telemetry(
        access_log=(LogSetting(filter="response.code >= 400 || request.headers['x'] == 'y'"),)
    )
    record.record(seen(telemetry=failures))
    assert log() == ""
    record.record(seen(telemetry=failures, headers=(("x", "y"),)))
    record.record(refused(telemetry=failures))
    assert log().count("\n") == 2
    unreadable = Telemetry(access_log=(LogSetting(filter="whatever()"),))
    record.record(seen(telemetry=unreadable))
    assert log().count("\n") == 3


def test_labels_of_an_operators_own(told, counts):
    record, _ = told
    tags = {
        "request_host": "request.host",
        "destination_version": "'fixed'",
        "kind": "request.url_path.startsWith('/api') ? 'api' : 'page'",
        "missing": "request.headers['x']",
        "bad-name": "'x'",
        "le": "'x'",
        "unreadable": "whatever()",
    }
    own = Telemetry(metrics=(Metrics(overrides=(MetricOverride("REQUEST_COUNT", tags=Map(tags)),)),))
    record.record(seen(telemetry=own, authority="a", path="/api/1"))
    record.record(seen(telemetry=own, authority="b", path="/x"))
    record.record(seen(telemetry=own, authority="b" * 1000, path="/x"))
    names = ("request_host", "destination_version", "kind", "missing", "bad-name", "le", "unreadable")
    assert numbers(counts, COUNT, *names) == {
        ("a", "fixed", "api", "unknown", None, None, None): [1],
        ("b", "fixed", "page", "unknown", None, None, None): [1],
        ("b" * 128, "fixed", "page", "unknown", None, None, None): [1],
    }
    assert set(numbers(counts, DURATION, "request_host")) == {(None,)}


def test_labels_that_a_client_makes_up_are_bounded():
    counts = RequestCounts(most=10)
    record = Requests(counts, AccessLog(os.open(os.devnull, os.O_WRONLY)))
    own = Telemetry(metrics=(Metrics(overrides=(MetricOverride(tags=Map({"host": "request.host"})),)),))
    for number in range(100):
        record.record(seen(telemetry=own, authority=f"h{number}"))
    hosts = numbers(counts, COUNT, "host")
    assert len(hosts) == 11
    assert hosts[("overflow",)] == [90]
