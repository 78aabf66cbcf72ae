"""What is published, who needs it, and what it takes to publish something of a new type."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st
from immutables import Map

from ambient.control import ads
from ambient.control.ads import Publisher
from ambient.control.published import TYPES, About, Audience, Shelf, about
from ambient.core.model.address import NetworkAddress
from ambient.core.model.authorization import Action, Authorization, Scope
from ambient.core.model.identity import NodeId
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.workload import Workload
from ambient.rpc.discovery import Entry, Request
from ambient.rpc.wire import ADDRESS, RawResource, Update

WORKLOAD = Workload(
    "uid",
    "web",
    "shop",
    "default",
    "cluster.local",
    (ip_address("10.0.0.1"), ip_address("fd00::1")),
    network="net",
    node="n1",
    services=Map({"shop/web.shop.svc": ()}),
    policies=("shop/p", "ambient-system/q"),
)
POLICY = Authorization("p", "shop", Scope.NAMESPACE, Action.DENY, ())


@pytest.mark.parametrize(
    ("resource", "of"),
    [
        pytest.param(
            WORKLOAD,
            About(
                aliases=("net/10.0.0.1", "net/fd00::1"),
                part_of=("shop/web.shop.svc",),
                node="n1",
                concerns=("shop", "shop/p", "ambient-system/q"),
            ),
            id="workload",
        ),
        pytest.param(
            Service("web", "shop", "web.shop.svc", (NetworkAddress("", ip_address("10.1.0.1")),), ()),
            About(aliases=("/10.1.0.1",)),
            id="service",
        ),
        pytest.param(replace(POLICY, scope=Scope.GLOBAL), About(), id="policy-of-the-mesh"),
        pytest.param(POLICY, About(reach="shop"), id="policy-of-a-namespace"),
        pytest.param(
            replace(POLICY, scope=Scope.WORKLOAD_SELECTOR), About(reach="shop/p"), id="policy-of-workloads"
        ),
        pytest.param(ServiceRoutes("shop/web.shop.svc"), About(), id="routes"),
    ],
)
def test_who_needs_a_noun(resource, of):
    assert about(resource) == of


names = st.sampled_from("abc")
some = st.lists(st.sampled_from("xyz"), unique=True).map(tuple)
abouts = st.builds(
    About,
    aliases=some,
    part_of=some,
    node=st.sampled_from(["", "n"]),
    concerns=some,
    reach=st.sampled_from(["", "r"]),
)
changes = st.lists(st.tuples(names, st.none() | st.tuples(st.binary(max_size=1), abouts)))


@given(changes)
def test_a_shelf_is_what_was_put_and_not_removed(changes):
    shelf, state = Shelf(Audience.EVERYONE), {}
    for name, change in changes:
        if change is None:
            assert (shelf.remove(name) is None) == (state.pop(name, None) is None)
        else:
            body, of = change
            entry = Entry.of(RawResource(ADDRESS, name, body.hex(), body))
            shelf.put(entry, of)
            state[name] = (entry, of)
    anew = Shelf(Audience.EVERYONE)
    for entry, of in state.values():
        anew.put(entry, of)
    assert {entry.name: entry for entry in shelf} == {name: entry for name, (entry, _) in state.items()}
    assert shelf.checksum == anew.checksum
    for asked in "abcxyz":
        assert shelf.named(asked) == anew.named(asked)
        assert shelf.parts(asked) == {name for name, (_, of) in state.items() if asked in of.part_of}
    for node in ("", "n"):
        assert shelf.on_node(node) == {name for name, (_, of) in state.items() if node and of.node == node}
    for reach in ("", "r"):
        assert shelf.reaching(reach) == {name for name, (_, of) in state.items() if of.reach == reach}


NEW = "type.googleapis.com/example.New"


def new(name):
    return RawResource(NEW, name, "1", b"")


def test_a_type_is_one_line_and_goes_to_whoever_asks_for_it_in_its_turn(monkeypatch):
    monkeypatch.setattr(ads, "TYPES", {NEW: Audience.EVERYONE, **TYPES})
    publisher = Publisher("cluster.local")
    waypoint, node = (publisher.connect(NodeId("cluster.local", name)) for name in ("n1", "n2"))
    for subscriber in (waypoint, node):
        subscriber.receive(Request(ADDRESS, "", "", (), (), {}))
    # Several resources share an alias: that of the waypoint which they are for, say.
    waypoint.receive(Request(NEW, "", "", ("waypoint/shop/way",), (), {}))
    mine = About(aliases=("waypoint/shop/way",))
    publisher.publish(
        Update((RawResource(ADDRESS, "a", "1", b""), new("a"), new("b"), new("c"))),
        {(NEW, "a"): mine, (NEW, "b"): mine},
    )
    first, second = waypoint._take(), waypoint._take()
    assert (first.type_url, second.type_url) == (NEW, ADDRESS)
    assert {entry.name for entry in first.upserted} == {"a", "b"}
    assert node._take().type_url == ADDRESS
    assert node._take() is None
    waypoint.receive(Request(NEW, first.nonce, "", (), (), {}))
    publisher.publish(Update((new("d"), new("e"))), {(NEW, "e"): mine})
    assert [entry.name for entry in waypoint._take().upserted] == ["e"]
