"""The workloads of this node: who they are, and what of them the daemon holds open."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from immutables import Map
from pydantic import BaseModel, ConfigDict, ValidationError

from ambient.core.errors import ConfigError
from ambient.core.model.pod import Capture, Exclusions, Pod, Probe
from ambient.core.redirection import Role
from ambient.node.machine import Machine, Netns
from ambient.node.source import AtPath, Found, OfProcess

FILE_NAME: Final = "workloads.json"


@dataclass(frozen=True, slots=True)
class Local:
    """One workload, and what the daemon holds of it."""

    pod: Pod
    at: AtPath | OfProcess
    started: int
    """When its process was started, in ticks since boot; 0 for a workload that is found by path."""
    netns: Netns
    listeners: Mapping[Role, socket.socket] | None
    """None: a proxy that has not come back yet holds them."""
    capture: Capture = Capture.OFF
    older: frozenset[int] = frozenset()
    """Cookies of its connections that are older than its capture."""

    def close(self) -> None:
        """Let go of its namespace and listeners."""
        self.netns.close()
        close_listeners(self.listeners)


def close_listeners(listeners: Mapping[Role, socket.socket] | None) -> None:
    """Let go of each."""
    for listener in (listeners or {}).values():
        listener.close()


class Pods:
    """Sole owner of the table and of every descriptor in it; what must survive the daemon is on disk."""

    def __init__(self, cluster: str, state_dir: Path, machine: Machine) -> None:
        self._cluster, self._machine = cluster, machine
        self._file = state_dir / FILE_NAME
        self._table: dict[str, Local] = {}
        self._unsaved: set[str] = set()
        self._written: dict[str, tuple[Local, str]] = {}
        """The record of each workload that is on disk, as it is written there."""
        self._content: bytes | None = None
        """What the file holds; None: not known."""
        self.proxy_cgroup: str | None = None
        """Where the sockets are made that the root programs pass, if there are such programs."""

    def uid(self, namespace: str, name: str) -> str:
        """What a workload is called in the whole mesh."""
        return f"{self._cluster}/ambient.dev/Workload/{namespace}/{name}"

    def get(self, uid: str) -> Local:
        """The workload. Raises ConfigError if it is not of this node."""
        try:
            return self._table[uid]
        except KeyError:
            raise ConfigError(f"workload {uid!r} is not registered on this node") from None

    def find(self, uid: str) -> Local | None:
        """The workload, if it is of this node."""
        return self._table.get(uid)

    def __iter__(self) -> Iterator[Local]:
        return iter([self._table[uid] for uid in sorted(self._table)])

    def __len__(self) -> int:
        return len(self._table)

    def open(self, found: Found) -> Local:
        """What a source has found, checked against the machine and the table, with its listeners made.

        It is not in the table yet. Raises ConfigError, with nothing left open.
        """
        uid = self.uid(found.namespace, found.name)
        title = f'workload "{found.namespace}/{found.name}"'
        if uid in self._table:
            raise ConfigError(f"{title} is registered already, in {self._table[uid].at}; remove it first")
        started, cgroup = 0, found.cgroup
        if isinstance(found.netns, OfProcess):
            started = self._started(found.netns)
            cgroup = cgroup or self._machine.cgroup_of(found.netns.pid)
        if cgroup is not None:
            self._machine.check_cgroup(cgroup)
        elif found.probe is not None:
            raise ConfigError(
                f"{title} has a probe and no cgroup to tell the probe from it by; give its cgroup too"
            )
        netns = self._netns(found.netns)
        try:
            self._check_alone(title, found, netns)
            pod = Pod(
                uid=uid,
                name=found.name,
                namespace=found.namespace,
                service_account=found.service_account,
                netns_cookie=netns.cookie,
                addresses=netns.addresses(),
                labels=found.labels,
                cgroup=cgroup,
                exclusions=found.exclusions,
                probe=found.probe,
                # Nobody is sent to one that starts before it has answered.
                healthy=found.probe is None,
            )
            return Local(pod, found.netns, started, netns, self._machine.listen_in(netns))
        except BaseException:
            netns.close()
            raise

    def insert(self, local: Local) -> None:
        """It is a workload of this node; on disk only after ``keep``."""
        self._table[local.pod.uid] = local
        self._unsaved.add(local.pod.uid)

    def keep(self, uid: str) -> None:
        """It stays, also when the daemon is started anew. Raises ConfigError, as the next two do, if the disk fails."""
        with self._or_as_before():
            self._unsaved.discard(uid)
            self._save()

    def change(self, uid: str, how: Callable[[Local], Local]) -> Local:
        """Something about it is new; what it held and holds no more is the caller's to close."""
        with self._or_as_before():
            before = self._table[uid]
            local = self._table[uid] = how(before)
            # Listeners are not on disk: a daemon that takes them back from the proxy must do so on a full one, too.
            same = replace(local, listeners=None) == replace(before, listeners=None)
            if uid not in self._unsaved and not same:
                self._save()
        return local

    def remove(self, uid: str) -> Local:
        """It is no workload of this node. What it holds is the caller's to close."""
        with self._or_as_before():
            local = self._table.pop(uid)
            if uid in self._unsaved:
                self._unsaved.discard(uid)
            else:
                self._save()
        return local

    def is_there(self, local: Local) -> bool:
        """Whether its namespace can still be found where it was found, and is the same."""
        match local.at:
            case AtPath(path):
                return self._machine.inode_at(path) == local.netns.inode
            case OfProcess(pid):
                return self._machine.started(pid) == local.started

    def listen(self, local: Local) -> Local:
        """The workload with listeners: those it has, or new ones. Raises ConfigError if a port is in use."""
        if local.listeners is not None:
            return local
        made = self._machine.listen_in(local.netns)
        return self._with_listeners(local, made)

    def adopt(self, local: Local, fds: Sequence[int]) -> Local:
        """The workload with the listeners that a proxy gave back. Raises PeerError; the descriptors are taken over."""
        return self._with_listeners(local, self._machine.adopt_listeners(local.netns, fds))

    def release(self, local: Local) -> Local:
        """The workload without listeners: whoever carries its traffic makes them."""
        close_listeners(local.listeners)
        return self._with_listeners(local, None)

    def load(self) -> tuple[str, ...]:
        """Read the table that an earlier daemon left; the uids of workloads that are gone meanwhile."""
        saved = _read(self._file)
        if saved is None:
            return ()
        self.proxy_cgroup = saved.proxy_cgroup
        gone: list[str] = []
        for record in saved.workloads:
            uid = self.uid(record.namespace, record.name)
            local = self._restored(uid, record) if saved.boot == self._machine.boot() else None
            if local is None:
                gone.append(uid)
            else:
                self._table[uid] = local
        if gone:
            with contextlib.suppress(
                ConfigError
            ):  # On a full disk they are found gone once more the next time.
                self._save()
        return tuple(gone)

    def remember_proxy(self, cgroup: str | None) -> None:
        """A proxy in this cgroup carries the traffic."""
        if cgroup != self.proxy_cgroup:
            self.proxy_cgroup = cgroup
            self._save()

    def close(self) -> None:
        """Let go of every descriptor; the table stays on disk."""
        for local in self._table.values():
            local.close()
        self._table.clear()

    def _with_listeners(self, local: Local, listeners: Mapping[Role, socket.socket] | None) -> Local:
        return self.change(local.pod.uid, lambda now: replace(now, listeners=listeners))

    def _restored(self, uid: str, record: _Record) -> Local | None:
        found = record.found()
        try:
            netns = self._netns(found.netns)
        except ConfigError:
            return None
        pod = Pod(
            uid=uid,
            name=found.name,
            namespace=found.namespace,
            service_account=found.service_account,
            netns_cookie=netns.cookie,
            addresses=netns.addresses(),
            labels=found.labels,
            cgroup=found.cgroup,
            exclusions=found.exclusions,
            probe=found.probe,
            healthy=record.healthy,
        )
        local = Local(pod, found.netns, record.started, netns, None, record.capture, frozenset(record.older))
        if netns.cookie != record.netns_cookie or not self.is_there(local):
            netns.close()
            return None
        return local

    def _netns(self, at: AtPath | OfProcess) -> Netns:
        match at:
            case AtPath(path):
                return self._machine.netns_at(path)
            case OfProcess(pid):
                return self._machine.netns_of(pid)

    def _started(self, process: OfProcess) -> int:
        started = self._machine.started(process.pid)
        if started is None:
            raise ConfigError(f"pid {process.pid}: there is no such process; give the pid of one that runs")
        return started

    def _check_alone(self, title: str, found: Found, netns: Netns) -> None:
        if netns.is_own():
            raise ConfigError(
                f"{title}: {found.netns} is the node's own network namespace; a workload needs one of its own, "
                "for the mesh tells workloads apart by their namespaces"
            )
        for other in self._table.values():
            if other.pod.netns_cookie == netns.cookie:
                raise ConfigError(
                    f'{title}: {found.netns} is the network namespace of workload "{other.pod.namespace}/'
                    f'{other.pod.name}" already; one namespace has one workload'
                )

    @contextlib.contextmanager
    def _or_as_before(self) -> Iterator[None]:
        table, unsaved = dict(self._table), set(self._unsaved)
        try:
            yield
        except BaseException:
            self._table, self._unsaved = table, unsaved
            raise

    def _save(self) -> None:
        """Replace the file at once: a reader, or a crash, meets the old table or the new one."""
        kept = {uid: local for uid, local in self._table.items() if uid not in self._unsaved}
        # A record is written out once: hundreds of workloads join one after another.
        self._written = {uid: self._record(uid, local) for uid, local in kept.items()}
        head = json.dumps({"boot": self._machine.boot(), "proxy_cgroup": self.proxy_cgroup})[1:-1]
        records = ",\n".join(text for _, text in self._written.values())
        content = f'{{{head}, "workloads": [\n{records}\n]}}\n'.encode()
        if content == self._content:
            return
        self._content = None
        temporary = self._file.with_suffix(".new")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:  # noqa: PTH123
                file.write(content)
                file.flush()
                os.fsync(fd)
            temporary.replace(self._file)
        except OSError as error:
            raise ConfigError(
                f"{self._file}: {error.strerror}; make room, or let root write there"
            ) from error
        self._content = content

    def _record(self, uid: str, local: Local) -> tuple[Local, str]:
        known = self._written.get(uid)
        if known is not None and known[0] is local:
            return known
        return local, _Record.of(local).model_dump_json()


def saved_proxy_cgroup(state_dir: Path) -> str | None:
    """The proxy's cgroup when the last daemon stopped, if it is still there."""
    saved = _read(state_dir / FILE_NAME)
    folder = saved.proxy_cgroup if saved is not None else None
    return folder if folder is not None and Path(folder).is_dir() else None


def uninstall(state_dir: Path) -> None:
    """Leave no table behind."""
    for path in (state_dir / FILE_NAME, (state_dir / FILE_NAME).with_suffix(".new")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


class _Record(BaseModel):
    """A workload on disk."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    namespace: str
    service_account: str
    labels: dict[str, str]
    path: str | None
    pid: int | None
    started: int
    cgroup: str | None
    netns_inode: int
    netns_cookie: int
    exclude_outbound_ports: list[int]
    exclude_inbound_ports: list[int]
    exclude_networks: list[str]
    capture: Capture
    older: list[int]
    probe: str | None = None
    healthy: bool = True

    @classmethod
    def of(cls, local: Local) -> _Record:
        pod, excluded = local.pod, local.pod.exclusions
        return cls(
            name=pod.name,
            namespace=pod.namespace,
            service_account=pod.service_account,
            labels=dict(pod.labels),
            path=local.at.path if isinstance(local.at, AtPath) else None,
            pid=local.at.pid if isinstance(local.at, OfProcess) else None,
            started=local.started,
            cgroup=pod.cgroup,
            netns_inode=local.netns.inode,
            netns_cookie=pod.netns_cookie,
            exclude_outbound_ports=sorted(excluded.outbound_ports),
            exclude_inbound_ports=sorted(excluded.inbound_ports),
            exclude_networks=sorted(map(str, excluded.outbound_networks)),
            capture=local.capture,
            older=sorted(local.older),
            probe=None if pod.probe is None else str(pod.probe),
            healthy=pod.healthy,
        )

    def found(self) -> Found:
        return Found(
            name=self.name,
            namespace=self.namespace,
            service_account=self.service_account,
            netns=OfProcess(self.pid) if self.pid is not None else AtPath(self.path or ""),
            labels=Map(self.labels),
            cgroup=self.cgroup,
            exclusions=Exclusions(
                frozenset(self.exclude_outbound_ports),
                frozenset(self.exclude_inbound_ports),
                frozenset(map(ip_network, self.exclude_networks)),
            ),
            probe=None if self.probe is None else Probe.parse(self.probe),
        )


class _Table(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    boot: str
    """Which boot of the machine the processes and namespaces are of."""
    proxy_cgroup: str | None
    workloads: list[_Record]


def _read(file: Path) -> _Table | None:
    try:
        return _Table.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(
            f"{file}: {where or 'content'}: {fault['msg']}; restore the file, or delete it and add the workloads again"
        ) from error
