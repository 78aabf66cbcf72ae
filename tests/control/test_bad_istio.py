"""The sentence for each way an object of Istio can be bad: one, with the object, the field and what is right."""

import pytest
import yaml

from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import key_of, translate


def virtual_service(spec):
    return _object("networking.istio.io/v1", "VirtualService", spec)


def http(route):
    return virtual_service(f"{{hosts: [a], http: [{route}]}}")


def match(text):
    return http(f"{{match: [{text}], {TO}}}")


def destination_rule(spec):
    return _object("networking.istio.io/v1", "DestinationRule", spec)


def policy(text):
    return destination_rule(f"{{host: b, trafficPolicy: {text}}}")


def balancer(text):
    return policy(f"{{loadBalancer: {text}}}")


def service_entry(spec):
    return _object("networking.istio.io/v1", "ServiceEntry", f"{{hosts: [a.com], {spec}}}")


def telemetry(spec):
    return _object("telemetry.istio.io/v1", "Telemetry", spec)


def jwt(rule):
    return _object("security.istio.io/v1", "RequestAuthentication", f"{{jwtRules: [{rule}]}}")


def _object(version, kind, spec):
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\nspec: {spec}\n"


TO = "route: [{destination: {host: b}}]"

BAD = {
    "no-rules": virtual_service("{hosts: [a]}"),
    "no-hosts-and-a-gateway": virtual_service(f"{{gateways: [mesh], http: [{{{TO}}}]}}"),
    "hosts-a-text": virtual_service(f"{{hosts: a, http: [{{{TO}}}]}}"),
    "host-with-a-scheme": virtual_service(f"{{hosts: ['http://a'], http: [{{{TO}}}]}}"),
    "host-with-a-star-within": virtual_service(f"{{hosts: ['a.*.com'], http: [{{{TO}}}]}}"),
    "host-twice": virtual_service(f"{{hosts: [a, a], http: [{{{TO}}}]}}"),
    "host-a-number": virtual_service(f"{{hosts: [1], http: [{{{TO}}}]}}"),
    "unknown-in-spec": virtual_service(f"{{hosts: [a], htp: [], http: [{{{TO}}}]}}"),
    "export-to-a-pattern": virtual_service(f"{{hosts: [a], exportTo: ['shop-*'], http: [{{{TO}}}]}}"),
    "http-a-mapping": virtual_service(f"{{hosts: [a], http: {{{TO}}}}}"),
    "http-null": virtual_service("{hosts: [a], http: null}"),
    "no-action": http("{match: [{port: 80}]}"),
    "two-actions": http(f"{{{TO}, redirect: {{uri: /}}}}"),
    "answer-and-route": http(f"{{{TO}, directResponse: {{status: 200}}}}"),
    "unknown-in-a-route": http(f"{{{TO}, retry: {{attempts: 1}}}}"),
    "destination-without-host": http("{route: [{destination: {subset: v1}}]}"),
    "destination-missing": http("{route: [{weight: 1}]}"),
    "destination-to-many": http("{route: [{destination: {host: '*.b'}}]}"),
    "destination-port-a-number": http("{route: [{destination: {host: b, port: 80}}]}"),
    "destination-port-out-of-range": http("{route: [{destination: {host: b, port: {number: 70000}}}]}"),
    "destination-port-a-text": http("{route: [{destination: {host: b, port: {number: '80'}}}]}"),
    "subset-with-a-dot": http("{route: [{destination: {host: b, subset: v1.2}}]}"),
    "weight-negative": http("{route: [{destination: {host: b}, weight: -1}]}"),
    "weight-a-fraction": http("{route: [{destination: {host: b}, weight: 0.5}]}"),
    "weight-a-text": http("{route: [{destination: {host: b}, weight: 90%}]}"),
    "weights-all-zero": http("{route: [{destination: {host: b}}, {destination: {host: c}}]}"),
    "uri-a-text": match("{uri: /a}"),
    "uri-in-two-ways": match("{uri: {exact: /a, prefix: /b}}"),
    "uri-prefix-empty": match("{uri: {prefix: ''}}"),
    "uri-unknown-way": match("{uri: {prefx: /a}}"),
    "regex-unclosed": match("{uri: {regex: '/a('}}"),
    "regex-looks-ahead": match("{uri: {regex: '/a(?!b)'}}"),
    "regex-refers-back": match(r"{uri: {regex: '(a)\1'}}"),
    "regex-star": match("{headers: {x-a: {regex: '*'}}}"),
    "header-name-with-a-space": match("{headers: {'x a': {exact: b}}}"),
    "header-value-a-text": match("{headers: {x-a: b}}"),
    "header-value-a-boolean": match("{headers: {x-a: {exact: true}}}"),
    "header-value-null": match("{headers: {x-a: null}}"),
    "header-unknown-way": match("{headers: {x-a: {exat: b}}}"),
    "query-regex": match("{queryParams: {q: {regex: '[a'}}}"),
    "match-port-out-of-range": match("{port: 65536}"),
    "ignore-case-a-text": match("{ignoreUriCase: 'yes'}"),
    "source-label-bad": match("{sourceLabels: {'a b': c}}"),
    "source-namespace-bad": match("{sourceNamespace: Shop_1}"),
    "timeout-a-number": http(f"{{timeout: 5, {TO}}}"),
    "timeout-without-a-unit": http(f"{{timeout: '5', {TO}}}"),
    "timeout-negative": http(f"{{timeout: -5s, {TO}}}"),
    "timeout-zero": http(f"{{timeout: 0s, {TO}}}"),
    "timeout-too-short": http(f"{{timeout: 10us, {TO}}}"),
    "timeout-of-days": http(f"{{timeout: 1d, {TO}}}"),
    "timeout-too-long": http(f"{{timeout: 9999999h, {TO}}}"),
    "attempts-negative": http(f"{{retries: {{attempts: -1}}, {TO}}}"),
    "attempts-zero-and-more": http(f"{{retries: {{perTryTimeout: 1s}}, {TO}}}"),
    "retry-on-unknown": http(f"{{retries: {{attempts: 1, retryOn: '5xx,conect-failure'}}, {TO}}}"),
    "retry-on-no-status": http(f"{{retries: {{attempts: 1, retryOn: '799'}}, {TO}}}"),
    "retry-on-a-list": http(f"{{retries: {{attempts: 1, retryOn: [5xx]}}, {TO}}}"),
    "backoff-bad": http(f"{{retries: {{attempts: 1, backoff: soon}}, {TO}}}"),
    "redirect-empty": http("{redirect: {}}"),
    "redirect-code": http("{redirect: {uri: /b, redirectCode: 200}}"),
    "redirect-two-ports": http("{redirect: {port: 80, derivePort: FROM_REQUEST_PORT}}"),
    "redirect-two-paths": http("{match: [{uri: {prefix: /a}}], redirect: {uri: /b, prefixRewrite: /c}}"),
    "redirect-prefix-of-none": http("{redirect: {prefixRewrite: /c}}"),
    "redirect-and-fault": http("{redirect: {uri: /b}, fault: {abort: {httpStatus: 500}}}"),
    "redirect-and-rewrite": http("{redirect: {uri: /b}, rewrite: {uri: /c}}"),
    "answer-without-status": http("{directResponse: {body: {string: a}}}"),
    "answer-status": http("{directResponse: {status: 99}}"),
    "answer-bytes": http("{directResponse: {status: 200, body: {bytes: '%%'}}}"),
    "answer-two-bodies": http("{directResponse: {status: 200, body: {bytes: YQ==, string: a}}}"),
    "rewrite-empty": http(f"{{rewrite: {{}}, {TO}}}"),
    "rewrite-two-paths": http(f"{{rewrite: {{uri: /a, uriRegexRewrite: {{match: a}}}}, {TO}}}"),
    "rewrite-regex": http(f"{{rewrite: {{uriRegexRewrite: {{match: '['}}}}, {TO}}}"),
    "rewrite-group": http(rf"{{rewrite: {{uriRegexRewrite: {{match: '(a)', rewrite: '\2'}}}}, {TO}}}"),
    "fault-empty": http(f"{{fault: {{}}, {TO}}}"),
    "delay-missing": http(f"{{fault: {{delay: {{percentage: {{value: 1}}}}}}, {TO}}}"),
    "delay-percent": http(f"{{fault: {{delay: {{fixedDelay: 1s, percentage: {{value: 101}}}}}}, {TO}}}"),
    "percentage-a-number": http(f"{{fault: {{delay: {{fixedDelay: 1s, percentage: 50}}}}, {TO}}}"),
    "abort-status": http(f"{{fault: {{abort: {{httpStatus: 600}}}}, {TO}}}"),
    "abort-grpc-status": http(f"{{fault: {{abort: {{grpcStatus: '14'}}}}, {TO}}}"),
    "abort-two-errors": http(f"{{fault: {{abort: {{httpStatus: 500, grpcStatus: INTERNAL}}}}, {TO}}}"),
    "mirror-twice": http(f"{{mirror: {{host: b}}, mirrors: [{{destination: {{host: c}}}}], {TO}}}"),
    "mirror-percentage": http(f"{{mirror: {{host: b}}, mirrorPercentage: {{value: -1}}, {TO}}}"),
    "cors-preflights": http(f"{{corsPolicy: {{unmatchedPreflights: DROP}}, {TO}}}"),
    "cors-origins-texts": http(f"{{corsPolicy: {{allowOrigins: ['https://a']}}, {TO}}}"),
    "cors-max-age": http(f"{{corsPolicy: {{maxAge: 86400}}, {TO}}}"),
    "headers-without-a-side": http(f"{{headers: {{set: {{x-a: b}}}}, {TO}}}"),
    "headers-remove-authority": http(f"{{headers: {{request: {{remove: [host]}}}}, {TO}}}"),
    "headers-set-path": http(f"{{headers: {{request: {{set: {{':path': /}}}}}}, {TO}}}"),
    "headers-value-a-number": http(f"{{headers: {{response: {{add: {{x-a: 1}}}}}}, {TO}}}"),
    "tls-without-match": virtual_service(f"{{hosts: [a.com], tls: [{{{TO}}}]}}"),
    "tls-without-names": virtual_service(f"{{hosts: [a.com], tls: [{{match: [{{port: 443}}], {TO}}}]}}"),
    "tls-no-names": virtual_service(f"{{hosts: [a.com], tls: [{{match: [{{sniHosts: []}}], {TO}}}]}}"),
    "tls-another-name": virtual_service(f"{{hosts: [a.com], tls: [{{match: [{{sniHosts: [b.com]}}], {TO}}}]}}"),
    "tls-without-route": virtual_service("{hosts: [a.com], tls: [{match: [{sniHosts: [a.com]}]}]}"),
    "tcp-without-route": virtual_service("{hosts: [a], tcp: [{match: [{port: 80}]}]}"),
    "tcp-subnet": virtual_service(f"{{hosts: [a], tcp: [{{match: [{{destinationSubnets: [10.0.0.0/40]}}], {TO}}}]}}"),
    "tcp-with-uri": virtual_service(f"{{hosts: [a], tcp: [{{match: [{{uri: {{exact: /}}}}], {TO}}}]}}"),
    "rule-without-host": destination_rule("{subsets: []}"),
    "rule-host": destination_rule("{host: 'b:80'}"),
    "subset-twice": destination_rule("{host: b, subsets: [{name: v1}, {name: v1}]}"),
    "subset-without-name": destination_rule("{host: b, subsets: [{labels: {version: v1}}]}"),
    "subset-label-a-number": destination_rule("{host: b, subsets: [{name: v1, labels: {version: 1}}]}"),
    "subset-unknown": destination_rule("{host: b, subsets: [{name: v1, label: {version: v1}}]}"),
    "policy-unknown": policy("{loadbalancer: {simple: RANDOM}}"),
    "policy-in-the-spec": destination_rule("{host: b, connectionPool: {}}"),
    "port-twice": policy("{portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}"),
    "port-missing": policy("{portLevelSettings: [{tls: {mode: DISABLE}}]}"),
    "balancer-unknown": balancer("{simple: LEAST_REQUESTS}"),
    "balancer-twice": balancer("{simple: RANDOM, consistentHash: {useSourceIp: true}}"),
    "hash-by-two": balancer("{consistentHash: {useSourceIp: true, httpHeaderName: a}}"),
    "hash-on-two": balancer("{consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}"),
    "cookie-without-name": balancer("{consistentHash: {httpCookie: {ttl: 0s}}}"),
    "maglev-not-a-prime": balancer("{consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}"),
    "ring-too-large": balancer("{consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 10000000}}}"),
    "locality-shares": balancer("{localityLbSetting: {distribute: [{from: a, to: {a: 80, b: 30}}]}}"),
    "locality-share-zero": balancer("{localityLbSetting: {distribute: [{from: a, to: {a: 100, b: 0}}]}}"),
    "locality-star": balancer("{localityLbSetting: {distribute: [{from: '*/a', to: {a: 100}}]}}"),
    "locality-twice": balancer(
        "{localityLbSetting: {distribute: [{from: a, to: {a: 100}}, {from: a, to: {b: 100}}]}}"
    ),
    "locality-two-ways": balancer(
        "{localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}}"
    ),
    "failover-to-itself": balancer("{localityLbSetting: {failover: [{from: a, to: a}]}}"),
    "failover-of-a-zone": balancer("{localityLbSetting: {failover: [{from: a/b, to: c}]}}"),
    "zones-and-localities": balancer("{localityLbSetting: {}, zoneAwareLbSetting: {}}"),
    "warmup-without-duration": balancer("{warmup: {aggression: 1}}"),
    "pool-negative": policy("{connectionPool: {tcp: {maxConnections: -1}}}"),
    "pool-a-text": policy("{connectionPool: {http: {http1MaxPendingRequests: '100'}}}"),
    "pool-timeout": policy("{connectionPool: {tcp: {connectTimeout: 0.5ms}}}"),
    "pool-upgrade": policy("{connectionPool: {http: {h2UpgradePolicy: ALWAYS}}}"),
    "pool-two-protocols": policy(
        "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}"
    ),
    "outlier-percent": policy("{outlierDetection: {maxEjectionPercent: 110}}"),
    "outlier-misspelt": policy("{outlierDetection: {consecutive5xxError: 5}}"),
    "outlier-interval": policy("{outlierDetection: {interval: 10}}"),
    "tls-mode": policy("{tls: {mode: STRICT}}"),
    "budget-percent": policy("{retryBudget: {percent: 120}}"),
    "entry-without-hosts": _object("networking.istio.io/v1", "ServiceEntry", "{resolution: NONE}"),
    "entry-no-hosts": _object("networking.istio.io/v1", "ServiceEntry", "{hosts: []}"),
    "entry-every-host": _object("networking.istio.io/v1", "ServiceEntry", "{hosts: ['*']}"),
    "entry-host-twice": _object("networking.istio.io/v1", "ServiceEntry", "{hosts: [a.com, A.com]}"),
    "entry-unknown": service_entry("resolutoin: NONE"),
    "entry-location": service_entry("location: OUTSIDE"),
    "entry-resolution": service_entry("resolution: DNS_ROUND"),
    "entry-address": service_entry("addresses: [db.example.com]"),
    "entry-range-by-dns": service_entry("resolution: DNS, addresses: [10.0.0.0/8]"),
    "entry-port-nameless": service_entry("ports: [{number: 80}]"),
    "entry-port-zero": service_entry("ports: [{number: 0, name: a}]"),
    "entry-port-twice": service_entry("ports: [{number: 80, name: a}, {number: 80, name: b}]"),
    "entry-port-name-twice": service_entry("ports: [{number: 80, name: a}, {number: 81, name: a}]"),
    "entry-port-protocol": service_entry("ports: [{number: 80, name: a, protocol: HTTP3}]"),
    "entry-target-port": service_entry("ports: [{number: 80, name: a, targetPort: 65536}]"),
    "entry-endpoints-and-selector": service_entry(
        "resolution: STATIC, endpoints: [{address: 10.0.0.1}], workloadSelector: {labels: {a: b}}"
    ),
    "entry-endpoints-of-none": service_entry("endpoints: [{address: 10.0.0.1}]"),
    "entry-endpoints-of-one-name": service_entry(
        "resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.com}, {address: b.com}]"
    ),
    "entry-endpoint-by-name": service_entry("resolution: STATIC, endpoints: [{address: db.example.com}]"),
    "entry-endpoint-without-address": service_entry("resolution: STATIC, endpoints: [{labels: {a: b}}]"),
    "entry-endpoint-port": service_entry(
        "resolution: STATIC, ports: [{number: 80, name: web}], endpoints: [{address: 10.0.0.1, ports: {http: 80}}]"
    ),
    "entry-endpoint-weight": service_entry(
        "resolution: STATIC, endpoints: [{address: 10.0.0.1, weight: -1}]"
    ),
    "entry-endpoint-locality": service_entry(
        "resolution: STATIC, endpoints: [{address: 10.0.0.1, locality: a/b/c/d}]"
    ),
    "entry-selector-misspelt": service_entry("workloadSelector: {matchLabels: {a: b}}"),
    "entry-export-to": service_entry("exportTo: [Shop]"),
    "telemetry-unknown": telemetry("{accessLog: []}"),
    "telemetry-two-ways": telemetry(
        "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: s}]}"
    ),
    "tracing-a-mapping": telemetry("{tracing: {randomSamplingPercentage: 1}}"),
    "tracing-percentage": telemetry("{tracing: [{randomSamplingPercentage: 1000}]}"),
    "tracing-provider-a-text": telemetry("{tracing: [{providers: [zipkin]}]}"),
    "tracing-provider-nameless": telemetry("{tracing: [{providers: [{name: ''}]}]}"),
    "tracing-tag-in-two-ways": telemetry(
        "{tracing: [{customTags: {a: {literal: {value: x}, header: {name: y}}}}]}"
    ),
    "tracing-tag-of-nothing": telemetry("{tracing: [{customTags: {a: {}}}]}"),
    "tracing-tag-unknown": telemetry("{tracing: [{customTags: {a: {heder: {name: x}}}}]}"),
    "metric-unknown": telemetry("{metrics: [{overrides: [{match: {metric: REQUESTS}}]}]}"),
    "metric-twice": telemetry(
        "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}"
    ),
    "metric-label-without-value": telemetry("{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}"),
    "metric-label-gone-with-value": telemetry(
        "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]}"
    ),
    "log-mode": telemetry("{accessLogging: [{match: {mode: BOTH}}]}"),
    "log-disabled-a-text": telemetry("{accessLogging: [{disabled: 'true'}]}"),
    "jwt-without-keys": jwt("{audiences: [a]}"),
    "jwt-keys-twice": jwt("{jwks: '{\"keys\": []}', jwksUri: 'https://a.com/k'}"),
    "jwt-keys-no-json": jwt("{jwks: 'keys'}"),
    "jwt-keys-no-set": jwt("{jwks: '{\"kty\": \"RSA\"}'}"),
    "jwt-uri-a-file": jwt("{jwksUri: 'file:///etc/passwd'}"),
    "jwt-uri-no-host": jwt("{jwksUri: 'https:///keys'}"),
    "jwt-uri-with-a-user": jwt("{jwksUri: 'https://a:b@example.com/keys'}"),
    "jwt-uri-port": jwt("{jwksUri: 'https://example.com:99999/keys'}"),
    "jwt-uri-metadata": jwt("{jwksUri: 'http://169.254.169.254/keys'}"),
    "jwt-header-twice": jwt(
        "{issuer: i, outputClaimToHeaders: [{header: x-a, claim: b}, {header: X-A, claim: c}]}"
    ),
    "jwt-header-name": jwt("{issuer: i, outputPayloadToHeader: 'x a'}"),
    "jwt-presence": jwt("{issuer: i, presence: MANDATORY}"),
    "jwt-audience-empty": jwt("{issuer: i, audiences: ['']}"),
    "jwt-misspelt": jwt("{issuer: i, jwksUrl: 'https://a.com/k'}"),
}  # fmt: skip


def test_every_bad_object_has_its_sentence(golden):
    lines = []
    for name, text in BAD.items():
        document = yaml.safe_load(text)
        with pytest.raises(Untranslatable) as caught:
            translate(document, ("istio-system",))
        (problem,) = caught.value.problems
        assert problem.field.startswith("spec"), (name, problem)
        assert "; " in problem.text or problem.text.endswith(("?", "is missing")), (name, problem)
        lines.append(f"{name}: {key_of(document)}: {problem}")
    golden("bad-istio.txt", "".join(f"{line}\n" for line in lines))
