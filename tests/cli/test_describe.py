"""What has to do with what, and how it is described."""

import asyncio
import json
import re
from ipaddress import ip_address

import pytest

from ambient.cli import relations
from ambient.rpc import mesh, operator
from ambient.rpc.mesh import Registered

SHOP = """\
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: api, namespace: shop}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {clusterIP: 10.88.0.10, selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web-only, namespace: shop}
spec:
  action: ALLOW
  selector: {matchLabels: {app: api}}
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: shop}
spec: {hosts: [api], http: [{route: [{destination: {host: api.shop.svc.cluster.local}}]}]}
"""


@pytest.fixture(scope="module")
def shop(running):
    """The shop, with one workload that nobody's node runs."""
    assert running.ambient("apply", "-f", "-", stdin=SHOP).exit_code == 0

    async def register():
        async with operator.door(running.state_dir / operator.SOCKET) as channel:
            await mesh.register_workload(
                channel, Registered("shop", "api-1", "api", (ip_address("10.0.0.9"),), {"app": "api"})
            )

    asyncio.run(register())
    return running


@pytest.mark.parametrize(
    "words",
    [
        ("svc", "api"),
        ("ns", "shop"),
        ("sa", "shop/api"),
        ("authorizationpolicy", "web-only", "-n", "shop"),
        ("vs", "split"),
        ("workload", "api-1"),
    ],
    ids=lambda words: words[0],
)
def test_an_object_is_described_with_what_it_became(shop, words, golden):
    described = shop.ambient("describe", *words)
    assert (described.exit_code, described.stderr) == (0, "")
    text = re.sub(r"(?m)^(changed): .*|^(version): .*", r"\1\2: …", described.stdout)
    golden(f"cli/describe-{words[0]}.txt", text)
    programs = json.loads(shop.ambient("describe", *words, "-o", "json").stdout)
    assert next(iter(programs)) in ("object", "workload")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("workload", "ghost"), 1, "there is no workload ghost"),
        (("workload", "shop/ghost"), 1, "there is no workload shop/ghost"),
        (("svc", "ghost"), 1, "there is no Service ghost in any namespace"),
        (("nonsense", "x"), 2, "is no kind"),
    ],
)
def test_what_is_not_there_is_said(shop, words, code, said):
    ended = shop.ambient("describe", *words)
    assert ended.exit_code == code
    assert said in ended.stderr


def test_nobody_there_is_code_3(nobody):
    assert nobody.ambient("describe", "svc", "a").exit_code == 3


def policy(namespace="shop", **spec):
    return {"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}


@pytest.mark.parametrize(
    ("document", "selected"),
    [
        pytest.param(policy(), True, id="whole-namespace"),
        pytest.param(policy("other"), False, id="another-namespace"),
        pytest.param(policy("istio-system"), True, id="root-namespace"),
        pytest.param(policy(selector={"matchLabels": {"app": "api"}}), True, id="its-label"),
        pytest.param(policy(selector={"matchLabels": {"app": "web"}}), False, id="another-label"),
        pytest.param(policy(targetRefs=[{"kind": "Service", "name": "api"}]), False, id="for-what-it-names"),
        pytest.param({"kind": "PeerAuthentication", "metadata": {"name": "p", "namespace": "shop"}}, True, id="no-spec"),
    ],
)  # fmt: skip
def test_a_policy_selects_by_namespace_and_label(document, selected):
    assert relations.selects(document, "shop", {"app": "api", "version": "1"}) is selected


def made(kind, namespace="shop", name="x", **spec):
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


@pytest.mark.parametrize(
    ("document", "concerned"),
    [
        pytest.param(made("HTTPRoute", parentRefs=[{"kind": "Service", "group": "", "name": "api"}]), True, id="parent"),
        pytest.param(made("HTTPRoute", parentRefs=[{"kind": "Gateway", "name": "api"}]), False, id="parent-of-another-kind"),
        pytest.param(made("HTTPRoute", rules=[{"backendRefs": [{"name": "api"}]}]), True, id="backend"),
        pytest.param(made("HTTPRoute", "other", rules=[{"backendRefs": [{"name": "api"}]}]), False, id="backend-elsewhere"),
        pytest.param(made("HTTPRoute", "other", rules=[{"backendRefs": [{"name": "api", "namespace": "shop"}]}]), True, id="backend-by-namespace"),
        pytest.param(made("DestinationRule", host="api"), True, id="short-host"),
        pytest.param(made("DestinationRule", "other", host="api"), False, id="short-host-elsewhere"),
        pytest.param(made("VirtualService", "other", hosts=["api.shop.svc.cluster.local"]), True, id="whole-host"),
        pytest.param(made("VirtualService", hosts=["x"], http=[{"route": [{"destination": {"host": "api.shop"}}]}]), True, id="destination"),
        pytest.param(made("ServiceProfile", name="api.shop.svc.cluster.local"), True, id="profile"),
        pytest.param(made("ServiceProfile", name="api2.shop.svc.cluster.local"), False, id="profile-of-another"),
        pytest.param({"kind": "Namespace", "metadata": {"name": "shop"}}, False, id="nothing-written"),
    ],
)  # fmt: skip
def test_a_route_concerns_a_service_that_it_names(document, concerned):
    assert relations.concerns_service(document, "shop", "api") is concerned


def test_a_workload_serves_by_its_services():
    assert relations.serves(["shop/api.shop.svc.cluster.local"], "shop", "api")
    assert not relations.serves(["shop/api2.shop.svc.cluster.local", "other/api.other.svc.x"], "shop", "api")


def test_workloads_are_got_by_namespace_and_name(shop):
    for words in (
        ("workloads",),
        ("wl", "shop/api-1"),
        ("workloads", "api-1", "-n", "shop"),
        ("wl", "-l", "app=api"),
    ):
        got = json.loads(shop.ambient("get", *words, "-o", "json").stdout)
        assert [one["name"] for one in got] == ["api-1"], words
    assert shop.ambient("get", "wl", "other/api-1", "-o", "json").stdout == "[]\n"
    assert shop.ambient("get", "wl", "-w").exit_code == 2
