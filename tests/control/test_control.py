"""A whole control plane and real nodes over TLS on loopback."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import grpc
import pytest
from immutables import Map

from ambient.aio.watch import Watch
from ambient.control.main import Control, Options
from ambient.core import delta
from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.model.route import Backend
from ambient.core.model.settings import Permission
from ambient.core.model.workload import TunnelProtocol
from ambient.core.pki import csr, issue, verify
from ambient.core.pki.bundle import Credentials
from ambient.core.routing import Connection, Request, choose
from ambient.core.snapshot import EMPTY
from ambient.rpc import access, authority, mesh, operator, trust, wire
from ambient.rpc.certificates import sign
from ambient.rpc.channel import Dialer, open_bootstrap_channel, open_channel
from ambient.rpc.errors import PermissionDenied, Unauthenticated
from ambient.rpc.holdings import Holdings
from ambient.rpc.registration import Accepted, LocalWorkload, Refused, Registration
from ambient.rpc.subscription import TYPES, Subscription
from ambient.rpc.wire import Update

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, namespace: shop}
spec: {address: %s}
"""
WEB = SpiffeId("cluster.local", "shop", "web")
UID = "local/ambient.dev/Workload/shop/web"
WORKLOAD = LocalWorkload(UID, "web", "shop", "web", (ip_address("10.0.0.1"),), Map({"app": "web"}))


class Clock:
    """The wall clock, moved at will."""

    def __init__(self):
        self.ahead = timedelta()

    def __call__(self):
        return datetime.now(UTC) + self.ahead


@asynccontextmanager
async def control_plane(tmp_path, clock=None, **options):
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    if not (config / "shop.yaml").exists():
        (config / "shop.yaml").write_text(SHOP)
    places = {"config": config, "listen": "127.0.0.1:0", "bootstrap_listen": "127.0.0.1:0"}
    made = Options(state_dir=tmp_path / "state", **{**places, **options})
    async with AsyncExitStack() as stack:
        yield await Control.start(made, stack, clock or Clock())


def roots(control):
    return (control.options.state_dir / "root-cert.pem").read_bytes()


def audited(tmp_path):
    return [json.loads(line) for line in (tmp_path / "state" / "audit.log").read_text().splitlines()]


async def bootstrap(control, node="n1", token=None, request=None):
    """A node's first certificate."""
    identity = NodeId("cluster.local", node)
    request = request or csr.new_request(identity)
    channel = open_bootstrap_channel(f"127.0.0.1:{control.bootstrap_port}", roots(control))
    async with channel:
        chain = await sign(channel, request.csr_pem, token=token or control.create_token(node, 0))
    return Credentials.of(identity, request.key_pem, chain, roots(control), datetime.now(UTC))


class Node:
    """A node's ends of the wires, and the mesh as it sees it."""

    def __init__(self, control, credentials, held=(), refuse=lambda _: {}, types=TYPES):
        self.dialer = Dialer(f"127.0.0.1:{control.node_port}", Watch(credentials))
        self.updates = []
        self.snapshot = EMPTY
        self.orders = {}
        self._refuse = refuse
        self._changed = asyncio.Event()
        self.held = Holdings()
        self.held.apply(wire.Update(tuple(held)))
        self.subscription = Subscription(self.dialer, credentials.identity.node, self.held, types=types)
        self.registration = Registration(self.dialer, self._ordered)
        self._tasks = []

    async def __aenter__(self):
        self._tasks = [
            asyncio.create_task(self.subscription.run(self._deliver)),
            asyncio.create_task(self.registration.run()),
        ]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dialer.close()
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    async def until(self, condition, seconds=5):
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_synced(self):
        async with asyncio.timeout(5):
            async for synced in self.subscription.synced.changes():
                if synced:
                    return

    def _deliver(self, update):
        self.updates.append(update)
        refused = self._refuse(update)
        nouns = tuple(raw for raw in update.upserted if raw.type_url not in trust.TYPES)
        decoded, errors = wire.decode(wire.accepted(Update(nouns, update.removed), refused))
        self.held.apply(wire.accepted(update, {**refused, **errors}))
        self.snapshot = delta.apply(self.snapshot, decoded)
        self._changed.set()
        return {**refused, **errors}

    def _ordered(self, order):
        self.orders[order.uid] = order
        self._changed.set()


@asynccontextmanager
async def node_channel(tmp_path, **options):
    """A control plane and a channel to it with a node's certificate."""
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(control_plane(tmp_path, **options))
        yield await stack.enter_async_context(
            open_channel(f"127.0.0.1:{control.node_port}", await bootstrap(control))
        )


def names(update):
    """Of what is no word on whom to trust."""
    return [raw.name for raw in update.upserted if raw.type_url not in trust.TYPES]


async def test_from_a_token_to_a_workload_that_speaks_hbone(tmp_path):
    async with control_plane(tmp_path) as control:
        first, second = await bootstrap(control, "n1"), await bootstrap(control, "n2")
        async with Node(control, first) as n1, Node(control, second) as n2:
            n1.registration.set(WORKLOAD)
            await n1.until(lambda: UID in n1.orders)
            assert n1.orders[UID] == Accepted(UID, WEB, enrolled=True)
            await n2.until(lambda: UID in n2.snapshot.workloads)
            assert n2.snapshot.workloads[UID].tunnel is TunnelProtocol.NONE

            request = csr.new_request(WEB)
            chain = await sign(await n1.dialer.channel(), request.csr_pem, impersonate=WEB)
            held = Credentials.of(WEB, request.key_pem, chain, roots(control), datetime.now(UTC))
            assert verify.identity_of(held.chain_pem) == WEB

            n1.registration.set(LocalWorkload(UID, "web", "shop", "web", WORKLOAD.addresses, captured=True))
            await n2.until(lambda: n2.snapshot.workloads[UID].tunnel is TunnelProtocol.HBONE)
            n1.registration.forget(UID)
            await n2.until(lambda: UID not in n2.snapshot.workloads)


async def test_a_changed_file_reaches_every_node_within_a_second(tmp_path):
    async with control_plane(tmp_path) as control, AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(Node(control, await bootstrap(control, f"n{i}")))
            for i in range(3)
        ]
        for node in nodes:
            await node.until_synced()
        began = time.monotonic()
        (tmp_path / "config" / "vm.yaml").write_text(ENTRY % ("vm", "10.9.0.1"))
        for node in nodes:
            await node.until(lambda node=node: len(node.snapshot.workloads) == 1)
        assert time.monotonic() - began < 1.0
        (tmp_path / "config" / "vm.yaml").unlink()
        for node in nodes:
            await node.until(lambda node=node: not node.snapshot.workloads)


ROUTES = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.88.0.10, selector: {app: api}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api]
  http:
  - match: [{headers: {x-canary: {exact: "true"}}}]
    route: [{destination: {host: api, subset: v2}}]
  - route: [{destination: {host: api, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: api.shop.svc.cluster.local, namespace: shop}
spec:
  routes: [{name: orders, condition: {pathRegex: /orders}, timeout: 5s}]
"""
API = "shop/api.shop.svc.cluster.local"


async def test_whoever_asks_for_routes_decides_by_them_as_the_control_plane_does(tmp_path):
    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control, "n1"), await bootstrap(control, "waypoint")
        async with (
            Node(control, credentials[0]) as node,
            Node(control, credentials[1], types=(*TYPES, wire.ROUTES)) as waypoint,
        ):
            (tmp_path / "config" / "routes.yaml").write_text(ROUTES)
            await waypoint.until(lambda: API in waypoint.snapshot.routes)
            canary = Request(Connection(80), "GET", "/orders", headers={"x-canary": "true"})
            chosen = choose(waypoint.snapshot.routes[API], canary)
            assert chosen.action.backends == (Backend(API, 80, "v2"),)
            assert (chosen.profile.name, chosen.timeouts.request) == ("orders", timedelta(seconds=5))
            version = waypoint.held.versions(wire.ROUTES)[API]

            (tmp_path / "config" / "routes.yaml").write_text(ROUTES.replace("timeout: 5s", "timeout: 2s"))
            await waypoint.until(lambda: waypoint.held.versions(wire.ROUTES)[API] != version)
            chosen = choose(waypoint.snapshot.routes[API], canary)
            assert chosen.timeouts.request == timedelta(seconds=2)

            (tmp_path / "config" / "routes.yaml").unlink()
            await waypoint.until(lambda: API not in waypoint.snapshot.routes)
            await node.until(lambda: any((wire.ADDRESS, API) in one.removed for one in node.updates))
            assert not any(
                type_url == wire.ROUTES
                for update in node.updates
                for type_url in (
                    *(raw.type_url for raw in update.upserted),
                    *(gone for gone, _ in update.removed),
                )
            )


BEHIND = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way, namespace: shop}
spec: {gatewayClassName: ambient-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: way}}
spec: {clusterIP: 10.88.0.10, ports: [{port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {targetRefs: [{kind: Service, name: api}], action: DENY, rules: [{}]}
---
apiVersion: ambient.dev/v1
kind: MeshConfig
metadata: {name: default, namespace: ambient-system}
spec: {waypointBypass: allow}
"""


@pytest.mark.parametrize("comes_late", [False, True], ids=["at-first", "later"])
async def test_a_waypoint_hears_of_policies_before_that_whom_they_are_for_is_behind_it(tmp_path, comes_late):
    async with control_plane(tmp_path) as control:
        file = tmp_path / "config" / "behind.yaml"
        credentials = await bootstrap(control, "n1"), await bootstrap(control, "waypoint")
        types = (*TYPES, wire.ROUTES, wire.POLICIES)
        async with Node(control, credentials[0]) as node:
            if not comes_late:
                file.write_text(BEHIND)
                await node.until(lambda: API in node.snapshot.services)
            async with Node(control, credentials[1], types=types) as waypoint:
                await waypoint.until_synced()
                if comes_late:
                    file.write_text(BEHIND)
                await waypoint.until(lambda: API in waypoint.snapshot.services)
                told = [raw.type_url for one in waypoint.updates for raw in one.upserted if raw.name == API]
                assert told == [wire.POLICIES, wire.ADDRESS]
                assert [one.key for one in waypoint.snapshot.policies[API].authorizations] == ["shop/p"]
                await node.until(lambda: API in node.snapshot.services)
                for one in (node, waypoint):
                    assert one.snapshot.settings.waypoint_bypass is Permission.ALLOW
                assert not node.snapshot.policies


async def test_a_refused_resource_is_sent_again_on_reconnect_and_the_good_ones_are_not(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yaml").write_text(ENTRY % ("a", "10.9.0.1"))
    (tmp_path / "config" / "b.yaml").write_text(ENTRY % ("b", "10.9.0.2"))
    good, bad = (f"local/networking.istio.io/WorkloadEntry/shop/{name}" for name in "ab")
    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control)

        def refuse(update):
            return {bad: "not today"} if bad in names(update) else {}

        async with Node(control, credentials, refuse=refuse) as node:
            await node.until_synced()
            assert set(node.snapshot.workloads) == {good}
            before = len(node.updates)
            await (await node.dialer.channel()).close()
            node.dialer._channel = None
            await node.until(lambda: any(map(names, node.updates[before:])))
            again = [name for update in node.updates[before:] for name in names(update)]
            assert again == [bad]


async def test_what_changed_while_a_node_was_away_is_all_that_it_hears(tmp_path):
    (tmp_path / "config").mkdir()
    for i, name in enumerate("abc"):
        (tmp_path / "config" / f"{name}.yaml").write_text(ENTRY % (name, f"10.9.0.{i + 1}"))
    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control)
        async with Node(control, credentials) as node:
            await node.until_synced()
        held = [raw for update in node.updates for raw in update.upserted]
        assert len(held) == 3 + len(trust.TYPES)
    (tmp_path / "config" / "b.yaml").write_text(ENTRY % ("b", "10.9.0.9"))
    (tmp_path / "config" / "c.yaml").unlink()
    async with control_plane(tmp_path) as control, Node(control, credentials, held=held) as node:
        await node.until_synced()
        uid = "local/networking.istio.io/WorkloadEntry/shop/"
        assert [name for update in node.updates for name in names(update)] == [f"{uid}b"]
        assert [name for update in node.updates for _, name in update.removed] == [f"{uid}c"]


async def test_a_restart_forgets_nothing(tmp_path):
    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control)
        before = roots(control)
        async with Node(control, credentials) as node:
            node.registration.set(LocalWorkload(UID, "web", "shop", "web", WORKLOAD.addresses, captured=True))
            await node.until(lambda: UID in node.orders)
            await node.until(lambda: UID in node.snapshot.workloads)
    async with control_plane(tmp_path) as control:
        assert roots(control) == before
        # Of a node that is away, as it was.
        assert control._index.snapshot.workloads[UID].tunnel is TunnelProtocol.HBONE
        async with Node(control, credentials) as node:
            await node.until_synced()
            request = csr.new_request(NodeId("cluster.local", "n1"))
            assert await sign(await node.dialer.channel(), request.csr_pem)
            # It reports an empty set: it has restarted too.
            await node.until(lambda: UID not in node.snapshot.workloads)


async def test_a_node_outlives_its_control_plane(tmp_path):
    async with AsyncExitStack() as outer:
        async with control_plane(tmp_path) as control:
            port, credentials = control.node_port, await bootstrap(control)
            node = await outer.enter_async_context(Node(control, credentials))
            node.registration.set(WORKLOAD)
            await node.until(lambda: UID in node.snapshot.workloads)
        async with asyncio.timeout(5):
            async for connected in node.subscription.connected.changes():
                if not connected:
                    break
        assert UID in node.snapshot.workloads
        (tmp_path / "config" / "vm.yaml").write_text(ENTRY % ("vm", "10.9.0.1"))
        async with control_plane(tmp_path, listen=f"127.0.0.1:{port}"):
            await node.until(lambda: len(node.snapshot.workloads) == 2, seconds=10)
            assert node.subscription.trouble.value == ""


async def test_new_credentials_open_a_new_channel(tmp_path):
    async with control_plane(tmp_path) as control:
        first, second = await bootstrap(control), await bootstrap(control)
        credentials = Watch(None)
        dialer = Dialer(f"127.0.0.1:{control.node_port}", credentials)
        waiting = asyncio.create_task(dialer.channel())
        await asyncio.sleep(0)
        assert not waiting.done()
        credentials.set(first)
        channel = await waiting
        assert await dialer.channel() is channel
        credentials.set(second)
        assert await dialer.channel() is not channel
        await dialer.close()


async def test_a_node_gets_no_certificate_of_a_workload_it_does_not_run(tmp_path):
    async with (
        control_plane(tmp_path) as control,
        Node(control, await bootstrap(control, "n1")) as n1,
        Node(control, await bootstrap(control, "n2")) as n2,
    ):
        n1.registration.set(WORKLOAD)
        n2.registration.set(
            LocalWorkload(
                "local/ambient.dev/Workload/shop/x", "x", "shop", "ghost", (ip_address("10.0.0.2"),)
            )
        )
        await n1.until(lambda: UID in n1.orders)
        await n2.until(lambda: n2.orders)
        (order,) = n2.orders.values()
        assert isinstance(order, Refused)
        for identity in (WEB, SpiffeId("cluster.local", "shop", "ghost")):
            with pytest.raises(PermissionDenied) as refused:
                await sign(await n2.dialer.channel(), csr.new_request(identity).csr_pem, impersonate=identity)
            assert str(refused.value) == (
                f"node n2 has no accepted workload that runs as {identity}; add one there with `ambient workload "
                f"add NAME --namespace shop --service-account {identity.service_account}`"
            )
            assert audited(tmp_path)[-1] | {"time": ""} == {
                "time": "",
                "level": "info",
                "message": "certificate refused",
                "caller": "spiffe://cluster.local/node/n2",
                "identity": str(identity),
                "reason": "permission_denied",
                "why": str(refused.value),
            }
        other, channel = SpiffeId("elsewhere", "shop", "web"), await n1.dialer.channel()
        with pytest.raises(PermissionDenied, match="is not of trust domain"):
            await sign(channel, csr.new_request(other).csr_pem, impersonate=other)


async def test_a_node_renews_only_as_itself(tmp_path):
    async with node_channel(tmp_path) as channel:
        other = csr.new_request(NodeId("cluster.local", "n2"))
        chain = await sign(channel, other.csr_pem)
        assert verify.node_of(chain[0]) == NodeId("cluster.local", "n1")
        leaf, issuer = verify.load(chain[0]), verify.load(chain[1])
        assert audited(tmp_path)[-1] | {"time": ""} == {
            "time": "",
            "level": "info",
            "message": "certificate issued",
            "caller": "spiffe://cluster.local/node/n1",
            "node": "n1",
            "identity": "spiffe://cluster.local/node/n1",
            "serial": f"{leaf.serial_number:x}",
            "not_after": str(leaf.not_valid_after_utc),
            "issuer_serial": f"{issuer.serial_number:x}",
        }


async def test_a_node_whose_certificate_is_revoked_is_let_in_no_more_until_it_shows_a_token(tmp_path):
    async with control_plane(tmp_path) as control:
        held = await bootstrap(control)
        request = csr.new_request(held.identity)
        async with open_channel(f"127.0.0.1:{control.node_port}", held) as channel:
            assert await sign(channel, request.csr_pem)
            socket = tmp_path / "state" / operator.SOCKET
            async with operator.door(socket) as door:
                assert [one.serial for one in await authority.revoke(door, held.serial)] == [held.serial]
                listed = await authority.certificates(door)
            assert {one.serial: one.revoked is not None for one in listed}[held.serial]
            with pytest.raises(Unauthenticated) as refused:
                await sign(channel, request.csr_pem)
            assert str(refused.value) == (
                f"the certificate {held.serial} of spiffe://cluster.local/node/n1 is revoked; a new token gets another"
            )
        again = await bootstrap(control)
        async with open_channel(f"127.0.0.1:{control.node_port}", again) as channel:
            assert await sign(channel, request.csr_pem)


async def test_garbage_is_the_callers_fault(tmp_path):
    async with node_channel(tmp_path) as channel:
        with pytest.raises(PeerError, match="not a PEM PKCS #10 request"):
            await sign(channel, b"garbage")


async def test_a_certificate_lives_no_longer_than_configured(tmp_path):
    async with node_channel(tmp_path, certificate_lifetime=timedelta(minutes=5)) as channel:
        for asked, minutes in ((None, 5), (timedelta(hours=9), 5), (timedelta(minutes=1), 1)):
            request = csr.new_request(NodeId("cluster.local", "n1"))
            chain = await sign(channel, request.csr_pem, lifetime=asked)
            leaf = verify.load(chain[0])
            span = leaf.not_valid_after_utc - leaf.not_valid_before_utc
            assert span == timedelta(minutes=minutes) * 1.1


async def test_a_token_is_for_one_node_one_key_and_a_short_time(tmp_path):
    clock = Clock()
    async with control_plane(tmp_path, clock) as control:
        token = control.create_token("n1", 60)
        request = csr.new_request(NodeId("cluster.local", "n1"))
        channel = open_bootstrap_channel(f"127.0.0.1:{control.bootstrap_port}", roots(control))
        async with channel:
            with pytest.raises(Unauthenticated) as mistaken:
                await sign(channel, csr.new_request(NodeId("cluster.local", "n2")).csr_pem, token=token)
            assert str(mistaken.value) == (
                "the bootstrap token is of node n1, not of n2; make one with `ambient token create --node n2`"
            )
            chain = await sign(channel, request.csr_pem, token=token)
            assert verify.node_of(chain[0]).node == "n1"
            assert await sign(
                channel, request.csr_pem, token=token
            )  # The answer was lost: the same key again.
            for used, message in (
                (token, "the bootstrap token of node n1 was used already; make a new one with `ambient token create --node n1`"),
                ("nonsense", "the bootstrap token is unknown; make one with `ambient token create --node NAME`"),
                (None, "there is no bootstrap token; make one with `ambient token create --node NAME`"),
            ):  # fmt: skip
                with pytest.raises(Unauthenticated) as refused:
                    await sign(channel, csr.new_request(WEB).csr_pem, token=used)
                assert str(refused.value) == message
                if used is not None:
                    line = audited(tmp_path)[-1]
                    assert (line["message"], line["why"]) == ("certificate refused", message)
            late = control.create_token("n1", 60)
            clock.ahead = timedelta(seconds=61)
            with pytest.raises(Unauthenticated, match=r"of node n1 expired at .*; make a new one"):
                await sign(channel, request.csr_pem, token=late)
            fresh = control.create_token("n1", 60)
            with pytest.raises(PermissionDenied, match="is for node n1 itself"):
                await sign(channel, request.csr_pem, token=fresh, impersonate=WEB)


async def test_a_token_survives_a_restart_and_is_kept_as_a_hash(tmp_path):
    async with control_plane(tmp_path) as control:
        token = control.create_token("n1", 60)
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes()
    async with control_plane(tmp_path) as control:
        assert (await bootstrap(control, token=token)).identity == NodeId("cluster.local", "n1")
        with pytest.raises(Unauthenticated, match="used already"):
            await bootstrap(control, token=token)


async def test_strangers_are_not_served_where_nodes_are(tmp_path):
    async with control_plane(tmp_path) as control:
        target = f"127.0.0.1:{control.node_port}"
        async with open_bootstrap_channel(target, roots(control)) as channel:
            with pytest.raises(Unavailable):
                await sign(channel, csr.new_request(WEB).csr_pem, token=control.create_token("n1", 0))
        other = issue.new_authority("cluster.local", datetime.now(UTC))
        request = csr.new_request(NodeId("cluster.local", "n1"))
        chain = issue.issue(
            other, issue.requested_key(request.csr_pem), NodeId("cluster.local", "n1"), datetime.now(UTC)
        )
        forged = Credentials.of(
            NodeId("cluster.local", "n1"), request.key_pem, chain, other.root_pem, datetime.now(UTC)
        )
        trusting = Credentials(
            forged.identity,
            forged.key_pem,
            forged.chain_pem,
            roots(control),
            forged.not_before,
            forged.not_after,
        )
        async with open_channel(target, trusting) as channel:
            with pytest.raises(Unavailable):
                await sign(channel, request.csr_pem)


async def test_a_workloads_certificate_opens_no_door_of_nodes(tmp_path):
    async with control_plane(tmp_path) as control:
        request = csr.new_request(WEB)
        chain = issue.issue(
            control._trust.signer, issue.requested_key(request.csr_pem), WEB, datetime.now(UTC)
        )
        held = Credentials.of(WEB, request.key_pem, chain, roots(control), datetime.now(UTC))
        async with open_channel(f"127.0.0.1:{control.node_port}", held) as channel:
            with pytest.raises(Unauthenticated, match="neither a node's nor an operator's"):
                await sign(channel, request.csr_pem)


async def test_a_client_trusts_only_its_root(tmp_path):
    async with control_plane(tmp_path) as control:
        other = issue.new_authority("cluster.local", datetime.now(UTC))
        target = f"127.0.0.1:{control.bootstrap_port}"
        async with open_bootstrap_channel(target, other.root_pem) as channel:
            with pytest.raises(Unavailable):
                await sign(channel, csr.new_request(WEB).csr_pem, token="t")


async def test_a_node_that_goes_knows_when_its_last_word_has_left(tmp_path):
    async with control_plane(tmp_path) as control:
        first, second = await bootstrap(control, "n1"), await bootstrap(control, "n2")
        async with Node(control, second) as n2:
            n1 = Registration(Dialer(f"127.0.0.1:{control.node_port}", Watch(first)), lambda _: None)
            n1.set(WORKLOAD)
            told = asyncio.create_task(n1.told())
            await asyncio.sleep(0)
            assert not told.done()
            running = asyncio.create_task(n1.run())
            async with asyncio.timeout(5):
                await told
            await n2.until(lambda: UID in n2.snapshot.workloads)
            n1.forget(UID)
            async with asyncio.timeout(5):
                await n1.told()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await n1._dialer.close()
            await n2.until(lambda: UID not in n2.snapshot.workloads)


async def test_the_newest_stream_of_a_node_counts(tmp_path):
    async with control_plane(tmp_path) as control:
        credentials = await bootstrap(control)
        older = Registration(Dialer(f"127.0.0.1:{control.node_port}", Watch(credentials)), lambda _: None)
        stream = asyncio.create_task(older._stream())
        await _until(lambda: control._registry.nodes)
        async with Node(control, credentials):
            with pytest.raises(grpc.aio.AioRpcError, match="has opened a newer stream"):
                await stream
        await older._dialer.close()


async def _until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_operator_sees_how_it_stands(tmp_path):
    async with control_plane(tmp_path) as control:
        socket = tmp_path / "state" / operator.SOCKET
        assert socket.stat().st_mode & 0o777 == 0o600
        (tmp_path / "config" / "bad.yaml").write_text("a: [")
        await _until(lambda: control.status().errors)
        async with operator.door(socket) as channel:
            now = await mesh.status(channel)
            assert (now.trust_domain, now.namespaces, now.connected_nodes) == ("cluster.local", 1, ())
            assert now.errors[0].startswith("bad.yaml: line 2: this is not YAML")
            token = (await access.create_token(channel, "n1", ttl_seconds=60)).token
            credentials = await bootstrap(control, token=token)
            with pytest.raises(PeerError, match="--node 'a/b' is not a name"):
                await access.create_token(channel, "a/b")
            with pytest.raises(PeerError, match="--ttl 90000 is not 1-86400"):
                await access.create_token(channel, "n1", ttl_seconds=90000)
            async with Node(control, credentials) as node:
                node.registration.set(WORKLOAD)
                await node.until(lambda: UID in node.snapshot.workloads)
                with pytest.raises(PeerError, match="node n1 is connected: stop its proxy first"):
                    await mesh.forget_node(channel, "n1")
            await _until(lambda: not control._registry.nodes)
            assert await mesh.forget_node(channel, "n1") == 1
            assert (await mesh.status(channel)).workloads == 0
    with pytest.raises(operator.Unreachable, match="no control plane answers on"):
        async with operator.door(socket) as channel:
            await mesh.status(channel)


async def test_a_control_plane_that_cannot_start_says_why(tmp_path):
    async with control_plane(tmp_path) as control:
        with pytest.raises(ConfigError, match="is in use by another control plane"):
            async with control_plane(tmp_path):
                pass
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{control.node_port}"):
            async with control_plane(elsewhere, listen=f"127.0.0.1:{control.node_port}"):
                pass
    with pytest.raises(ConfigError, match=r"--trust-domain is other\.org, and .* is of cluster\.local"):
        async with control_plane(tmp_path, trust_domain="other.org"):
            pass
    with pytest.raises(ConfigError, match="--listen 'x' is not ADDRESS:PORT"):
        async with control_plane(tmp_path, listen="x"):
            pass
    [root] = (tmp_path / "state" / "roots").glob("*/root-cert.pem")
    root.unlink()
    with pytest.raises(
        ConfigError, match=r"root-cert\.pem: No such file .*; restore the folder .* from a backup"
    ):
        async with control_plane(tmp_path):
            pass


async def test_the_state_folder_shows_strangers_the_root_certificate_alone(tmp_path):
    async with control_plane(tmp_path):
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "state").iterdir()}
    assert modes.pop("root-cert.pem") == 0o644
    assert modes.pop("roots") == 0o700
    assert set(modes.values()) == {0o600}


async def test_with_bad_files_at_the_start_the_good_ones_stand(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "bad.yaml").write_text(ENTRY % ("a", "oops"))
    (tmp_path / "config" / "good.yaml").write_text(ENTRY % ("b", "10.9.0.1"))
    async with control_plane(tmp_path) as control:
        status = control.status()
        assert (status.workloads, len(status.errors)) == (1, 1)


async def test_the_server_certificate_renews_itself_and_is_shown_at_once(tmp_path):
    clock = Clock()
    async with control_plane(tmp_path, clock, certificate_lifetime=timedelta(seconds=10)) as control:
        target = f"127.0.0.1:{control.bootstrap_port}"
        first = control._shown.certificate
        await asyncio.sleep(0.5)
        assert control._shown.certificate is first
        async with asyncio.timeout(8):
            while control._shown.certificate is first:
                await asyncio.sleep(0.1)
        control._shown.certificate = issue.issue_server(
            issue.new_authority("cluster.local", datetime.now(UTC)), "cluster.local", (), datetime.now(UTC)
        )
        async with open_bootstrap_channel(target, roots(control)) as channel:
            with pytest.raises(Unavailable):
                await sign(channel, csr.new_request(WEB).csr_pem, token="t", timeout_seconds=1)
        control._shown.certificate = control._shown._new()
        async with open_bootstrap_channel(target, roots(control)) as channel:
            assert await sign(channel, csr.new_request(WEB).csr_pem, token=control.create_token("n1", 0))


async def test_a_clock_that_jumps_has_the_server_certificate_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr("ambient.control.shown.LOOK_SECONDS", 0.05)
    clock = Clock()
    async with control_plane(tmp_path, clock) as control:
        first = control._shown.certificate
        clock.ahead += timedelta(days=3)
        async with asyncio.timeout(5):
            while control._shown.certificate is first:
                await asyncio.sleep(0.01)
        second = control._shown.certificate
        assert second.not_before <= clock() < second.not_after
        clock.ahead -= timedelta(days=3)
        await asyncio.sleep(0.3)
        assert clock() < second.not_before
        # A node whose clock is right must be able to verify it.
        async with asyncio.timeout(5):
            while not control._shown.certificate.not_before <= clock():
                await asyncio.sleep(0.01)
