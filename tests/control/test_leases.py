"""Leases as scripts of moments; then a registry whose nodes fall silent, by an injected clock."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from immutables import Map

from ambient.control.index import NO_NODE, Index, Settings
from ambient.control.leases import Ended, Leases
from ambient.control.objects import Namespace, ServiceAccount
from ambient.control.registry import Patience, Registry
from ambient.control.store import Store
from ambient.core.errors import ConfigError
from ambient.core.model.identity import NodeId
from ambient.core.model.workload import WorkloadStatus
from ambient.rpc.errors import NotFound
from ambient.rpc.registration import LocalWorkload
from ambient.rpc.reporting import Report

NOTHING = Ended((), ())


def test_a_lease_lapses_once_and_then_its_holder_is_gone():
    leases = Leases()
    leases.begin("a", 0.0, 10, 100)
    leases.begin("b", 5.0, 10, 100)
    assert leases.next() == 10.0
    assert leases.due(9.9) == NOTHING
    assert leases.due(10.0) == Ended(("a",), ())
    assert (leases.due(10.1), leases.next(), leases.end_of("a")) == (NOTHING, 15.0, None)
    leases.stop("b")
    assert leases.next() == 100.0
    assert leases.due(100.0) == Ended((), ("a",))
    assert (leases.next(), leases.due(1000.0)) == (None, NOTHING)


def test_a_lease_that_begins_anew_forgets_that_it_lapsed():
    leases = Leases()
    leases.begin("a", 0.0, 10, 100)
    assert leases.due(10.0) == Ended(("a",), ())
    leases.begin("a", 20.0, 10, 100)
    assert leases.end_of("a") == 30.0
    assert leases.due(29.0) == NOTHING
    assert leases.due(30.0) == Ended(("a",), ())


def test_a_holder_that_is_gone_before_it_was_seen_to_lapse_is_only_gone():
    leases = Leases()
    leases.begin("a", 0.0, 10, 100)
    assert leases.due(500.0) == Ended((), ("a",))


class World:
    """A registry over a real store, and a clock that is moved by hand."""

    def __init__(self, folder):
        self.now = 1000.0
        self._folder = folder
        self._start()

    def _start(self):
        self.store = Store.open(self._folder, "cluster.local")
        self.index = Index(Settings())
        objects = [Namespace("shop", "ambient"), ServiceAccount("shop", "web", None)]
        self.index.configure({one.key: one for one in objects})
        self.registry = Registry(self.index, self.store, lambda _: None, Patience(30, 3600), lambda: self.now)
        self.registry.restore()
        self._reporters = {}

    def restart(self):
        self.store.close()
        self._start()

    def report(self, node, *workloads):
        if node not in self._reporters:
            self._reporters[node] = self.registry.connect(NodeId("cluster.local", node))
        self._reporters[node].receive(Report(True, workloads, ()))

    def lose(self, node):
        self._reporters.pop(node).close()

    def wait(self, seconds):
        self.now += seconds
        self.registry.end_leases()

    def statuses(self):
        return {
            workload.name: workload.status is WorkloadStatus.HEALTHY
            for workload in self.index.snapshot.workloads.values()
        }


def workload(name, address, **more):
    uid = f"local/ambient.dev/Workload/shop/{name}"
    return LocalWorkload(uid, name, "shop", "web", (address,), Map(), **more)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def two(world):
    """Two nodes with a workload each."""
    world.report("n1", workload("a", ip_address("10.0.0.1")))
    world.report("n2", workload("b", ip_address("10.0.0.2")))
    return world


def test_nobody_is_sent_to_a_node_that_is_silent_and_it_is_forgotten_long_after(two):
    two.lose("n1")
    two.wait(29)
    assert two.statuses() == {"a": True, "b": True}
    two.wait(1)
    assert two.statuses() == {"a": False, "b": True}
    two.wait(3569)
    assert two.statuses() == {"a": False, "b": True}
    two.wait(1)
    assert two.statuses() == {"b": True}
    assert [node for node, _ in two.store.registrations()] == ["n2"]


def test_a_node_that_is_back_is_what_it_reports(two):
    two.lose("n1")
    two.wait(40)
    assert two.statuses()["a"] is False
    two.report("n1", workload("a", ip_address("10.0.0.1")))
    assert two.statuses() == {"a": True, "b": True}
    two.wait(10_000)
    assert two.statuses() == {"a": True, "b": True}


def test_a_node_that_connects_and_says_nothing_is_silent(two):
    two.lose("n1")
    two.registry.connect(NodeId("cluster.local", "n1"))
    two.wait(30)
    assert two.statuses() == {"a": False, "b": True}


def test_while_nobody_is_connected_it_is_this_end_that_is_cut_off(two):
    two.lose("n1")
    two.lose("n2")
    two.wait(100_000)
    assert two.statuses() == {"a": True, "b": True}
    two.report("n2", workload("b", ip_address("10.0.0.2")))
    two.wait(29)
    assert two.statuses() == {"a": True, "b": True}
    two.wait(1)
    assert two.statuses() == {"a": False, "b": True}


def test_a_restart_counts_from_itself(two):
    two.lose("n1")
    two.wait(31)
    two.restart()
    assert two.statuses() == {"a": True, "b": True}
    two.report("n2", workload("b", ip_address("10.0.0.2")))
    two.wait(29)
    assert two.statuses() == {"a": True, "b": True}
    two.wait(1)
    assert two.statuses() == {"a": False, "b": True}


def test_a_node_may_say_that_a_workload_is_unhealthy(two):
    two.report("n1", workload("a", ip_address("10.0.0.1"), healthy=False))
    assert two.statuses() == {"a": False, "b": True}


def test_a_workload_of_nobodys_lives_by_its_lease(two):
    vm = workload("vm", ip_address("10.0.0.9"))
    two.registry.register(vm, 10)
    two.wait(9)
    two.registry.register(vm, 10)
    two.wait(9)
    assert two.statuses()["vm"] is True
    two.wait(1)
    assert two.statuses()["vm"] is False
    two.registry.register(vm, 10)
    assert two.statuses()["vm"] is True
    two.restart()
    two.wait(10)
    assert two.statuses()["vm"] is False
    two.wait(90)
    assert "vm" not in two.statuses()
    assert [node for node, _ in two.store.registrations() if node == NO_NODE] == []
    assert two.store.leases() == {}


def test_a_workload_without_a_lease_stays_until_it_is_withdrawn(two):
    vm = workload("vm", ip_address("10.0.0.9"))
    two.registry.register(vm, 0)
    two.wait(1_000_000)
    assert two.statuses()["vm"] is True
    two.registry.withdraw(vm.uid)
    assert "vm" not in two.statuses()
    with pytest.raises(NotFound):
        two.registry.withdraw(vm.uid)


@pytest.mark.parametrize(
    ("address", "account", "lease", "why"),
    [
        ("10.0.0.1", "web", 0, "is workload shop/a's already"),
        ("10.0.0.9", "ghost", 0, "service account 'ghost' is not configured"),
        ("10.0.0.9", "web", 100_000, "lease_seconds is 100000; it is 0"),
    ],
    ids=["address-taken", "unknown-account", "lease-too-long"],
)
def test_a_registration_that_is_refused_changes_nothing(two, address, account, lease, why):
    good = workload("vm", ip_address("10.0.0.8"))
    two.registry.register(good, 0)
    before = two.index.snapshot.workloads
    bad = replace(good, addresses=(ip_address(address),), service_account=account)
    with pytest.raises(ConfigError, match=why):
        two.registry.register(bad, lease)
    assert two.index.snapshot.workloads == before
    assert [kept for node, kept in two.store.registrations() if node == NO_NODE] == [good]
