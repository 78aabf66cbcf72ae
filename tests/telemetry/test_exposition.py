import gzip
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ambient.core.observation import LABELS
from ambient.telemetry import exposition
from ambient.telemetry.admin import Request
from ambient.telemetry.dump import Certificate
from ambient.telemetry.exposition import Exposition, Number, render
from ambient.telemetry.metrics import Totals, Traffic

ROW = ("source", 'quote"\nand\\line', *LABELS[2:])
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"


def totals() -> Totals:
    traffic, totals = Traffic(), Totals()
    counts = traffic.counts(ROW)
    counts.opened, counts.closed, counts.failed, counts.sent, counts.received = 5, 2, 1, 1000, 500
    traffic.refused("source", "unknown_waypoint")
    totals.update(1, traffic.report())
    return totals


SOURCES = (
    exposition.traffic(totals()),
    exposition.build("proxy", "0.1.0"),
    exposition.kernel(lambda: {"redirected": 3, "dropped_unknown_address": 1}),
    exposition.certificates(
        lambda: [
            Certificate("spiffe://td/ns/a/sa/b", "Available", not_after=datetime(2026, 1, 1, tzinfo=UTC)),
            Certificate("spiffe://td/ns/a/sa/c", "Initializing"),
        ]
    ),
    exposition.holding(lambda: {"tasks": 4, "requests": 0}),
    exposition.numbers(
        Number("ambient_worker_deaths", "Workers that died.", lambda: 2, is_counter=True),
        Number("ambient_xds_connected", "Whether the control plane is connected.", lambda: True),
    ),
)
METRICS = [metric for source in SOURCES for metric in exposition.read(source)()]


def samples(families):
    return {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items()) if sample.name[:10] != "istio_tcp_"),
        ): (sample.value)
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "parse", "content_type"),
    [
        ("", parse_text, "text/plain; version=0.0.4"),
        ("*/*", parse_text, "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=x\udc80y", parse_openmetrics, "application/openmetrics-text"),
        ("application/openmetrics-text;q=0, text/plain", parse_text, "text/plain; version=0.0.4"),
        (OPENMETRICS, parse_openmetrics, "application/openmetrics-text"),
    ],
    ids=["nothing", "anything", "nonsense-version", "not-openmetrics", "prometheus"],
)
def test_a_scrape_reads_every_value(accept, parse, content_type):
    response = render(METRICS, accept, "")
    assert response.content_type.startswith(content_type)
    assert "Content-Encoding" not in response.headers
    found = samples(parse(response.body.decode()))
    assert found == {
        ("istio_tcp_connections_opened_total",): 5,
        ("istio_tcp_connections_closed_total",): 2,
        ("istio_tcp_connections_failed_total",): 1,
        ("istio_tcp_sent_bytes_total",): 1000,
        ("istio_tcp_received_bytes_total",): 500,
        ("istio_tcp_sockets_open",): 3,
        ("istio_build", "proxy", "0.1.0"): 1,
        ("ambient_connections_refused_total", "unknown_waypoint", "source"): 1,
        ("ambient_connections_lost_total",): 0,
        ("ambient_kernel_decisions_total", "redirected"): 3,
        ("ambient_kernel_decisions_total", "dropped_unknown_address"): 1,
        ("ambient_certificate_state", "spiffe://td/ns/a/sa/b", "Available"): 1,
        ("ambient_certificate_state", "spiffe://td/ns/a/sa/c", "Initializing"): 1,
        ("ambient_certificate_not_after_timestamp_seconds", "spiffe://td/ns/a/sa/b"): 1767225600,
        ("ambient_workers_holding", "tasks"): 4,
        ("ambient_workers_holding", "requests"): 0,
        ("ambient_worker_deaths_total",): 2,
        ("ambient_xds_connected",): 1,
    }


def test_all_labels_come_and_are_escaped():
    body = render(METRICS, "", "").body.decode()
    line = next(line for line in body.splitlines() if line.startswith("istio_tcp_sent_bytes_total{"))
    assert {part.split("=")[0] for part in line[line.index("{") + 1 :].split('",')} == set(LABELS)
    assert r'source_workload="quote\"\nand\\line"' in line


@pytest.mark.parametrize(
    ("accept_encoding", "is_packed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False), ("", False)],
    ids=["gzip", "among-others", "ruled-out", "other", "none"],
)
def test_compression(accept_encoding, is_packed):
    response = render(METRICS, "", accept_encoding)
    assert (response.headers.get("Content-Encoding") == "gzip") is is_packed
    body = gzip.decompress(response.body) if is_packed else response.body
    assert b"istio_build" in body


async def test_sources_are_asked_anew_for_each_scrape():
    seen = []
    page = Exposition(exposition.numbers(Number("ambient_x", "X.", lambda: len(seen))))
    request = Request("GET", "/metrics", {}, {})
    assert b"ambient_x 0.0" in (await page.page(request)).body
    seen.append(1)
    assert b"ambient_x 1.0" in (await page.page(request)).body
