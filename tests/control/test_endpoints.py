"""Pods, endpoint slices and deployments meet what nodes tell: worlds in YAML, and what is published of them."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings, strategies as st
from immutables import Map

from ambient.control.index import Index, Settings
from ambient.control.manifest import read
from ambient.core import delta
from ambient.core.model.address import NetworkAddress
from ambient.core.model.workload import TunnelProtocol, WorkloadStatus
from ambient.core.snapshot import EMPTY
from ambient.rpc.registration import Accepted, LocalWorkload

SHOP = """
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
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.88.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""
DB = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.88.0.2, ports: [{name: sql, port: 5432}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [out.example.com]
  resolution: STATIC
  addresses: [10.88.0.4]
  ports: [{name: sql, number: 5432}]
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, labels: {version: v1}}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v2}}
    spec: {serviceAccountName: web, containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}
"""


def pod(name="web", ip="10.0.0.1", *, namespace="shop", ready=True, spec="", meta="", app="web"):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}{meta}}}
spec: {{serviceAccountName: web, nodeName: k1, containers: [{{ports: [{{name: http, containerPort: 8080}}]}}]{spec}}}
status: {{podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}
"""


def listed(*endpoints, name="db-1", service="db", namespace="shop", ports="[{name: sql, port: 3306}]"):
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: {ports}
endpoints: [{", ".join(endpoints)}]
"""


def at(ip, more=""):
    return f"{{addresses: [{ip}]{more}}}"


class World:
    def __init__(self, *texts):
        self.index = Index(Settings())
        self.mirror = EMPTY
        self.write(*texts)

    def write(self, *texts):
        items = read("\n---\n".join(texts).encode(), ("ambient-system",))
        assert [item.problems for item in items if item.problems] == []
        return self._check(self.index.configure({item.key: item.translated.object for item in items}))

    def report(self, *workloads, node="n1"):
        return self._check(self.index.register(node, workloads, (), full=True))

    def _check(self, change):
        self.mirror = delta.apply(self.mirror, change)
        for name in ("workloads", "services", "endpoints_of", "workloads_at"):
            assert getattr(self.mirror, name) == getattr(self.index.snapshot, name)
        return change

    def at(self, ip):
        """The kinds and names of whoever has an address."""
        found = self.index.snapshot.workloads_at.get(NetworkAddress("", ip_address(ip)), ())
        return sorted("/".join(uid.split("/")[2:]) for uid in found)

    def one(self, uid):
        return self.index.snapshot.workloads.get(f"local/{uid}")

    def served(self, service, namespace="shop"):
        """By address of its endpoints: their own ports, and whether they are healthy."""
        found = self.index.snapshot.endpoints_of.get(
            f"{namespace}/{service}.{namespace}.svc.cluster.local", ()
        )
        key = f"{namespace}/{service}.{namespace}.svc.cluster.local"
        return {
            str(one.addresses[0]): (
                [port.target_port for port in one.services[key]],
                one.status is WorkloadStatus.HEALTHY,
            )
            for one in found
        }


def local(name="web", ip="10.0.0.1", labels=None, healthy=True):
    return LocalWorkload(
        f"local/ambient.dev/Workload/shop/{name}", name, "shop", "web", (ip_address(ip),),
        Map({"app": "web", "port.ambient.dev/http": "9090"} if labels is None else labels), True, healthy,
    )  # fmt: skip


OURS, THEIRS = "Workload/shop/web", "Pod/shop/web"


def test_a_pod_is_a_workload_and_an_endpoint():
    world = World(SHOP, WEB, pod())
    assert world.at("10.0.0.1") == [THEIRS]
    assert world.served("web") == {"10.0.0.1": ([8080], True)}
    workload = world.one("/Pod/shop/web")
    assert (workload.service_account, workload.node, workload.tunnel) == ("web", "k1", TunnelProtocol.NONE)
    world.write(SHOP, WEB)
    assert (world.at("10.0.0.1"), world.served("web")) == ([], {})


def test_a_pod_that_is_captured_speaks_hbone():
    world = World(SHOP, pod(meta=", annotations: {ambient.istio.io/redirection: enabled}"))
    assert world.one("/Pod/shop/web").tunnel is TunnelProtocol.HBONE


def test_a_pod_that_is_not_ready_is_an_endpoint_in_no_balance():
    world = World(SHOP, WEB, pod(ready=False))
    assert world.served("web") == {"10.0.0.1": ([8080], False)}
    world.write(SHOP, WEB, pod())
    assert world.served("web") == {"10.0.0.1": ([8080], True)}


def test_pods_of_a_nodes_own_network_share_its_address():
    world = World(SHOP, WEB, pod("a", spec=", hostNetwork: true"), pod("b", spec=", hostNetwork: true"))
    assert world.index.errors == ()
    assert world.one("/Pod/shop/a").host_network
    assert len(world.index.snapshot.endpoints_of["shop/web.shop.svc.cluster.local"]) == 2


def test_a_pod_that_has_ended_frees_its_address():
    world = World(SHOP, WEB, pod())
    ended = pod().replace("status: {", "status: {phase: Succeeded, ")
    world.write(SHOP, WEB, ended, pod("next"))
    assert (world.at("10.0.0.1"), world.index.errors) == (["Pod/shop/next"], ())


@pytest.mark.parametrize("pod_is_first", [True, False])
def test_of_a_pod_and_what_its_node_tells_the_node_counts(pod_is_first):
    world = World(SHOP, WEB, *([pod()] if pod_is_first else []))
    world.report(local())
    world.write(SHOP, WEB, pod())
    assert world.index.errors == ()
    assert isinstance(world.index.orders("n1")["local/ambient.dev/Workload/shop/web"], Accepted)
    assert world.at("10.0.0.1") == [OURS]
    assert world.served("web") == {"10.0.0.1": ([9090], True)}


def test_health_is_what_both_say():
    world = World(SHOP, WEB, pod(ready=False))
    world.report(local())
    assert world.served("web") == {"10.0.0.1": ([9090], False)}
    world.write(SHOP, WEB, pod())
    assert world.served("web") == {"10.0.0.1": ([9090], True)}
    world.report(local(healthy=False))
    assert world.served("web") == {"10.0.0.1": ([9090], False)}


def test_a_pod_is_back_when_its_node_tells_of_it_no_longer():
    world = World(SHOP, WEB, pod())
    world.report(local())
    world.report()
    assert world.at("10.0.0.1") == [THEIRS]
    world.report(local(ip="10.0.0.3"))
    assert (world.at("10.0.0.1"), world.at("10.0.0.3")) == ([], [OURS])
    world.write(SHOP, WEB)
    world.report()
    assert (world.at("10.0.0.3"), world.at("10.0.0.1")) == ([], [])


def test_a_pod_takes_no_address_from_another():
    world = World(SHOP, pod("a"))
    world.write(SHOP, pod("a"), pod("b"))
    assert world.index.errors == (
        "Pod shop/b: address 10.0.0.1 is Pod shop/a's already; give it another, or remove that one",
    )
    assert world.at("10.0.0.1") == ["Pod/shop/a"]


def test_endpoints_that_nobody_tells_of_are_workloads_of_their_own():
    world = World(SHOP, DB, listed(at("10.7.0.1"), at("10.7.0.2", ", conditions: {ready: false}")))
    assert world.at("10.7.0.1") == ["EndpointSlice/shop/10.7.0.1"]
    assert world.served("db") == {"10.7.0.1": ([3306], True)}
    world.write(SHOP, DB, listed(at("10.7.0.2")))
    assert world.served("db") == {"10.7.0.2": ([3306], True)}
    assert world.at("10.7.0.1") == []


def test_endpoints_that_are_not_ready_serve_those_who_want_them():
    early = DB.replace("clusterIP: 10.88.0.2", "clusterIP: 10.88.0.2, publishNotReadyAddresses: true")
    world = World(SHOP, early, listed(at("10.7.0.1", ", conditions: {ready: false}")))
    assert world.served("db") == {"10.7.0.1": ([3306], False)}


def test_an_endpoint_with_the_address_of_a_workload_is_that_workload():
    world = World(SHOP, DB, listed(at("10.0.0.1"), at("10.0.0.2")))
    assert world.at("10.0.0.1") == ["EndpointSlice/shop/10.0.0.1"]
    world.report(local())
    assert world.at("10.0.0.1") == [OURS]
    assert world.served("db") == {"10.0.0.1": ([3306], True), "10.0.0.2": ([3306], True)}
    world.report()
    assert world.at("10.0.0.1") == ["EndpointSlice/shop/10.0.0.1"]
    assert world.served("db") == {"10.0.0.1": ([3306], True), "10.0.0.2": ([3306], True)}


def test_an_endpoint_may_be_of_another_namespace():
    bank = {"name": "db-1", "namespace": "bank"}
    service = DB.replace("namespace: shop", "namespace: bank")
    world = World(SHOP, service, pod(app="x"), listed(at("10.0.0.1"), **bank))
    assert world.served("db", "bank") == {"10.0.0.1": ([3306], True)}
    assert world.at("10.0.0.1") == [THEIRS]
    world.write(SHOP, service, pod(app="x"), listed(at("10.0.0.2"), **bank))
    assert world.served("db", "bank") == {"10.0.0.2": ([3306], True)}
    world.write(SHOP, pod(app="x"))
    assert world.one("/Pod/shop/web").services == Map()


def test_an_endpoint_is_a_pod_by_name():
    ref = ", targetRef: {kind: Pod, name: web}"
    world = World(SHOP, DB, pod(spec=", hostNetwork: true"), listed(at("10.0.0.1", ref)))
    assert world.at("10.0.0.1") == [THEIRS]
    assert world.served("db") == {"10.0.0.1": ([3306], True)}


def test_a_selector_counts_more_than_slices_of_the_same_workloads():
    world = World(
        SHOP, WEB, pod(), listed(at("10.0.0.1"), at("10.7.0.1"), service="web", ports="[{port: 1}]")
    )
    assert world.served("web") == {"10.0.0.1": ([8080], True), "10.7.0.1": ([1], True)}


def test_several_slices_of_a_service_count_together():
    two = DB.replace("[{name: sql, port: 5432}]", "[{name: sql, port: 5432}, {name: admin, port: 81}]")
    other = listed(
        at("10.7.0.1"), at("10.7.0.2"), name="db-2", ports="[{name: admin, port: 8081}, {name: sql, port: 1}]"
    )
    world = World(
        SHOP, two, listed(at("10.7.0.1"), ports="[{name: sql, port: 1}, {name: admin, port: 8081}]"), other
    )
    assert world.served("db") == {"10.7.0.1": ([1, 8081], True), "10.7.0.2": ([1, 8081], True)}
    assert world.index.warnings == ()


def test_a_slice_without_ports_serves_every_port_as_it_is():
    world = World(SHOP, DB, listed(at("10.7.0.1"), ports="null"))
    assert world.served("db") == {"10.7.0.1": ([5432], True)}


@pytest.mark.parametrize(
    ("slice_", "warning"),
    [
        pytest.param(listed(at("10.7.0.1"), service="dbs"), "EndpointSlice shop/db-1: Service dbs is not configured; add it, or correct the label kubernetes.io/service-name", id="no-service"),
        pytest.param(listed(at("10.7.0.1"), ports="[{name: mysql, port: 1}]"), "EndpointSlice shop/db-1: port 5432 of Service shop/db has no endpoint in it; list a port named sql", id="wrong-port-name"),
        pytest.param(listed(at("10.88.0.2")), "EndpointSlice shop/db-1: address 10.88.0.2 is Service shop/db's; list the endpoints of that service", id="address-of-a-service"),
        pytest.param(listed(at("127.0.0.1")), "EndpointSlice shop/db-1: address 127.0.0.1 is loopback and cannot be reached from other nodes; give it another", id="loopback"),
    ],
)  # fmt: skip
def test_a_slice_in_vain(slice_, warning):
    assert World(SHOP, DB, slice_).index.warnings == (warning,)


def test_a_workload_of_a_deployment_has_what_the_template_says():
    world = World(SHOP, WEB, DEPLOYMENT)
    world.report(local("web-1", labels={"ambient.dev/deployment": "web"}))
    workload = world.one("ambient.dev/Workload/shop/web-1")
    assert world.served("web") == {"10.0.0.1": ([8080], True)}
    assert (workload.workload_name, workload.canonical_name, workload.canonical_revision) == (
        "web",
        "web",
        "v2",
    )
    world.report(
        local(
            "web-1", labels={"ambient.dev/deployment": "web", "version": "v3", "port.ambient.dev/http": "1"}
        )
    )
    assert world.one("ambient.dev/Workload/shop/web-1").canonical_revision == "v3"
    assert world.served("web") == {"10.0.0.1": ([1], True)}
    world.write(SHOP, WEB)
    assert world.served("web") == {}
    assert world.index.warnings == (
        "workload shop/web-1: its Deployment web is not configured; add it, or take away its label ambient.dev/deployment",
    )


def test_a_template_may_say_whether_its_workloads_are_captured():
    none = DEPLOYMENT.replace("version: v2", "version: v2, istio.io/dataplane-mode: none")
    world = World(SHOP, WEB, none)
    world.report(local("web-1", labels={"ambient.dev/deployment": "web"}))
    assert world.index.orders("n1")["local/ambient.dev/Workload/shop/web-1"].enrolled is False


def test_a_workload_that_runs_as_somebody_else_than_its_deployment_is_named():
    world = World(SHOP, DEPLOYMENT.replace("serviceAccountName: web", "serviceAccountName: api"))
    world.report(local("web-1", labels={"ambient.dev/deployment": "web"}))
    assert world.index.warnings == (
        "workload shop/web-1: it runs as service account web, and Deployment shop/web says api; register it with that one",
    )


choices = st.lists(
    st.one_of(
        st.sets(
            st.sampled_from(
                [
                    WEB, DB, pod(), pod(ready=False), pod("b", "10.0.0.2"), pod("c", "10.0.0.1"), listed(at("10.0.0.1"), at("10.0.0.2")),
                    listed(at("10.0.0.2", ", targetRef: {kind: Pod, name: web}"), name="x", service="web"),
                    listed(at("10.0.0.1"), namespace="bank"), DB.replace("shop", "bank").replace("0.2", "0.3"), DEPLOYMENT,
                    ENTRY, ENTRY.replace("shop", "bank").replace("0.4", "0.5"), ENTRY.replace("0.2", "0.3"),
                ]
            )
        ),
        st.sets(st.sampled_from([local(), local("b", "10.0.0.2"), local("c", "10.0.0.1"), local("web", "10.0.0.2")])),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(choices)
def test_what_is_published_depends_on_what_is_there_and_not_on_how_it_came(steps):
    """An address that several want is a matter of who came first, so those worlds are only checked for errors."""
    world = World(SHOP)
    texts, workloads = set(), set()
    for step in steps:
        if any(isinstance(one, LocalWorkload) for one in step):
            workloads = {one.uid: one for one in step}.values()
            world.report(*workloads)
        else:
            names = {}
            for text in sorted(step):
                names[read(text.encode(), ())[0].key] = text
            texts = names.values()
            world.write(SHOP, *texts)
    fresh = World(SHOP, *texts)
    fresh.report(*workloads)
    refused = world.index.errors + fresh.index.errors
    if not refused and all(
        isinstance(one, Accepted) for w in (world, fresh) for one in w.index.orders("n1").values()
    ):
        assert world.index.snapshot.workloads == fresh.index.snapshot.workloads
        assert world.index.snapshot.endpoints_of == fresh.index.snapshot.endpoints_of
        assert world.index.warnings == fresh.index.warnings
