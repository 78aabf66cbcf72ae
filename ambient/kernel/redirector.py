"""Brings the kernel to the wish of ``core.redirection``: programs, links and maps of each pod.

Order matters in one place. What a pod needs (listeners, exclusions, addresses) is written before the links that make
its programs run, and the links of a pod that goes are cut before what its programs read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ambient.core.errors import ConfigError
from ambient.core.model.pod import Capture
from ambient.core.redirection import Redirection, Role
from ambient.kernel import abi, bpf, loader, mounts, process
from ambient.kernel.bpf import Attach
from ambient.kernel.netns import Netns
from ambient.kernel.reason import Reason

SO_COOKIE = 57

FLAGS = {Capture.OFF: 0, Capture.DRAINING: abi.POD_HBONE,
         Capture.ON: abi.POD_OUTBOUND | abi.POD_INBOUND | abi.POD_HBONE}  # fmt: skip
SLOTS = {Role.OUTBOUND: 0, Role.PLAINTEXT: 1, Role.HBONE: 2}

# Socket hooks by program name, in the order they are attached: a connection is followed before it is redirected.
SOCKET_HOOKS = {
    "plain_tcp": Attach.SOCK_CREATE,
    "name_peer4": Attach.GETPEERNAME4,
    "name_peer6": Attach.GETPEERNAME6,
    "name_own4": Attach.GETSOCKNAME4,
    "name_own6": Attach.GETSOCKNAME6,
    "follow_connection": Attach.SOCK_OPS,
    "account_direct": Attach.SOCK_OPS,
    "follow_mptcp": Attach.SOCK_OPS,
    "redirect_connect4": Attach.CONNECT4,
    "redirect_connect6": Attach.CONNECT6,
}
CAPTURE_HOOK = {"capture_inbound": Attach.SK_LOOKUP}
PROBER_HOOK = {"admit_probe": Attach.SOCK_OPS}
PROXY_HOOK = {"mark_proxy": Attach.SOCK_CREATE}
ALL_HOOKS = frozenset({*SOCKET_HOOKS, *CAPTURE_HOOK})

# Folders under links/ that are no pod's; a pod's is its netns cookie.
ROOT, PROBER, PROXY = "root", "prober", "proxy"

LAYOUT_OF = {
    "pods": (8, ctypes.sizeof(abi.Pod)),
    "addresses": (16, ctypes.sizeof(abi.Local)),
    "excluded_ports": (ctypes.sizeof(abi.ExcludedPort), 1),
    "excluded_networks": (ctypes.sizeof(abi.ExcludedNetwork), 1),
}

SHARED_MAPS = ("original_destinations", "clients", "flows", "flow_losses", "flow_records")
"""What the proxy shares with the programs, by the names of the pins."""

Contents = dict[str, dict[bytes, bytes]]


class NotAttached(ConfigError):
    """Some workloads could not be attached; all else is as desired."""

    def __init__(self, failures: Mapping[str, ConfigError]) -> None:
        super().__init__("; ".join(map(str, failures.values())))
        self.failures = failures
        """What is wrong with each, by uid."""


@dataclass(frozen=True, slots=True)
class Place:
    """Something that a link hangs on."""

    fd: int
    identity: int
    """As links name it: the cgroup's id or the namespace's inode."""


class Redirector:
    """The kernel part of one node; the only one of its name, for its life."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._lock = lock
        self._folder = loader.load(folder)
        self._older = loader.older_layouts(folder, self._folder)
        self._programs = {path.name: bpf.get(path) for path in (self._folder / "progs").iterdir()}
        self._program_ids = {name: bpf.program_id(fd) for name, fd in self._programs.items()}
        self._maps = {
            name: bpf.Map(bpf.get(self._folder / "maps" / name), *sizes) for name, sizes in LAYOUT_OF.items()
        }
        self._listeners = bpf.Map(bpf.get(self._folder / "maps" / "listeners"), 4, 8)
        self._reasons = bpf.Map(bpf.get(self._folder / "maps" / "reasons"), 4, 8 * bpf.possible_cpus())
        self.shared_maps = {name: bpf.get(self._folder / "maps" / name) for name in SHARED_MAPS}
        """Descriptors for the proxy, by name."""
        # Nobody else writes while the lock is held, so that these need no reading again.
        self._contents: Contents = {name: table.items() for name, table in self._maps.items()}
        self._given: dict[bytes, bytes] = {}
        """Cookies of the listeners that are known to be in their slots."""
        self._links = self._pinned_links()
        self._proxy_is_marked = False

    @classmethod
    def open(
        cls, node: str, *, prober_cgroup: str | None = None, proxy_cgroup: str | None = None
    ) -> Redirector:
        """Adopt what an earlier daemon of this node left pinned, or have it compiled and loaded.

        ``prober_cgroup`` is the kubelet's: its connections reach applications past every policy. ``proxy_cgroup`` is
        the proxy's, which pods without a cgroup of their own need. ConfigError: not root, no cgroup v2, an old kernel,
        no BCC, another daemon on this node, or one of the cgroups is not there.
        """
        loader.check_machine()
        lock = loader.lock_node(node)
        try:
            redirector = cls(loader.node_folder(node), lock)
            redirector._attach_node(PROBER, PROBER_HOOK, prober_cgroup)
            redirector.mark_proxy(proxy_cgroup)
        except BaseException:
            os.close(lock)
            raise
        return redirector

    def mark_proxy(self, cgroup: str | None) -> None:
        """Sockets made in the proxy's ``cgroup`` from here on are passed by the programs at the root."""
        self._attach_node(PROXY, PROXY_HOOK, cgroup)
        self._proxy_is_marked = cgroup is not None

    def set(
        self,
        desired: Collection[Redirection],
        netns: Mapping[str, Netns],
        listeners: Mapping[str, Mapping[Role, socket.socket]],
    ) -> int:
        """Bring about ``desired``; how many writes to the kernel it took.

        ``netns`` and ``listeners`` are by workload uid. A listener that is not given is left as the kernel has it. A
        workload that cannot be attached does not keep the others from it: NotAttached is raised at the end.
        """
        failures: dict[str, ConfigError] = {}
        by_pod: dict[str, Redirection] = {}
        for redirection in desired:
            by_pod[str(redirection.netns_cookie)] = redirection
        root = mounts.first_of("cgroup2")
        by_root = {name for name, pod in by_pod.items() if pod.cgroup is None or Path(pod.cgroup) == root}

        keep = {name: {*CAPTURE_HOOK} if name in by_root else ALL_HOOKS for name in by_pod}
        keep[ROOT] = {*SOCKET_HOOKS} if by_root else set()
        writes = self._cut(self._links.keys() - {PROBER, PROXY}, keep)
        indexes = self._indexes(by_pod.values())
        wish = _contents(by_pod.values(), indexes)
        writes += self._put_listeners(by_pod.values(), indexes, listeners)
        for name in ("excluded_ports", "excluded_networks", "addresses", "pods"):
            writes += self._put(name, wish[name])
        for name, pod in by_pod.items():
            try:
                cgroup = str(root) if name in by_root else str(pod.cgroup)
                sockets = ROOT if name in by_root else name
                writes += self._attach_pod(name, pod.uid, sockets, cgroup, netns.get(pod.uid))
            except ConfigError as error:
                failures[pod.uid] = error
        stale = {_index(value) for value in self._contents["pods"].values()} - set(indexes.values())
        for name in ("pods", "addresses", "excluded_networks", "excluded_ports"):
            writes += self._forget(name, wish[name])
        writes += self._drop_listeners(stale)
        for layout in self._older:
            loader.remove(layout)
            writes += 1
        self._older = ()
        if failures:
            raise NotAttached(failures)
        return writes

    def counters(self) -> dict[str, int]:
        """How often each reason to pass, redirect or drop was met since the programs were loaded."""
        found = {}
        for reason in Reason:
            values = self._reasons.lookup(struct.pack("=I", reason)) or b""
            found[reason.name.lower()] = sum(value for (value,) in struct.iter_unpack("=Q", values))
        return found

    def close(self) -> None:
        """Let go of it all; what is pinned goes on. May be called twice."""
        if self._lock < 0:
            return
        tables = (*self._maps.values(), self._listeners, self._reasons)
        descriptors = (*self._programs.values(), *(table.fd for table in tables), *self.shared_maps.values())
        for fd in descriptors:
            os.close(fd)
        os.close(self._lock)
        self._lock = -1

    def _attach_node(self, name: str, hooks: Mapping[str, Attach], cgroup: str | None) -> None:
        """Hang a program of the whole node on ``cgroup``; None: take it off."""
        if cgroup is None:
            self._cut({name} & self._links.keys(), {})
            return
        if Path(cgroup) == mounts.first_of("cgroup2"):
            raise ConfigError(
                f"the {name}'s cgroup is the root of the hierarchy, which is everybody's; give it one of its own"
            )
        with _cgroup(cgroup, f"the {name}") as place:
            self._attach(name, hooks, place, f"the {name}")

    def _attach_pod(self, name: str, uid: str, sockets: str, cgroup: str, netns: Netns | None) -> int:
        """``sockets`` is the folder of the links on its cgroup: its own, or that of the root."""
        who = f'workload "{uid}"'
        if sockets == ROOT and not self._proxy_is_marked:
            raise ConfigError(
                f"{who} has no cgroup v2 of its own, so that the proxy must have one: run the proxy in a cgroup and "
                "name it to the node daemon"
            )
        writes = 0
        if not self._hangs(sockets, SOCKET_HOOKS, _id_of(cgroup, who)):
            with _cgroup(cgroup, who) as place:
                writes = self._attach(sockets, SOCKET_HOOKS, place, who)
        if netns is not None:
            return writes + self._attach(name, CAPTURE_HOOK, Place(netns.fd, netns.inode), who)
        if not self._links.get(name, {}).get("capture_inbound"):
            raise ConfigError(
                f"{who}: its network namespace was not given, and nothing is attached to it yet"
            )
        return writes

    def _hangs(self, name: str, hooks: Mapping[str, Attach], identity: int) -> bool:
        links = self._links.get(name, {})
        return all(links.get(program) == identity for program in hooks if program in self._programs)

    def _attach(self, name: str, hooks: Mapping[str, Attach], place: Place, who: str) -> int:
        """Hang what does not hang there yet on ``place``."""
        writes = 0
        links = self._links.setdefault(name, {})
        folder = self._folder / "links" / name
        folder.mkdir(exist_ok=True)
        for program, attach in hooks.items():
            if links.get(program) == place.identity or program not in self._programs:
                continue
            pin = folder / program
            pin.unlink(missing_ok=True)
            if not self._take_over(name, program, place, pin):
                self._link(program, attach, place, pin, who)
            links[program] = place.identity
            writes += 1
        return writes

    def _link(self, program: str, attach: Attach, place: Place, pin: Path, who: str) -> None:
        try:
            link = bpf.link(self._programs[program], place.fd, attach)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise ConfigError(f"{who}: the cgroup given is not a folder of cgroup v2") from error
            raise
        try:
            bpf.pin(link, pin)
        finally:
            os.close(link)

    def _take_over(self, name: str, program: str, place: Place, pin: Path) -> bool:
        """Put this layout's program into an older layout's link: not one connection meets neither, or both."""
        if name in (PROBER, PROXY):
            return False
        for layout in self._older:
            older = layout / "links" / name / program
            if not older.exists():
                continue
            link = bpf.get(older)
            try:
                if bpf.link_info(link).target != place.identity:
                    continue
                bpf.relink(link, self._programs[program])
            finally:
                os.close(link)
            older.rename(pin)
            return True
        return False

    def _cut(self, names: Iterable[str], keep: Mapping[str, Collection[str]]) -> int:
        """Take off the links of these folders, save the programs that ``keep`` has for them."""
        writes = 0
        for name in names:
            kept = keep.get(name, ())
            folder = self._folder / "links" / name
            gone = [program for program in self._links[name] if program not in kept]
            # Those that point sockets at the proxy before those that tell it whose they are.
            for program in sorted(gone, key=[*SOCKET_HOOKS, *gone].index, reverse=True):
                (folder / program).unlink()
                del self._links[name][program]
                writes += 1
            if not self._links[name]:
                folder.rmdir()
                del self._links[name]
        return writes

    def _pinned_links(self) -> dict[str, dict[str, int]]:
        """Where each link hangs, by folder and program; 0 where it must be made anew."""
        found: dict[str, dict[str, int]] = {}
        for folder in (self._folder / "links").iterdir():
            found[folder.name] = {}
            for pin in folder.iterdir():
                link = bpf.get(pin)
                try:
                    info = bpf.link_info(link)
                finally:
                    os.close(link)
                is_ours = info.program_id == self._program_ids.get(pin.name)
                found[folder.name][pin.name] = info.target if is_ours else 0
        return found

    def _indexes(self, pods: Iterable[Redirection]) -> dict[int, int]:
        """The index of each pod by netns cookie. One that has an index keeps it; a freed one rests for one turn."""
        known = {struct.unpack("=Q", key)[0]: _index(value) for key, value in self._contents["pods"].items()}
        free = iter(sorted(set(range(abi.MAX_PODS)) - set(known.values())))
        indexes = {}
        for pod in pods:
            index = known.get(pod.netns_cookie)
            if index is None:
                index = next(free, None)
            if index is None:
                raise ConfigError(f'workload "{pod.uid}": a node holds at most {abi.MAX_PODS} workloads')
            indexes[pod.netns_cookie] = index
        return indexes

    def _put(self, name: str, wish: Mapping[bytes, bytes]) -> int:
        written = self._contents[name]
        missing = {key: value for key, value in wish.items() if written.get(key) != value}
        for key, value in missing.items():
            self._maps[name].update(key, value)
            written[key] = value
        return len(missing)

    def _forget(self, name: str, wish: Mapping[bytes, bytes]) -> int:
        written = self._contents[name]
        extra = [key for key in written if key not in wish]
        for key in extra:
            self._maps[name].delete(key)
            del written[key]
        return len(extra)

    def _put_listeners(
        self,
        pods: Iterable[Redirection],
        indexes: Mapping[int, int],
        listeners: Mapping[str, Mapping[Role, socket.socket]],
    ) -> int:
        writes = 0
        for pod in pods:
            for role, listener in listeners.get(pod.uid, {}).items():
                slot = _slot(indexes[pod.netns_cookie], role)
                cookie = listener.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
                if self._given.get(slot) == cookie:
                    continue  # The kernel lets go of a listener only when it is closed, and this one is open.
                if self._listeners.lookup(slot) != cookie:
                    self._listeners.update(slot, struct.pack("=Q", listener.fileno()))
                    writes += 1
                self._given[slot] = cookie
        return writes

    def _drop_listeners(self, indexes: Iterable[int]) -> int:
        slots = [_slot(index, role) for index in indexes for role in Role]
        for slot in slots:
            self._given.pop(slot, None)
        return sum(self._listeners.delete(slot) for slot in slots)


def uninstall(node: str) -> None:
    """Leave nothing of this node in the kernel: links, programs and maps, and the file system if it was ours.

    ConfigError: not root, or the node's daemon is running.
    """
    if os.geteuid() != 0:
        raise ConfigError("uninstalling takes root: it removes BPF programs")
    mount = mounts.at(loader.BPFFS)
    if mount is None or mount.kind != "bpf":
        return
    lock = loader.lock_node(node)
    try:
        folder = loader.node_folder(node)
        with loader.bpffs():
            for layout in list(folder.iterdir()):
                loader.remove(layout)
            folder.rmdir()
    finally:
        os.close(lock)
    loader.leave()


def _contents(pods: Iterable[Redirection], indexes: Mapping[int, int]) -> Contents:
    """What the maps are to hold for these pods."""
    wish: Contents = {name: {} for name in LAYOUT_OF}
    for pod in pods:
        for name, content in _content_of(pod, indexes[pod.netns_cookie]).items():
            wish[name].update(content)
    return wish


@lru_cache(2 * abi.MAX_PODS)
def _content_of(pod: Redirection, index: int) -> Mapping[str, Mapping[bytes, bytes]]:
    wish: Contents = {name: {} for name in LAYOUT_OF}
    flags = FLAGS[pod.capture]
    own = {ip.version: abi.pack_ip(ip) for ip in reversed(pod.addresses)}
    nobody = abi.Ip()
    wish["pods"][struct.pack("=Q", pod.netns_cookie)] = abi.Pod(
        index=index, flags=flags, own_v4=own.get(4, nobody), own_v6=own.get(6, nobody)
    ).pack()
    for ip in pod.addresses:
        wish["addresses"][bytes(abi.pack_ip(ip))] = abi.Local(index=index, flags=flags).pack()
    for direction, ports in (
        (abi.DIRECTION_OUTBOUND, pod.exclusions.outbound_ports),
        (abi.DIRECTION_INBOUND, pod.exclusions.inbound_ports),
    ):
        for port in ports:
            key = abi.ExcludedPort(index=index, port_be=socket.htons(port), direction=direction)
            wish["excluded_ports"][key.pack()] = b"\1"
    for network in pod.exclusions.outbound_networks:
        bits = network.prefixlen + (96 if network.version == 4 else 0)
        trie_key = abi.ExcludedNetwork(
            prefix_bits=32 + bits, index_be=socket.htonl(index), ip=abi.pack_ip(network.network_address)
        )
        wish["excluded_networks"][trie_key.pack()] = b"\1"
    return wish


@lru_cache(2 * abi.MAX_PODS)
def _index(pod: bytes) -> int:
    return abi.Pod.unpack(pod).index


def _slot(index: int, role: Role) -> bytes:
    return struct.pack("=I", index * abi.SLOTS_PER_POD + SLOTS[role])


def _id_of(path: str, who: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116  # For each pod, whatever changed.
    except OSError as error:
        raise _no_cgroup(path, who, error) from error


def _no_cgroup(path: str, who: str, error: OSError) -> ConfigError:
    return ConfigError(f"{who}: cgroup {path!r}: {error.strerror}; give a folder of cgroup v2")


@contextmanager
def _cgroup(path: str, who: str) -> Iterator[Place]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_cgroup(path, who, error) from error
    try:
        yield Place(fd, process.cgroup_id(path))
    finally:
        os.close(fd)
