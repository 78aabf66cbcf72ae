"""Who may serve, and how an endpoint is reached: tables."""

import pytest
from core.worlds import HBONE, at, service, workload, world
from immutables import Map

from ambient.core.forwarding.destination import (
    Destination,
    Missing,
    candidates,
    destination,
    reached,
    speaks_http2,
)
from ambient.core.forwarding.reason import Reason
from ambient.core.model.service import AppProtocol
from ambient.core.model.workload import WorkloadStatus

API = service("api", "10.96.0.1")
SERVES = {API.key: ((80, 8080),)}
OWN = workload("waypoint", "10.0.0.5")
V1 = workload("v1", "10.0.0.1", services=SERVES, labels=Map({"version": "v1"}), tunnel=HBONE)
V2 = workload("v2", "10.0.0.2", services=SERVES, labels=Map({"version": "v2"}))


@pytest.mark.parametrize(
    ("others", "port", "expected"),
    [
        pytest.param((V1, V2), 80, ["v1", "v2"], id="all"),
        pytest.param((), 80, Reason.NO_ENDPOINTS, id="nobody"),
        pytest.param((V1,), 81, Reason.NO_TARGET_PORT, id="no-port"),
        pytest.param((workload("v1", services=SERVES),), 80, Reason.NO_ADDRESS, id="no-address"),
        pytest.param((workload("v1", "10.0.0.1", services=SERVES, network="b"),), 80, Reason.OTHER_NETWORK, id="network"),
        pytest.param((workload("v1", "10.0.0.1", services=SERVES, status=WorkloadStatus.UNHEALTHY),), 80, Reason.NO_HEALTHY_ENDPOINT, id="unhealthy"),
    ],
)  # fmt: skip
def test_who_may_serve(others, port, expected):
    found = candidates(world(API, *others), API, port, "")
    if isinstance(found, Missing):
        assert found.reason is expected
        assert API.key in found.detail
    else:
        assert [one.name for one in found] == expected


def test_an_endpoint_with_hbone_is_reached_by_it():
    there = destination(V1, API, 80, OWN)
    assert there == Destination(
        at("10.0.0.1:8080"), V1, at("10.0.0.1:15008"), frozenset({"spiffe://cluster.local/ns/shop/sa/v1"})
    )


def test_an_endpoint_without_hbone_is_dialled():
    assert destination(V2, API, 80, OWN) == Destination(at("10.0.0.2:8080"), V2)


def test_an_address_of_our_own_family_comes_first():
    both = workload("both", "10.0.0.3", "fd00::3", services=SERVES)
    own = workload("waypoint", "fd00::5", "10.0.0.5")
    assert destination(both, API, 80, own) == Destination(at("[fd00::3]:8080"), both)
    assert destination(both, API, 80, None) == Destination(at("10.0.0.3:8080"), both)


def test_names_that_a_service_vouches_for_count_too():
    vouched = service("api", subject_alt_names=("spiffe://other/x",))
    there = destination(V1, vouched, 80, OWN)
    assert isinstance(there, Destination)
    assert there.expect == {"spiffe://cluster.local/ns/shop/sa/v1", "spiffe://other/x"}


def test_nobody_calls_themselves():
    found = reached(at("10.0.0.5:15008"), OWN, OWN)
    assert isinstance(found, Missing)
    assert found.reason is Reason.RECURSIVE


@pytest.mark.parametrize(
    ("declared", "is_grpc", "by_client", "upgrades", "expected"),
    [
        (None, False, False, False, False), (None, False, True, False, True), (None, True, False, False, True),
        (AppProtocol.HTTP, False, True, False, False), (AppProtocol.HTTP, True, True, False, True),
        (AppProtocol.HTTP2, False, False, False, True), (AppProtocol.GRPC, False, False, False, True),
        (AppProtocol.HTTP2, False, True, True, False), (None, False, False, True, False),
    ],
)  # fmt: skip
def test_which_version_is_spoken(declared, is_grpc, by_client, upgrades, expected):
    assert speaks_http2(declared, is_grpc=is_grpc, by_client=by_client, upgrades=upgrades) is expected
