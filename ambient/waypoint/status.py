"""What a waypoint tells of itself besides what every program tells: why it is not called yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.member import status
from ambient.telemetry import exposition, request_exposition
from ambient.telemetry.exposition import Number

if TYPE_CHECKING:
    from ambient.member.parent import Parent
    from ambient.rpc.otlp import Exporter
    from ambient.waypoint.keys import Keys
    from ambient.waypoint.replica import Replica


class Status(status.Status):
    """Answers the admin endpoint of a waypoint."""

    def __init__(self, parent: Parent, replica: Replica, keys: Keys, exporter: Exporter | None) -> None:
        self._replica = replica
        super().__init__(
            parent,
            request_exposition.requests(parent.workers.request_totals),
            exposition.numbers(
                Number(
                    "ambient_token_keys_failing",
                    "Places that keys of tokens' issuers could not be fetched from.",
                    lambda: len(keys.troubles),
                ),
                Number(
                    "ambient_spans_sent",
                    "Spans that the collector has taken.",
                    lambda: 0 if exporter is None else exporter.sent,
                    is_counter=True,
                ),
                Number(
                    "ambient_spans_dropped",
                    "Spans that there was no room for, or that the collector would not have.",
                    lambda: 0 if exporter is None else exporter.dropped,
                    is_counter=True,
                ),
            ),
        )

    def why_not_ready(self) -> str | None:
        return self.why_no_start() or self._replica.why_not_ready()
