"""What stands of a folder, change by change; and the sentence for each way an object can be bad."""

from datetime import UTC, datetime

from ambient.control.catalog import Catalog
from ambient.control.objects import Key
from ambient.control.sources import Change, Unreadable

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n"
ENTRY = (
    "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s, namespace: shop}\n"
    "spec: {address: %s}\n"
)
A, B = Key("WorkloadEntry", "shop", "a"), Key("WorkloadEntry", "shop", "b")


def catalog(**files):
    made = Catalog(("ambient-system",))
    change(made, **files)
    return made


def change(made, removed=(), **files):
    take(
        made,
        Change(
            {
                f"{name}.yaml": text.encode() if isinstance(text, str) else text
                for name, text in files.items()
            },
            frozenset(f"{name}.yaml" for name in removed),
        ),
    )


def take(made, change):
    made.take(made.plan_source("folder", change, datetime.now(UTC)))


def addresses(made):
    return {key.name: str(entry.address) for key, entry in made.objects.items()}


def test_a_bad_object_keeps_its_last_good_version_and_the_rest_applies():
    made = catalog(x=ENTRY % ("a", "10.0.0.1") + "---\n" + ENTRY % ("b", "10.0.0.2"))
    change(made, x=ENTRY % ("a", "oops") + "---\n" + ENTRY % ("b", "10.0.0.3"))
    assert addresses(made) == {"a": "10.0.0.1", "b": "10.0.0.3"}
    assert made.errors == (
        (
            'x.yaml: WorkloadEntry shop/a: spec.address is "oops"; it is an IPv4 or IPv6 address, in quotes'
            "; its last good version stands"
        ),
    )
    change(made, x=ENTRY % ("a", "10.0.0.4"))
    assert (addresses(made), made.errors) == ({"a": "10.0.0.4"}, ())


def test_a_file_that_is_not_yaml_removes_nothing():
    made = catalog(x=ENTRY % ("a", "10.0.0.1"), y=ENTRY % ("b", "10.0.0.2"))
    change(made, x="a: [")
    assert addresses(made) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert len(made.errors) == 1
    change(made, x=Unreadable("the file cannot be read: Permission denied"))
    assert addresses(made) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    change(made, x="")
    assert (addresses(made), made.errors) == ({"b": "10.0.0.2"}, ())


def test_a_bad_document_leaves_the_others_of_its_file():
    made = catalog(x=ENTRY % ("a", "10.0.0.1") + "---\n{ not yaml\n---\n" + ENTRY % ("b", "10.0.0.2"))
    assert addresses(made) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert made.errors[0].startswith("x.yaml: line 7: this is not YAML")


def test_removal_of_a_file_removes_its_objects():
    made = catalog(x=ENTRY % ("a", "10.0.0.1"), y=ENTRY % ("b", "10.0.0.2"))
    change(made, removed=["x"])
    assert addresses(made) == {"b": "10.0.0.2"}


def test_a_file_may_be_renamed_while_its_object_is_bad():
    made = catalog(x=ENTRY % ("a", "10.0.0.1"))
    change(made, removed=["x"], y=ENTRY % ("a", "oops"))
    assert addresses(made) == {"a": "10.0.0.1"}


def test_an_object_in_two_files_stays_with_the_one_that_had_it():
    made = catalog(x=ENTRY % ("a", "10.0.0.1"))
    change(made, b=ENTRY % ("a", "10.0.0.2"))
    assert addresses(made) == {"a": "10.0.0.1"}
    assert made.errors == (
        "b.yaml: WorkloadEntry shop/a: is in x.yaml as well, which counts; remove one of them",
    )
    change(made, removed=["x"])
    assert (addresses(made), made.errors) == ({"a": "10.0.0.2"}, ())


def test_unknown_kinds_are_named_and_do_no_harm():
    made = catalog(
        x="apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a}\n---\n" + NAMESPACE % "shop"
    )
    assert list(made.objects) == [Key("Namespace", "", "shop")]
    assert made.errors == ()
    assert made.warnings == ("x.yaml: line 1: StatefulSet of apps/v1 is a kind that has no effect here",)


def test_a_list_is_its_items():
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n"
    assert list(catalog(x=text).objects) == [Key("Namespace", "", "shop")]


def test_a_folder_that_cannot_be_read_changes_nothing():
    made = catalog(x=ENTRY % ("a", "10.0.0.1"))
    take(made, Change(trouble="--config /x cannot be read: gone"))
    assert (addresses(made), made.errors) == ({"a": "10.0.0.1"}, ("--config /x cannot be read: gone",))


POLICY = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: "
PEER = (
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\nspec: "
)
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: "

BAD = {
    "not-yaml": "apiVersion: v1\nkind: [Service\n",
    "tab": "apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n",
    "not-an-object": "- a\n- b\n",
    "not-utf8": b"a: \xff\n",
    "key-twice": "apiVersion: v1\nkind: Service\nkind: Namespace\n",
    "no-kind": "apiVersion: v1\nmetadata: {name: a}\n",
    "no-name": "apiVersion: v1\nkind: Service\nmetadata: {}\n",
    "no-spec": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
    "bad-name": "apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop_1}\n",
    "boolean-label": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: yes}}\n",
    "unknown-mode": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {istio.io/dataplane-mode: on-please}}\n",
    "unknown-field": POLICY + "{acton: DENY}\n",
    "unknown-field-within": POLICY + "{rules: [{from: [{source: {principal: [a]}}]}]}\n",
    "unknown-action": POLICY + "{action: BLOCK}\n",
    "custom-action": POLICY + "{action: CUSTOM, provider: {name: a}}\n",
    "port-out-of-range": POLICY + "{rules: [{to: [{operation: {ports: ['80', '70000']}}]}]}\n",
    "port-not-a-string": POLICY + "{rules: [{to: [{operation: {ports: [80]}}]}]}\n",
    "bad-cidr": POLICY + "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]}\n",
    "empty-source": POLICY + "{rules: [{from: [{source: {}}]}]}\n",
    "empty-from": POLICY + "{rules: [{from: []}]}\n",
    "unknown-attribute": POLICY + "{rules: [{when: [{key: source.color, values: [red]}]}]}\n",
    "attribute-without-values": POLICY + "{rules: [{when: [{key: source.ip}]}]}\n",
    "bad-attribute-value": POLICY + "{rules: [{when: [{key: destination.port, values: [http]}]}]}\n",
    "accounts-and-namespaces": POLICY
    + "{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]}\n",
    "rules-not-a-list": POLICY + "{rules: {}}\n",
    "unknown-mtls-mode": PEER + "{mtls: {mode: STRIKT}}\n",
    "ports-without-selector": PEER + "{portLevelMtls: {80: {mode: STRICT}}}\n",
    "bad-mtls-port": PEER + "{selector: {matchLabels: {a: b}}, portLevelMtls: {99999: {mode: STRICT}}}\n",
    "bad-cluster-ip": SERVICE + "{clusterIP: 10.0.0.300}\n",
    "cluster-ips-disagree": SERVICE + "{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2]}\n",
    "service-port-out-of-range": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 0}]}\n",
    "service-port-twice": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 80, name: b}]}\n",
    "bad-target-port": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80, targetPort: Web_1}]}\n",
    "bad-protocol": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80, protocol: HTTP}]}\n",
    "entry-without-address": "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nspec: {}\n",
    "entry-by-hostname": ENTRY % ("a", "db.example.com"),
    "object-twice": ENTRY % ("a", "10.0.0.1") + "---\n" + ENTRY % ("a", "10.0.0.2"),
}


def test_every_bad_object_has_its_sentence(golden):
    lines = []
    for name, text in BAD.items():
        made = catalog(**{name: text})
        assert made.errors, name
        assert not made.objects, name
        lines += made.errors
    golden("bad-objects.txt", "".join(f"{line}\n" for line in lines))
