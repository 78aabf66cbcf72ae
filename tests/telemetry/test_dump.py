import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

from core.worlds import HBONE, PRESENT, exactly, gateway, policy, service, snapshots, workload, world
from hypothesis import given

from ambient.core.model.authorization import Action, Match, Scope, ServiceAccountMatch
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
