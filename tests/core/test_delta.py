from dataclasses import replace
from ipaddress import ip_address

import pytest
from core.worlds import (
    authorizations,
    mesh_settings,
    policies,
    policy,
    routes,
    service,
    services,
    snapshots,
    workload,
    workloads,
    world,
)
from hypothesis import given, strategies as st

from ambient.core import delta
from ambient.core.delta import Delta
from ambient.core.model.address import NetworkAddress
from ambient.core.model.authorization import Action, Scope
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.settings import MeshSettings, Permission
from ambient.core.snapshot import EMPTY, Snapshot

WEB = service("web", "10.96.0.1", "fd96::1")
POD = workload("pod", "10.0.0.1", "fd00::1", services={WEB.key: ((80, 8080),)})


def same(one: Snapshot, other: Snapshot) -> bool:
    return replace(one, version=0) == replace(other, version=0)


@given(snapshots, snapshots)
def test_applying_the_difference_gives_the_other(before, after):
    assert same(delta.apply(before, delta.between(before, after)), after)


@given(snapshots)
def test_there_is_no_difference_to_itself(snapshot):
    assert delta.between(snapshot, snapshot) == Delta()


@given(
    st.lists(st.one_of(workloads, services, authorizations, routes, policies, mesh_settings), max_size=8),
    st.integers(0, 8),
)
def test_one_delta_or_two_is_the_same(every, cut):
    at_once = delta.apply(EMPTY, Delta(tuple(every)))
    in_steps = delta.apply(delta.apply(EMPTY, Delta(tuple(every[:cut]))), Delta(tuple(every[cut:])))
    assert same(at_once, in_steps)
    assert (at_once.version, in_steps.version) == (1, 2)


@given(snapshots)
def test_removing_all_leaves_nothing_behind(snapshot):
    addresses = (*snapshot.workloads, *snapshot.services)
    empty = delta.apply(
        snapshot,
        Delta(
            (),
            addresses,
            tuple(snapshot.authorizations),
            tuple(snapshot.routes),
            tuple(snapshot.policies),
            settings_removed=True,
        ),
    )
    assert same(empty, EMPTY)


@given(snapshots)
def test_indices_agree_with_resources(snapshot):
    for uid, one in snapshot.workloads.items():
        assert all(uid in snapshot.workloads_at[address] for address in one.network_addresses)
        assert all(uid in snapshot.endpoints_of[key].uids for key in one.services)
    for address, uids in snapshot.workloads_at.items():
        assert uids
        assert all(address in snapshot.workloads[uid].network_addresses for uid in uids)
    for key, endpoints in snapshot.endpoints_of.items():
        assert endpoints.uids == tuple(sorted(endpoints.uids))
        assert all(snapshot.workloads[one.uid] is one and key in one.services for one in endpoints)
    for address, keys in snapshot.services_at.items():
        assert all(address in snapshot.services[key].addresses for key in keys)


@given(snapshots, workloads)
def test_a_snapshot_is_never_changed(snapshot, extra):
    copy = delta.apply(EMPTY, delta.between(EMPTY, snapshot))
    delta.apply(snapshot, Delta((extra,), tuple(snapshot.workloads), tuple(snapshot.authorizations)))
    assert same(snapshot, copy)


def test_what_did_not_change_is_shared():
    before = world(WEB, POD, policy("p", Action.DENY))
    after = delta.apply(before, Delta((replace(POD, capacity=5),)))
    assert after.services is before.services
    assert after.services_at is before.services_at
    assert after.authorizations is before.authorizations
    assert after.authorizations_for is before.authorizations_for
    assert after.routes is before.routes
    assert after.workloads[POD.uid].capacity == 5
    assert before.workloads[POD.uid].capacity == 1


def test_removing_what_is_not_there_changes_nothing():
    before = world(WEB, POD)
    after = delta.apply(before, Delta((), ("nobody",), ("no/policy",), ("no/routes",), ("no/policies",)))
    assert after.workloads is before.workloads
    assert same(after, before)


@pytest.mark.parametrize("ip", ["10.0.0.1", "fd00::1"])
def test_a_workload_is_found_by_either_family(ip):
    assert world(POD).workload_at(ip_address(ip)) == POD


@pytest.mark.parametrize("ip", ["10.96.0.1", "fd96::1"])
def test_a_service_is_found_by_either_family(ip):
    assert world(WEB).service_at(ip_address(ip)) == WEB


def test_an_address_belongs_to_a_network():
    other = replace(POD, uid="other", network="other")
    snapshot = world(POD, other)
    assert snapshot.workload_at(ip_address("10.0.0.1")) == POD
    assert snapshot.workload_at(ip_address("10.0.0.1"), "other") == other
    assert snapshot.workload_at(ip_address("10.0.0.1"), "third") is None


def test_an_address_is_handed_over_in_either_order():
    old, new = workload("old", "10.0.0.1"), workload("new", "10.0.0.1")
    both = world(old, new)
    assert both.workload_at(ip_address("10.0.0.1")) == new
    assert both == world(new, old)
    only_new = delta.apply(both, Delta((), (old.uid,)))
    assert only_new.workload_at(ip_address("10.0.0.1")) == new
    assert delta.apply(both, Delta((), (new.uid,))).workload_at(ip_address("10.0.0.1")) == old


def test_a_workload_that_moved_is_not_found_at_its_old_address():
    moved = delta.apply(world(POD), Delta((replace(POD, addresses=(ip_address("10.0.0.9"),)),)))
    assert moved.workload_at(ip_address("10.0.0.1")) is None
    assert moved.workload_at(ip_address("10.0.0.9")) is not None
    assert NetworkAddress("", ip_address("fd00::1")) not in moved.workloads_at


def test_endpoints_may_come_before_their_service():
    early = world(POD)
    assert early.endpoints_of[WEB.key].uids == (POD.uid,)
    without = delta.apply(world(POD, WEB), Delta((), (WEB.key,)))
    assert without.endpoints_of[WEB.key].uids == (POD.uid,)
    assert WEB.key not in without.services


def test_a_workload_that_leaves_a_service_is_no_endpoint():
    left = delta.apply(world(POD, WEB), Delta((replace(POD, services=type(POD.services)()),)))
    assert WEB.key not in left.endpoints_of


def test_a_resource_that_is_removed_and_given_is_kept():
    after = delta.apply(world(POD), Delta((replace(POD, capacity=3),), (POD.uid,)))
    assert after.workloads[POD.uid].capacity == 3


def test_a_policy_that_changes_its_scope_is_looked_up_by_the_new_one():
    deny = policy("p", Action.DENY)
    for scope, under in [(Scope.GLOBAL, [""]), (Scope.NAMESPACE, ["shop"]), (Scope.WORKLOAD_SELECTOR, [])]:
        after = delta.apply(world(deny), Delta((replace(deny, scope=scope),)))
        assert sorted(after.authorizations_for) == under


def test_the_mesh_has_settings_of_its_own_until_they_are_removed():
    lenient = MeshSettings(waypoint_bypass=Permission.ALLOW)
    assert world(WEB).settings == MeshSettings()
    assert world(lenient).settings == lenient
    assert delta.apply(world(lenient), Delta(settings_removed=True)).settings == MeshSettings()
    assert delta.apply(world(lenient), Delta((lenient,), settings_removed=True)).settings == lenient


def test_routes_do_not_wait_for_their_service():
    said = ServiceRoutes(WEB.key)
    assert world(said).routes[WEB.key] == said
    assert world(said, WEB).routes[WEB.key] == said
    without = delta.apply(world(said, WEB), Delta((), (WEB.key,)))
    assert without.routes[WEB.key] == said
    assert WEB.key not in delta.apply(without, Delta(removed_routes=(WEB.key,))).routes
