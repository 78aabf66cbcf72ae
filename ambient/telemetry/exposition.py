"""Metrics as Prometheus reads them: names and labels of Istio's standard TCP metrics, and ``ambient_*`` of our own.

A program gives ``Exposition`` its sources; each is asked anew for every scrape.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ambient.core.observation import LABELS
from ambient.telemetry.admin import Request, Response
from ambient.telemetry.metrics import open_sockets

if TYPE_CHECKING:
    from ambient.telemetry.dump import Certificate
    from ambient.telemetry.metrics import Reason, Table, Totals

Making: TypeAlias = Callable[[], Iterable[Metric]]
"""Makes metrics of what was read already, in a thread."""
Source: TypeAlias = Callable[[], Iterable[Metric] | Making]
"""Reads the values of this moment."""

_GZIP_FROM = 1024
"""Bytes from which compression is worth its time."""


class Written(Metric):
    """Metrics whose lines have been written already: name without ``_total``, help, type, and lines of each."""

    def __init__(self, parts: Sequence[tuple[str, str, str, str]]) -> None:
        super().__init__(parts[0][0], parts[0][1], "unknown")
        self._parts = parts

    def text(self, *, is_open: bool) -> bytes:
        """As OpenMetrics has it, or as Prometheus's own format, which names a counter by its sample."""
        return "".join(
            f"# HELP {named} {text}\n# TYPE {named} {kind}\n{lines}"
            for name, text, kind, lines in self._parts
            for named in [name if is_open or kind != "counter" else f"{name}_total"]
        ).encode()


class Exposition:
    """A program's metrics page."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    async def page(self, request: Request) -> Response:
        """Answer a scrape. Sources are read here, the text is made in a thread: with many rows it takes a while."""
        sources = [read(source) for source in self._sources]
        headers = request.headers

        def make() -> Response:
            metrics = [metric for source in sources for metric in source()]
            return render(metrics, headers.get("accept", ""), headers.get("accept-encoding", ""))

        return await asyncio.to_thread(make)


def read(source: Source) -> Making:
    """Read a source now, to make its metrics later."""
    found = source()
    if callable(found):
        return found
    metrics = tuple(found)
    return lambda: metrics


def render(metrics: Sequence[Metric], accept: str, accept_encoding: str) -> Response:
    """The page in the form that the scraper asked for: OpenMetrics or plain text, with gzip if it reads that."""
    collected = _Collected([metric for metric in metrics if not isinstance(metric, Written)])
    written = [metric for metric in metrics if isinstance(metric, Written)]
    if _accepts(accept, "application/openmetrics-text"):
        content_type, made = openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
        body = b"".join([*(one.text(is_open=True) for one in written), made])
    else:
        content_type, made = CONTENT_TYPE_PLAIN_0_0_4, generate_latest(collected)
        body = b"".join([*(one.text(is_open=False) for one in written), made])
    headers = {"Vary": "Accept, Accept-Encoding"}
    if len(body) >= _GZIP_FROM and _accepts(accept_encoding, "gzip"):
        body = gzip.compress(body, compresslevel=3, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(200, content_type, body, headers)


def traffic(totals: Totals) -> Source:
    """Connections and bytes, and why connections were turned away."""
    return lambda: partial(_traffic, totals.table(), totals.refused(), totals.lost)


def _traffic(table: Table, refusals: Mapping[Reason, int], lost: int) -> Iterator[Metric]:
    families = [CounterMetricFamily(name, text, labels=LABELS) for name, text in _TRAFFIC]
    for labels, row in table.items():
        for family, value in zip(families, row, strict=True):
            family.add_metric(labels, value)
    yield from families
    sockets = GaugeMetricFamily(
        "istio_tcp_sockets_open", "Proxied connections that are open.", labels=["reporter"]
    )
    yield from _by(sockets, open_sockets(table))
    refused = CounterMetricFamily(
        "ambient_connections_refused",
        "Connections that a decision turned away, by reason.",
        labels=["reporter", "reason"],
    )
    for reason, count in sorted(refusals.items()):
        refused.add_metric(reason, count)
    yield refused
    yield CounterMetricFamily(
        "ambient_connections_lost", "Connections that were open in workers that died.", value=lost
    )


def build(component: str, version: str) -> Source:
    """Which program this is."""

    def collect() -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "istio_build", "Version of the running component.", labels=["component", "tag"]
        )
        family.add_metric([component, version], 1)
        yield family

    return collect


def kernel(reasons: Callable[[], Mapping[str, int]]) -> Source:
    """What the kernel's programs did, by reason."""
    return lambda: _by(
        CounterMetricFamily(
            "ambient_kernel_decisions", "Decisions of the kernel's programs, by reason.", labels=["reason"]
        ),
        reasons(),
    )


def certificates(states: Callable[[], Iterable[Certificate]]) -> Source:
    """How many certificates there are in each state, and when each one ends."""

    def collect() -> Iterable[Metric]:
        state = GaugeMetricFamily(
            "ambient_certificate_state",
            "1 for the state that a certificate is in.",
            labels=["identity", "state"],
        )
        ends = GaugeMetricFamily(
            "ambient_certificate_not_after_timestamp_seconds",
            "When a certificate ends, in seconds since 1970.",
            labels=["identity"],
        )
        for certificate in states():
            state.add_metric([certificate.identity, certificate.state], 1)
            if certificate.not_after is not None:
                ends.add_metric([certificate.identity], certificate.not_after.timestamp())
        yield state
        yield ends

    return collect


def holding(counts: Callable[[], Mapping[str, int]]) -> Source:
    """What workers have of what comes and goes."""
    return lambda: _by(
        GaugeMetricFamily(
            "ambient_workers_holding",
            "What all workers together have at this moment, by kind.",
            labels=["kind"],
        ),
        counts(),
    )


def _by(family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[str, int]) -> Iterator[Metric]:
    """Each count under its name, which is the family's one label."""
    for name, count in sorted(counts.items()):
        family.add_metric([name], count)
    yield family


@dataclass(frozen=True, slots=True)
class Number:
    """One value of a program that needs no labels."""

    name: str
    """Without ``_total``."""
    text: str
    value: Callable[[], float]
    is_counter: bool = False


def numbers(*values: Number) -> Source:
    """Single values: worker deaths, whether the control plane is connected, and the like."""

    def collect() -> Iterable[Metric]:
        for number in values:
            family = CounterMetricFamily if number.is_counter else GaugeMetricFamily
            yield family(number.name, number.text, value=number.value())

    return collect


_TRAFFIC = (
    ("istio_tcp_connections_opened", "Connections opened."),
    ("istio_tcp_connections_closed", "Connections closed."),
    ("istio_tcp_connections_failed", "Connections that were never carried."),
    ("istio_tcp_sent_bytes", "Bytes sent by the server."),
    ("istio_tcp_received_bytes", "Bytes received by the server."),
)
"""In the order of ``metrics.Row``."""


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _accepts(header: str, wanted: str) -> bool:
    """Whether a list of what a client accepts names ``wanted`` and does not rule it out."""
    for choice in header.split(","):
        name, _, parameters = choice.partition(";")
        if name.strip().lower() == wanted:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
