"""ServiceEntries: what one says by itself, and what comes of it beside everything else."""

from ipaddress import ip_address, ip_network

import pytest
import yaml
from immutables import Map

from ambient.control.index import Index, Settings
from ambient.control.manifest import read as read_manifest
from ambient.control.objects import ServiceEndpoint, TargetPort
from ambient.control.translate.kinds import translate
from ambient.core.model.address import NetworkAddress, NetworkRange
from ambient.core.model.service import AppProtocol, DeclaredPort, Port
from ambient.core.model.workload import Locality, TunnelProtocol
from ambient.rpc.registration import LocalWorkload

PORTS = "ports: [{number: 443, name: tls, protocol: TLS}]"
ENDPOINTS = "endpoints: [{address: 10.0.0.9}]"


def read(text, version="v1"):
    return translate(
        {
            "apiVersion": f"networking.istio.io/{version}",
            "kind": "ServiceEntry",
            "metadata": {"name": "e", "namespace": "shop"},
            "spec": yaml.safe_load(text),
        },
        (),
    )


def said(translated):
    return [str(warning) for warning in translated.warnings]


def entry(text, *warnings):
    translated = read(f"{{hosts: [db.example.com], {text}}}")
    assert said(translated) == list(warnings)
    return translated.object


def service(text, *warnings):
    (one,) = entry(text, *warnings).services
    return one


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_served_version_is_the_same(version):
    text = f"{{hosts: [a.com], addresses: [10.9.9.9], {PORTS}}}"
    assert read(text, version) == read(text)


def test_a_static_service():
    made = entry(
        "resolution: STATIC, addresses: [10.9.9.9, 10.8.0.0/16, 'fd00::9', 'fd00:1::/64'], ports: ["
        "{number: 80, name: web, protocol: http}, {number: 443, name: tls, protocol: HTTPS, targetPort: 8443},"
        " {number: 6379, name: r, protocol: REDIS}],"
        " endpoints: [{address: 10.0.0.9, ports: {web: 8080}, labels: {version: v1}, locality: r/z/s, weight: 3,"
        " serviceAccount: db}, {address: '::ffff:10.0.0.8'}]"
    )
    (only,) = made.services
    assert (only.selector, only.service.hostname, only.service.key) == (
        None,
        "db.example.com",
        "shop/db.example.com",
    )
    assert only.ports == (
        TargetPort(80, 80, "web"),
        TargetPort(443, 8443, "tls"),
        TargetPort(6379, 6379, "r"),
    )
    assert only.service.ports == (Port(80, 80), Port(443, 8443), Port(6379, 6379))
    assert only.service.declared == (
        DeclaredPort(80, "web", AppProtocol.HTTP),
        DeclaredPort(443, "tls", AppProtocol.TLS),
        DeclaredPort(6379, "r", AppProtocol.TCP),
    )
    assert only.service.addresses == tuple(
        NetworkAddress("", ip_address(ip)) for ip in ("10.9.9.9", "fd00::9")
    )
    assert only.service.ranges == tuple(
        NetworkRange("", ip_network(one)) for one in ("10.8.0.0/16", "fd00:1::/64")
    )
    assert not only.service.passthrough
    assert made.endpoints == (
        ServiceEndpoint(
            ip_address("10.0.0.9"),
            Map({"web": 8080}),
            Map({"version": "v1"}),
            "db",
            Locality("r", "z", "s"),
            3,
        ),
        ServiceEndpoint(ip_address("10.0.0.8"), Map(), Map(), "default", Locality(), 1),
    )


@pytest.mark.parametrize(
    ("text", "passes", "warnings"),
    [
        pytest.param(f"addresses: [10.8.0.0/16], {PORTS}", True, [], id="none-is-the-default"),
        pytest.param(f"resolution: NONE, addresses: [10.9.9.9], {PORTS}", True, [], id="none"),
        pytest.param(
            PORTS, True, ["spec.addresses is missing, so no connection is known to be for it; list addresses"],
            id="without-addresses",
        ),
        pytest.param(f"resolution: STATIC, addresses: [10.9.9.9], {PORTS}, {ENDPOINTS}", False, [], id="static"),
        pytest.param(
            f"resolution: STATIC, addresses: [10.9.9.9], {PORTS}", False,
            ["spec.endpoints is missing, so nobody serves it; list addresses, or give a workloadSelector"], id="static-without-endpoints",
        ),
        pytest.param(
            f"resolution: DNS, addresses: [10.9.9.9], {PORTS}", False,
            ["spec.resolution is DNS, and names are not resolved yet, so nobody serves it; list addresses as STATIC"], id="dns",
        ),
        pytest.param(
            f"resolution: DYNAMIC_DNS, {PORTS}", False,
            ["spec.resolution is DYNAMIC_DNS, and names are not resolved yet, so nobody serves it; list addresses as STATIC"], id="dynamic-dns",
        ),
        pytest.param(
            f"resolution: DNS, addresses: [10.9.9.9], {PORTS}, workloadSelector: {{labels: {{app: db}}}}", False, [],
            id="selected-workloads-have-addresses-anyway",
        ),
    ],
)  # fmt: skip
def test_resolutions(text, passes, warnings):
    assert service(text, *warnings).service.passthrough == passes


def test_a_name_that_nobody_resolves_keeps_no_address_from_anyone():
    """Else a connection that went well without the entry would find a service that nobody serves."""
    made = service(
        f"resolution: DNS, addresses: [10.9.9.9], {PORTS}",
        "spec.resolution is DNS, and names are not resolved yet, so nobody serves it; list addresses as STATIC",
    )
    assert (made.service.addresses, made.service.ranges) == ((), ())


def test_several_hosts_are_several_services_and_the_first_has_the_addresses():
    made = read(
        f"{{hosts: [a.com, '*.b.com'], resolution: STATIC, addresses: [10.9.9.9], {PORTS}, {ENDPOINTS}}}"
    ).object
    assert [(one.service.hostname, len(one.service.addresses)) for one in made.services] == [
        ("a.com", 1),
        ("*.b.com", 0),
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param("exportTo: [.]", "spec.exportTo has no effect; a service is seen from every namespace", id="export-to"),
        pytest.param("exportTo: ['*']", None, id="export-to-all"),
        pytest.param("subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b']", None, id="identity"),
        pytest.param("subjectAltNames: [db.example.com]", 'spec.subjectAltNames[0] is "db.example.com" and has no effect; in the mesh names are spiffe://…', id="dns-name"),
    ],
)  # fmt: skip
def test_settings(text, warning):
    service(f"addresses: [10.9.9.9], {PORTS}, {text}", *([warning] if warning else []))


def test_identities_of_endpoints_besides_their_own():
    made = service(f"addresses: [10.9.9.9], {PORTS}, subjectAltNames: ['spiffe://td/ns/a/sa/b']")
    assert made.service.subject_alt_names == ("spiffe://td/ns/a/sa/b",)


def test_what_cannot_be_carried_is_named():
    made = entry(
        "resolution: STATIC, addresses: [10.9.9.9], ports: [{number: 53, name: dns, protocol: UDP}],"
        " endpoints: [{address: 'unix:///run/db.sock'}, {address: 10.0.0.9, network: far}]",
        "spec.ports[0] is UDP and has no effect; the mesh carries TCP",
        "spec.endpoints[0].address is a Unix socket and has no effect; list an IP address",
        'spec.endpoints[1].network is "far", so it is left out; other networks cannot be reached',
    )
    assert (made.endpoints, made.services[0].ports) == ((), ())
    service(
        "addresses: [10.9.9.9]", "spec.ports is missing, so nothing of it can be called; list at least one"
    )


AROUND = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
"""
STATIC = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  resolution: STATIC
  addresses: [10.9.9.9]
  ports: [{number: 5432, name: sql, protocol: TCP, targetPort: 5433}]
  endpoints:
  - {address: 10.0.0.9, labels: {version: v1}, locality: r/z}
  - {address: 10.0.0.8, ports: {sql: 6000}, weight: 2}
"""
SELECTING = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec:
  hosts: [vm.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  addresses: [10.9.9.8]
  ports: [{number: 80, name: web, protocol: HTTP}]
  workloadSelector: {labels: {app: vm}}
"""
VM = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1, namespace: shop}
spec: {address: 10.0.0.7, labels: {app: vm}, ports: {web: 8080}}
"""


class World:
    """Objects as YAML, and what nodes tell."""

    def __init__(self, *texts):
        self.index = Index(Settings())
        self.write(*texts)

    def write(self, *texts):
        items = read_manifest("\n---\n".join((AROUND, *texts)).encode(), ("ambient-system",))
        assert [item.problems for item in items if item.problems] == []
        return self.index.configure({item.key: item.translated.object for item in items})

    @property
    def snapshot(self):
        return self.index.snapshot

    def served(self, key):
        """By address of its endpoints, their own ports."""
        return {
            str(one.addresses[0]): [port.target_port for port in one.services[key]]
            for one in self.snapshot.endpoints_of.get(key, ())
        }


def local(ip, namespace="shop"):
    uid = f"local/ambient.dev/Workload/{namespace}/web"
    return LocalWorkload(uid, "web", namespace, "web", (ip_address(ip),), Map(), captured=True, healthy=True)


def test_endpoints_are_workloads_outside_the_mesh():
    world = World(STATIC)
    assert world.index.errors == world.index.warnings == ()
    assert world.served("shop/db.example.com") == {"10.0.0.9": [5433], "10.0.0.8": [6000]}
    service = world.snapshot.service_at(ip_address("10.9.9.9"))
    assert service.key == "shop/db.example.com"
    first = world.snapshot.workload_at(ip_address("10.0.0.9"))
    assert (first.tunnel, first.locality) == (TunnelProtocol.NONE, Locality("r", "z", ""))
    assert world.snapshot.workload_at(ip_address("10.0.0.8")).capacity == 2


def test_an_entry_that_is_gone_leaves_nothing():
    world = World(STATIC, SELECTING, VM)
    world.write()
    assert (world.snapshot.services, world.snapshot.workloads) == (Map(), Map())


def test_an_entry_that_changes_is_what_it_is_and_not_what_it_was():
    world = World(STATIC)
    world.write(STATIC.replace("10.0.0.9", "10.0.0.5").replace("db.example.com", "sql.example.com"))
    assert set(world.snapshot.services) == {"shop/sql.example.com"}
    assert world.served("shop/sql.example.com") == {"10.0.0.5": [5433], "10.0.0.8": [6000]}
    assert world.snapshot.workload_at(ip_address("10.0.0.9")) is None


def test_an_entry_selects_workloads_by_labels():
    world = World(SELECTING, VM)
    assert world.served("shop/vm.example.com") == {"10.0.0.7": [8080]}
    world.write(SELECTING, VM.replace("app: vm", "app: other"))
    assert world.served("shop/vm.example.com") == {}


def test_an_endpoint_with_the_address_of_a_workload_is_that_workload():
    world = World(STATIC)
    world.index.register("n1", [local("10.0.0.9")], (), full=True)
    assert world.served("shop/db.example.com") == {"10.0.0.9": [5433], "10.0.0.8": [6000]}
    assert world.snapshot.workload_at(ip_address("10.0.0.9")).tunnel is TunnelProtocol.HBONE
    world.index.register("n1", (), (), full=True)
    assert world.snapshot.workload_at(ip_address("10.0.0.9")).tunnel is TunnelProtocol.NONE


def test_an_endpoint_may_be_the_address_of_its_own_service():
    world = World(STATIC.replace("10.9.9.9", "10.0.0.9"))
    assert world.index.warnings == ()
    assert world.snapshot.service_at(ip_address("10.0.0.9")).key == "shop/db.example.com"
    assert world.served("shop/db.example.com") == {"10.0.0.9": [5433], "10.0.0.8": [6000]}


def test_two_entries_may_share_an_endpoint():
    other = (
        STATIC.replace("name: db,", "name: x,").replace("db.example", "x.example").replace("9.9.9", "9.9.7")
    )
    world = World(STATIC, other)
    assert world.index.errors == ()
    assert world.served("shop/db.example.com") == world.served("shop/x.example.com")
    assert len(world.snapshot.workloads) == 2


def test_an_address_has_one_holder():
    world = World(STATIC, SELECTING.replace("10.9.9.8", "10.9.9.9"))
    assert world.index.errors == (
        "ServiceEntry shop/vm: address 10.9.9.9 is ServiceEntry shop/db's already; give it another, or remove that one",
    )
    world.write(SELECTING.replace("10.9.9.8", "10.9.9.9"))
    assert world.index.errors == ()


def test_a_host_has_one_holder_in_a_namespace():
    again = STATIC.replace("name: db,", "name: x,").replace("10.9.9.9", "10.9.9.7")
    world = World(STATIC, again)
    assert world.index.errors == (
        "ServiceEntry shop/x: host db.example.com is ServiceEntry shop/db's already; name another, or remove that one",
    )
    world.write(STATIC, again.replace("namespace: shop", "namespace: bank"))
    assert world.index.errors == ()


def test_a_host_of_a_kubernetes_service_is_its_own():
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: 10.88.0.1}\n"
    )
    world = World(service, STATIC.replace("db.example.com", "db.shop.svc.cluster.local"))
    assert world.index.errors == (
        (
            "ServiceEntry shop/db: host db.shop.svc.cluster.local is Service shop/db's already; "
            "name another, or remove that one"
        ),
    )


def test_it_is_behind_the_waypoint_that_its_label_names():
    labelled = STATIC.replace("namespace: shop}", "namespace: shop, labels: {istio.io/use-waypoint: way}}")
    service = World(labelled).snapshot.service_at(ip_address("10.9.9.9"))
    assert service.waypoint.destination == "shop/way.shop.svc.cluster.local"
    assert service.kind == "ServiceEntry"


def test_a_range_passes_through():
    world = World(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop}\n"
        f"spec: {{hosts: [out.example.com], addresses: [192.0.2.0/24], {PORTS}}}\n"
    )
    service = world.snapshot.service_over(ip_address("192.0.2.77"))
    assert (service.key, service.passthrough) == ("shop/out.example.com", True)


def test_routes_find_it_by_its_host_from_another_namespace():
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: bank}
spec: {host: db.example.com, subsets: [{name: v1, labels: {version: v1}}]}
"""
    virtual_service = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: bank}
spec: {hosts: [db.example.com], tcp: [{route: [{destination: {host: db.example.com, subset: v1}}]}]}
"""
    world = World(STATIC, rule.replace("bank", "shop"), virtual_service)
    assert world.index.warnings == ()
    (table,) = world.snapshot.routes["shop/db.example.com"].tables
    (backend,) = table.rules[0].action.backends
    assert (backend.service, backend.port, backend.trouble) == ("shop/db.example.com", 5432, "")
    assert world.snapshot.workload_at(ip_address("10.0.0.9")).labels == Map({"version": "v1"})
