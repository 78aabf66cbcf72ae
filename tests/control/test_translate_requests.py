"""AuthorizationPolicies with targets, as the waypoints of these enforce them."""

from ipaddress import ip_network

import pytest
import yaml

from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import translate
from ambient.core.model.authorization import Action, Match, ServiceAccountMatch, StringMatch, StringMatchKind
from ambient.core.model.request_authorization import (
    ClaimTest,
    HeaderTest,
    PathTemplate,
    RequestAuthorization,
    RequestMatch,
    Target,
)

EXACT, PREFIX, SUFFIX, PRESENCE = (
    StringMatchKind.EXACT,
    StringMatchKind.PREFIX,
    StringMatchKind.SUFFIX,
    StringMatchKind.PRESENCE,
)
TARGETS = "targetRefs: [{kind: Service, name: api}]"


def exactly(*values):
    return tuple(StringMatch(EXACT, value) for value in values)


def policy(spec, **metadata):
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "x", "namespace": "shop", **metadata},
        "spec": yaml.safe_load(spec),
    }
    translated = translate(document, ("istio-system",))
    return translated.object, tuple(map(str, translated.warnings))


def rules(text, action="ALLOW"):
    made, warnings = policy(f"{{{TARGETS}, action: {action}, rules: [{text}]}}")
    return made.requests.rules, warnings


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("to: [{operation: {methods: [GET, 'P*']}}]", ((RequestMatch(methods=(*exactly("GET"), StringMatch(PREFIX, "P"))),),)),
        ("to: [{operation: {notMethods: [GET]}}]", ((RequestMatch(not_methods=exactly("GET")),),)),
        ("to: [{operation: {hosts: [API.shop, '*.Shop']}}]", ((RequestMatch(hosts=(*exactly("api.shop"), StringMatch(SUFFIX, ".shop"))),),)),
        ("to: [{operation: {notHosts: [a]}}]", ((RequestMatch(not_hosts=exactly("a")),),)),
        ("to: [{operation: {paths: [/a, '/b/{*}', '/c/{**}', '/d*', '*']}}]", ((RequestMatch(paths=(*exactly("/a"), PathTemplate("/b/{*}"), PathTemplate("/c/{**}"), StringMatch(PREFIX, "/d"), StringMatch(PRESENCE, ""))),),)),
        ("to: [{operation: {notPaths: ['/b/{*}']}}]", ((RequestMatch(not_paths=(PathTemplate("/b/{*}"),)),),)),
        ("to: [{operation: {ports: ['80'], methods: [GET]}}]", ((RequestMatch(connection=Match(destination_ports=(80,)), methods=exactly("GET")),),)),
        ("from: [{source: {principals: [a/b]}}]", ((RequestMatch(connection=Match(principals=exactly("a/b"))),),)),
        ("from: [{source: {serviceAccounts: [web]}}]", ((RequestMatch(connection=Match(service_accounts=(ServiceAccountMatch("shop", "web"),))),),)),
        ("from: [{source: {requestPrincipals: ['*'], notRequestPrincipals: [a/b]}}]", ((RequestMatch(request_principals=(StringMatch(PRESENCE, ""),), not_request_principals=exactly("a/b")),),)),
        ("from: [{source: {remoteIpBlocks: [10.0.0.0/8], notRemoteIpBlocks: [10.0.0.1]}}]", ((RequestMatch(remote_ips=(ip_network("10.0.0.0/8"),), not_remote_ips=(ip_network("10.0.0.1"),)),),)),
        ("when: [{key: remote.ip, values: [10.0.0.1]}]", ((RequestMatch(remote_ips=(ip_network("10.0.0.1"),)),),)),
        ("when: [{key: source.ip, values: [10.0.0.1]}]", ((RequestMatch(connection=Match(source_ips=(ip_network("10.0.0.1"),))),),)),
        ("when: [{key: request.auth.principal, notValues: ['*']}]", ((RequestMatch(not_request_principals=(StringMatch(PRESENCE, ""),)),),)),
        ("when: [{key: request.auth.audiences, values: [a]}]", ((RequestMatch(audiences=exactly("a")),),)),
        ("when: [{key: request.auth.presenter, values: [a]}]", ((RequestMatch(presenters=exactly("a")),),)),
        ("when: [{key: connection.sni, values: [a.b]}]", ((RequestMatch(server_names=exactly("a.b")),),)),
        ("when: [{key: 'request.headers[X-User]', values: [ann], notValues: [bob]}]", ((RequestMatch(headers=(HeaderTest("x-user", exactly("ann"), exactly("bob")),)),),)),
        ("when: [{key: 'request.auth.claims[realm][roles]', values: [admin]}]", ((RequestMatch(claims=(ClaimTest(("realm", "roles"), exactly("admin")),)),),)),
        (
            "{from: [{source: {namespaces: [a]}}, {source: {requestPrincipals: [p]}}], to: [{operation: {methods: [GET]}}], when: [{key: source.namespace, values: [a]}, {key: connection.sni, values: [s]}]}",
            (
                (RequestMatch(connection=Match(namespaces=exactly("a"))), RequestMatch(request_principals=exactly("p"))),
                (RequestMatch(methods=exactly("GET")),),
                (RequestMatch(connection=Match(namespaces=exactly("a"))),),
                (RequestMatch(server_names=exactly("s")),),
            ),
        ),
        ("{}", ()),
    ],
)  # fmt: skip
def test_each_field_of_a_rule(text, clauses):
    assert rules(text if text.startswith("{") else f"{{{text}}}") == ((clauses,), ())


@pytest.mark.parametrize(
    ("text", "action", "expected", "warning"),
    [
        pytest.param("{when: [{key: experimental.envoy.filters.a.b, values: [c]}]}", "ALLOW", (), "spec.rules[0] is dropped, so less is allowed: when[0] (experimental.envoy.filters.a.b)", id="allow"),
        pytest.param("{when: [{key: experimental.envoy.filters.a.b, values: [c]}]}", "DENY", (), "spec.rules[0] is enforced without when[0]", id="deny-alone"),
        pytest.param("{when: [{key: experimental.envoy.filters.a.b, values: [c]}], to: [{operation: {methods: [GET]}}]}", "DENY", (((RequestMatch(methods=exactly("GET")),),),), "so more is denied: that is of Envoy's own filters", id="deny-and-method"),
        pytest.param("{from: [{source: {trustDomains: ['*.example']}}]}", "ALLOW", (), "is dropped, so less is allowed: from[0].source.trustDomains (with * first) cannot be enforced", id="allow-the-end-of-a-trust-domain"),
        pytest.param("{from: [{source: {trustDomains: ['*.example']}}], to: [{operation: {methods: [GET]}}]}", "DENY", (((RequestMatch(methods=exactly("GET")),),),), "so more is denied: that cannot be enforced", id="deny-the-end-of-a-trust-domain"),
    ],
)  # fmt: skip
def test_what_nobody_can_enforce(text, action, expected, warning):
    made, (told,) = rules(text, action)
    assert made == expected
    assert warning in told


def test_a_policy_with_targets_is_for_waypoints_alone():
    made, warnings = policy(
        "{targetRefs: [{kind: Service, name: api}, {group: gateway.networking.k8s.io, kind: Gateway, name: w}], action: DENY, rules: [{}]}",
        annotations={"istio.io/dry-run": "true"},
    )
    assert made.authorization is None
    assert made.requests == RequestAuthorization(
        "x", "shop", (Target("Service", "api"), Target("Gateway", "w")), Action.DENY, ((),), dry_run=True
    )
    assert warnings == ()


def test_one_target_written_as_of_old():
    made, warnings = policy("{targetRef: {kind: Service, name: api}, action: DENY}")
    assert made.requests.targets == (Target("Service", "api"),)
    assert warnings == (
        "spec.rules is missing, so this DENY has no effect; write `rules: [{}]` to deny everything",
    )


def test_waypoints_ignore_what_selects_workloads():
    assert policy("{selector: {matchLabels: {a: b}}, rules: [{}]}")[0].requests is None
    assert policy("{rules: [{}]}")[0].requests is None


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{rules: [{to: [{operation: {paths: ['/a{*}']}}]}]}", 'spec.rules[0].to[0].operation.paths[0] is "/a{*}"; a segment is {*} for any one'),
        ("{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]}", 'spec.rules[0].to[0].operation.paths[0] is "/{**}/{*}"; a segment is {*}'),
        ("{rules: [{to: [{operation: {notPaths: ['/{**}/a/{**}']}}]}]}", 'spec.rules[0].to[0].operation.notPaths[0] is "/{**}/a/{**}"'),
        ("{rules: [{to: [{operation: {paths: ['/{*}/a*']}}]}]}", 'spec.rules[0].to[0].operation.paths[0] is "/{*}/a*"'),
        ("{rules: [{to: [{operation: {paths: ['/{id}']}}]}]}", 'spec.rules[0].to[0].operation.paths[0] is "/{id}"'),
        ("{rules: [{to: [{operation: {paths: ['']}}]}]}", "spec.rules[0].to[0].operation.paths[0] is empty"),
        ("{rules: [{to: [{operation: {methods: ['']}}]}]}", "spec.rules[0].to[0].operation.methods[0] is empty"),
        ("{rules: [{when: [{key: 'request.headers[]', values: [a]}]}]}", 'spec.rules[0].when[0].key is "request.headers[]"; write request.headers[NAME]'),
        ("{rules: [{when: [{key: request.headers, values: [a]}]}]}", 'spec.rules[0].when[0].key is "request.headers"; write request.headers[NAME]'),
        ("{rules: [{when: [{key: 'request.headers[a][b]', values: [a]}]}]}", 'spec.rules[0].when[0].key is "request.headers[a][b]"; write'),
        ("{rules: [{when: [{key: 'request.auth.claims[a', values: [a]}]}]}", 'spec.rules[0].when[0].key is "request.auth.claims[a"; write'),
        ("{rules: [{when: [{key: remote.ip, values: [a]}]}]}", 'spec.rules[0].when[0].values[0] is "a"; it is an IP address or a CIDR'),
        ("{action: AUDIT, rules: [{}]}", "spec.action is AUDIT, which is not supported; it is ALLOW or DENY"),
        ("{action: CUSTOM, provider: {name: a}, rules: [{}]}", "spec.action is CUSTOM, which is not supported; it is ALLOW or DENY"),
        ("{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}", "spec.selector is set together with targetRefs; keep one of them"),
        ("{targetRefs: [{kind: Service}]}", "spec.targetRefs[0].name is missing"),
    ],
)  # fmt: skip
def test_a_bad_policy_is_told_by_field(spec, problem):
    with pytest.raises(Untranslatable) as caught:
        policy(spec)
    (told,) = caught.value.problems
    assert str(told).startswith(problem)
