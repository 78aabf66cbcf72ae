import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from core.routes import of
from core.worlds import HBONE, PRESENT, exactly, gateway, policy, service, snapshots, workload, world
from hypothesis import given

from ambient.core.model.authorization import Action, Match, Scope, ServiceAccountMatch
from ambient.core.model.jwt import JwtRule, KeysGiven
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Protocol,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Timeouts,
    Unmatched,
)
from ambient.core.snapshot import EMPTY
from ambient.telemetry.dump import Certificate, config_dump

WEB = replace(service("web", "10.96.0.1"), waypoint=gateway("shop/gate.shop.svc"))
POD = workload("pod", "10.0.0.1", tunnel=HBONE, node="one", services={WEB.key: ((80, 8080),)})
STRICT = policy("strict", Action.DENY, Match(not_principals=PRESENT), scope=Scope.GLOBAL)
ALLOW = policy(
    "allow",
    Action.ALLOW,
    Match(
        principals=exactly("td/ns/a/sa/b"),
        service_accounts=(ServiceAccountMatch("a", "b"),),
        source_ips=(ip_network("10.0.0.0/8"),),
        destination_ports=(80,),
    ),
)


def test_a_dump_shows_what_a_proxy_decides_by():
    certificate = Certificate(
        "spiffe://td/ns/a/sa/b",
        "Available",
        ("PEM",),
        ("ROOT",),
        "1f",
        not_after=datetime(2026, 1, 1, tzinfo=UTC),
    )
    dump = json.loads(config_dump(world(WEB, POD, STRICT, ALLOW), [certificate], {"node": "one"}, "0.1.0"))
    assert dump["workloads"] == [
        {
            "uid": POD.uid,
            "name": "pod",
            "namespace": "shop",
            "serviceAccount": "pod",
            "trustDomain": "cluster.local",
            "workloadIps": ["10.0.0.1"],
            "protocol": "HBONE",
            "status": "Healthy",
            "node": "one",
            "services": {WEB.key: {"80": 8080}},
            "capacity": 1,
            "networkMode": "Standard",
        }
    ]
    assert dump["services"] == [
        {
            "name": "web",
            "namespace": "shop",
            "hostname": WEB.hostname,
            "vips": ["/10.96.0.1"],
            "ports": {"80": 8080},
            "endpoints": {POD.uid: {"workloadUid": POD.uid, "port": {"80": 8080}}},
            "waypoint": {"destination": "shop/gate.shop.svc", "hboneMtlsPort": 15008},
        }
    ]
    assert dump["policies"] == [
        {
            "name": "allow",
            "namespace": "shop",
            "scope": "Namespace",
            "action": "Allow",
            "rules": [
                [
                    [
                        {
                            "principals": [{"Exact": "td/ns/a/sa/b"}],
                            "serviceAccounts": ["a/b"],
                            "sourceIps": ["10.0.0.0/8"],
                            "destinationPorts": [80],
                        }
                    ]
                ]
            ],
        },
        {
            "name": "strict",
            "namespace": "shop",
            "scope": "Global",
            "action": "Deny",
            "rules": [[[{"notPrincipals": ["Presence"]}]]],
        },
    ]
    assert dump["certificates"] == [
        {
            "identity": "spiffe://td/ns/a/sa/b",
            "state": "Available",
            "certChain": ["PEM"],
            "rootCerts": ["ROOT"],
            "serialNumber": "1f",
            "expirationTime": "2026-01-01T00:00:00.000Z",
        }
    ]
    assert (dump["config"], dump["snapshotVersion"], dump["version"]) == (
        {"node": "one"},
        1,
        {"version": "0.1.0"},
    )


def test_an_empty_mesh():
    dump = json.loads(config_dump(EMPTY, [], {}, "0.1.0"))
    assert (dump["workloads"], dump["services"], dump["policies"], dump["certificates"]) == ([], [], [], [])
    assert dump["settings"] == {
        "unknownWorkloads": "allow",
        "sameNode": "direct",
        "waypointBypass": "refuse",
        "outbound": "allow",
    }


@given(snapshots)
def test_any_mesh_can_be_shown(snapshot):
    dump = json.loads(config_dump(snapshot, [], {}, ""))
    assert len(dump["workloads"]) == len(snapshot.workloads)


@given(of(ServiceRoutes), of(ServicePolicies))
def test_all_that_a_waypoint_is_told_can_be_shown(routes, policies):
    dump = json.loads(config_dump(world(routes, policies), [], {}, ""))
    assert [one["service"] for one in dump["routes"]] == [routes.service]
    assert [one["service"] for one in dump["requestPolicies"]] == [policies.service]


def test_a_route_is_shown_by_what_it_says():
    rule = RouteRule(
        Origin("HTTPRoute", "shop", "r"),
        Forward((Backend(WEB.key, 80, weight=9),)),
        timeouts=Timeouts(request=timedelta(seconds=1.5)),
    )
    routes = ServiceRoutes(WEB.key, (RouteTable(Protocol.HTTP, (rule,), Unmatched.SERVICE),))
    (shown,) = json.loads(config_dump(world(routes), [], {}, ""))["routes"]
    assert shown == {
        "service": WEB.key,
        "tables": [
            {
                "protocol": "http",
                "unmatched": "service",
                "rules": [
                    {
                        "origin": {"kind": "HTTPRoute", "namespace": "shop", "name": "r", "field": ""},
                        "action": {"backends": [{"service": WEB.key, "port": 80, "weight": 9}]},
                        "timeouts": {"request": "1.5s"},
                    }
                ],
            }
        ],
    }


def test_keys_that_may_be_secret_are_not_shown():
    rule = JwtRule("issuer", KeysGiven('{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'))
    content = config_dump(world(ServicePolicies(WEB.key, tokens=(rule,))), [], {}, "")
    assert b"c2VjcmV0" not in content
    assert b"issuer" in content
