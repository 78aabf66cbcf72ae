"""What a waypoint tells of itself besides what every program tells: why it is not called yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.member import status
from ambient.telemetry import request_exposition

if TYPE_CHECKING:
    from ambient.member.parent import Parent
    from ambient.waypoint.replica import Replica


class Status(status.Status):
    """Answers the admin endpoint of a waypoint."""

    def __init__(self, parent: Parent, replica: Replica) -> None:
        self._replica = replica
        super().__init__(parent, request_exposition.requests(parent.workers.request_totals))

    def why_not_ready(self) -> str | None:
        return self.why_no_start() or self._replica.why_not_ready()
