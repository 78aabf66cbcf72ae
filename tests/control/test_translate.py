from ipaddress import ip_address, ip_network

import pytest
import yaml
from immutables import Map

from ambient.control.objects import Key, Mode, PeerAuthentication, TargetPort
from ambient.control.peer_authentication import oldest, port_level
from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import key_of, translate
from ambient.core.errors import ConfigError
from ambient.core.model.authorization import (
    Action,
    Match,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.service import AppProtocol, Port
from ambient.core.model.workload import Locality

ROOTS = ("ambient-system", "istio-system")
EXACT, PREFIX, SUFFIX, PRESENCE = (
    StringMatchKind.EXACT,
    StringMatchKind.PREFIX,
    StringMatchKind.SUFFIX,
    StringMatchKind.PRESENCE,
)
ANYBODY = (StringMatch(PRESENCE, ""),)


def read(text, kind, version, namespace="shop", **metadata):
    return translate(
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": "x", "namespace": namespace, **metadata},
            "spec": yaml.safe_load(text),
        },
        ROOTS,
    )


def policy(text, **metadata):
    return read(text, "AuthorizationPolicy", "security.istio.io/v1", **metadata)


def rules(text):
    return policy(text).object.authorization.rules


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("from: [{source: {principals: [a/b]}}]", ((Match(principals=(StringMatch(EXACT, "a/b"),)),),)),
        ("from: [{source: {principals: ['a*']}}]", ((Match(principals=(StringMatch(PREFIX, "a"),)),),)),
        ("from: [{source: {principals: ['*a']}}]", ((Match(principals=(StringMatch(SUFFIX, "a"),)),),)),
        ("from: [{source: {notPrincipals: ['*']}}]", ((Match(not_principals=ANYBODY),),)),
        ("from: [{source: {namespaces: [a, b]}}]", ((Match(namespaces=(StringMatch(EXACT, "a"), StringMatch(EXACT, "b"))),),)),
        ("from: [{source: {notNamespaces: [a]}}]", ((Match(not_namespaces=(StringMatch(EXACT, "a"),)),),)),
        ("from: [{source: {serviceAccounts: [a/b, c]}}]", ((Match(service_accounts=(ServiceAccountMatch("a", "b"), ServiceAccountMatch("shop", "c"))),),)),
        ("from: [{source: {notServiceAccounts: [c]}}]", ((Match(not_service_accounts=(ServiceAccountMatch("shop", "c"),)),),)),
        ("from: [{source: {trustDomains: [td, 'a*', '*']}}]", ((Match(principals=(StringMatch(PREFIX, "td/"), StringMatch(PREFIX, "a"), StringMatch(PRESENCE, ""))),),)),
        ("from: [{source: {notTrustDomains: [td], notPrincipals: [a/b]}}]", ((Match(not_principals=(StringMatch(EXACT, "a/b"), StringMatch(PREFIX, "td/"))),),)),
        ("from: [{source: {trustDomains: [td], serviceAccounts: [a/b]}}]", ((Match(principals=(StringMatch(PREFIX, "td/"),), service_accounts=(ServiceAccountMatch("a", "b"),)),),)),
        ("when: [{key: source.trustDomain, values: [td], notValues: [b]}]", ((Match(principals=(StringMatch(PREFIX, "td/"),), not_principals=(StringMatch(PREFIX, "b/"),)),),)),
        ("from: [{source: {ipBlocks: [10.0.0.1, 10.1.2.3/16]}}]", ((Match(source_ips=(ip_network("10.0.0.1"), ip_network("10.1.0.0/16"))),),)),
        ("from: [{source: {notIpBlocks: ['fd00::/8']}}]", ((Match(not_source_ips=(ip_network("fd00::/8"),)),),)),
        ("to: [{operation: {ports: ['80']}}]", ((Match(destination_ports=(80,)),),)),
        ("to: [{operation: {notPorts: ['80']}}]", ((Match(not_destination_ports=(80,)),),)),
        ("when: [{key: source.ip, values: [10.0.0.1], notValues: [10.0.0.2]}]", ((Match(source_ips=(ip_network("10.0.0.1"),), not_source_ips=(ip_network("10.0.0.2"),)),),)),
        ("when: [{key: source.namespace, values: [a]}]", ((Match(namespaces=(StringMatch(EXACT, "a"),)),),)),
        ("when: [{key: source.principal, notValues: ['*']}]", ((Match(not_principals=ANYBODY),),)),
        ("when: [{key: source.serviceAccount, values: [a/b]}]", ((Match(service_accounts=(ServiceAccountMatch("a", "b"),)),),)),
        ("when: [{key: destination.ip, values: [10.0.0.1]}]", ((Match(destination_ips=(ip_network("10.0.0.1"),)),),)),
        ("when: [{key: destination.port, values: ['80']}]", ((Match(destination_ports=(80,)),),)),
        (
            "{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}], to: [{operation: {ports: ['1']}}]}",
            (
                (Match(namespaces=(StringMatch(EXACT, "a"),)), Match(namespaces=(StringMatch(EXACT, "b"),))),
                (Match(destination_ports=(1,)),),
            ),
        ),
        ("{}", ()),
    ],
)  # fmt: skip
def test_each_field_of_a_rule(text, clauses):
    assert rules(f"rules: [{text if text.startswith('{') else '{' + text + '}'}]") == (clauses,)


@pytest.mark.parametrize(
    ("text", "expected", "warning"),
    [
        pytest.param("{}", (), None, id="allow-nothing"),
        pytest.param("{action: DENY}", (), "so this DENY has no effect", id="deny-without-rules"),
        pytest.param("{rules: [{to: [{operation: {paths: [/a]}}]}]}", (), "spec.rules[0] is dropped, so less is allowed: to[0].operation.paths", id="allow-l7"),
        pytest.param("{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}", (), "has no effect: to[0].operation.paths", id="deny-l7-alone"),
        pytest.param(
            "{action: DENY, rules: [{to: [{operation: {paths: [/a], ports: ['80']}}]}]}",
            (((Match(destination_ports=(80,)),),),), "is enforced without to[0].operation.paths, so more is denied", id="deny-l7-and-port",
        ),
        pytest.param(
            "{action: DENY, rules: [{when: [{key: 'request.headers[x]', values: [a]}], from: [{source: {namespaces: [a]}}]}]}",
            (((Match(namespaces=(StringMatch(EXACT, "a"),)),),),), "when[0] (request.headers[x])", id="deny-l7-when",
        ),
        pytest.param(
            "{action: DENY, rules: [{from: [{source: {requestPrincipals: [a]}}, {source: {namespaces: [a]}}], to: [{operation: {ports: ['80']}}]}]}",
            (((Match(destination_ports=(80,)),),),), "is enforced without from[0].source.requestPrincipals, so more is denied", id="deny-one-source-at-l7-and-port",
        ),
        pytest.param(
            "{action: DENY, rules: [{from: [{source: {requestPrincipals: [a]}}, {source: {namespaces: [a]}}]}]}",
            (((Match(namespaces=(StringMatch(EXACT, "a"),)),),),), "denies nothing by from[0].source.requestPrincipals", id="deny-one-source-at-l7",
        ),
        pytest.param(
            "{rules: [{from: [{source: {requestPrincipals: [a]}}]}, {from: [{source: {namespaces: [a]}}]}]}",
            (((Match(namespaces=(StringMatch(EXACT, "a"),)),),),), "from[0].source.requestPrincipals", id="allow-keeps-the-rest",
        ),
        pytest.param("{rules: [{from: [{source: {trustDomains: ['*.example']}}]}]}", (), "is dropped, so less is allowed: from[0].source.trustDomains (with * first) cannot be enforced", id="allow-the-end-of-a-trust-domain"),
        pytest.param("{rules: [{from: [{source: {trustDomains: [td], principals: [td/a]}}]}]}", (), "from[0].source.trustDomains (beside principals) cannot be enforced", id="allow-trust-domain-and-principal"),
        pytest.param(
            "{action: DENY, rules: [{from: [{source: {trustDomains: [td], principals: [td/a]}}]}]}",
            (((Match(principals=(StringMatch(EXACT, "td/a"),)),),),), "is enforced without from[0].source.trustDomains (beside principals), so more is denied", id="deny-trust-domain-and-principal",
        ),
        pytest.param(
            "{action: DENY, rules: [{from: [{source: {notTrustDomains: ['*.example'], namespaces: [a]}}]}]}",
            (((Match(namespaces=(StringMatch(EXACT, "a"),)),),),), "is enforced without from[0].source.notTrustDomains (with * first), so more is denied", id="deny-the-end-of-a-trust-domain",
        ),
        pytest.param(
            "{rules: [{from: [{source: {principals: ['spiffe://a/b']}}]}]}",
            (((Match(principals=(StringMatch(EXACT, "a/b"),)),),),), 'is "spiffe://a/b"; it is read as "a/b"', id="principal-as-uri",
        ),
    ],
)  # fmt: skip
def test_what_only_l7_could_enforce(text, expected, warning):
    translated = policy(text)
    assert translated.object.authorization.rules == expected
    assert (warning is None) == (translated.warnings == ())
    assert warning is None or warning in str(translated.warnings[0])


@pytest.mark.parametrize(
    ("namespace", "text", "scope", "action"),
    [
        ("shop", "{}", Scope.NAMESPACE, Action.ALLOW),
        ("ambient-system", "{action: DENY, rules: [{}]}", Scope.GLOBAL, Action.DENY),
        ("istio-system", "{}", Scope.GLOBAL, Action.ALLOW),
        ("shop", "{selector: {matchLabels: {a: b}}}", Scope.WORKLOAD_SELECTOR, Action.ALLOW),
        ("istio-system", "{selector: {matchLabels: {a: b}}}", Scope.WORKLOAD_SELECTOR, Action.ALLOW),
        ("shop", "{selector: {}}", Scope.NAMESPACE, Action.ALLOW),
    ],
)
def test_a_policys_reach(namespace, text, scope, action):
    authorization = policy(text, namespace=namespace).object.authorization
    assert (authorization.scope, authorization.action) == (scope, action)


def test_a_policy_of_a_waypoint_is_none_of_ours():
    translated = policy("{targetRefs: [{kind: Service, name: a}], rules: [{}]}")
    assert translated.object.authorization is None
    assert translated.warnings == ()


def test_dry_run():
    assert policy("{}", annotations={"istio.io/dry-run": "true"}).object.authorization.dry_run


def test_what_kubernetes_adds_does_no_harm():
    metadata = {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "resourceVersion": "1",
        "uid": "u",
        "managedFields": [],
        "generation": 1,
        "ownerReferences": [],
    }
    assert policy("{}", **metadata).warnings == ()


def service(text):
    translated = read(text, "Service", "v1")
    return translated.object, tuple(map(str, translated.warnings))


def test_a_service():
    read_service, warnings = service(
        "{selector: {app: a}, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1'], publishNotReadyAddresses: true,"
        " ipFamilies: [IPv4, IPv6], sessionAffinity: None, ports: [{port: 80, targetPort: web, nodePort: 30000},"
        " {port: 81}, {port: 82, targetPort: 8082, name: x, appProtocol: http}, {port: 53, protocol: UDP}]}"
    )
    assert read_service.service.hostname == "x.shop.svc.cluster.local"
    assert [str(address.ip) for address in read_service.service.addresses] == ["10.0.0.1", "fd00::1"]
    assert read_service.service.ports == (Port(80, 0), Port(81, 81), Port(82, 8082))
    assert read_service.ports == (TargetPort(80, "web"), TargetPort(81, 81), TargetPort(82, 8082, "x"))
    assert read_service.service.allow_unhealthy
    assert warnings == ("spec.ports[3] is UDP and has no effect; the mesh carries TCP",)


@pytest.mark.parametrize(
    ("text", "selector", "warning"),
    [
        ("{clusterIP: None, selector: {a: b}}", Map({"a": "b"}), ()),
        ("{clusterIP: 10.0.0.1}", None, ()),
        (
            "{selector: {a: b}}",
            Map({"a": "b"}),
            (
                "spec.clusterIP is missing, so the service has no address; write one, or None for a headless service",
            ),
        ),
        (
            "{type: ExternalName, externalName: a.b, selector: {a: b}}",
            None,
            ("spec.type is ExternalName and has no effect; the mesh does not rename hosts",),
        ),
    ],
)
def test_services_without_an_address_or_a_selector(text, selector, warning):
    read_service, warnings = service(text)
    assert (read_service.selector, warnings) == (selector, warning)


@pytest.mark.parametrize(
    ("port", "protocol", "warning"),
    [
        ("{name: http}", AppProtocol.HTTP, None),
        ("{name: http-web}", AppProtocol.HTTP, None),
        ("{name: http2-web}", AppProtocol.HTTP2, None),
        ("{name: grpc-api}", AppProtocol.GRPC, None),
        ("{name: https-web}", AppProtocol.TLS, None),
        ("{name: tls}", AppProtocol.TLS, None),
        ("{name: tcp-db}", AppProtocol.TCP, None),
        ("{name: mysql}", AppProtocol.TCP, None),
        ("{name: web}", None, None),
        ("{name: httpx}", None, None),
        ("{name: web, appProtocol: http}", AppProtocol.HTTP, None),
        ("{name: http, appProtocol: tcp}", AppProtocol.TCP, None),
        ("{appProtocol: GRPC}", AppProtocol.GRPC, None),
        ("{appProtocol: kubernetes.io/h2c}", AppProtocol.HTTP2, None),
        ("{appProtocol: kubernetes.io/ws}", AppProtocol.HTTP, None),
        ("{appProtocol: kubernetes.io/wss}", AppProtocol.TLS, None),
        ("{name: http, appProtocol: example.com/x}", None, 'spec.ports[0].appProtocol is "example.com/x" and has no effect'),
    ],
)  # fmt: skip
def test_what_a_port_declares(port, protocol, warning):
    text = f"{{clusterIP: 10.0.0.1, ports: [{port.replace('{', '{port: 80, ', 1)}]}}"
    read_service, warnings = service(text)
    assert read_service.service.declaration(80).protocol is protocol
    assert read_service.service.declaration(81).protocol is None
    assert [one for one in warnings if not (warning and one.startswith(warning))] == []
    assert len(warnings) == (warning is not None)


@pytest.mark.parametrize(
    ("field", "warning"),
    [
        ("sessionAffinity: ClientIP", "spec.sessionAffinity has no effect; each connection is balanced by itself"),
        ("internalTrafficPolicy: Local", "spec.internalTrafficPolicy has no effect; endpoints of every node are used"),
        ("trafficDistribution: PreferClose", "spec.trafficDistribution has no effect; near and far endpoints are used alike"),
        ("externalIPs: [192.0.2.1]", "spec.externalIPs has no effect; the mesh knows the service by its clusterIP"),
    ],
)  # fmt: skip
def test_what_of_a_service_is_not_carried_out(field, warning):
    assert service(f"{{clusterIP: 10.0.0.1, {field}}}")[1] == (warning,)


@pytest.mark.parametrize(
    "field",
    [
        "sessionAffinity: None",
        "internalTrafficPolicy: Cluster",
        "externalTrafficPolicy: Local",
        "type: NodePort",
    ],
)
def test_what_of_a_service_changes_nothing_here(field):
    assert service(f"{{clusterIP: 10.0.0.1, {field}}}")[1] == ()


def test_a_workload_entry():
    entry = read(
        "{address: 10.0.0.9, ports: {web: 8080}, labels: {a: b}, locality: r/z, weight: 3, serviceAccount: sa, network: n}",
        "WorkloadEntry",
        "networking.istio.io/v1beta1",
        labels={"a": "c", "d": "e"},
        annotations={"ambient.dev/tunnel": "hbone"},
    ).object
    assert entry.address == ip_address("10.0.0.9")
    assert (entry.ports, entry.labels) == (Map({"web": 8080}), Map({"a": "b", "d": "e"}))
    assert (entry.locality, entry.capacity) == (Locality("r", "z", ""), 3)
    assert (entry.service_account, entry.network, entry.speaks_hbone) == ("sa", "n", True)


def test_a_namespaces_mode():
    def mode(labels):
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": labels}}
        return translate(document, ROOTS).object.dataplane_mode

    assert mode({}) == ""
    assert mode({"istio.io/dataplane-mode": "ambient"}) == "ambient"
    assert mode({"istio.io/dataplane-mode": "ambient", "ambient.dev/dataplane-mode": "none"}) == "none"
    with pytest.raises(
        Untranslatable, match=r'labels\["ambient.dev/dataplane-mode"\] is "on"; it is ambient or none'
    ):
        mode({"ambient.dev/dataplane-mode": "on"})


@pytest.mark.parametrize(
    ("labels", "mode", "warning"),
    [
        pytest.param({"istio-injection": "enabled"}, "ambient", "istio-injection", id="injection"),
        pytest.param({"istio-injection": "disabled"}, "", None, id="no-injection"),
        pytest.param({"istio-injection": "disabled", "istio.io/rev": "canary"}, "", None, id="no-injection-of-a-revision"),
        pytest.param({"istio.io/rev": "canary"}, "ambient", "istio.io/rev", id="revision"),
        pytest.param({"istio-injection": "enabled", "istio.io/rev": "canary"}, "ambient", "istio-injection", id="both"),
        pytest.param({"istio-injection": "enabled", "ambient.dev/dataplane-mode": "none"}, "none", None, id="our-label-counts-before-it"),
        pytest.param({"istio.io/rev": "canary", "istio.io/dataplane-mode": "ambient"}, "ambient", None, id="istios-own-label-does-too"),
    ],
)  # fmt: skip
def test_a_namespace_that_asks_for_sidecars(labels, mode, warning):
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": labels}}
    translated = translate(document, ROOTS)
    assert translated.object.dataplane_mode == mode
    sentence = (
        f'metadata.labels["{warning}"] is "{labels.get(warning)}" and enrols the namespace, without sidecars; '
        "write ambient.dev/dataplane-mode: ambient in its place"
    )
    assert [str(one) for one in translated.warnings] == ([sentence] if warning else [])


def test_a_service_account_may_be_bound_to_nodes():
    document = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "a", "annotations": {"ambient.dev/nodes": "n1, n2,"}},
    }
    assert translate(document, ROOTS).object.nodes == frozenset({"n1", "n2"})


def peer(mode=Mode.UNSET, created="", name="x", **ports):
    exceptions = {int(port[1:]): mode for port, mode in ports.items()}
    return PeerAuthentication("shop", name, created, Map({"a": "b"}), mode, Map(exceptions))


S, P, D, U = Mode.STRICT, Mode.PERMISSIVE, Mode.DISABLE, Mode.UNSET


@pytest.mark.parametrize(
    ("policy_", "inherited", "match"),
    [
        pytest.param(peer(S, p80=S), U, None, id="all-strict"),
        pytest.param(peer(P, p80=P), U, None, id="all-permissive"),
        pytest.param(peer(P, p80=D), S, None, id="disable-is-permissive"),
        pytest.param(peer(S, p80=P, p81=D, p82=S), U, Match(not_principals=ANYBODY, not_destination_ports=(80, 81)), id="strict-but"),
        pytest.param(peer(P, p80=S, p81=S), U, Match(not_principals=ANYBODY, destination_ports=(80, 81)), id="permissive-but"),
        pytest.param(peer(U, p80=P), S, Match(not_principals=ANYBODY, not_destination_ports=(80,)), id="inherits-strict"),
        pytest.param(peer(U, p80=S), U, Match(not_principals=ANYBODY, destination_ports=(80,)), id="inherits-nothing"),
        pytest.param(peer(S, p80=U), U, None, id="unset-port"),
    ],
)  # fmt: skip
def test_port_exceptions(policy_, inherited, match):
    authorization = port_level(policy_, inherited)
    if match is None:
        assert authorization is None
    else:
        assert authorization.key == "shop/converted_peer_authentication_x"
        assert (authorization.action, authorization.scope) == (Action.DENY, Scope.WORKLOAD_SELECTOR)
        assert authorization.rules == (((match,),),)


def test_the_oldest_wins_and_unknown_age_is_young():
    old, young = (
        peer(created="2026-01-01T00:00:00Z", name="z"),
        peer(created="2026-02-01T00:00:00Z", name="a"),
    )
    unknown, other = peer(name="a"), peer(name="b")
    assert oldest((young, old, unknown)) is old
    assert oldest((other, unknown)) is unknown
    assert oldest(()) is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
            Key("Service", "default", "a"),
        ),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}, Key("Namespace", "", "a")),
        ({"apiVersion": "apps/v1", "kind": "StatefulSet"}, None),
        ({"apiVersion": "networking.istio.io/v1", "kind": "PeerAuthentication"}, None),
    ],
)
def test_what_an_object_is_known_by(document, expected):
    assert key_of(document) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "Service"}, "apiVersion is missing"),
        ({"apiVersion": "v1"}, "kind is missing"),
        ({"apiVersion": "v1", "kind": "Service"}, "Service: metadata.name is missing"),
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": 1}},
            "metadata.name is 1; write it as a string",
        ),
        (
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": 1}},
            "metadata.namespace is 1; write it as a string, in quotes",
        ),
    ],
)
def test_an_object_without_a_name(document, message):
    with pytest.raises(ConfigError, match=message):
        key_of(document)
