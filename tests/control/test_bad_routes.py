"""The sentence for each way in which an object of the Gateway API, of Linkerd or of our own can be bad."""

from copy import deepcopy
from time import process_time

import pytest
import yaml
from control.written import objects
from hypothesis import given, settings, strategies as st

from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import translate

API = {
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "TLSRoute": "gateway.networking.k8s.io/v1",
    "TCPRoute": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "XMesh": "gateway.networking.x-k8s.io/v1alpha1",
    "XBackendTrafficPolicy": "gateway.networking.x-k8s.io/v1alpha1",
    "ServiceProfile": "linkerd.io/v1alpha2",
    "RateLimitPolicy": "ambient.dev/v1",
    "MeshConfig": "ambient.dev/v1",
}
ROOTS = ("ambient-system", "istio-system")


def rule(text):
    return f"{{rules: [{text}]}}"


def match(text):
    return rule(f"{{matches: [{text}]}}")


def filters(*texts):
    return rule(f"{{filters: [{', '.join(texts)}]}}")


def route(text):
    return f"{{routes: [{text}]}}"


def condition(text):
    return route(f"{{name: a, condition: {text}}}")


def response(text):
    return route(f"{{name: a, condition: {{method: GET}}, responseClasses: [{{condition: {text}}}]}}")


def listener(text):
    return f"{{gatewayClassName: ambient-waypoint, listeners: [{text}]}}"


def limit(text):
    return f"{{targetRefs: [{{kind: Service, name: a}}], limits: [{text}]}}"


BACKEND = "{name: a, port: 80}"
PREFIX = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}"

HTTP = {
    "spec-not-a-mapping": "[]",
    "unknown-field": "{parentRef: []}",
    "unknown-field-in-a-rule": rule("{backends: []}"),
    "unknown-field-in-a-match": match("{header: []}"),
    "rules-empty": "{rules: []}",
    "rules-not-a-list": "{rules: {}}",
    "rules-too-many": f"{{rules: [{', '.join(['{}'] * 17)}]}}",
    "matches-too-many": match(", ".join(["{}"] * 65)),
    "matches-too-many-in-all": f"{{rules: [{', '.join(['{matches: [' + ', '.join(['{}'] * 43) + ']}'] * 3)}]}}",
    "filters-too-many": filters(*["{type: RequestMirror, requestMirror: {backendRef: <backend>}}"] * 17),
    "backends-too-many": rule(f"{{backendRefs: [{', '.join([BACKEND] * 17)}]}}"),
    "rule-names-repeat": "{rules: [{name: a}, {name: b}, {name: a}]}",
    "rule-name-in-capitals": rule("{name: First}"),
    "parents-too-many": f"{{parentRefs: [{', '.join(f'{{name: a{i}}}' for i in range(33))}]}}",
    "parent-without-name": "{parentRefs: [{kind: Service, group: ''}]}",
    "parent-port-out-of-range": "{parentRefs: [{name: a, port: 0}]}",
    "parent-port-as-text": "{parentRefs: [{name: a, port: '80'}]}",
    "parent-twice": "{parentRefs: [{kind: Service, group: '', name: a}, {kind: Service, group: '', name: a, port: 80}]}",
    "hostname-is-an-address": "{hostnames: [10.0.0.1]}",
    "hostname-in-capitals": "{hostnames: [Shop.example.com]}",
    "path-relative": match("{path: {value: a}}"),
    "path-with-two-slashes": match("{path: {value: /a//b}}"),
    "path-with-dots": match("{path: {value: /a/../b}}"),
    "path-ends-in-dots": match("{path: {type: Exact, value: /a/..}}"),
    "path-with-a-coded-slash": match("{path: {value: /a%2Fb}}"),
    "path-with-a-fragment": match("{path: {value: '/a#b'}}"),
    "path-with-a-space": match("{path: {type: Exact, value: '/a b'}}"),
    "path-too-long": match("{path: {value: /" + "a" * 1024 + "}}"),
    "path-type-unknown": match("{path: {type: Prefix, value: /}}"),
    "path-regex-bad": match("{path: {type: RegularExpression, value: '/a('}}"),
    "path-regex-looks-around": match("{path: {type: RegularExpression, value: '/(?=a)'}}"),
    "header-regex-bad": match("{headers: [{name: a, type: RegularExpression, value: '[z-a]'}]}"),
    "header-without-value": match("{headers: [{name: a}]}"),
    "header-name-bad": match("{headers: [{name: 'a b', value: c}]}"),
    "headers-too-many": match("{headers: [" + ", ".join(f"{{name: a{i}, value: b}}" for i in range(17)) + "]}"),
    "header-value-a-boolean": match("{headers: [{name: a, value: true}]}"),
    "header-value-with-two-spaces": match("{headers: [{name: a, value: 'b  c'}]}"),
    "query-value-too-long": match("{queryParams: [{name: a, value: " + "x" * 1025 + "}]}"),
    "query-value-empty": match("{queryParams: [{name: a, value: ''}]}"),
    "query-regex-refers-back": match("{queryParams: [{name: a, type: RegularExpression, value: '(a)\\1'}]}"),
    "method-in-small-letters": match("{method: get}"),
    "backend-without-port": rule("{backendRefs: [{name: a}]}"),
    "backend-weight-negative": rule("{backendRefs: [{name: a, port: 80, weight: -1}]}"),
    "backend-weight-too-large": rule("{backendRefs: [{name: a, port: 80, weight: 1000001}]}"),
    "backend-weight-a-fraction": rule("{backendRefs: [{name: a, port: 80, weight: 0.5}]}"),
    "backend-weight-as-text": rule("{backendRefs: [{name: a, port: 80, weight: '1'}]}"),
    "backend-port-out-of-range": rule("{backendRefs: [{name: a, port: 70000}]}"),
    "filter-type-unknown": filters("{type: RequestHeader}"),
    "filter-without-its-field": filters("{type: URLRewrite}"),
    "filter-with-anothers-field": filters("{type: CORS, cors: {}, urlRewrite: {hostname: a}}"),
    "filter-twice": filters("{type: CORS, cors: {}}", "{type: CORS, cors: {}}"),
    "filter-redirect-and-rewrite": filters(
        "{type: RequestRedirect, requestRedirect: {}}", "{type: URLRewrite, urlRewrite: {hostname: a}}"
    ),
    "redirect-with-backends": rule("{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [<backend>]}"),
    "redirect-status-unknown": filters("{type: RequestRedirect, requestRedirect: {statusCode: 300}}"),
    "redirect-scheme-unknown": filters("{type: RequestRedirect, requestRedirect: {scheme: ftp}}"),
    "redirect-hostname-wild": filters("{type: RequestRedirect, requestRedirect: {hostname: '*.a.b'}}"),
    "redirect-prefix-of-two-matches": rule(
        "{matches: [{}, {path: {value: /b}}], filters: [{type: RequestRedirect, requestRedirect: {<prefix>}}]}"
    ),
    "rewrite-prefix-of-an-exact-path": rule(
        "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {<prefix>}}]}"
    ),
    "rewrite-prefix-of-a-backend": rule(
        "{matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: a, port: 80,"
        " filters: [{type: URLRewrite, urlRewrite: {<prefix>}}]}]}"
    ),
    "rewrite-path-without-value": filters("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}"),
    "rewrite-path-of-the-other-type": filters(
        "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /, replacePrefixMatch: /}}}"
    ),
    "modifier-header-twice": filters(
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}, {name: a, value: c}]}}"
    ),
    "modifier-value-with-a-line-break": filters(
        '{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: "b\\r\\nc: d"}]}}'
    ),
    "modifier-removes-too-many": filters(
        "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [" + ", ".join(f"a{i}" for i in range(17)) + "]}}"
    ),
    "mirror-percent-and-fraction": filters(
        "{type: RequestMirror, requestMirror: {backendRef: <backend>, percent: 1, fraction: {numerator: 1}}}"
    ),
    "mirror-more-than-all": filters(
        "{type: RequestMirror, requestMirror: {backendRef: <backend>, fraction: {numerator: 3, denominator: 2}}}"
    ),
    "mirror-percent-too-large": filters("{type: RequestMirror, requestMirror: {backendRef: <backend>, percent: 101}}"),
    "mirror-without-port": filters("{type: RequestMirror, requestMirror: {backendRef: {name: a}}}"),
    "cors-origin-without-scheme": filters("{type: CORS, cors: {allowOrigins: [example.com]}}"),
    "cors-any-and-others": filters("{type: CORS, cors: {allowOrigins: ['*', 'https://a.b']}}"),
    "cors-method-unknown": filters("{type: CORS, cors: {allowMethods: [FETCH]}}"),
    "cors-age-zero": filters("{type: CORS, cors: {maxAge: 0}}"),
    "timeout-with-a-fraction": rule("{timeouts: {request: 1.5s}}"),
    "timeout-a-number": rule("{timeouts: {request: 10}}"),
    "timeout-too-many-digits": rule("{timeouts: {request: 100000s}}"),
    "timeout-of-a-try-longer-than-all": rule("{timeouts: {request: 1s, backendRequest: 2s}}"),
    "retry-code-of-success": rule("{retry: {codes: [200]}}"),
    "retry-never": rule("{retry: {attempts: 0}}"),
    "retry-backoff-negative": rule("{retry: {backoff: -1s}}"),
    "persistence-without-end": rule("{sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}}"),
    "persistence-cookie-in-a-header": rule("{sessionPersistence: {type: Header, cookieConfig: {}}}"),
    "gateways-default-unknown": "{useDefaultGateways: Some}",
}  # fmt: skip

GRPC = {
    "filter-of-http": filters("{type: URLRewrite}"),
    "method-empty": match("{method: {type: Exact}}"),
    "method-service-a-path": match("{method: {service: /a/b}}"),
    "method-name-with-a-dot": match("{method: {method: Get.It}}"),
    "method-regex-bad": match("{method: {type: RegularExpression, method: '*'}}"),
    "method-a-text": match("{method: GET}"),
    "path-of-http": match("{path: {value: /}}"),
    "timeouts-of-http": rule("{timeouts: {request: 1s}}"),
}

TLS = {
    "without-hostnames": rule("{backendRefs: [<backend>]}"),
    "hostname-with-a-star-within": "{hostnames: ['a.*.b'], rules: [{backendRefs: [<backend>]}]}",
    "without-rules": "{hostnames: [a.b]}",
    "without-backends": "{hostnames: [a.b], rules: [{}]}",
    "two-rules": "{hostnames: [a.b], rules: [{backendRefs: [<backend>]}, {backendRefs: [<backend>]}]}",
}

TCP = {
    "without-rules": "{}",
    "backends-empty": rule("{backendRefs: []}"),
    "two-rules": "{rules: [{backendRefs: [<backend>]}, {backendRefs: [<backend>]}]}",
    "with-matches": rule("{backendRefs: [<backend>], matches: []}"),
}

GATEWAY = {
    "without-class": "{listeners: [{name: a, port: 15008, protocol: HBONE}]}",
    "without-listeners": "{gatewayClassName: ambient-waypoint}",
    "listeners-empty": listener(""),
    "listener-without-port": listener("{name: a, protocol: HBONE}"),
    "listener-names-repeat": listener(
        "{name: a, port: 1, protocol: HBONE}, {name: a, port: 2, protocol: HBONE}"
    ),
    "listener-places-repeat": listener(
        "{name: a, port: 1, protocol: HBONE}, {name: b, port: 1, protocol: HBONE}"
    ),
    "listener-tls-of-http": listener("{name: a, port: 1, protocol: HTTP, tls: {mode: Passthrough}}"),
    "listener-tls-missing": listener("{name: a, port: 1, protocol: TLS}"),
    "listener-tls-without-certificate": listener("{name: a, port: 1, protocol: HTTPS, tls: {}}"),
    "listener-hostname-of-tcp": listener("{name: a, port: 1, protocol: TCP, hostname: a.b}"),
    "listener-routes-from-nowhere": listener(
        "{name: a, port: 1, protocol: TCP, allowedRoutes: {namespaces: {from: None}}}"
    ),
}

MESH = {
    "without-controller": "{}",
    "controller-without-path": "{controllerName: ambient.dev}",
    "unknown-field": "{controllerName: ambient.dev/mesh, parameterRef: {}}",
}

BUDGET = {
    "without-targets": "{retryConstraint: {}}",
    "targets-empty": "{targetRefs: []}",
    "target-without-group": "{targetRefs: [{kind: Service, name: a}]}",
    "target-twice": "{targetRefs: [{group: '', kind: Service, name: a}, {group: '', kind: Service, name: a}]}",
    "percent-too-large": "{targetRefs: [{group: '', kind: Service, name: a}], retryConstraint: {budget: {percent: 101}}}",
    "interval-too-short": "{targetRefs: [{group: '', kind: Service, name: a}], retryConstraint: {budget: {interval: 500ms}}}",
    "rate-zero": "{targetRefs: [{group: '', kind: Service, name: a}], retryConstraint: {minRetryRate: {count: 0}}}",
    "rate-interval-too-long": "{targetRefs: [{group: '', kind: Service, name: a}], retryConstraint: {minRetryRate: {interval: 2h}}}",
}

PROFILE = {
    "route-null": "{routes: [null]}",
    "route-without-name": route("{condition: {method: GET}}"),
    "route-name-empty": route("{name: '', condition: {method: GET}}"),
    "route-without-condition": route("{name: a}"),
    "condition-empty": condition("{}"),
    "condition-empty-within": condition("{all: [{any: [{}]}]}"),
    "condition-regex-bad": condition("{pathRegex: '/orders/['}"),
    "condition-regex-bad-within": condition("{not: {all: [{pathRegex: '(?<=a)b'}]}}"),
    "condition-unknown": condition("{path: /a}"),
    "timeout-bad": route("{name: a, condition: {method: GET}, timeout: 5}"),
    "timeout-negative": route("{name: a, condition: {method: GET}, timeout: -5s}"),
    "retryable-as-text": route("{name: a, condition: {method: GET}, isRetryable: 'true'}"),
    "response-empty": response("{}"),
    "response-status-empty": response("{status: {}}"),
    "response-status-too-small": response("{status: {min: 99}}"),
    "response-status-too-large": response("{status: {max: 600}}"),
    "response-status-upside-down": response("{status: {min: 500, max: 400}}"),
    "response-status-a-number": response("{status: 500}"),
    "budget-without-ttl": "{retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10}}",
    "budget-ratio-negative": "{retryBudget: {retryRatio: -0.1, minRetriesPerSecond: 10, ttl: 10s}}",
    "budget-ratio-too-large": "{retryBudget: {retryRatio: 1001, minRetriesPerSecond: 10, ttl: 10s}}",
    "budget-ttl-too-long": "{retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 61s}}",
    "budget-ttl-too-short": "{retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10ms}}",
    "budget-rate-too-large": "{retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 2147483648, ttl: 10s}}",
    "override-short-name": "{dstOverrides: [{authority: api, weight: 1}]}",
    "override-port-bad": "{dstOverrides: [{authority: 'api.shop.svc.cluster.local:http', weight: 1}]}",
    "override-weight-negative": "{dstOverrides: [{authority: api.shop.svc.cluster.local, weight: -1}]}",
    "override-weight-a-word": "{dstOverrides: [{authority: api.shop.svc.cluster.local, weight: half}]}",
    "override-without-weight": "{dstOverrides: [{authority: api.shop.svc.cluster.local}]}",
    "opaque-port-out-of-range": "{opaquePorts: {70000: true}}",
    "opaque-port-a-name": "{opaquePorts: {mysql: true}}",
}

LIMITS = {
    "without-targets": "{limits: [{name: a, requests: 1, per: 1s}]}",
    "target-of-another-kind": "{targetRefs: [{kind: Pod, name: a}], limits: [{name: a, requests: 1, per: 1s}]}",
    "target-twice": "{targetRefs: [{kind: Service, name: a}, {kind: Service, name: a}], limits: [{name: a, requests: 1, per: 1s}]}",
    "limits-empty": limit(""),
    "limit-without-requests": limit("{name: a, per: 1s}"),
    "limit-requests-zero": limit("{name: a, requests: 0, per: 1s}"),
    "limit-without-period": limit("{name: a, requests: 1}"),
    "limit-period-a-unit": limit("{name: a, requests: 1, per: minute}"),
    "limit-period-zero": limit("{name: a, requests: 1, per: 0s}"),
    "limit-period-too-long": limit("{name: a, requests: 1, per: 25h}"),
    "limit-burst-zero": limit("{name: a, requests: 1, per: 1s, burst: 0}"),
    "limit-names-repeat": limit("{name: a, requests: 1, per: 1s}, {name: a, requests: 2, per: 1m}"),
    "key-unknown": limit("{name: a, requests: 1, per: 1s, key: {type: cookie}}"),
    "key-without-name": limit("{name: a, requests: 1, per: 1s, key: {type: header}}"),
    "key-name-bad": limit("{name: a, requests: 1, per: 1s, key: {type: header, name: 'a:'}}"),
    "key-named-in-vain": limit("{name: a, requests: 1, per: 1s, key: {type: address, name: x}}"),
    "scope-unknown": limit("{name: a, requests: 1, per: 1s, scope: cluster}"),
    "dry-run-as-text": limit("{name: a, requests: 1, per: 1s, dryRun: 'yes'}"),
}

CONFIG = {
    "unknown-field": "{sameNodes: mtls}",
    "same-node-unknown": "{sameNode: plain}",
    "trust-domain-as-uri": "{trustDomain: 'spiffe://a'}",
    "unknown-workloads-unknown": "{unknownWorkloads: deny}",
}

METADATA = {
    "MeshConfig of another name": ("MeshConfig", "ambient-system", "mesh", {}),
    "MeshConfig of another namespace": ("MeshConfig", "shop", "default", {}),
    "ServiceProfile by short name": ("ServiceProfile", "shop", "api", {}),
    "HTTPRoute with bad conditions": ("HTTPRoute", "shop", "x", {"retry.linkerd.io/http": "5xx,oops"}),
    "HTTPRoute with a bad limit": ("HTTPRoute", "shop", "x", {"retry.linkerd.io/limit": "many"}),
    "HTTPRoute with a bad timeout": ("HTTPRoute", "shop", "x", {"timeout.linkerd.io/request": "5"}),
    "HTTPRoute with an unknown annotation": ("HTTPRoute", "shop", "x", {"timeout.linkerd.io/requests": "5s"}),
    "GRPCRoute with bad conditions": ("GRPCRoute", "shop", "x", {"retry.linkerd.io/grpc": "not-found"}),
}

KINDS = {
    "HTTPRoute": HTTP,
    "GRPCRoute": GRPC,
    "TLSRoute": TLS,
    "TCPRoute": TCP,
    "Gateway": GATEWAY,
    "XMesh": MESH,
    "XBackendTrafficPolicy": BUDGET,
    "ServiceProfile": PROFILE,
    "RateLimitPolicy": LIMITS,
    "MeshConfig": CONFIG,
}


def document(kind, spec, namespace="shop", name="x", annotations=None):
    return {
        "apiVersion": API[kind],
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": yaml.safe_load(spec.replace("<backend>", BACKEND).replace("<prefix>", PREFIX)),
    }


def sentence(read):
    """The one thing that is wrong."""
    with pytest.raises(Untranslatable) as caught:
        translate(read, ROOTS)
    [problem] = caught.value.problems
    return f"{problem} ({problem.reason.value})"


def test_every_bad_object_has_its_sentence(golden):
    lines = []
    for kind, table in KINDS.items():
        name = "api.shop.svc.cluster.local" if kind == "ServiceProfile" else "default"
        namespace = "ambient-system" if kind == "MeshConfig" else "shop"
        lines += [
            f"{kind} {what}: {sentence(document(kind, spec, namespace, name))}"
            for what, spec in table.items()
        ]
    lines += [
        f"{what}: {sentence(document(kind, '{}', *where))}" for what, (kind, *where) in METADATA.items()
    ]
    golden("bad-routes.txt", "".join(f"{line}\n" for line in lines))


JUNK = st.sampled_from(
    [None, True, -1, 2**70, 1.5, float("nan"), "", "*", "(", "/" * 5000, "a" * 5000 + " ", "\0", "1h", [], {}, [None], {"a": 1}, ["x"] * 200]
).map(deepcopy)  # fmt: skip


def places(value, path=()):
    """Where something could stand in the place of something else."""
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, inner in entries:
        yield from places(inner, (*path, step))


@settings(max_examples=100)
@given(objects(), st.data())
def test_whatever_stands_in_a_wrong_place_is_told_at_once(written, data):
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(
            st.sampled_from([path for path in places(written) if path[0] in {"metadata", "spec"}])
        )
        place = written
        for step in above:
            place = place[step]
        place[last] = data.draw(JUNK)
    began = process_time()
    problems = ()
    try:
        hash(translate(written, ROOTS).object)
    except Untranslatable as error:
        problems = error.problems
    assert process_time() - began < 1
    assert all(problem.text and "alidation" not in problem.text for problem in problems)


def test_a_header_value_that_nearly_fits_takes_no_time():
    header = "{name: a, value: '" + "x" * 4000 + " '}"
    began = process_time()
    sentence(
        document(
            "HTTPRoute",
            filters("{type: RequestHeaderModifier, requestHeaderModifier: {set: [" + header + "]}}"),
        )
    )
    assert process_time() - began < 1
