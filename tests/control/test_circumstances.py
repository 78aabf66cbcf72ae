"""What an explanation looks up in a control plane."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from control.test_index import SERVICE, SHOP, World, uid, workload
from immutables import Map

from ambient.control.circumstances import Circumstances
from ambient.control.ledger import Issued
from ambient.core.explain.answer import Certificate, Enrolment, NodeStanding
from ambient.core.model.pod import Exclusions
from ambient.core.model.route import Origin
from ambient.rpc.mesh import Node, TypeSync

END = datetime(2026, 11, 26, tzinfo=UTC)
OF_NAMESPACE = Origin("Namespace", "", "shop", 'metadata.labels["ambient.dev/dataplane-mode"]')
PEERS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: %s, namespace: %s}
spec: %s
"""


def circumstances(world, *, nodes=(), issued=()):
    return Circumstances(
        world.index,
        lambda: world.catalog.objects,
        lambda key: tuple(map(str, world.catalog.problems(key))),
        lambda: nodes,
        lambda: issued,
    )


def test_a_workload_is_enrolled_by_its_namespace_and_its_exclusions_are_its_nodes():
    world = World(SHOP)
    excluded = Exclusions(frozenset({25}), outbound_networks=frozenset({ip_network("10.9.0.0/16")}))
    world.report("n1", replace(workload(), exclusions=excluded), full=True)
    assert circumstances(world).enrolment(uid()) == Enrolment(True, OF_NAMESPACE, excluded)


def test_a_workloads_own_label_counts_before_its_namespaces():
    world = World(SHOP)
    world.report("n1", workload(labels={"istio.io/dataplane-mode": "none"}), full=True)
    origin = Origin("workload", "shop", "web", 'labels["istio.io/dataplane-mode"]')
    assert circumstances(world).enrolment(uid()) == Enrolment(False, origin)


def test_a_namespace_without_a_label_is_named():
    world = World(SHOP)
    world.report("n1", workload(namespace="plain"), full=True)
    found = circumstances(world).enrolment(uid(namespace="plain"))
    assert (found.is_wanted, found.origin.name) == (False, "plain")


def test_nobody_knows_a_workload_that_no_node_reported():
    known = circumstances(World(SHOP))
    assert known.enrolment(uid()) is None
    assert known.certificate(uid()) is None
    assert known.strict(uid()) is None
    assert known.refused("shop", "web") is None
    assert known.node("n1") is None


def test_why_a_workload_is_not_in_the_mesh():
    world = World(SHOP)
    world.report("n1", workload(account="nobody"), full=True)
    assert "service account 'nobody' is not configured" in circumstances(world).refused("shop", "web")
    world.report("n1", workload())
    assert circumstances(world).refused("shop", "web") is None


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ((), None),
        ((("default", "shop", "{mtls: {mode: STRICT}}"),), "shop/default"),
        ((("default", "shop", "{mtls: {mode: PERMISSIVE}}"), ("default", "ambient-system", "{mtls: {mode: STRICT}}")), None),
        ((("default", "ambient-system", "{mtls: {mode: STRICT}}"),), "ambient-system/default"),
        ((("own", "shop", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"), ("default", "shop", "{mtls: {mode: PERMISSIVE}}")), "shop/own"),
        ((("own", "shop", "{selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}}"),), None),
        ((("own", "shop", "{selector: {matchLabels: {app: web}}, mtls: {mode: UNSET}}"), ("default", "shop", "{mtls: {mode: STRICT}}")), "shop/default"),
        ((("own", "shop", "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: {mode: STRICT}}}"),), "shop/own"),
    ],
    ids=["none", "namespace", "namespace-before-mesh", "mesh", "workload-before-namespace", "another-workload", "unset-inherits", "port"],
)  # fmt: skip
def test_who_is_strict_is_who_refuses_plaintext(peers, expected):
    world = World(SHOP, *(PEERS % one for one in peers))
    world.report("n1", workload(captured=True), full=True)
    origin = circumstances(world).strict(uid())
    assert (None if origin is None else f"{origin.namespace}/{origin.name}") == expected
    # What the data path enforces agrees.
    assert bool(world.published().policies) == (expected is not None)


def test_a_node_is_behind_by_what_it_has_still_to_be_told():
    types = (TypeSync("Address", False, 2), TypeSync("Authorization", True, 0, Map({"shop/p": "bad"})))
    nodes = (Node("n1", True, None, types, 1, None), Node("n2", False, None, (), 1, None))
    known = circumstances(World(SHOP), nodes=nodes)
    assert known.node("n1") == NodeStanding(True, ("Address",), ("shop/p: bad",))
    assert known.node("n2") == NodeStanding(False)


def test_a_captured_workload_has_a_certificate_of_its_node():
    world = World(SHOP)
    world.report("n1", workload(captured=True), full=True)
    identity = "spiffe://cluster.local/ns/shop/sa/web"
    mine = Issued("1", identity, "n1", "a", "2", END)
    assert circumstances(world, issued=(mine, replace(mine, node="n2"))).certificate(uid()) == Certificate(
        END
    )
    assert circumstances(world, issued=(replace(mine, node="n2"),)).certificate(uid()) == Certificate(None)
    world.report("n1", workload(captured=False))
    assert circumstances(world).certificate(uid()) is None


def test_policies_about_requests_are_those_whose_targets_a_service_is():
    target = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, namespace: shop}\nspec: %s\n"
    world = World(
        SHOP,
        SERVICE % ("api", "10.88.0.1"),
        target % ("api", "{targetRefs: [{kind: Service, name: api}], rules: [{}]}"),
        target % ("web", "{targetRefs: [{kind: Service, name: web}], rules: [{}]}"),
        target % ("nodes", "{rules: [{}]}"),
    )
    api = world.index.snapshot.services["shop/api.shop.svc.cluster.local"]
    assert [policy.key for policy in circumstances(world).request_policies(api)] == ["shop/api"]
