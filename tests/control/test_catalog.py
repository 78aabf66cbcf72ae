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
            'x.yaml: line 4: WorkloadEntry shop/a: spec.address is "oops"; it is an IPv4 or IPv6 address, in quotes'
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


def test_a_kind_of_another_version_is_named_with_the_version_that_is_read():
    made = catalog(x="apiVersion: ambient.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: a}\n")
    assert made.warnings == (
        (
            "x.yaml: line 1: RateLimitPolicy of ambient.dev/v1alpha1 is a kind that has no effect here; "
            "write apiVersion: ambient.dev/v1"
        ),
    )


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
    "metadata-missing": "apiVersion: v1\nkind: Service\nspec: {}\n",
    "metadata-null": "apiVersion: v1\nkind: Service\nmetadata:\nspec: {}\n",
    "metadata-a-list": "apiVersion: v1\nkind: Service\nmetadata: [name]\nspec: {}\n",
    "spec-null": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n",
    "spec-a-text": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: none\n",
    "kind-a-number": "apiVersion: v1\nkind: 1\nmetadata: {name: a}\n",
    "version-a-number": "apiVersion: 1\nkind: Service\nmetadata: {name: a}\n",
    "name-a-number": "apiVersion: v1\nkind: Namespace\nmetadata: {name: 42}\n",
    "name-a-boolean": "apiVersion: v1\nkind: Namespace\nmetadata: {name: on}\n",
    "name-a-number-with-exponent": "apiVersion: v1\nkind: Namespace\nmetadata: {name: 1e3}\n",
    "name-too-long": "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n" % ("a" * 64),
    "service-name-with-a-dot": "apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\nspec: {clusterIP: 10.0.0.1}\n",
    "name-with-a-line-end": 'apiVersion: v1\nkind: Namespace\nmetadata: {name: "a\\n"}\n',
    "name-that-looks-latin": "apiVersion: v1\nkind: Namespace\nmetadata: {name: \u0430}\n",
    "kind-with-a-line-end": 'apiVersion: v1\nkind: "Service\\n"\nmetadata: {name: a}\n',
    "kind-very-long": "apiVersion: v1\nkind: %s\nmetadata: {name: a}\n" % ("a" * 10_000),
    "namespace-with-capitals": "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: Shop}\nspec: {clusterIP: 10.0.0.1}\n",
    "namespace-a-number": "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: 1}\nspec: {clusterIP: 10.0.0.1}\n",
    "namespace-that-climbs": "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: ../etc}\nspec: {clusterIP: 10.0.0.1}\n",
    "label-with-a-space": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {my label: x}}\n",
    "label-value-too-long": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: %s}}\n"
    % ("y" * 64),
    "label-value-with-a-slash": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {app.kubernetes.io/name: a/b}}\n",
    "label-value-a-number": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {version: 1.10}}\n",
    "label-with-two-slashes": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {a/b/c: x}}\n",
    "label-without-a-name": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {'': x}}\n",
    "labels-a-list": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: [x]}\n",
    "annotation-a-boolean": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {x: true}}\n",
    "annotation-with-a-bad-name": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {-x: y}}\n",
    "annotations-too-large": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {x: %s}}\n"
    % ("y" * 300_000),
    "created-at-no-time": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, creationTimestamp: yesterday}\n",
    "created-on-no-day": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, creationTimestamp: 2026-02-30T00:00:00Z}\n",
    "selector-a-number": SERVICE + "{clusterIP: 10.0.0.1, selector: {version: 2}}\n",
    "selector-with-a-bad-value": SERVICE + "{clusterIP: 10.0.0.1, selector: {app: a b}}\n",
    "selector-by-set": SERVICE + "{clusterIP: 10.0.0.1, selector: {matchLabels: {app: a}}}\n",
    "service-port-a-text": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: '80'}]}\n",
    "service-port-with-exponent": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 1e3}]}\n",
    "service-port-a-fraction": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80.5}]}\n",
    "service-port-negative": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: -80}]}\n",
    "service-port-very-large": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: %s}]}\n" % ("9" * 30),
    "service-port-hexadecimal-too-large": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 0x10000}]}\n",
    "service-port-of-another-kind": SERVICE + "{clusterIP: 10.0.0.1, ports: [80]}\n",
    "service-ports-a-mapping": SERVICE + "{clusterIP: 10.0.0.1, ports: {port: 80}}\n",
    "service-port-name-twice": SERVICE
    + "{clusterIP: 10.0.0.1, ports: [{port: 80, name: a}, {port: 81, name: a}]}\n",
    "service-port-name-with-capitals": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80, name: HTTP}]}\n",
    "service-protocol-in-small": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80, protocol: tcp}]}\n",
    "service-app-protocol-a-number": SERVICE + "{clusterIP: 10.0.0.1, ports: [{port: 80, appProtocol: 2}]}\n",
    "service-of-no-type": SERVICE + "{clusterIP: 10.0.0.1, type: Clusterip}\n",
    "service-affinity": SERVICE + "{clusterIP: 10.0.0.1, sessionAffinity: Client}\n",
    "service-unready": SERVICE + "{clusterIP: 10.0.0.1, publishNotReadyAddresses: 'yes'}\n",
    "cluster-ip-with-a-port": SERVICE + "{clusterIP: '10.0.0.1:80'}\n",
    "cluster-ip-a-range": SERVICE + "{clusterIP: 10.0.0.0/8}\n",
    "cluster-ip-with-leading-zeros": SERVICE + "{clusterIP: 010.0.0.1}\n",
    "mtls-off": PEER + "{mtls: {mode: off}}\n",
    "mtls-a-text": PEER + "{mtls: STRICT}\n",
    "peer-selector-by-set": PEER
    + "{selector: {matchExpressions: [{key: a, operator: Exists}]}, mtls: {mode: STRICT}}\n",
    "policy-action-in-small": POLICY + "{action: deny}\n",
    "policy-principals-a-text": POLICY + "{rules: [{from: [{source: {principals: a/b}}]}]}\n",
    "account-without-secrets": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nsecret: []\n",
    "entry-weight-negative": ENTRY % ("a", "10.0.0.1, weight: -1"),
    "entry-port-a-text": ENTRY % ("a", "10.0.0.1, ports: {http: '80'}"),
    "object-twice": ENTRY % ("a", "10.0.0.1") + "---\n" + ENTRY % ("a", "10.0.0.2"),
}


def test_every_bad_object_has_its_sentence(golden):
    lines = []
    for name, text in BAD.items():
        made = catalog(**{name: text})
        assert len(made.errors) == 1, (name, made.errors)
        assert not made.objects, name
        lines += made.errors
    golden("bad-objects.txt", "".join(f"{line}\n" for line in lines))


def test_an_object_with_very_many_faults_is_named_a_few_times():
    wrong = ", ".join(["1"] * 5000)
    made = catalog(x=POLICY + f"{{rules: [{{from: [{{source: {{principals: [{wrong}]}}}}]}}]}}")
    assert len(made.errors) == 21
    assert (
        made.errors[-1]
        == "x.yaml: line 1: AuthorizationPolicy shop/p: has more than 20 faults; mend these first"
    )


def test_what_is_bad_changes_nothing():
    good = (
        NAMESPACE % "shop"
        + "---\n"
        + SERVICE
        + "{clusterIP: 10.9.0.1}\n---\n"
        + POLICY
        + "{rules: [{}]}\n---\n"
        + PEER
    )
    good += "{mtls: {mode: STRICT}}\n---\n" + ENTRY % ("a", "10.0.0.1")
    made = catalog(x=good)
    stood = made.objects
    assert (len(stood), made.errors) == (5, ())
    for name, text in BAD.items():
        change(made, x=good, y=text)
        assert made.objects == stood, name
        change(made, x=text)
        kept = {key: value for key, value in made.objects.items() if key in stood}
        assert all(stood[key] == value for key, value in kept.items()), name
        change(made, x=good, removed=["y"])
        assert (made.objects, made.errors) == (stood, ()), name
