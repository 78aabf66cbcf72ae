from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from telemetry import seen as requests
from telemetry.seen import refused, seen

from ambient.telemetry import exposition
from ambient.telemetry.access import AccessLog
from ambient.telemetry.exposition import Number, render
from ambient.telemetry.request_exposition import requests as source
from ambient.telemetry.request_metrics import BOUNDS, RequestCounts, RequestTotals
from ambient.telemetry.requests import Requests

HOSTILE = replace(requests.CLIENT, workload_name='quote"\nand\\line')


def metrics(*observed):
    counts, totals = RequestCounts(), RequestTotals()
    record = Requests(counts, AccessLog(-1))
    for one in observed:
        record.record(one)
    record.caused("limited", "dry_run")
    record.caused("surprising", "thing")
    totals.update(1, counts.report())
    number = exposition.numbers(Number("ambient_x", "X.", lambda: 1))
    return [metric for one in (number, source(totals)) for metric in exposition.read(one)()]


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", parse_text), ("application/openmetrics-text;version=1.0.0", parse_openmetrics)],
    ids=["prometheus", "openmetrics"],
)
def test_a_scrape_reads_every_value(accept, parse):
    observed = (seen(), seen(caller=HOSTILE, sent=7, began=0.0, ended=0.1), refused(), requests.RETRIED)
    families = {one.name: one for one in parse(render(metrics(*observed), accept, "").body.decode())}
    counted = families["istio_requests"]
    assert counted.type == "counter"
    assert counted.documentation == "Requests."
    assert {
        (
            one.labels["source_workload"],
            one.labels["response_code"],
            one.labels["request_protocol"],
        ): one.value
        for one in counted.samples
    } == {
        ("client", "200", "http"): 1,
        ('quote"\nand\\line', "200", "http"): 1,
        ("client", "403", "http"): 1,
        ("client", "200", "grpc"): 1,
    }
    duration = families["istio_request_duration_milliseconds"]
    assert duration.type == "histogram"
    own = {
        (one.name.rpartition("_")[2], one.labels.get("le")): one.value
        for one in duration.samples
        if one.labels["source_workload"] == HOSTILE.workload_name
    }
    assert [own["bucket", repr(bound)] for bound in BOUNDS] == [float(bound >= 100) for bound in BOUNDS]
    assert (own["bucket", "+Inf"], own["count", None], own["sum", None]) == (1, 1, 100)
    assert {"istio_request_bytes", "istio_response_bytes", "ambient_x"} < set(families)
    causes = {
        (name, one.labels["reason"]): one.value
        for name, family in families.items()
        if name.startswith("ambient_requests_")
        for one in family.samples
    }
    assert causes == {
        ("ambient_requests_refused", "denied"): 1,
        ("ambient_requests_retried", "reset"): 1,
        ("ambient_requests_limited", "dry_run"): 3,
        ("ambient_requests_surprising", "thing"): 1,
    }


def test_before_any_request_every_metric_is_named():
    body = render(metrics(), "", "").body.decode()
    assert "# TYPE istio_requests_total counter\n# HELP istio_request_duration_milliseconds " in body
    assert "# TYPE istio_response_bytes histogram\n" in body
    assert "# TYPE ambient_requests_limited_total counter\n" in body
