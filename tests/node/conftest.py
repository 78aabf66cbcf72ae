"""A daemon whose machine and kernel are played by the test, and a proxy that speaks real ZDS with it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from descriptors import open_fds

from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Role
from ambient.kernel.redirector import SHARED_MAPS
from ambient.node import api
from ambient.node.main import Daemon, Settings
from ambient.rpc import zds

ADDRESS = (ip_address("10.0.0.1"), ip_address("fd00::1"))


@dataclass
class Space:
    """A namespace of the fake machine."""

    cookie: int
    inode: int
    addresses: tuple = ADDRESS
    own: bool = False
    busy: bool = False
    """Its ports are in use."""
    established: list = field(default_factory=list)
    destroyed: list = field(default_factory=list)


class FakeNetns:
    def __init__(self, space):
        self.space = space
        self.fd = os.open("/dev/null", os.O_RDONLY)
        self.cookie, self.inode = space.cookie, space.inode

    def addresses(self):
        assert self.fd >= 0
        return self.space.addresses

    def is_own(self):
        return self.space.own

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class FakeMachine:
    def __init__(self):
        self.spaces = {}
        self.processes = {}
        self.cgroups = {"/cg/a", "/cg/b"}
        self.proxy_cgroup = "/cg/proxy"
        self.boot_id = "boot-1"
        self._numbers = itertools.count(100)

    def space(self, path, **given):
        number = next(self._numbers)
        self.spaces[path] = Space(cookie=number, inode=number + 1000, **given)
        return self.spaces[path]

    def netns_at(self, path):
        if path not in self.spaces:
            raise ConfigError(
                f"network namespace {path!r}: No such file or directory; give the path of one that exists"
            )
        return FakeNetns(self.spaces[path])

    def netns_of(self, pid):
        if pid not in self.processes:
            raise ConfigError(f"pid {pid}: there is no such process; give the pid of one that runs")
        return FakeNetns(self.processes[pid][1])

    def inode_at(self, path):
        return self.spaces[path].inode if path in self.spaces else None

    def started(self, pid):
        return self.processes[pid][0] if pid in self.processes else None

    def boot(self):
        return self.boot_id

    def listen_in(self, netns):
        if netns.space.busy:
            raise ConfigError("port 15001 (outbound) is in use in the workload's network namespace")
        listeners = {}
        for role in Role:
            listeners[role] = socket.create_server(("127.0.0.1", 0))
            listeners[role].setblocking(False)
        return listeners

    def socket_in(self, netns, family):
        assert netns.fd >= 0
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    def adopt_listeners(self, netns, fds):
        sockets = [socket.socket(fileno=fd) for fd in fds]
        if not all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in sockets):
            for sock in sockets:
                sock.close()
            raise PeerError("what came back as the outbound listener is not one of that workload")
        return dict(zip(Role, sockets, strict=True))

    def cgroup_of(self, pid):
        if pid == os.getpid():
            return self.proxy_cgroup
        return self.processes[pid][2]

    def own_cgroup(self):
        return self.proxy_cgroup

    def cgroup_of_witness(self, fd):
        os.close(fd)
        return self.proxy_cgroup

    def check_cgroup(self, path):
        if path not in self.cgroups:
            raise ConfigError(f"cgroup {path!r} is not of cgroup v2")

    def established(self, netns, outside):
        return tuple(netns.space.established)

    def destroy(self, netns, doomed):
        netns.space.destroyed += doomed
        return len(netns.space.destroyed)


class FakeRedirector:
    def __init__(self):
        self.shared_maps = {name: os.open("/dev/null", os.O_RDONLY) for name in SHARED_MAPS}
        self.history = []
        self.marked = None
        self.failure = None

    def set(self, desired, netns, listeners):
        if self.failure is not None and desired:
            raise self.failure
        wish = {one.uid: one for one in desired}
        for uid in wish:
            assert netns[uid].fd >= 0
            assert all(listener.fileno() >= 0 for listener in listeners.get(uid, {}).values())
        before = self.history[-1] if self.history else {}
        self.history.append(wish)
        return len(set(wish.items()) ^ set(before.items()))

    def captured(self):
        return {uid: one.capture for uid, one in self.history[-1].items()}

    def mark_proxy(self, cgroup):
        self.marked = cgroup

    def counters(self):
        return {"redirected": 3}

    def close(self):
        for fd in self.shared_maps.values():
            os.close(fd)


class FakeProxy:
    """Obeys, and records; ``refusals`` maps a uid to the error of its acknowledgement."""

    def __init__(self, run_dir):
        self.path = str(run_dir / zds.SOCKET_NAME)
        self.refusals = {}
        self.orders = []
        self.held = {}
        self.deposited = {}
        self.snapshots = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.client = None
        self._news = asyncio.Event()

    async def connect(self):
        self.client = await zds.ZdsClient.connect(self.path, {uid: fds[1:] for uid, fds in self.held.items()})
        self._obeying = asyncio.create_task(self._obey(self.client))
        return self

    async def lose(self):
        """The connection, not what it holds."""
        await self.client.close()
        self._obeying.cancel()
        await asyncio.gather(self._obeying, return_exceptions=True)

    async def die(self):
        await self.lose()
        for fds in self.held.values():
            zds.close_fds(fds)
        self.held.clear()
        zds.close_fds(self.deposited.values())
        self.deposited.clear()

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def snapshot(self, number=1):
        await self.until(lambda: self.snapshots >= number)

    def names(self):
        return [(type(order).__name__, getattr(order, "uid", "").rpartition("/")[2]) for order in self.orders]

    async def _obey(self, client):
        with contextlib.suppress(Unavailable, PeerError):
            async for received in client.orders():
                try:
                    await self.hold.wait()
                except asyncio.CancelledError:
                    zds.close_fds(received.fds)
                    raise
                self.orders.append(received.message)
                error = ""
                match received.message:
                    case zds.AddWorkload(uid):
                        error = self.refusals.get(uid, "")
                        if error:
                            zds.close_fds(received.fds)
                        else:
                            zds.close_fds(self.held.pop(uid, ()))
                            self.held[uid] = received.fds
                    case zds.DelWorkload(uid):
                        zds.close_fds(self.held.pop(uid, ()))
                    case zds.SnapshotSent():
                        self.snapshots += 1
                    case zds.Deposited(name):
                        self.deposited[name] = received.fds[0]
                    case _:
                        zds.close_fds(received.fds)
                await received.acknowledge(error)
                self._news.set()


class World:
    """One node in one event loop."""

    def __init__(self, tmp_path):
        self.run_dir, self.state_dir = tmp_path / "run", tmp_path / "state"
        for folder in (self.run_dir, self.state_dir):
            folder.mkdir(exist_ok=True)
        self.machine = FakeMachine()
        self.redirector = FakeRedirector()
        self.exclusions = Exclusions()
        self.proxies = []
        self._daemon = None

    async def start(self):
        settings = Settings("node-1", self.run_dir, self.state_dir, exclusions=self.exclusions)
        self.daemon = Daemon(settings, self.machine, self.redirector)
        self._daemon = asyncio.create_task(self.daemon.serve())
        async with asyncio.timeout(5):
            while not (self.run_dir / api.SOCKET_NAME).exists():
                await asyncio.sleep(0.01)
                if self._daemon.done():
                    self._daemon.result()

    async def restart(self):
        await self.stop()
        await self.start()

    async def stop(self):
        if self._daemon is not None:
            self._daemon.cancel()
            await asyncio.gather(self._daemon, return_exceptions=True)
            self._daemon = None

    async def proxy(self):
        proxy = FakeProxy(self.run_dir)
        self.proxies.append(proxy)
        return await proxy.connect()

    async def call(self, verb, **fields):
        return await asyncio.to_thread(api.call, self.run_dir, {"verb": verb, **fields})

    async def add(self, name="a", netns="/ns/a", **more):
        where = {} if "pid" in more else {"netns": netns}
        request = {
            "name": name,
            "namespace": "shop",
            "service_account": "sa",
            "cgroup": "/cg/a",
            **where,
            **more,
        }
        return (await self.call("add", **request))["note"]

    async def health(self, name="a", *, healthy):
        return (await self.call("health", name=name, namespace="shop", healthy=healthy))["note"]

    async def remove(self, name="a", *, now=False):
        await self.call("remove", name=name, namespace="shop", now=now)

    async def listed(self):
        return {workload["name"]: workload for workload in await self.call("list")}

    def table(self):
        file = self.state_dir / "workloads.json"
        return (
            {one["name"]: one for one in json.loads(file.read_text())["workloads"]} if file.exists() else {}
        )

    async def clean_up(self):
        for proxy in self.proxies:
            if proxy.client is not None:
                await proxy.die()
        await self.stop()
        self.redirector.close()


def uid(name="a"):
    return f"local/ambient.dev/Workload/shop/{name}"


@pytest.fixture
def node(tmp_path):
    """Runs a scenario in a World, and looks that no descriptor is left."""

    def run(scenario):
        async def whole():
            world = World(tmp_path)
            world.uid, world.Capture = uid, Capture
            try:
                await asyncio.wait_for(scenario(world), 30)
            finally:
                await world.clean_up()

        before = open_fds()
        asyncio.run(whole())
        assert not open_fds() - before

    return run


@pytest.fixture
def machine():
    return FakeMachine()


@pytest.fixture
def fake_proxy():
    """Makes a FakeProxy of a run folder."""
    return FakeProxy
