"""What a program tells of itself: readiness, metrics, and everything that it decides by."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from ambient.core.errors import InvalidIdentity
from ambient.core.model.identity import SpiffeId
from ambient.core.pki.bundle import Credentials
from ambient.telemetry import admin, dump, exposition, log
from ambient.telemetry.admin import Handler, Request, Response
from ambient.telemetry.dump import Certificate
from ambient.telemetry.exposition import Exposition, Number, Source
from ambient.telemetry.line import Level

if TYPE_CHECKING:
    from ambient.member.parent import Parent


class Status(ABC):
    """Answers the admin endpoint; ``sources`` are metrics that its program alone has."""

    def __init__(self, parent: Parent, *sources: Source) -> None:
        self.parent = parent
        self._version = metadata.version("ambient")
        workers = parent.workers
        self._exposition = Exposition(
            exposition.build(parent.program, self._version),
            exposition.traffic(workers.totals),
            exposition.certificates(self._certificate_states),
            exposition.holding(workers.holding),
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
                Number("ambient_tasks", "Tasks of the parent.", lambda: len(asyncio.all_tasks())),
                Number(
                    "ambient_revoked_certificates",
                    "Certificates on the lists of revoked ones that are in force.",
                    lambda: parent.revoked,
                ),
                Number(
                    "ambient_control_connected",
                    "1 while the control plane is connected.",
                    lambda: parent.subscription is not None and parent.subscription.connected.value,
                ),
                Number(
                    "ambient_mesh_divergences",
                    "Times that what it held of the mesh was not what the control plane said it should be.",
                    lambda: 0 if parent.subscription is None else parent.subscription.divergences,
                    is_counter=True,
                ),
            ),
            *sources,
        )

    @abstractmethod
    def why_not_ready(self) -> str | None:
        """What is missing, or None: it serves all that it was told to."""

    def routes(self) -> dict[str, Handler]:
        """For the admin server."""
        return {
            "GET /healthz/ready": admin.ready(self.why_not_ready),
            "GET /metrics": self._metrics,
            "GET /stats/prometheus": self._metrics,
            "GET /config_dump": admin.fixed(admin.JSON, self._dump),
            "POST /certificates/renew": self._renew,
            "POST /logging": admin.logging(_set_level),
        }

    def why_no_start(self) -> str | None:
        """What keeps any program of the data plane from serving."""
        if not self.parent.workers.serving:
            return "no worker serves"
        if (why := self.parent.why_no_certificate()) is not None:
            return f"the node has no certificate: {why}"
        return None

    async def _metrics(self, request: Request) -> Response:
        await self.parent.workers.scrape()
        return await self._exposition.page(request)

    def _dump(self) -> bytes:
        parent = self.parent
        return dump.config_dump(
            parent.mesh.snapshot, self._certificate_states(), parent.settings.shown, self._version
        )

    async def _renew(self, request: Request) -> Response:
        certificates = self.parent.certificates
        wanted = request.query.get("identity")
        if wanted is None:
            chosen = certificates.identities()
        else:
            try:
                chosen = (SpiffeId.parse(wanted),)
            except InvalidIdentity as error:
                return Response(400, admin.TEXT, f"identity: {error}\n".encode())
        renewed = [str(identity) for identity in chosen if certificates.renew(identity)]
        if wanted is not None and not renewed:
            return Response(404, admin.TEXT, f"no workload of this node runs as {wanted}\n".encode())
        return admin.json_response({"renewing": renewed})

    def _certificate_states(self) -> Iterator[Certificate]:
        certificates = self.parent.certificates
        for identity in certificates.identities():
            credentials = certificates.valid(identity)
            error = certificates.error(identity)
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
