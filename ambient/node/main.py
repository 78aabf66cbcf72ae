"""The node daemon put together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ambient.aio import notify
from ambient.aio.tasks import Tasks
from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.pod import Exclusions
from ambient.kernel import loader, process, redirector as kernel_redirector
from ambient.node import pods as table
from ambient.node.api import Api
from ambient.node.deposit import Deposit
from ambient.node.enrol import Enrolment
from ambient.node.machine import Linux, LinuxRedirector, Machine, Redirector
from ambient.node.membership import Membership
from ambient.node.pods import Local, Pods
from ambient.node.probes import Probes
from ambient.node.refuse import Refuser
from ambient.node.zds_server import Proxies
from ambient.rpc import zds
from ambient.telemetry import log

CAPABILITIES: Final = ("NET_ADMIN", "SYS_ADMIN")
"""To attach programs and reset connections; to load programs and enter namespaces. No others are used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator says."""

    name: str
    run_dir: Path
    state_dir: Path
    cluster: str = "local"
    exclusions: Exclusions = field(default_factory=Exclusions)
    """For every workload of the node."""
    prober_cgroup: str | None = None


def run(settings: Settings) -> None:
    """Be the daemon until SIGTERM or SIGINT. Raises ConfigError if the machine or the settings do not allow it."""
    process.check_privileges("ambient node", *CAPABILITIES)
    with _sole_daemon(settings):
        process.forbid_core_dumps()
        process.allow_many_descriptors()
        if not loader.has_bpffs():
            log.warning(
                "no BPF file system was mounted; what is kept in one does not outlive a container that has not the host's",
                mounts=str(loader.BPFFS),
            )
        redirector = kernel_redirector.Redirector.open(
            settings.name,
            prober_cgroup=settings.prober_cgroup,
            proxy_cgroup=table.saved_proxy_cgroup(settings.state_dir),
        )
        try:
            asyncio.run(_until_told(settings, Linux(), LinuxRedirector(redirector)))
        finally:
            redirector.close()


def uninstall(settings: Settings) -> None:
    """Leave nothing of the node on this machine. Raises ConfigError while its daemon runs."""
    process.check_privileges("ambient node", *CAPABILITIES)
    with _sole_daemon(settings):
        kernel_redirector.uninstall(settings.name)
        table.uninstall(settings.state_dir)
        for path in settings.run_dir.iterdir():
            if path.is_socket() or path.suffix == ".lock":  # The proxy's are there too.
                path.unlink(missing_ok=True)
        for folder in (settings.state_dir, settings.run_dir):
            with contextlib.suppress(OSError):  # Others have files there too.
                folder.rmdir()


def release(settings: Settings) -> None:
    """Leave nothing of the node in the kernel, and its table on disk for the next daemon.

    Raises ConfigError while its daemon runs.
    """
    process.check_privileges("ambient node", *CAPABILITIES)
    with _sole_daemon(settings):
        kernel_redirector.uninstall(settings.name)


class Daemon:
    """Everything that runs in one event loop."""

    def __init__(self, settings: Settings, machine: Machine, redirector: Redirector) -> None:
        self._settings, self._redirector = settings, redirector
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = Tasks(self._crashed)
        self._pods = Pods(settings.cluster, settings.state_dir, machine)
        self._deposit = Deposit()
        self._enrolment = Enrolment(
            machine, redirector, self._pods, settings.exclusions, machine.own_cgroup()
        )
        self._proxies = Proxies(
            settings.name, self._pods, self._enrolment, self._deposit, machine, redirector, _ended
        )
        self._membership = Membership(self._pods, self._enrolment, self._proxies)
        self._probes = Probes(
            lambda: {local.pod.uid: local for local in self._pods}, machine, self._membership.probed
        )
        self._refuser = Refuser(self._pods, self._proxies.away_seconds)

    async def serve(self) -> None:
        """Take over from an earlier daemon, then serve until cancelled. Raises what a part of it crashed with."""
        for uid in self._pods.load():
            log.info("workload vanished while no daemon ran", workload=uid)
        try:
            await self._membership.listen()
            writes = await self._enrolment.sync()
            listener = zds.serve(str(self._settings.run_dir / zds.SOCKET_NAME), self._proxies.meet, _ended)
            try:
                api = Api(self._settings.run_dir, self._list, self._status)
                self._tasks.start(api.run(self._membership.apply), "local interface")
                self._tasks.start(self._membership.sweep_forever(), "sweep")
                self._tasks.start(self._proxies.retry(), "retry")
                self._tasks.start(self._refuser.run(), "refuser")
                self._tasks.start(self._probes.run(), "probes")
                log.info("ready", node=self._settings.name, workloads=len(self._pods), kernel_writes=writes)
                notify.tell(notify.READY)
                await self._failed
            finally:
                notify.tell(notify.STOPPING)
                await self._tasks.stop()
                await self._proxies.stop()
                await listener.close()
                await self._membership.stop()
                await self._enrolment.stop()
        finally:
            self._pods.close()
            self._deposit.close()

    def _crashed(self, name: str, error: BaseException) -> None:
        log.error("a part of the daemon crashed", part=name, error=repr(error))
        if not self._failed.done():
            self._failed.set_exception(error)

    def _list(self) -> list[dict[str, Any]]:
        return [self._described(local) for local in self._pods]

    def _described(self, local: Local) -> dict[str, Any]:
        pod, why_not = local.pod, self._proxies.why_not_proxied(local.pod.uid)
        return {
            "uid": pod.uid,
            "name": pod.name,
            "namespace": pod.namespace,
            "service_account": pod.service_account,
            "labels": dict(pod.labels),
            "addresses": [str(ip) for ip in pod.addresses],
            "netns": str(local.at),
            "cgroup": pod.cgroup,
            "capture": local.capture.value,
            "proxied": not why_not,
            "why_not_proxied": why_not,
            "older_connections": len(local.older),
            "probe": None if pod.probe is None else str(pod.probe),
            "healthy": pod.healthy,
        }

    def _status(self) -> dict[str, Any]:
        session = self._proxies.current
        proxy = None
        if session is not None:
            proxy = {
                "pid": session.socket.peer.pid,
                "cgroup": session.cgroup,
                "ambient_v1": session.extended,
                "workloads": len(session.acknowledged),
            }
        return {
            "node": self._settings.name,
            "ready": True,
            "proxy": proxy,
            "workloads": len(self._pods),
            "deposits": len(self._deposit),
            "refused_connections": self._refuser.refused,
            "counters": self._redirector.counters(),
        }


def _ended(name: str, error: BaseException) -> None:
    """Note how a conversation with a proxy ended; the daemon goes on."""
    match error:
        case Unavailable():
            log.info("conversation over", peer=name, why=str(error))
        case PeerError() | ConfigError():
            log.warning("conversation ended for a fault of the proxy", peer=name, error=str(error))
        case _:
            log.error("conversation crashed", peer=name, error=repr(error))


async def _until_told(settings: Settings, machine: Machine, redirector: Redirector) -> None:
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(Daemon(settings, machine, redirector).serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("stopped", node=settings.name)


@contextlib.contextmanager
def _sole_daemon(settings: Settings) -> Iterator[None]:
    """Hold the folders: two daemons that share one would undo each other's work."""
    with contextlib.ExitStack() as held:
        for folder in (settings.run_dir, settings.state_dir):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise ConfigError(
                    f"{folder}: {error.strerror}; give a folder that can be written to"
                ) from error
            held.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"{folder} belongs to a node daemon that is running; stop that one, or give another folder"
                ) from None
        yield
