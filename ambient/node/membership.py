"""Which workloads are of this node: brings what sources tell to the table, the proxy and the kernel, or to none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ambient.core.errors import AmbientError, ConfigError, Unavailable
from ambient.core.model.address import IpAddress
from ambient.core.model.pod import Capture
from ambient.node.enrol import Enrolment
from ambient.node.pods import Local, Pods
from ambient.node.serial import Serial
from ambient.node.source import Added, Event, Found, Judged, Removed
from ambient.node.zds_server import Proxies
from ambient.telemetry import log

SWEEP_SECONDS = 2.0


class Membership:
    """Joins and leaves, one after another."""

    def __init__(self, pods: Pods, enrolment: Enrolment, proxies: Proxies) -> None:
        self._pods, self._enrolment, self._proxies = pods, enrolment, proxies
        self._serial = Serial()

    async def apply(self, event: Event) -> str:
        """Do what a source asks; see ``source.Apply``."""
        match event:
            case Added(found):
                return await self._serial.do(lambda: self._add(found))
            case Removed(name, namespace, now):
                return await self._serial.do(lambda: self._remove(self._pods.uid(namespace, name), now=now))
            case Judged(name, namespace, healthy):
                return await self._serial.do(
                    lambda: self._judge(self._pods.uid(namespace, name), healthy=healthy)
                )

    async def probed(self, uid: str, *, healthy: bool) -> None:
        """A probe has found out something new about a workload."""

        async def note() -> str:
            if (local := self._pods.find(uid)) is None or local.pod.probe is None:
                return ""
            return await self._set_health(uid, healthy=healthy)

        try:
            await self._serial.do(note)
        except AmbientError as error:
            log.warning("the health of a workload was not noted", workload=uid, error=str(error))

    async def sweep_forever(self) -> None:
        """Keep up with what nobody tells: workloads that vanish, and addresses that change."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._serial.do(self.sweep)
            except (OSError, AmbientError) as error:
                # No descriptors or no room on the disk are left, most likely: that passes.
                log.warning("workloads could not be looked at", error=str(error))

    async def sweep(self) -> None:
        """Look at every workload once."""
        gone, moved = await self._enrolment.apart(self._look)
        for uid in gone:
            log.info("workload vanished", workload=uid)
            await self._leave(uid, now=True)
        for uid, addresses in moved:
            self._move(uid, addresses)
            log.info("addresses changed", workload=uid, addresses=[str(ip) for ip in addresses])
        listening = await self._enrolment.apart(self._listen_again)
        if moved or listening:
            await self._enrolment.sync()
        for uid, _ in moved:
            try:
                await self._proxies.add(uid)
            except (ConfigError, Unavailable) as error:
                log.warning("the proxy was not told of new addresses", workload=uid, error=str(error))

    async def listen(self) -> None:
        """Make the listeners of workloads that have none, where their ports are free."""
        await self._enrolment.apart(self._listen_again)

    async def stop(self) -> None:
        """Finish the step that was begun."""
        await self._serial.stop()

    async def _add(self, found: Found) -> str:
        uid = self._pods.uid(found.namespace, found.name)
        known = self._pods.find(uid)
        if known is not None and not self._pods.is_there(known):
            await self._leave(uid, now=True)
        elif known is not None and _is_same(known, found):
            return self._unfinished(uid)
        await self._enrolment.apart(lambda: self._open(found))
        try:
            return await self._announce(uid)
        except BaseException:
            if not self._proxies.why_not_proxied(uid):
                await self._proxies.remove(uid, now=True)
            await self._enrolment.forget(uid)
            raise

    async def _open(self, found: Found) -> None:
        self._pods.insert(self._pods.open(found))

    async def _announce(self, uid: str) -> str:
        try:
            await self._proxies.add(uid)
        except Unavailable as error:
            note = f"registered, and waiting: {error}"
        else:
            note = ""
        self._pods.keep(uid)
        local = self._pods.get(uid)
        log.info(
            "workload added",
            workload=uid,
            netns=str(local.at),
            cgroup=local.pod.cgroup or "",
            addresses=[str(ip) for ip in local.pod.addresses],
            pending=note,
        )
        return note

    async def _judge(self, uid: str, *, healthy: bool) -> str:
        local = self._pods.get(uid)
        if local.pod.probe is not None:
            raise ConfigError(
                f"the health of workload {uid!r} is found out by its probe {local.pod.probe}; add it anew without one"
            )
        return await self._set_health(uid, healthy=healthy)

    async def _set_health(self, uid: str, *, healthy: bool) -> str:
        if self._pods.get(uid).pod.healthy == healthy:
            return ""
        self._pods.change(uid, lambda local: replace(local, pod=replace(local.pod, healthy=healthy)))
        log.info("health changed", workload=uid, healthy=healthy)
        try:
            await self._proxies.add(uid)
        except Unavailable as error:
            return f"noted, and waiting: {error}"
        return ""

    def _unfinished(self, uid: str) -> str:
        why = self._proxies.why_not_proxied(uid)
        return f"registered, and waiting: {why}" if why else ""

    async def _remove(self, uid: str, *, now: bool) -> str:
        self._pods.get(uid)
        await self._leave(uid, now=now)
        log.info("workload removed", workload=uid, now=now)
        return ""

    async def _leave(self, uid: str, *, now: bool) -> None:
        local = self._pods.get(uid)
        if local.capture is Capture.ON and not now and local.listeners is not None:
            session = self._proxies.current
            try:
                await self._enrolment.set_capture(uid, Capture.DRAINING, session.cgroup if session else None)
            except AmbientError as error:
                log.warning("a workload leaves without draining", workload=uid, error=str(error))
        await self._proxies.remove(uid, now=now)
        await self._enrolment.forget(uid)

    def _move(self, uid: str, addresses: tuple[IpAddress, ...]) -> None:
        self._pods.change(uid, lambda local: replace(local, pod=replace(local.pod, addresses=addresses)))

    async def _look(self) -> tuple[list[str], list[tuple[str, tuple[IpAddress, ...]]]]:
        return await asyncio.to_thread(self._look_at, tuple(self._pods))

    def _look_at(
        self, locals_: tuple[Local, ...]
    ) -> tuple[list[str], list[tuple[str, tuple[IpAddress, ...]]]]:
        gone: list[str] = []
        moved: list[tuple[str, tuple[IpAddress, ...]]] = []
        for local in locals_:
            if not self._pods.is_there(local):
                gone.append(local.pod.uid)
            elif (addresses := local.netns.addresses()) != local.pod.addresses:
                moved.append((local.pod.uid, addresses))
        return gone, moved

    async def _listen_again(self) -> bool:
        """Make listeners where a lost proxy held them, if it has let go; whether there are new ones."""
        session = self._proxies.current
        if session is not None and not session.extended:
            return False
        made = False
        for local in self._pods:
            if local.listeners is None:
                try:
                    self._pods.listen(local)
                except ConfigError:
                    continue  # `workload list` tells.
                made = True
        return made


def _is_same(known: Local, found: Found) -> bool:
    pod = known.pod
    return (
        known.at == found.netns
        and pod.service_account == found.service_account
        and pod.labels == found.labels
        and pod.exclusions == found.exclusions
        and pod.probe == found.probe
        and found.cgroup in {None, pod.cgroup}
    )
