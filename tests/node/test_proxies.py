"""What a proxy asks of the daemon, and what one proxy leaves for the next."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import ip_address

import pytest

from ambient.core.errors import ConfigError
from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Exclusions, OlderConnection
from ambient.kernel.process import seal, unseal
from ambient.kernel.redirector import NotAttached
from ambient.rpc import zds


def older(cookie):
    return OlderConnection(
        SocketAddress(ip_address("10.0.0.1"), 8080),
        SocketAddress(ip_address("10.0.0.2"), 4000),
        inbound=True,
        cookie=cookie,
    )


async def with_one_workload(world, **more):
    world.space = world.machine.space("/ns/a")
    await world.start()
    proxy = await world.proxy()
    await proxy.snapshot()
    await world.add(**more)
    return proxy


def test_capture_reaches_the_kernel_with_exclusions_and_is_on_disk(node):
    async def scenario(world):
        world.exclusions = Exclusions(outbound_ports=frozenset({53}))
        proxy = await with_one_workload(world, exclude_outbound_ports=[22])
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        wish = world.redirector.history[-1][world.uid()]
        assert (wish.capture, wish.cgroup) == (world.Capture.ON, "/cg/a")
        assert wish.exclusions.outbound_ports == {22, 53}
        assert proxy.orders[-1].info.exclusions == wish.exclusions
        assert world.table()["a"]["capture"] == "on"
        await proxy.client.set_capture(world.uid(), world.Capture.OFF)
        assert world.redirector.history[-1] == {}
        assert world.table()["a"]["capture"] == "off"

    node(scenario)


def test_a_capture_that_the_kernel_refuses_is_as_if_never_asked(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        world.redirector.failure = NotAttached({world.uid(): ConfigError("the cgroup is gone")})
        with pytest.raises(ConfigError, match="the cgroup is gone"):
            await proxy.client.set_capture(world.uid(), world.Capture.ON)
        assert world.table()["a"]["capture"] == "off"
        world.redirector.failure = NotAttached({"another": ConfigError("its cgroup is gone")})
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        assert world.table()["a"]["capture"] == "on"

    node(scenario)


def test_a_fault_of_the_daemon_is_answered_and_shown(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        world.redirector.failure = OSError(12, "no memory")
        with pytest.raises(ConfigError, match=r"the node daemon failed: OSError\(12"):
            await proxy.client.set_capture(world.uid(), world.Capture.ON)
        world.redirector.failure = None
        await proxy.client.set_capture(world.uid(), world.Capture.ON)

    node(scenario)


def test_a_workload_without_cgroup_needs_a_proxy_with_one(node):
    async def scenario(world):
        world.machine.proxy_cgroup = None
        proxy = await with_one_workload(world, cgroup=None)
        with pytest.raises(ConfigError, match="start the proxy in a cgroup v2 folder of its own"):
            await proxy.client.set_capture(world.uid(), world.Capture.ON)
        await proxy.lose()
        world.machine.proxy_cgroup = "/cg/proxy"
        await proxy.connect()
        await proxy.snapshot(2)
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        assert world.redirector.marked == "/cg/proxy"
        assert '"proxy_cgroup": "/cg/proxy"' in (world.state_dir / "workloads.json").read_text()

    node(scenario)


def test_older_connections_are_those_that_were_there_when_capture_began(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        world.space.established = [older(1), older(2)]
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        assert (await world.listed())["a"]["older_connections"] == 2
        world.space.established = [older(2), older(3)]
        assert await proxy.client.list_connections(world.uid()) == (older(2),)
        await proxy.client.destroy_connections(world.uid(), [older(2), older(3)])
        assert world.space.destroyed == [older(2)]
        assert await proxy.client.list_connections(world.uid()) == ()

    node(scenario)


def test_an_unknown_workload_cannot_be_captured(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        with pytest.raises(ConfigError, match="not registered on this node"):
            await proxy.client.set_capture(world.uid("b"), world.Capture.ON)

    node(scenario)


def test_a_deposit_is_returned_to_the_next_proxy_until_it_is_forgotten(node):
    async def scenario(world):
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        for name, content in (("credentials", b"old"), ("credentials", b"new"), ("snapshot", b"s")):
            fd = seal(name, content)
            await proxy.client.deposit(name, fd)
            os.close(fd)
        await proxy.client.deposit("snapshot", None)
        await proxy.die()
        following = await world.proxy()
        await following.snapshot()
        assert {name: unseal(fd) for name, fd in following.deposited.items()} == {"credentials": b"new"}
        assert following.names()[0] == ("Welcome", "")

    node(scenario)


def test_only_sealed_memory_is_kept(node):
    async def scenario(world):
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        for fd, sentence in ((unsealed, "its sender can still change"), (0, "not a memfd")):
            with pytest.raises(ConfigError, match=sentence):
                await proxy.client.deposit("x", fd)
        os.close(unsealed)
        assert (await world.call("status"))["deposits"] == 0

    node(scenario)


def test_a_restarted_daemon_goes_on_where_the_last_one_stopped(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        world.machine.space("/ns/b")
        await world.add("b", "/ns/b")
        world.space.established = [older(1)]
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        port = listener_of(proxy, world.uid())
        await proxy.lose()
        await world.stop()
        world.space.busy = True  # The proxy holds its listeners.
        del world.machine.spaces["/ns/b"]
        await world.start()
        assert world.redirector.captured() == {world.uid(): world.Capture.ON}
        assert set(await world.listed()) == {"a"}
        await proxy.connect()
        await proxy.snapshot(2)
        assert proxy.names()[-2:] == [("AddWorkload", "a"), ("SnapshotSent", "")]
        assert proxy.orders[-2].info.capture is world.Capture.ON
        assert listener_of(proxy, world.uid()) == port
        assert await proxy.client.list_connections(world.uid()) == (older(1),)

    node(scenario)


def listener_of(proxy, uid):
    listener = socket.socket(fileno=os.dup(proxy.held[uid][1]))
    try:
        return listener.getsockname()
    finally:
        listener.close()


def test_listeners_that_nobody_gives_back_are_waited_for_and_the_workload_is_kept(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        await proxy.lose()
        await world.stop()
        world.space.busy = True
        await world.start()
        other = await world.proxy()
        await other.snapshot()
        assert other.names()[-2:] == [("KeepWorkload", "a"), ("SnapshotSent", "")]
        assert "held by a process" in (await world.listed())["a"]["why_not_proxied"]
        world.space.busy = False
        await world.daemon._membership.sweep()
        await world.daemon._proxies.add(world.uid())
        assert world.uid() in other.held

    node(scenario)


def test_what_is_no_listener_is_not_taken_back(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        await proxy.lose()
        await world.stop()
        world.space.busy = True
        await world.start()
        pretender, other = socket.socketpair()
        held = proxy.held.pop(world.uid())
        zds.close_fds(held)
        proxy.held[world.uid()] = tuple(os.dup(pretender.fileno()) for _ in range(4))
        await proxy.connect()
        await proxy.snapshot(2)
        assert proxy.names()[-2] == ("KeepWorkload", "a")
        pretender.close()
        other.close()

    node(scenario)


def test_another_boot_has_other_workloads(node):
    async def scenario(world):
        await with_one_workload(world)
        await world.stop()
        world.machine.boot_id = "boot-2"
        await world.start()
        assert await world.listed() == {}

    node(scenario)


def test_a_table_that_cannot_be_read_is_named_and_kept(node):
    async def scenario(world):
        file = world.state_dir / "workloads.json"
        file.write_text('{"boot": "boot-1", "proxy_cgroup": null, "workloads": [{"name": 3}]}')
        with pytest.raises(ConfigError, match=r"workloads\.json: workloads\.0\.name: .* restore the file"):
            await world.start()
        assert "3" in file.read_text()

    node(scenario)


def test_a_plain_ztunnel_gets_only_the_standard_messages(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        await world.add(labels={"app": "a"})
        plain = await zds.ZdsSocket.connect(str(world.run_dir / zds.SOCKET_NAME))
        await plain.send(zds.Hello())
        order, fds = await plain.recv(zds.decode_request)
        assert order == zds.AddWorkload(world.uid(), zds.WorkloadInfo("a", "shop", "sa"))
        assert len(fds) == 1
        zds.close_fds(fds)
        await plain.send(zds.Ack())
        assert (await plain.recv(zds.decode_request))[0] == zds.SnapshotSent()
        await plain.send(zds.Ack())
        removing = asyncio.create_task(world.remove(now=True))
        assert (await plain.recv(zds.decode_request))[0] == zds.DelWorkload(world.uid())
        await plain.send(zds.Ack())
        await removing
        await plain.send(zds.SetCapture(world.uid(), world.Capture.ON, 1))
        with pytest.raises(Exception, match=r"closed|gone"):
            await plain.recv(zds.decode_request)
        plain.close()

    node(scenario)


@pytest.mark.parametrize(
    "packet", [b"\xff\xff", b"", zds.encode(zds.Ack())], ids=["garbage", "end", "stray-ack"]
)
def test_a_proxy_that_breaks_the_protocol_loses_its_connection_and_nobody_elses(node, packet):
    async def scenario(world):
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        broken = await zds.ZdsSocket.connect(str(world.run_dir / zds.SOCKET_NAME))
        await broken.send(zds.Hello())
        await broken.recv(zds.decode_request)
        await broken.send(zds.Ack())
        await asyncio.sleep(0.05)
        await broken._packets.send(packet) if packet else broken.close()
        if packet:
            with pytest.raises(Exception, match=r"closed|gone"):
                await broken.recv(zds.decode_request)
            broken.close()
        world.machine.space("/ns/a")
        assert await world.add() == ""
        assert world.uid() in proxy.held

    node(scenario)


def test_a_proxy_that_does_not_acknowledge_is_cut_off(node, monkeypatch):
    monkeypatch.setattr("ambient.node.zds_server.ACK_SECONDS", 0.2)

    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        proxy.hold.clear()
        assert "waiting" in await world.add()
        assert (await world.call("status"))["proxy"] is None
        proxy.hold.set()

    node(scenario)


def test_the_status_tells_of_the_proxy_and_the_kernel(node):
    async def scenario(world):
        proxy = await with_one_workload(world)
        status = await world.call("status")
        assert status["proxy"] == {
            "pid": os.getpid(),
            "cgroup": "/cg/proxy",
            "ambient_v1": True,
            "workloads": 1,
        }
        assert (status["node"], status["workloads"], status["counters"]) == ("node-1", 1, {"redirected": 3})
        assert proxy.held

    node(scenario)
