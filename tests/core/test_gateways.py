from dataclasses import replace

import pytest
from core.worlds import gateway, service, workload, world

from ambient.core.gateways import identities, is_behind, locate, meant_by

WAY = service("way", "10.96.0.8", ports=((15008, 15008),))
ONE = workload("way-1", "10.0.0.8", service_account="way", services={WAY.key: ((15008, 15008),)})
TWO = workload("way-2", "10.0.0.9", service_account="second", services={WAY.key: ((15008, 15008),)})
STRANGER = workload("stranger", "10.0.0.1")
BY_NAME, BY_VIP, BY_ADDRESS = gateway(WAY.key), gateway("10.96.0.8"), gateway("10.0.0.8")
GONE = gateway("shop/gone.shop.svc.cluster.local")


@pytest.mark.parametrize(
    ("waypoint", "found", "proved"),
    [(BY_NAME, WAY, {ONE, TWO}), (BY_VIP, WAY, {ONE, TWO}), (BY_ADDRESS, ONE, {ONE}), (GONE, None, set())],
    ids=["name", "virtual-address", "address", "not-there"],
)
def test_a_waypoint_is_where_its_name_or_address_says(waypoint, found, proved):
    snapshot = world(WAY, ONE, TWO, STRANGER)
    assert locate(snapshot, waypoint) == found
    assert identities(snapshot, waypoint) == {one.identity for one in proved}


def test_a_waypoint_without_replicas_is_nobody():
    assert identities(world(WAY), BY_NAME) == frozenset()


@pytest.mark.parametrize(
    ("who", "waypoint", "expected"),
    [(ONE, BY_NAME, True), (ONE, BY_ADDRESS, True), (TWO, BY_ADDRESS, False), (STRANGER, BY_NAME, False)],
)
def test_who_is_of_a_waypoint(who, waypoint, expected):
    assert is_behind(who, waypoint) is expected


API = service("api", "10.96.0.1")


@pytest.mark.parametrize(
    ("waypoint", "meant"),
    [(None, API.hostname), (BY_NAME, API.hostname), (GONE, "")],
    ids=["bare", "behind-us", "behind-another"],
)
def test_another_waypoints_service_is_not_called_by_its_name(waypoint, meant):
    snapshot = world(WAY, ONE, replace(API, waypoint=waypoint))
    assert meant_by(snapshot, ONE, API.key) == meant


def test_what_is_not_known_has_no_name():
    assert meant_by(world(WAY, ONE), ONE, API.key) == ""
