"""Workloads come and go: the cases of a node's state as scenarios of a daemon, a proxy and an operator."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest
from descriptors import open_fds

from ambient.core.errors import ConfigError
from ambient.rpc import zds


def test_an_added_workload_is_proxied_kept_on_disk_and_listed(node):
    async def scenario(world):
        space = world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        assert await world.add(labels={"app": "a"}) == ""
        (added,) = [order for order in proxy.orders if isinstance(order, zds.AddWorkload)]
        assert added.uid == world.uid()
        assert (added.info.name, added.info.namespace, added.info.service_account) == ("a", "shop", "sa")
        assert dict(added.info.labels) == {"app": "a"}
        assert added.info.netns_cookie == space.cookie
        assert added.info.addresses == space.addresses
        assert len(proxy.held[world.uid()]) == 4
        listed = (await world.listed())["a"]
        assert (listed["proxied"], listed["capture"], listed["addresses"]) == (
            True,
            "off",
            ["10.0.0.1", "fd00::1"],
        )
        assert world.table()["a"]["netns_cookie"] == space.cookie

    node(scenario)


def test_adding_the_same_again_changes_nothing(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        assert await world.add() == ""
        assert await world.add() == ""
        assert proxy.names().count(("AddWorkload", "a")) == 1

    node(scenario)


def test_a_refused_add_leaves_nothing(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        before = open_fds()
        proxy.refusals[world.uid()] = 'namespace "shop" does not exist; add it to the configuration'
        with pytest.raises(ConfigError, match='namespace "shop" does not exist'):
            await world.add()
        assert not open_fds() - before
        assert await world.listed() == {}
        assert world.table() == {}
        proxy.refusals.clear()
        assert await world.add() == ""

    node(scenario)


def test_an_add_while_no_proxy_is_there_waits_for_one(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        assert "no proxy is connected" in await world.add()
        assert not (await world.listed())["a"]["proxied"]
        assert "a" in world.table()
        proxy = await world.proxy()
        await proxy.snapshot()
        assert proxy.names()[-2:] == [("AddWorkload", "a"), ("SnapshotSent", "")]
        assert (await world.listed())["a"]["proxied"]

    node(scenario)


def test_an_add_whose_proxy_dies_before_it_answers_waits_for_the_next(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        proxy.hold.clear()
        adding = asyncio.create_task(world.add())
        await asyncio.sleep(0.1)
        await proxy.lose()
        assert "registered, and waiting" in await adding
        following = await world.proxy()
        await following.snapshot()
        assert world.uid() in following.held

    node(scenario)


def test_a_pending_add_is_tried_again(node, monkeypatch):
    monkeypatch.setattr("ambient.node.zds_server.RETRY_SECONDS", 0.05)

    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        await world.add()
        proxy = await world.proxy()
        proxy.refusals[world.uid()] = "not on this node"
        await proxy.snapshot()
        assert (await world.listed())["a"]["why_not_proxied"] == "not on this node"
        proxy.refusals.clear()
        await proxy.until(lambda: world.uid() in proxy.held)

    node(scenario)


def test_an_add_during_the_snapshot_is_not_lost(node):
    async def scenario(world):
        for name in ("a", "b"):
            world.machine.space(f"/ns/{name}")
        await world.start()
        await world.add()
        proxy = await world.proxy()
        proxy.hold.clear()
        await asyncio.sleep(0.1)
        adding = asyncio.create_task(world.add("b", "/ns/b"))
        await asyncio.sleep(0.1)
        proxy.hold.set()
        assert await adding == ""
        assert set(proxy.held) == {world.uid("a"), world.uid("b")}

    node(scenario)


def test_a_workload_removed_before_the_snapshot_is_not_in_it(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        await world.add()
        await world.remove()
        proxy = await world.proxy()
        await proxy.snapshot()
        assert proxy.names() == [("Welcome", ""), ("SnapshotSent", "")]
        assert world.table() == {}

    node(scenario)


def test_add_remove_add(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        await world.add()
        await world.remove()
        await world.add()
        assert [name for name, _ in proxy.names()] == [
            "Welcome", "SnapshotSent", "AddWorkload", "DelWorkload", "AddWorkload",
        ]  # fmt: skip

    node(scenario)


def test_the_next_proxy_gets_a_snapshot_of_its_own(node):
    async def scenario(world):
        for name in ("a", "b"):
            world.machine.space(f"/ns/{name}")
        await world.start()
        first = await world.proxy()
        await world.add()
        await first.die()
        await world.add("b", "/ns/b")
        second = await world.proxy()
        await second.snapshot()
        assert set(second.held) == {world.uid("a"), world.uid("b")}

    node(scenario)


def test_adds_go_to_the_newest_proxy_and_removals_to_all(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        old, new = await world.proxy(), await world.proxy()
        await asyncio.gather(old.snapshot(), new.snapshot())
        await world.add()
        newest = new if world.uid() in new.held else old
        other = old if newest is new else new
        assert world.uid() not in other.held
        with pytest.raises(ConfigError, match="a newer proxy is connected"):
            await other.client.set_capture(world.uid(), world.Capture.ON)
        await world.remove()
        assert old.names()[-1] == new.names()[-1] == ("DelWorkload", "a")

    node(scenario)


def test_remove_now_cuts_and_remove_drains_first(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        for now, before in ((True, world.Capture.ON), (False, world.Capture.DRAINING)):
            await world.add()
            await proxy.client.set_capture(world.uid(), world.Capture.ON)
            await world.remove(now=now)
            assert proxy.orders[-1] == zds.DelWorkload(world.uid(), now=now)
            assert world.redirector.history[-1] == {}
            assert world.redirector.history[-2][world.uid()].capture is before

    node(scenario)


def test_a_workload_whose_namespace_is_gone_leaves_by_itself(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        world.machine.processes[77] = (5000, world.machine.space("/proc/77"), "/cg/b")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        await world.add()
        await world.add("b", pid=77, cgroup=None)
        await proxy.client.set_capture(world.uid("a"), world.Capture.ON)
        del world.machine.spaces["/ns/a"]
        world.machine.processes[77] = (6000, *world.machine.processes[77][1:])
        await world.daemon._membership.sweep()
        assert await world.listed() == {}
        assert world.redirector.history[-1] == {}
        assert proxy.held == {}

    node(scenario)


def test_another_namespace_at_the_same_path_is_another_workload(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        await world.add()
        space = world.machine.space("/ns/a")
        assert await world.add() == ""
        assert [name for name, _ in proxy.names()][-3:] == ["AddWorkload", "DelWorkload", "AddWorkload"]
        assert proxy.orders[-1].info.netns_cookie == space.cookie

    node(scenario)


def test_new_addresses_reach_the_kernel_the_proxy_and_the_disk(node):
    async def scenario(world):
        space = world.machine.space("/ns/a", addresses=())
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        await world.add()
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        space.addresses = (ip_address("10.9.9.9"),)
        await world.daemon._membership.sweep()
        assert proxy.orders[-1].info.addresses == space.addresses
        assert proxy.orders[-1].info.capture is world.Capture.ON
        assert world.redirector.history[-1][world.uid()].addresses == space.addresses

    node(scenario)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"netns": "/ns/gone"}, "network namespace '/ns/gone': No such file or directory"),
        ({"netns": "/ns/own"}, "is the node's own network namespace"),
        ({"netns": "/ns/taken"}, 'is the network namespace of workload "shop/taken" already'),
        ({"netns": "/ns/busy"}, "port 15001 .* is in use"),
        ({"name": "taken", "netns": "/ns/a"}, 'workload "shop/taken" is registered already, in /ns/taken'),
        ({"netns": None, "pid": 4242}, "pid 4242: there is no such process"),
        ({"cgroup": "/sys/fs/cgroup/cpu/a"}, "'/sys/fs/cgroup/cpu/a' is not of cgroup v2"),
        ({"netns": None}, "netns and pid: give .* one of the two"),
        ({"pid": 77}, "netns and pid: give .* one of the two"),
        ({"pid": -1, "netns": None}, "pid: Input should be greater than 0"),
        (
            {"exclude_outbound_ports": [443, 70000]},
            "exclude_outbound_ports.1: 70000 is no port; a port is 1-65535",
        ),
        ({"exclude_cidrs": ["10.0.0.1/8"]}, "exclude_cidrs.0: '10.0.0.1/8' is no CIDR"),
        ({"name": "../b"}, "name: '../b' is no name"),
        ({"labels": {"app": "two words"}}, "labels: app=two words is no label"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"verb": "dance"}, "Input tag 'dance'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_with_a_sentence_and_nothing_is_half_done(node, request_, sentence):
    async def scenario(world):
        world.machine.space("/ns/a")
        world.machine.space("/ns/own", own=True)
        world.machine.space("/ns/busy", busy=True)
        world.machine.space("/ns/taken")
        await world.start()
        await world.add("taken", "/ns/taken")
        before, table = open_fds(), world.table()
        full = {
            "verb": "add",
            "name": "a",
            "namespace": "shop",
            "service_account": "sa",
            "netns": "/ns/a",
            **request_,
        }
        with pytest.raises(ConfigError, match=sentence):
            await world.call(**full)
        assert set(await world.listed()) == {"taken"}
        assert world.table() == table
        assert not open_fds() - before

    node(scenario)


def test_removing_what_is_not_there_is_refused(node):
    async def scenario(world):
        await world.start()
        with pytest.raises(ConfigError, match="not registered on this node"):
            await world.remove()

    node(scenario)


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"verb": 3}\n', b"\xff\n"])
def test_garbage_on_the_local_socket_is_answered_by_an_error(node, line):
    async def scenario(world):
        await world.start()
        reader, writer = await asyncio.open_unix_connection(str(world.run_dir / "node.sock"))
        writer.write(line)
        assert b'"error"' in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert (await world.call("status"))["ready"]

    node(scenario)


def test_a_disk_that_fails_refuses_the_add_and_nothing_is_half_done(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        before = open_fds()
        (world.state_dir / "workloads.new").mkdir()
        with pytest.raises(ConfigError, match=r"workloads\.json: Is a directory"):
            await world.add()
        assert await world.listed() == {}
        await proxy.until(lambda: not proxy.held)
        assert not open_fds() - before
        (world.state_dir / "workloads.new").rmdir()
        assert await world.add() == ""

    node(scenario)
