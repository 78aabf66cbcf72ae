"""The control plane's API, called through its socket."""

from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address

import pytest
from control.test_control import UID, WORKLOAD, Clock, Node, bootstrap, control_plane

from ambient.core.join import JoinToken
from ambient.core.pki import verify
from ambient.rpc import access, mesh, operator
from ambient.rpc.access import Role
from ambient.rpc.errors import InvalidRequest, NotFound
from ambient.rpc.mesh import Origin, Registered


@asynccontextmanager
async def api(tmp_path, clock=None, **options):
    """A control plane, and a channel to its socket."""
    async with (
        control_plane(tmp_path, clock, **options) as control,
        operator.door(tmp_path / "state" / operator.SOCKET) as channel,
    ):
        yield control, channel


async def test_nodes_and_workloads_are_listed_as_they_stand(tmp_path):
    async with api(tmp_path) as (control, channel), Node(control, await bootstrap(control)) as node:
        node.registration.set(WORKLOAD)
        await node.until(lambda: UID in node.snapshot.workloads)
        (shown,) = await mesh.nodes(channel)
        assert (shown.name, shown.connected, shown.workloads) == ("n1", True, 1)
        assert shown.since is not None
        (workload,) = await mesh.workloads(channel, namespace="shop", node="n1")
        assert (workload.uid, workload.refused, workload.origin) == (UID, "", Origin.NODE)
        assert (workload.enrolled, workload.hbone, workload.healthy) == (True, False, True)
        assert await mesh.workloads(channel, namespace="other") == ()


async def test_a_workload_that_no_node_runs_is_registered_and_withdrawn(tmp_path):
    vm = Registered("shop", "vm", "web", (ip_address("10.0.0.9"),), {"app": "web"}, lease_seconds=60)
    async with api(tmp_path) as (control, channel), Node(control, await bootstrap(control)) as node:
        made = await mesh.register_workload(channel, vm)
        assert (made.node, made.enrolled, made.origin) == ("", False, Origin.API)
        assert made.lease_end is not None
        await node.until(lambda: made.uid in node.snapshot.workloads)
        with pytest.raises(InvalidRequest, match="service account 'ghost' is not configured"):
            await mesh.register_workload(
                channel, Registered("shop", "vm2", "ghost", (ip_address("10.0.0.8"),))
            )
        assert [workload.name for workload in await mesh.workloads(channel)] == ["vm"]
        await mesh.withdraw_workload(channel, "shop", "vm")
        await node.until(lambda: made.uid not in node.snapshot.workloads)
        with pytest.raises(NotFound):
            await mesh.withdraw_workload(channel, "shop", "vm")


async def test_tokens_are_listed_without_their_secret_and_revoked(tmp_path):
    async with api(tmp_path, clock := Clock(), advertise=("192.0.2.7",)) as (control, channel):
        made = await access.create_token(channel, "n1", ttl_seconds=60)
        assert [(one.id, one.name, one.role, one.is_used) for one in await access.tokens(channel)] == [
            (made.id, "n1", Role.NODE, False)
        ]
        join = JoinToken.parse(made.join_token)
        assert join == JoinToken(
            "n1",
            "node",
            f"192.0.2.7:{control.node_port}",
            f"192.0.2.7:{control.bootstrap_port}",
            "cluster.local",
            verify.fingerprint((control.options.state_dir / "root-cert.pem").read_bytes()),
            made.token,
        )
        await access.revoke_token(channel, made.id)
        assert await access.tokens(channel) == ()
        with pytest.raises(NotFound, match="there is no token"):
            await access.revoke_token(channel, made.id)
        await access.create_token(channel, "n1", ttl_seconds=60)
        clock.ahead += timedelta(seconds=61)
        assert await access.tokens(channel) == ()
