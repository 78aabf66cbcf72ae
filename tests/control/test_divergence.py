"""What a node holds is not what the control plane has, by whoever's fault: it is found, counted, told and healed."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest
from control.test_control import ENTRY, Node, bootstrap, control_plane

from ambient.aio.watch import Watch
from ambient.member.mesh import Mesh
from ambient.rpc.channel import Dialer
from ambient.rpc.encoding import encode_resource
from ambient.rpc.subscription import TYPES, Subscription
from ambient.rpc.wire import ADDRESS, RawResource, Update, encode

UID = "local/networking.istio.io/WorkloadEntry/shop/"


def lose(control, node):
    node.held.apply(Update((), ((ADDRESS, f"{UID}a"),)))


def damage(control, node):
    """As a disk or a fault of memory would."""
    held = node.held._resources[ADDRESS]
    raw = held[f"{UID}a"]
    held[f"{UID}a"] = RawResource(ADDRESS, raw.name, raw.version, raw.body[:-1])


def invent(control, node):
    node.held.apply(Update((RawResource(ADDRESS, f"{UID}ghost", "1", b"boo"),)))


def forget_to_tell(control, node):
    """A fault of the control plane's: something is taken back and no stream learns of it."""
    control._publisher._shelves[ADDRESS].remove(f"{UID}b")


@pytest.fixture
def entries(tmp_path):
    (tmp_path / "config").mkdir()
    for i, name in enumerate("ab"):
        (tmp_path / "config" / f"{name}.yaml").write_text(ENTRY % (name, f"10.9.0.{i + 1}"))


def agree(control, node):
    published = {entry.name: entry.digest for entry in control._publisher._shelves[ADDRESS]}
    return published == {
        raw.name: node.held.digest(ADDRESS, raw.name) for raw in node.held if raw.type_url == ADDRESS
    }


@pytest.mark.parametrize("fault", [lose, damage, invent, forget_to_tell])
async def test_a_divergence_is_found_counted_told_and_healed(tmp_path, entries, fault):
    async with control_plane(tmp_path) as control, Node(control, await bootstrap(control)) as node:
        await node.until(lambda: agree(control, node))
        troubles = []

        async def listen():
            async for trouble in node.subscription.trouble.changes():
                troubles.append(trouble)

        listening = asyncio.create_task(listen())
        fault(control, node)
        assert not agree(control, node)
        control._publisher.state_checksums()
        await node.until(lambda: agree(control, node))
        assert node.subscription.divergences == 1
        assert any("is not what the control plane has" in trouble for trouble in troubles)
        listening.cancel()

        before = len(node.updates)
        control._publisher.state_checksums()
        await node.until(lambda: len(node.updates) >= before + len(TYPES))
        assert node.subscription.divergences == 1


async def test_a_divergence_that_stays_is_counted_and_the_stream_is_left_alone(
    tmp_path, entries, monkeypatch
):
    async with control_plane(tmp_path) as control, Node(control, await bootstrap(control)) as node:
        await node.until_synced()
        # As if the two reckoned differently.
        monkeypatch.setattr(node.held, "recount", lambda _: 1)
        monkeypatch.setattr(node.held, "checksum", lambda _: 1)
        control._publisher.state_checksums()
        types = len(TYPES)
        # The first streams end at the first, the second … of the types, the last one does not.
        await counted(node, types * (types + 1) // 2 + types)
        streams = set(control._publisher._subscribers)
        assert len(streams) == 1
        control._publisher.state_checksums()
        await counted(node, types * (types + 1) // 2 + 2 * types)
        assert set(control._publisher._subscribers) == streams


async def test_a_snapshot_that_was_damaged_on_disk_is_healed_when_the_stream_begins(tmp_path, entries):
    """Its versions are those of the control plane, so only the checksum can tell."""

    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control)
        async with Node(control, credentials) as node:
            await node.until_synced()
        before = tuple(node.held)
        workload = node.snapshot.workloads[f"{UID}a"]
        wrong = encode_resource(replace(workload, addresses=(ip_address("10.66.6.6"),)))
        damaged = tuple(replace(raw, body=wrong.body) if raw.name == wrong.name else raw for raw in before)
        (tmp_path / "snapshot").write_bytes(encode(Update(damaged)))

        heir = Mesh(tmp_path / "snapshot", lambda *_: None, lambda _: None, lambda *_: None, lambda *_: {})
        heir.restore_from_disk()
        assert heir.snapshot.workload_at(ip_address("10.66.6.6")) is not None
        dialer = Dialer(f"127.0.0.1:{control.node_port}", Watch(credentials))
        subscription = Subscription(dialer, "n1", heir.held)
        running = asyncio.create_task(subscription.run(heir.deliver))
        async with asyncio.timeout(5):
            while heir.snapshot.workloads != node.snapshot.workloads:
                await asyncio.sleep(0.01)
        assert subscription.divergences == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await dialer.close()


async def counted(node, divergences):
    async with asyncio.timeout(5):
        while node.subscription.divergences < divergences:
            await asyncio.sleep(0.01)
