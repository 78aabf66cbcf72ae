"""What peers with a true certificate may cost: requests opened and dropped, names that would break a log."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from net.harness import CLIENT, SERVER, credentials_of

from ambient.aio.tasks import Tasks
from ambient.core import delta
from ambient.core.errors import Unavailable
from ambient.core.hbone import Hbone, Role
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action, Authorization, Scope
from ambient.core.model.workload import Workload
from ambient.core.snapshot import EMPTY
from ambient.member.live import Live
from ambient.member.tunnels import Tunnels
from ambient.net import tls
from ambient.net.tls import Contexts
from ambient.proxy.inbound import Inbound
from ambient.proxy.world import LocalPod, World
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format
from ambient.telemetry.metrics import Totals, Traffic

UID = "local/ambient.dev/Workload/shop/server"


class StuckDialer:
    """Its connections are never made, or fail at once."""

    def __init__(self) -> None:
        self.dialling = 0
        self.most = 0
        self.fails = False

    async def application(self, pod: LocalPod, to: SocketAddress, client: SocketAddress) -> socket.socket:
        if self.fails:
            raise Unavailable("nobody listens")
        self.dialling += 1
        self.most = max(self.most, self.dialling)
        try:
            await asyncio.sleep(60)
        finally:
            self.dialling -= 1
        raise AssertionError


class Scene:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "access"
        self.traffic = Traffic()
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        self.live = Live(self.traffic, AccessLog(fd, Format.JSON), lambda *_: None)
        workload = Workload(UID, "server", "shop", "server", "cluster.local", (ip_address("127.0.0.1"),))
        self.world = World(
            snapshot=delta.apply(EMPTY, delta.Delta((workload,))),
            contexts={str(SERVER): Contexts(credentials_of(SERVER))},
        )
        self.dialer = StuckDialer()
        self.crashes: list[BaseException] = []
        self.tasks = Tasks(lambda _, error: self.crashes.append(error))
        self.inbound = Inbound(self.world, self.dialer, self.live)  # type: ignore[arg-type]
        self.tunnels = Tunnels(self.inbound, self.tasks, lambda: None)
        self.pod = LocalPod(UID, 1, os.open(os.devnull, os.O_RDONLY))

    def connected(self) -> socket.socket:
        """A client that has not shaken hands yet."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            plain = socket.create_connection(listener.getsockname(), timeout=10)
            accepted, _ = listener.accept()
        self.tasks.start(self.tunnels.serve(self.pod, accepted), "serve")
        return plain

    async def caller(self, plain: socket.socket | None = None) -> ssl.SSLSocket:
        """A client that has shaken hands; it is spoken to in threads."""
        plain = plain or self.connected()
        context = tls._context(ssl.PROTOCOL_TLS_CLIENT, credentials_of(CLIENT))
        return await asyncio.to_thread(context.wrap_socket, plain)

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def test_requests_that_are_opened_and_dropped_leave_no_dial_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        caller, machine = await scene.caller(), Hbone(Role.CLIENT)
        for _ in range(20):
            streams = [machine.open("127.0.0.1:80", []) for _ in range(100)]
            await asyncio.to_thread(caller.sendall, machine.take())
            await until(lambda: scene.dialer.dialling == 100)
            for stream in streams:
                machine.reset(stream)
            await asyncio.to_thread(caller.sendall, machine.take())
            await until(lambda: scene.dialer.dialling == 0)
        assert scene.dialer.most == 100
        await until(lambda: len(scene.tasks) == 0)
        assert len(scene.lines()) == 2000
        assert {line["error"] for line in scene.lines()} == {"the client gave up before it was connected"}
        totals = Totals()
        totals.update(1, scene.traffic.report())
        assert totals.refused() == {("destination", "client_gone"): 2000}
        caller.close()
        await until(lambda: len(scene.tunnels) == 0)
        assert scene.crashes == []

    asyncio.run(scenario())


def test_requests_that_wait_are_ended_with_their_tunnel(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        caller, machine = await scene.caller(), Hbone(Role.CLIENT)
        for _ in range(50):
            machine.open("127.0.0.1:80", [])
        await asyncio.to_thread(caller.sendall, machine.take())
        await until(lambda: scene.dialer.dialling == 50)
        scene.tunnels.cut(UID, "the workload left the mesh")
        await until(lambda: scene.dialer.dialling == 0 and len(scene.tasks) == 0)
        assert len(scene.lines()) == 50
        assert len(scene.tunnels) == 0
        caller.close()

    asyncio.run(scenario())


def test_a_pod_that_left_while_a_peer_shook_hands_takes_no_requests(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        plain = scene.connected()
        await asyncio.sleep(0.05)
        scene.tunnels.leave(UID)
        caller = await scene.caller(plain)
        machine = Hbone(Role.CLIENT)
        await asyncio.to_thread(caller.sendall, machine.take())
        while await asyncio.to_thread(caller.recv, 65536):
            pass
        caller.close()
        await until(lambda: len(scene.tunnels) == 0)

    asyncio.run(scenario())


def test_what_a_peer_says_of_itself_cannot_break_out_of_its_line(tmp_path: Path) -> None:
    evil = 'x"} \t{"level":"error","message":"forged'

    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.dialer.fails = True
        caller, machine = await scene.caller(), Hbone(Role.CLIENT)
        headers = [
            ("forwarded", f'for="127.0.0.1:5";host="{evil}"'),
            ("baggage", f"k8s.pod.name={evil},service.name=a%0Ab%1b[31m"),
        ]
        machine.open("127.0.0.1:80", headers)
        machine.open("$(halt);'&!:80", headers)
        await asyncio.to_thread(caller.sendall, machine.take())
        await until(lambda: len(scene.lines()) >= 2)
        raw = scene.log.read_bytes()
        assert raw.isascii()
        assert all(32 <= byte < 127 or byte == 10 for byte in raw)
        assert {line["message"] for line in scene.lines()} == {"connection failed"}
        assert {line["level"] for line in scene.lines()} == {"warning"}
        caller.close()
        await until(lambda: len(scene.tunnels) == 0)
        assert scene.crashes == []

    asyncio.run(scenario())


class SlowDialer:
    """Its connections are made when they are let."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.dialling = 0
        self.applications: list[socket.socket] = []

    async def application(self, pod: LocalPod, to: SocketAddress, client: SocketAddress) -> socket.socket:
        self.dialling += 1
        await self.may.wait()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            self.applications.append(listener.accept()[0])
        return ours


@pytest.mark.parametrize("over", ["a-tunnel", "plaintext"])
def test_a_policy_that_comes_while_the_application_is_dialled_is_heard(tmp_path: Path, over: str) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        dialer = scene.inbound.dialer = SlowDialer()  # type: ignore[assignment]
        if over == "plaintext":
            with socket.create_server(("127.0.0.1", 0)) as listener:
                caller = socket.create_connection(listener.getsockname(), timeout=10)
                accepted, _ = listener.accept()
            scene.tasks.start(scene.inbound.plaintext(scene.pod, accepted), "plaintext")
        else:
            caller, machine = await scene.caller(), Hbone(Role.CLIENT)
            machine.open("127.0.0.1:80", [])
            await asyncio.to_thread(caller.sendall, machine.take())
        await until(lambda: dialer.dialling == 1)
        everybody = Authorization("none", "shop", Scope.NAMESPACE, Action.DENY, ((),))
        scene.world.snapshot = delta.apply(scene.world.snapshot, delta.Delta((everybody,)))
        dialer.may.set()
        await until(lambda: len(scene.lines()) == 1)
        assert scene.lines()[0]["policy"] == "shop/none"
        assert len(scene.live) == 0
        (application,) = dialer.applications
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(application.recv, 1)
        caller.close()
        application.close()
        await until(lambda: len(scene.tunnels) == 0)
        assert scene.crashes == []

    asyncio.run(scenario())
