"""What the proxy tells of itself besides what every program tells: its pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core.model.pod import Capture
from ambient.member import status
from ambient.rpc.registration import Accepted, Refused
from ambient.telemetry import admin, exposition
from ambient.telemetry.admin import Handler, Request, Response
from ambient.telemetry.exposition import Number

if TYPE_CHECKING:
    from ambient.member.parent import Parent
    from ambient.proxy.pods import Pod, Pods


class Status(status.Status):
    """Answers the admin endpoint of a proxy."""

    def __init__(self, parent: Parent, pods: Pods) -> None:
        self._pods = pods
        self.daemon: bool = False
        """Whether the node daemon has named its workloads."""
        super().__init__(
            parent,
            exposition.numbers(
                Number(
                    "istio_active_proxy_count",
                    "Pods that are captured.",
                    lambda: sum(pod.capture is Capture.ON for pod in pods),
                ),
                Number(
                    "ambient_older_connections",
                    "Connections older than their pod's capture that were left alone.",
                    lambda: sum(pod.older_left for pod in pods),
                ),
            ),
        )

    def routes(self) -> dict[str, Handler]:
        return {**super().routes(), "GET /pods": self._pods_page}

    def why_not_ready(self) -> str | None:
        if not self.daemon:
            return "the node daemon has not named its workloads yet"
        if (why := self.why_no_start()) is not None:
            return why
        for pod in self._pods:
            if isinstance(pod.order, Accepted) and pod.order.enrolled and pod.capture is not Capture.ON:
                return f"workload {pod.uid} is not captured yet: {self._waits_for(pod)}"
        return None

    def _waits_for(self, pod: Pod) -> str:
        certificates = self.parent.certificates
        if pod.identity is not None and certificates.valid(pod.identity) is None:
            return certificates.error(pod.identity) or "its certificate has not come"
        return "the node daemon has not set it"

    async def _pods_page(self, _: Request) -> Response:
        return admin.json_response([self._pod(pod) for pod in self._pods])

    def _pod(self, pod: Pod) -> dict[str, object]:
        match pod.order:
            case Accepted(_, identity, enrolled):
                word: dict[str, object] = {"identity": str(identity), "enrolled": enrolled}
            case Refused(_, why):
                word = {"refused": why}
            case None:
                word = {}
        return {
            "uid": pod.uid,
            "capture": pod.capture.value,
            "connections": self.parent.workers.connections(pod.uid),
            "olderConnections": pod.older_left,
            **word,
        }
