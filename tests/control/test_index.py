"""Objects and registrations meet: worlds in YAML, and what is published of them."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from immutables import Map

from ambient.control.catalog import Catalog
from ambient.control.index import Index, Settings
from ambient.control.sources import Change
from ambient.core import delta
from ambient.core.delta import Delta
from ambient.core.model.identity import SpiffeId
from ambient.core.model.service import Port
from ambient.core.model.workload import TunnelProtocol
from ambient.core.snapshot import EMPTY
from ambient.rpc.registration import Accepted, LocalWorkload, Refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings()
STRICT = "ambient-system/istio_converted_static_strict"
SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: plain}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: plain}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop}
spec: {clusterIP: %s, selector: {app: web}, ports: [{port: 80, targetPort: http}, {port: 81, targetPort: 8081}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, namespace: shop}
spec: {address: %s, labels: {app: web}, ports: {http: 9090}}
"""


class World:
    """An index, fed with text; every delta is checked against the snapshot."""

    def __init__(self, *texts):
        self.catalog = Catalog(SETTINGS.root_namespaces)
        self.index = Index(SETTINGS)
        self.mirror = EMPTY
        self.write(*texts)

    def write(self, *texts):
        change = Change({"all.yaml": "\n---\n".join(texts).encode()})
        self.catalog.take(self.catalog.plan_source("folder", change, NOW))
        assert self.catalog.errors == ()
        return self._check(self.index.configure(self.catalog.objects))

    def report(self, node, *workloads, removed=(), full=False):
        return self._check(self.index.register(node, workloads, removed, full=full))

    def _check(self, change):
        self.mirror = delta.apply(self.mirror, change)
        for name in (
            "workloads",
            "services",
            "authorizations",
            "endpoints_of",
            "workloads_at",
            "routes",
            "policies",
            "settings",
        ):
            assert getattr(self.mirror, name) == getattr(self.index.snapshot, name)
        return change

    def published(self, name="web", namespace="shop"):
        return self.index.snapshot.workloads.get(uid(name, namespace))

    def word(self, node="n1", name="web", namespace="shop"):
        return self.index.orders(node)[uid(name, namespace)]


def uid(name="web", namespace="shop"):
    return f"local/ambient.dev/Workload/{namespace}/{name}"


def workload(
    name="web", namespace="shop", ip="10.0.0.1", labels=None, captured=False, account="web", **fields
):
    ips = tuple(ip_address(one) for one in ([ip] if isinstance(ip, str) else ip))
    return LocalWorkload(
        fields.pop("uid", uid(name, namespace)),
        name,
        namespace,
        account,
        ips,
        Map(labels or {"app": "web"}),
        captured,
    )


def test_a_workload_becomes_hbone_when_its_node_says_that_it_captures():
    world = World(SHOP)
    world.report("n1", workload(), full=True)
    assert world.word() == Accepted(uid(), SpiffeId("cluster.local", "shop", "web"), enrolled=True)
    assert world.published().tunnel is TunnelProtocol.NONE
    world.report("n1", workload(captured=True))
    assert world.published().tunnel is TunnelProtocol.HBONE
    assert world.published().node == "n1"


def test_unenrolment_withdraws_hbone_at_once():
    world = World(SHOP)
    world.report("n1", workload(captured=True), full=True)
    world.write(SHOP.replace("ambient.dev/dataplane-mode: ambient", "ambient.dev/dataplane-mode: none"))
    assert world.word().enrolled is False
    assert world.published().tunnel is TunnelProtocol.NONE


@pytest.mark.parametrize(
    ("namespace", "labels", "enrolled"),
    [
        ("shop", {}, True),
        ("shop", {"istio.io/dataplane-mode": "none"}, False),
        ("plain", {}, False),
        ("plain", {"ambient.dev/dataplane-mode": "ambient"}, True),
    ],
)
def test_a_workloads_own_label_counts_more_than_its_namespaces(namespace, labels, enrolled):
    world = World(SHOP)
    world.report("n1", workload(namespace=namespace, labels=labels), full=True)
    assert world.word(namespace=namespace).enrolled is enrolled


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (workload(uid="x"), "its uid is 'x'; it must be 'local/ambient.dev/Workload/shop/web'"),
        (workload(name="a/b"), "its name is not a DNS name"),
        (
            workload(namespace="nowhere"),
            "namespace 'nowhere' is not configured; add a v1 Namespace of that name",
        ),
        (
            workload(account="ghost"),
            "service account 'ghost' is not configured; add a v1 ServiceAccount of that name to namespace shop",
        ),
        (
            workload(ip=()),
            "it has no address; give its network namespace an interface that is up and has one",
        ),
        (workload(ip="127.0.0.1"), "address 127.0.0.1 is loopback"),
        (workload(ip="224.0.0.1"), "address 224.0.0.1 is multicast"),
        (workload(ip="0.0.0.0"), "address 0.0.0.0 is unspecified"),
        (workload(ip="fe80::1"), "address fe80::1 is link-local"),
        (workload(ip="10.1.0.1"), "address 10.1.0.1 is Service shop/web's already"),
        (workload(ip="10.2.0.1"), "address 10.2.0.1 is WorkloadEntry shop/vm's already"),
        (workload(ip=("10.0.0.1", "10.0.0.9")), "address 10.0.0.9 is workload shop/other's already"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_workload_that_cannot_be_is_refused_with_a_sentence(told, why):
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"), ENTRY % ("vm", "10.2.0.1"))
    world.report("n2", workload("other", ip="10.0.0.9"), full=True)
    world.report("n1", told, full=True)
    order = world.index.orders("n1")[told.uid]
    assert isinstance(order, Refused)
    assert why in order.why
    assert order.why.startswith(f"workload {told.namespace}/{told.name}: ")
    assert len(world.index.snapshot.workloads) == 2


def test_a_service_account_may_run_only_on_its_nodes():
    bound = SHOP.replace(
        "{name: web, namespace: shop}", "{name: web, namespace: shop, annotations: {ambient.dev/nodes: n2}}"
    )
    world = World(bound)
    world.report("n1", workload(), full=True)
    assert "may not run on node n1; add the node to its annotation ambient.dev/nodes" in world.word().why
    world.report("n2", workload(), full=True)
    assert isinstance(world.word("n2"), Accepted)


def test_a_name_belongs_to_the_first_node_until_it_lets_go():
    world = World(SHOP)
    world.report("n1", workload(), full=True)
    world.report("n2", workload(ip="10.0.0.2"), full=True)
    assert world.word("n2").why == (
        "workload shop/web: node n1 has a workload of that name; take another name, or if that node is gone for good "
        "run `ambient node forget n1`"
    )
    assert world.published().node == "n1"
    world.index.forget_node("n1")
    assert isinstance(world.word("n2"), Accepted)


def test_a_refused_workload_is_accepted_when_what_it_lacks_comes():
    world = World()
    world.report("n1", workload(), full=True)
    assert isinstance(world.word(), Refused)
    world.write(SHOP)
    assert isinstance(world.word(), Accepted)
    world.write(SHOP.replace("{name: web, namespace: shop}", "{name: other, namespace: shop}"))
    assert isinstance(world.word(), Refused)
    assert world.published() is None


def test_a_full_report_forgets_what_is_not_in_it():
    world = World(SHOP)
    world.report("n1", workload(), workload("b", ip="10.0.0.2"), full=True)
    change = world.report("n1", workload(), full=True)
    assert change == Delta(removed_addresses=(uid("b"),))
    assert world.report("n1", removed=[uid()]) == Delta(removed_addresses=(uid(),))


def test_an_address_moves_with_one_report():
    world = World(SHOP)
    world.report("n1", workload(), full=True)
    world.report("n1", workload("b"), removed=[uid()])
    assert (world.published(), world.published("b").addresses) == (None, (ip_address("10.0.0.1"),))


def test_services_select_workloads_and_resolve_named_ports():
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"), ENTRY % ("vm", "10.2.0.1"))
    world.report("n1", workload(labels={"app": "web", "port.ambient.dev/http": "8080"}), full=True)
    key = "shop/web.shop.svc.cluster.local"
    assert world.published().services == Map({key: (Port(80, 8080), Port(81, 8081))})
    entry = world.index.snapshot.workloads["local/networking.istio.io/WorkloadEntry/shop/vm"]
    assert entry.services == Map({key: (Port(80, 9090), Port(81, 8081))})
    assert {*world.index.snapshot.endpoints_of[key].uids} == {uid(), entry.uid}


def test_a_name_that_a_workload_does_not_have_is_no_port_of_it():
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"))
    world.report("n1", workload(), full=True)
    assert list(world.published().services.values()) == [(Port(81, 8081),)]
    assert "has no port named 'http'; label it port.ambient.dev/http=NUMBER" in world.index.warnings[0]
    world.report("n1", removed=[uid()])
    assert world.index.warnings == ()


def test_canonical_names():
    world = World(SHOP)
    world.report(
        "n1", workload(labels={"app": "a", "app.kubernetes.io/name": "b", "version": "v2"}), full=True
    )
    assert (world.published().canonical_name, world.published().canonical_revision) == ("b", "v2")
    world.report("n1", workload(labels={"x": "y"}))
    assert (world.published().canonical_name, world.published().canonical_revision) == ("web", "latest")


def peer(text="{mtls: {mode: STRICT}}", namespace="shop", name="p", created=""):
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}{stamp}}}\nspec: {text}\n"
    )


def selecting(rest):
    return f"{{selector: {{matchLabels: {{app: web}}}}, {rest}}}"


CONVERTED = "shop/converted_peer_authentication_p"


@pytest.mark.parametrize(
    ("texts", "policies"),
    [
        pytest.param([], (), id="nothing"),
        pytest.param([peer()], (STRICT,), id="namespace"),
        pytest.param([peer("{}")], (), id="unset"),
        pytest.param([peer(namespace="ambient-system")], (STRICT,), id="mesh"),
        pytest.param([peer(namespace="istio-system")], (STRICT,), id="mesh-of-istio"),
        pytest.param([peer(namespace="plain")], (), id="another-namespace"),
        pytest.param([peer(namespace="ambient-system"), peer("{mtls: {mode: PERMISSIVE}}")], (), id="namespace-over-mesh"),
        pytest.param([peer(namespace="ambient-system"), peer("{mtls: {mode: DISABLE}}")], (), id="disable-is-permissive"),
        pytest.param([peer(namespace="ambient-system"), peer("{mtls: {mode: UNSET}}")], (STRICT,), id="unset-inherits"),
        pytest.param([peer(selecting("mtls: {mode: STRICT}"))], (STRICT,), id="workload"),
        pytest.param([peer(), peer(selecting("mtls: {mode: PERMISSIVE}"), name="q")], (), id="workload-over-namespace"),
        pytest.param([peer("{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}")], (), id="others-selector"),
        pytest.param([peer(selecting("mtls: {mode: STRICT}"), namespace="ambient-system")], (), id="selector-in-root"),
        pytest.param([peer(selecting("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}"))], (CONVERTED,), id="strict-but-a-port"),
        pytest.param([peer(selecting("portLevelMtls: {80: {mode: STRICT}}"))], (CONVERTED,), id="only-a-port"),
        pytest.param([peer(selecting("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: STRICT}}"))], (STRICT,), id="all-strict"),
        pytest.param(
            [peer(name="b", created="2026-01-01T00:00:00Z"), peer("{mtls: {mode: PERMISSIVE}}", name="a", created="2026-02-01T00:00:00Z")],
            (STRICT,), id="oldest-wins",
        ),
        pytest.param(
            [peer(selecting("mtls: {mode: PERMISSIVE}"), name="b", created="2026-01-01T00:00:00Z"), peer(selecting("mtls: {mode: STRICT}"), name="a")],
            (), id="oldest-workload-policy-wins",
        ),
    ],
)  # fmt: skip
def test_peer_authentication(texts, policies):
    world = World(SHOP)
    world.report(
        "n1",
        workload(),
        workload("out", ip="10.0.0.2", labels={"app": "web", "istio.io/dataplane-mode": "none"}),
    )
    world.write(SHOP, *texts)
    assert world.published().policies == policies
    assert world.published("out").policies == ()
    assert set(policies) <= set(world.index.snapshot.authorizations)
    world.write(SHOP)
    assert world.published().policies == ()
    assert not world.index.snapshot.authorizations


def test_a_younger_policy_of_the_same_width_is_named():
    world = World(SHOP, peer(name="a"), peer(name="b"))
    assert world.index.warnings == (
        "PeerAuthentication shop/b: has no effect, as PeerAuthentication shop/a is older and as wide; remove one of them",
    )


def policy(namespace, selector="{matchLabels: {app: web}}"):
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: p, namespace: {namespace}}}\nspec: {{selector: {selector}}}\n"
    )


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        (policy("shop"), ("shop/p",)),
        (policy("shop", "{matchLabels: {app: b}}"), ()),
        (policy("plain"), ()),
        (policy("ambient-system"), ("ambient-system/p",)),
        (policy("istio-system"), ("istio-system/p",)),
        (policy("shop", "{}"), ()),
    ],
)
def test_policies_select_by_labels(text, policies):
    world = World(SHOP)
    world.report("n1", workload())
    change = world.write(SHOP, text)
    assert world.published().policies == policies
    assert len(change.upserted) == 1 + len(policies)


def test_an_address_that_two_objects_want_stays_with_the_first():
    world = World(SHOP, SERVICE % ("b", "10.1.0.1"))
    world.write(SHOP, SERVICE % ("b", "10.1.0.1"), SERVICE % ("a", "10.1.0.1"), ENTRY % ("vm", "10.1.0.1"))
    assert world.index.errors == (
        "Service shop/a: address 10.1.0.1 is Service shop/b's already; give it another, or remove that one",
        "WorkloadEntry shop/vm: address 10.1.0.1 is Service shop/b's already; give it another, or remove that one",
    )
    world.write(SHOP, SERVICE % ("b", "10.1.0.1"), SERVICE % ("a", "10.1.0.2"))
    assert world.index.errors == ()
    world.write(SHOP, SERVICE % ("b", "10.1.0.2"), SERVICE % ("a", "10.1.0.1"))
    assert world.index.errors == ()


def test_an_object_that_wants_what_another_has_keeps_its_last_good_version():
    world = World(SHOP, SERVICE % ("a", "10.1.0.1"), SERVICE % ("b", "10.1.0.2"))
    world.write(SHOP, SERVICE % ("a", "10.1.0.2"), SERVICE % ("b", "10.1.0.2"))
    kept = world.index.snapshot.services["shop/a.shop.svc.cluster.local"]
    assert [str(address.ip) for address in kept.addresses] == ["10.1.0.1"]
    assert len(world.index.errors) == 1
    world.write(SHOP, SERVICE % ("a", "10.1.0.2"), SERVICE % ("c", "10.1.0.1"))
    assert world.index.snapshot.services["shop/a.shop.svc.cluster.local"].addresses[0].ip == ip_address(
        "10.1.0.2"
    )


def test_a_change_costs_what_changed():
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"))
    world.report("n1", workload(), workload("b", ip="10.0.0.2"))
    change = world.report("n1", workload(captured=True))
    assert [resource.uid for resource in change.upserted] == [uid()]
    assert world.report("n1", workload(captured=True)) == Delta()
    assert world.write(SHOP, SERVICE % ("web", "10.1.0.1")) == Delta()


SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""
SPLIT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - route:
    - {destination: {host: web, subset: v1}, weight: 90}
    - {destination: {host: web, subset: v2}, weight: 10}
"""
WEB = "shop/web.shop.svc.cluster.local"


def of_version(version, name="web", ip="10.0.0.1"):
    return workload(name, ip=ip, labels={"app": "web", "version": version, "team": "blue"})


def test_what_is_said_of_a_service_is_rendered_and_nothing_else():
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"))
    world.report("n1", of_version("v1"))
    change = world.write(SHOP, SERVICE % ("web", "10.1.0.1"), SPLIT)
    assert change == Delta((world.index.snapshot.routes[WEB],))
    backends = world.index.snapshot.routes[WEB].tables[0].rules[0].action.backends
    assert ["has no subset" in one.trouble for one in backends] == [True, True]
    assert world.write(SHOP, SERVICE % ("web", "10.1.0.1"), SPLIT) == Delta()
    assert world.write(SHOP, SERVICE % ("web", "10.1.0.1")) == Delta(removed_routes=(WEB,))


def test_workloads_carry_the_labels_that_are_looked_at():
    world = World(SHOP, SERVICE % ("web", "10.1.0.1"))
    world.report("n1", of_version("v1"), workload("b", ip="10.0.0.2"))
    assert world.published().labels == Map()
    change = world.write(SHOP, SERVICE % ("web", "10.1.0.1"), SUBSETS)
    assert world.published().labels == Map({"version": "v1"})
    assert [type(one).__name__ for one in change.upserted] == ["ServiceRoutes", "Workload"]
    world.report("n1", of_version("v2"))
    assert world.published().labels == Map({"version": "v2"})
    world.write(SHOP, SERVICE % ("web", "10.1.0.1"))
    assert world.published().labels == Map()


def test_a_subset_is_named_until_somebody_is_in_it():
    named = SERVICE.replace("targetPort: http", "targetPort: 8080") % ("web", "10.1.0.1")
    world = World(SHOP, named, SUBSETS)

    def idle():
        return [warning.partition('"')[2].partition('"')[0] for warning in world.index.warnings]

    assert idle() == ["v1", "v2"]
    world.report("n1", of_version("v1"))
    assert idle() == ["v2"]
    world.report("n1", of_version("v2", "other", "10.0.0.2"))
    assert idle() == []
    world.report("n1", removed=[uid()])
    assert idle() == ["v1"]


def test_routes_wait_for_a_service_that_cannot_be_yet():
    taken = SERVICE % ("other", "10.1.0.1")
    world = World(SHOP, taken)
    world.write(SHOP, taken, SERVICE % ("web", "10.1.0.1"), SPLIT)
    assert WEB not in world.index.snapshot.routes
    assert any("no service of that name is known" in one for one in world.index.warnings)
    world.write(SHOP, SERVICE % ("web", "10.1.0.1"), SPLIT)
    assert WEB in world.index.snapshot.routes
