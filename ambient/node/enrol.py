"""Keeps the kernel at the wish of the proxy: how far each workload's traffic is captured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import TypeVar

from ambient.core import redirection
from ambient.core.errors import ConfigError
from ambient.core.model.pod import Capture, Exclusions, OlderConnection
from ambient.kernel.redirector import NotAttached
from ambient.node.machine import Machine, Redirector
from ambient.node.pods import Local, Pods
from ambient.node.serial import Serial
from ambient.telemetry import log

T = TypeVar("T")


class Enrolment:
    """All that touches the kernel for workloads, one step after another.

    ``own_cgroup`` and each ``proxy_cgroup`` are cgroup v2 folders, None for the root of the hierarchy. Sockets that
    carry the mesh's traffic inside a pod belong to them: the proxy's dial, the daemon's accept, for a socket that is
    accepted belongs where its listener was made.
    """

    def __init__(
        self,
        machine: Machine,
        redirector: Redirector,
        pods: Pods,
        mesh_wide: Exclusions,
        own_cgroup: str | None,
    ) -> None:
        self._machine, self._redirector, self._pods = machine, redirector, pods
        self._mesh_wide, self._own_cgroup = mesh_wide, own_cgroup
        self._marked = pods.proxy_cgroup
        self._serial = Serial()

    def exclusions(self, local: Local) -> Exclusions:
        """What of a workload's traffic the kernel leaves alone."""
        return local.pod.exclusions | self._mesh_wide

    async def set_capture(self, uid: str, mode: Capture, proxy_cgroup: str | None) -> None:
        """Have the kernel do it; nothing is changed if that raises."""
        await self._serial.do(lambda: self._set_capture(uid, mode, proxy_cgroup))

    async def sync(self) -> int:
        """Bring the kernel to the table; how many writes it took."""
        return await self._serial.do(self._sync)

    async def apart(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``, which opens, closes or looks into what workloads hold, while nothing else does."""
        return await self._serial.do(work)

    async def forget(self, uid: str) -> None:
        """It is no workload of this node any more: nothing of it is left in the table, the kernel or the daemon."""
        await self._serial.do(lambda: self._forget(uid))

    async def older(self, uid: str, proxy_cgroup: str | None) -> tuple[OlderConnection, ...]:
        """Its connections that are older than its capture and still open."""
        return await self._serial.do(lambda: self._older(uid, proxy_cgroup))

    async def destroy(self, uid: str, doomed: Collection[OlderConnection]) -> int:
        """Reset older connections of a workload; others are left alone."""
        return await self._serial.do(lambda: self._destroy(uid, doomed))

    async def stop(self) -> None:
        """Finish the step that was begun."""
        await self._serial.stop()

    async def _set_capture(self, uid: str, mode: Capture, proxy_cgroup: str | None) -> None:
        before = self._pods.get(uid)
        _check_possible(before, mode, proxy_cgroup)
        if mode is before.capture:
            await self._mark(before, proxy_cgroup)
            await self._sync(uid)
            return
        # On disk before it is in the kernel: a daemon that dies in between goes on from the newer wish.
        await self._mark(before, proxy_cgroup)
        changed = self._pods.change(uid, lambda local: replace(local, capture=mode))
        try:
            await self._sync(uid)
        except BaseException:
            self._pods.change(uid, lambda local: replace(local, capture=before.capture))
            await self._sync()
            raise
        older = changed.older if mode is not Capture.OFF else frozenset()
        if mode is Capture.ON and self._can_tell_apart(before, proxy_cgroup):
            found = await asyncio.to_thread(self._established, changed, proxy_cgroup)
            older = frozenset(connection.cookie for connection in found)
        self._pods.change(uid, lambda local: replace(local, older=older))
        log.info(
            "capture changed",
            workload=uid,
            capture=mode.value,
            before=before.capture.value,
            older_connections=len(older),
        )

    async def _forget(self, uid: str) -> None:
        local = self._pods.remove(uid)
        try:
            await self._sync()
        finally:
            local.close()

    def _can_tell_apart(self, before: Local, proxy_cgroup: str | None) -> bool:
        """Whether connections that the mesh carries for it differ from its own: there are none, or by cgroup."""
        if before.capture is Capture.OFF or before.pod.cgroup is not None:
            return True
        return self._own_cgroup is not None and proxy_cgroup is not None

    async def _mark(self, local: Local, proxy_cgroup: str | None) -> None:
        if local.pod.cgroup is None and proxy_cgroup is not None and proxy_cgroup != self._marked:
            await asyncio.to_thread(self._redirector.mark_proxy, proxy_cgroup)
            self._marked = proxy_cgroup
            self._pods.remember_proxy(proxy_cgroup)

    async def _sync(self, asked: str | None = None) -> int:
        """Only what is wrong with the workload that was ``asked`` for is raised; the others' is in the log."""
        pods = tuple(self._pods)
        wish = redirection.desired(
            (local.pod for local in pods), {local.pod.uid: local.capture for local in pods}, self._mesh_wide
        )
        netns = {local.pod.uid: local.netns for local in pods}
        listeners = {local.pod.uid: local.listeners for local in pods if local.listeners is not None}
        try:
            return await asyncio.to_thread(self._redirector.set, wish, netns, listeners)
        except NotAttached as error:
            for uid, failure in error.failures.items():
                if uid != asked:
                    log.error("a workload is not captured as it should be", workload=uid, error=str(failure))
            if asked is not None and asked in error.failures:
                raise error.failures[asked] from error
            return 0

    async def _older(self, uid: str, proxy_cgroup: str | None) -> tuple[OlderConnection, ...]:
        local = self._pods.get(uid)
        if not local.older:
            return ()
        found = await asyncio.to_thread(self._established, local, proxy_cgroup)
        left = tuple(connection for connection in found if connection.cookie in local.older)
        cookies = frozenset(connection.cookie for connection in left)
        if cookies != local.older:
            self._pods.change(uid, lambda now: replace(now, older=cookies))
        return left

    async def _destroy(self, uid: str, doomed: Collection[OlderConnection]) -> int:
        local = self._pods.get(uid)
        known = [connection for connection in doomed if connection.cookie in local.older]
        destroyed = await asyncio.to_thread(self._machine.destroy, local.netns, known)
        left = local.older - {connection.cookie for connection in known}
        self._pods.change(uid, lambda now: replace(now, older=left))
        log.info("older connections reset", workload=uid, connections=destroyed)
        return destroyed

    def _established(self, local: Local, proxy_cgroup: str | None) -> tuple[OlderConnection, ...]:
        mesh = {proxy_cgroup, self._own_cgroup}
        if local.pod.cgroup is None:
            mesh.discard(None)  # Its own sockets are of the root too.
        return self._machine.established(local.netns, mesh)


def _check_possible(local: Local, mode: Capture, proxy_cgroup: str | None) -> None:
    title = f'workload "{local.pod.namespace}/{local.pod.name}"'
    if mode is Capture.OFF:
        return
    if local.listeners is None:
        raise ConfigError(
            f"{title} cannot be captured: its listeners are held by a process that is not connected; stop the "
            "other proxy, or let it come back"
        )
    if local.pod.cgroup is None and proxy_cgroup is None:
        raise ConfigError(
            f"{title} cannot be captured: it has no cgroup v2 folder, so its sockets can be told from the proxy's "
            "only if the proxy has one; start the proxy in a cgroup v2 folder of its own (a systemd unit does), or "
            "give the workload's with --cgroup"
        )
