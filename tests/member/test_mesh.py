import asyncio
import dataclasses
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from ambient.core.authorize import Connection, Denied, authorize
from ambient.core.authorize_request import RequestFacts, authorize_request
from ambient.core.delta import Resource
from ambient.core.http import paths
from ambient.core.model.address import NetworkAddress, SocketAddress
from ambient.core.model.authorization import Action, Authorization, Scope
from ambient.core.model.identity import SpiffeId
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.service import Port, Service
from ambient.core.model.workload import Workload
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.member import messages
from ambient.member.incoming import Incoming
from ambient.member.mesh import Mesh, in_packets
from ambient.rpc import encoding, trust, wire
from ambient.rpc.pb.istio.security import authorization_pb2 as pb
from ambient.rpc.wire import RawResource, Update


def workload(number: int) -> Workload:
    return Workload(
        f"local/w/{number}",
        f"w-{number}",
        "shop",
        "default",
        "cluster.local",
        (ip_address(0x0A000000 + number),),
    )


def raw(*resources: Resource) -> tuple[RawResource, ...]:
    return tuple(encoding.encode_resource(resource) for resource in resources)


def authorization_of(scope: int, namespace: str = "shop", *, dry_run: bool = False) -> bytes:
    """Such as this version cannot read: a network of 99 bits."""
    network = pb.Address(address=bytes(4), length=99)
    rule = pb.Rule(clauses=[pb.Clause(matches=[pb.Match(source_ips=[network])])])
    message = pb.Authorization(name="policy", namespace=namespace, scope=scope, rules=[rule], dry_run=dry_run)
    return message.SerializeToString()


class Told:
    def __init__(self, file: Path) -> None:
        self.packets: list[tuple[messages.Message, bytes]] = []
        self.deposits: list[bytes] = []
        self.changes = 0
        self.believed: list[tuple[RawResource, bool]] = []
        self.mesh = Mesh(
            file, lambda *packet: self.packets.append(packet), self.deposit, self.changed, self.believe
        )

    async def deposit(self, content: bytes) -> None:
        self.deposits.append(content)

    def believe(self, resources: Sequence[RawResource], fresh: bool) -> dict[str, str]:
        self.believed += [(raw, fresh) for raw in resources]
        return {raw.name: "no" for raw in resources if not raw.body}

    def changed(self, *_: object) -> None:
        self.changes += 1


def test_whom_to_trust_is_kept_and_no_workers_business(tmp_path: Path) -> None:
    roots, lists = trust.bundle(b"roots"), trust.revocations(b"lists")
    told = Told(tmp_path / "snapshot")
    assert told.mesh.deliver(Update((roots, *raw(workload(1))))) == {}
    bad = RawResource(trust.REVOCATIONS, trust.NAME, "1", b"")
    assert told.mesh.deliver(Update((bad,))) == {trust.NAME: "no"}
    assert told.mesh.deliver(Update((lists,))) == {}
    assert told.believed == [(roots, True), (bad, True), (lists, True)]
    assert set(told.mesh.held) == {roots, lists, *raw(workload(1))}
    assert told.mesh.nouns == Update(raw(workload(1)))
    payloads = [wire.parse(payload) for _, payload in told.packets]
    assert [one.name for update in payloads for one in update.upserted] == ["local/w/1"]
    heir = Told(tmp_path / "other")
    heir.mesh.restore(told.mesh.content())
    assert set(heir.believed) == {(roots, False), (lists, False)}


def test_an_update_is_applied_told_and_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told(tmp_path / "snapshot")
        assert told.mesh.deliver(Update(raw(workload(1)))) == {}
        assert told.mesh.snapshot.workload_at(ip_address("10.0.0.1")) == workload(1)
        saving = asyncio.create_task(told.mesh.save_for_ever())
        async with asyncio.timeout(5):
            while not told.deposits:
                await asyncio.sleep(0.01)
            while not (tmp_path / "snapshot").exists():
                await asyncio.sleep(0.01)
        saving.cancel()
        heir = Told(tmp_path / "snapshot")
        heir.mesh.restore_from_disk()
        assert heir.mesh.snapshot.workloads == told.mesh.snapshot.workloads

    asyncio.run(scenario())


def test_a_bad_resource_is_refused_by_name_and_the_others_stand(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told(tmp_path / "snapshot")
        told.mesh.deliver(Update(raw(workload(1))))
        bad = RawResource(wire.ADDRESS, "local/w/1", "2", b"\xff\xff")
        errors = told.mesh.deliver(Update((bad, *raw(workload(2)))))
        assert set(errors) == {"local/w/1"}
        assert set(told.mesh.snapshot.workloads) == {"local/w/1", "local/w/2"}

    asyncio.run(scenario())


def test_policies_that_cannot_be_read_let_nobody_in_unless_earlier_ones_stand(tmp_path: Path) -> None:
    told = Told(tmp_path / "snapshot")
    first = ServicePolicies("shop/api.shop.svc.cluster.local")
    (good,) = raw(first)
    bad = dataclasses.replace(good, version="bad", body=b"\xff")
    assert set(told.mesh.deliver(Update((bad,)))) == {first.service}
    (shut,) = told.mesh.snapshot.policies[first.service].authorizations
    path = paths.normal("/")
    assert isinstance(path, paths.Path)
    client, server = SocketAddress.parse("10.0.0.1:1"), SocketAddress.parse("10.0.0.2:80")
    facts = RequestFacts(Connection(None, client, server), "GET", path)
    assert isinstance(authorize_request([shut], facts), Denied)
    assert worker_after(told.packets).policies == told.mesh.snapshot.policies
    again = Told(tmp_path / "other")
    again.mesh.restore(told.mesh.content())
    assert again.mesh.snapshot.policies == told.mesh.snapshot.policies
    assert told.mesh.held.versions(wire.POLICIES)[first.service] != "bad", "it is asked for again"
    assert told.mesh.deliver(Update((good,))) == {}
    assert set(told.mesh.deliver(Update((bad,)))) == {first.service}
    assert told.mesh.snapshot.policies[first.service] == first
    assert worker_after(told.packets).policies == told.mesh.snapshot.policies


@pytest.mark.parametrize(
    ("body", "reaches"),
    [
        pytest.param(b"\xff", True, id="no-message"),
        pytest.param(authorization_of(scope=9), True, id="of-a-scope-to-come"),
        pytest.param(authorization_of(scope=pb.NAMESPACE), True, id="of-the-namespace"),
        pytest.param(authorization_of(scope=pb.NAMESPACE, namespace="bank"), False, id="of-another"),
        pytest.param(authorization_of(scope=pb.WORKLOAD_SELECTOR), False, id="of-chosen-workloads"),
        pytest.param(authorization_of(scope=pb.GLOBAL, dry_run=True), False, id="that-denies-nobody"),
    ],
)
def test_an_authorization_that_cannot_be_read_lets_nobody_in_where_it_reaches(
    tmp_path: Path, body: bytes, *, reaches: bool
) -> None:
    told = Told(tmp_path / "snapshot")
    namespace = "bank" if b"bank" in body else "shop"
    bad = RawResource(wire.AUTHORIZATION, f"{namespace}/policy", "bad", body)
    assert set(told.mesh.deliver(Update((*raw(workload(1)), bad)))) == {bad.name}
    assert is_shut(told.mesh.snapshot) is reaches
    assert worker_after(told.packets).authorizations == told.mesh.snapshot.authorizations
    good = Authorization("policy", namespace, Scope.GLOBAL, Action.ALLOW, (((),),))
    assert told.mesh.deliver(Update(raw(good))) == {}
    assert set(told.mesh.deliver(Update((bad,)))) == {bad.name}
    assert told.mesh.snapshot.authorizations[bad.name] == good, "an earlier one stands"
    told.mesh.deliver(Update((), ((wire.AUTHORIZATION, bad.name),)))
    assert not is_shut(told.mesh.snapshot)


def test_workloads_that_name_an_authorization_that_cannot_be_read_let_nobody_in(tmp_path: Path) -> None:
    told = Told(tmp_path / "snapshot")
    bad = RawResource(wire.AUTHORIZATION, "shop/policy", "bad", authorization_of(scope=pb.WORKLOAD_SELECTOR))
    told.mesh.deliver(Update((*raw(dataclasses.replace(workload(1), policies=("shop/policy",))), bad)))
    assert is_shut(told.mesh.snapshot)


def is_shut(snapshot: Snapshot) -> bool:
    client, server = SocketAddress.parse("10.0.0.2:1"), SocketAddress.parse("10.0.0.1:80")
    caller = Connection(SpiffeId("cluster.local", "shop", "client"), client, server)
    return isinstance(authorize(snapshot, snapshot.workloads["local/w/1"], caller), Denied)


def worker_after(packets: Sequence[tuple[messages.Message, bytes]]) -> Snapshot:
    """What a worker knows that heard all of it."""
    incoming, snapshot = Incoming(), EMPTY
    for message, payload in packets:
        assert isinstance(message, messages.MeshChanged)
        snapshot = incoming.take(snapshot, payload, more=message.more) or snapshot
    return snapshot


def test_a_damaged_file_does_not_keep_the_proxy_from_starting(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "snapshot").write_bytes(b"\xff" * 100)
        told = Told(tmp_path / "snapshot")
        told.mesh.restore_from_disk()
        assert len(told.mesh.held) == 0

    asyncio.run(scenario())


def test_a_large_update_travels_in_packets_and_arrives_as_one() -> None:
    service = Service(
        "s", "shop", "s.shop.svc", (NetworkAddress("", ip_address("10.1.0.1")),), (Port(80, 80),)
    )
    update = Update(
        raw(*(workload(number) for number in range(5000)), service), ((wire.ADDRESS, "local/gone"),)
    )
    packets = list(in_packets(update))
    assert len(packets) > 2
    assert [message.more for message, _ in packets] == [True] * (len(packets) - 1) + [False]
    assert max(len(payload) for _, payload in packets) < 128 * 1024
    pieces = [wire.parse(payload) for _, payload in packets]
    assert tuple(one for piece in pieces for one in piece.upserted) == update.upserted
    assert pieces[0].removed == update.removed
