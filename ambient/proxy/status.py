"""What the proxy tells of itself: readiness, metrics, and everything that it decides by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from ambient.core.errors import InvalidIdentity
from ambient.core.model.identity import SpiffeId
from ambient.core.model.pod import Capture
from ambient.core.pki.bundle import Credentials
from ambient.rpc.registration import Accepted, Refused
from ambient.telemetry import admin, dump, exposition, log
from ambient.telemetry.admin import Handler, Request, Response
from ambient.telemetry.dump import Certificate
from ambient.telemetry.exposition import Exposition, Number
from ambient.telemetry.line import Level

if TYPE_CHECKING:
    from ambient.member.certificates import Certificates
    from ambient.member.mesh import Mesh
    from ambient.member.workers import Workers
    from ambient.proxy.pods import Pod, Pods
    from ambient.rpc.subscription import Subscription


class Status:
    """Answers the admin endpoint of a proxy."""

    def __init__(
        self,
        mesh: Mesh,
        pods: Pods,
        workers: Workers,
        certificates: Certificates[SpiffeId],
        revoked: Callable[[], int],
        why_no_node_certificate: Callable[[], str | None],
        config: Mapping[str, object],
    ) -> None:
        self._mesh, self._pods, self._workers, self._certificates = mesh, pods, workers, certificates
        self._why_no_node_certificate = why_no_node_certificate
        self._config = config
        self._version = metadata.version("ambient")
        self.daemon: bool = False
        """Whether the node daemon has named its workloads."""
        self.subscription: Subscription | None = None
        """The stream from the control plane, once it may be opened."""
        self._exposition = Exposition(
            exposition.build("proxy", self._version),
            exposition.traffic(workers.totals),
            exposition.certificates(self._certificate_states),
            exposition.numbers(
                Number(
                    "ambient_worker_deaths",
                    "Workers that ended unasked.",
                    lambda: workers.deaths,
                    is_counter=True,
                ),
                Number(
                    "ambient_access_log_lines_lost",
                    "Lines of the access log that could not be written in full.",
                    lambda: workers.lines_lost,
                    is_counter=True,
                ),
                Number("ambient_workers", "Workers that accept connections.", lambda: workers.serving),
                Number(
                    "ambient_workers_retired",
                    "Workers of earlier parents that still carry connections.",
                    lambda: workers.retired,
                ),
                Number(
                    "ambient_revoked_certificates",
                    "Certificates on the lists of revoked ones that are in force.",
                    revoked,
                ),
                Number(
                    "ambient_control_connected",
                    "1 while the control plane is connected.",
                    lambda: self.subscription is not None and self.subscription.connected.value,
                ),
                Number(
                    "ambient_mesh_divergences",
                    "Times that what the proxy held of the mesh was not what the control plane said it should be.",
                    lambda: 0 if self.subscription is None else self.subscription.divergences,
                    is_counter=True,
                ),
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
        """For the admin server."""
        return {
            "GET /healthz/ready": admin.ready(self.why_not_ready),
            "GET /metrics": self._metrics,
            "GET /stats/prometheus": self._metrics,
            "GET /config_dump": admin.fixed(admin.JSON, self._dump),
            "GET /pods": self._pods_page,
            "POST /certificates/renew": self._renew,
            "POST /logging": admin.logging(_set_level),
        }

    def why_not_ready(self) -> str | None:
        """What is missing, or None: it serves all that it was told to."""
        if not self.daemon:
            return "the node daemon has not named its workloads yet"
        if not self._workers.serving:
            return "no worker serves"
        if (why := self._why_no_node_certificate()) is not None:
            return f"the node has no certificate: {why}"
        for pod in self._pods:
            if isinstance(pod.order, Accepted) and pod.order.enrolled and pod.capture is not Capture.ON:
                return f"workload {pod.uid} is not captured yet: {self._waits_for(pod)}"
        return None

    def _waits_for(self, pod: Pod) -> str:
        if pod.identity is not None and self._certificates.valid(pod.identity) is None:
            return self._certificates.error(pod.identity) or "its certificate has not come"
        return "the node daemon has not set it"

    async def _metrics(self, request: Request) -> Response:
        await self._workers.scrape()
        return await self._exposition.page(request)

    def _dump(self) -> bytes:
        return dump.config_dump(self._mesh.snapshot, self._certificate_states(), self._config, self._version)

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
            "connections": self._workers.connections(pod.uid),
            "olderConnections": pod.older_left,
            **word,
        }

    async def _renew(self, request: Request) -> Response:
        wanted = request.query.get("identity")
        if wanted is None:
            chosen = self._certificates.identities()
        else:
            try:
                chosen = (SpiffeId.parse(wanted),)
            except InvalidIdentity as error:
                return Response(400, admin.TEXT, f"identity: {error}\n".encode())
        renewed = [str(identity) for identity in chosen if self._certificates.renew(identity)]
        if wanted is not None and not renewed:
            return Response(404, admin.TEXT, f"no workload of this node runs as {wanted}\n".encode())
        return admin.json_response({"renewing": renewed})

    def _certificate_states(self) -> Iterator[Certificate]:
        for identity in self._certificates.identities():
            credentials = self._certificates.valid(identity)
            error = self._certificates.error(identity)
            if credentials is None:
                yield Certificate(str(identity), "Unavailable" if error else "Initializing")
            else:
                yield _shown(str(identity), credentials)


def _shown(identity: str, credentials: Credentials) -> Certificate:
    return Certificate(
        identity,
        "Available",
        _split(credentials.chain_pem),
        _split(credentials.roots_pem),
        serial=credentials.serial,
        not_before=credentials.not_before,
        not_after=credentials.not_after,
    )


def _split(pem: bytes) -> tuple[str, ...]:
    end = "-----END CERTIFICATE-----\n"
    return tuple(part + end for part in pem.decode("ascii").split(end) if part.strip())


def _set_level(name: str) -> None:
    log.configure(level=Level.of(name))
