"""A replica as the mesh knows it: a workload that is registered, then called, and called no more before it stops."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from immutables import Map

from ambient.rpc.registration import Accepted, LocalWorkload, Order, Refused, Registration
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.core.model.identity import SpiffeId
    from ambient.member.certificates import Certificates
    from ambient.member.workers import Workers
    from ambient.waypoint.settings import Settings

GATEWAY_LABEL: Final = "gateway.networking.k8s.io/gateway-name"
"""With its waypoint's name: the waypoint's service selects it."""
MODE_LABEL: Final = "ambient.dev/dataplane-mode"
_TOLD_SECONDS: Final = 2.0
"""How long the control plane may take to be told, if it can be."""


class Replica:
    """Brings it there. ``look`` is to be called when anything has changed that it may wait for."""

    def __init__(
        self,
        settings: Settings,
        registration: Registration,
        certificates: Certificates[SpiffeId],
        workers: Workers,
    ) -> None:
        self._settings, self._registration = settings, registration
        self._certificates, self._workers = certificates, workers
        self._order: Order | None = None
        self._is_called = False
        """Callers were told that it speaks HBONE."""
        self._changed = asyncio.Event()

    async def bring(self) -> None:
        """For ever: from registered to called, once it has a certificate and workers that know it."""
        while True:
            self._changed.clear()
            identity = self._order.identity if isinstance(self._order, Accepted) else None
            if identity is not None:
                self._certificates.want(identity)
                if not self._is_called and self._certificates.valid(identity) is not None:
                    await self._workers.settled()
                    self._is_called = True
                    self.report(healthy=True)
                    log.info("waypoint is called from here on", identity=identity)
            await self._changed.wait()

    def ordered(self, order: Order) -> None:
        """The control plane's word on it."""
        if isinstance(order, Refused) and self._order != order:
            log.error("waypoint refused by the control plane", workload=order.uid, why=order.why)
        self._order = order
        self.look()

    def look(self) -> None:
        """Something changed."""
        self._changed.set()

    def report(self, *, healthy: bool) -> None:
        """Tell the control plane of it."""
        settings = self._settings
        self._registration.set(
            LocalWorkload(
                settings.uid,
                settings.workload,
                settings.namespace,
                settings.service_account,
                settings.addresses,
                Map({GATEWAY_LABEL: settings.name, MODE_LABEL: "ambient"}),
                captured=self._is_called,
                healthy=healthy,
            )
        )

    async def step_back(self) -> bool:
        """Have callers go elsewhere; whether there may be any."""
        if self._is_called:
            self.report(healthy=False)
            await self._told()
        return self._is_called

    async def leave(self) -> None:
        """It is no more."""
        self._registration.forget(self._settings.uid)
        await self._told()

    def why_not_ready(self) -> str | None:
        """What keeps it from being called; None: it is."""
        match self._order:
            case None:
                return "the control plane has not spoken of it yet"
            case Refused(_, why):
                return why
            case Accepted(_, identity, _):
                if self._certificates.valid(identity) is None:
                    return self._certificates.error(identity) or "its certificate has not come"
        return None if self._is_called else "its workers are not ready"

    async def _told(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TOLD_SECONDS):
                await self._registration.told()
