"""Objects of every kind, bent in one place: each is taken or refused by field, and nothing else happens."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from ambient.control.documents import Document, documents
from ambient.control.index import Index, Settings
from ambient.control.manifest import read
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import KINDS, translate

SEED = Path(__file__).parents[1] / "seed"
GOOD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop, annotations: {ambient.dev/nodes: a}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, annotations: {retry.linkerd.io/http: 5xx, config.linkerd.io/opaque-ports: '81'}}
spec:
  clusterIPs: [10.0.0.1]
  clusterIP: 10.0.0.1
  selector: {app: api}
  ports: [{port: 80, targetPort: http, name: http, appProtocol: http}, {port: 53, protocol: UDP, name: dns}]
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, ownerReferences: [{kind: ReplicaSet, name: a-1, controller: true}]}
spec: {serviceAccountName: web, nodeName: n, hostNetwork: false, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}], phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}]
endpoints: [{addresses: [10.0.0.3], conditions: {ready: true}, targetRef: {kind: Pod, name: a}, zone: z}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, namespace: shop}
spec: {address: 10.0.0.4, ports: {http: 80}, labels: {app: api}, locality: a/b, weight: 1, serviceAccount: web}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec:
  hosts: [a.example]
  addresses: [10.9.0.0/16]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.5, ports: {http: 8080}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: api}]
  action: DENY
  rules:
  - from: [{source: {principals: [a/b], ipBlocks: [10.0.0.0/8], requestPrincipals: ['*']}}]
    to: [{operation: {paths: ['/a/{*}'], methods: [GET], ports: ['80'], hosts: [a]}}]
    when: [{key: 'request.headers[x]', values: [a]}, {key: 'request.auth.claims[a][b]', notValues: [c]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: a, namespace: shop}
spec: {selector: {matchLabels: {a: b}}, jwtRules: [{issuer: a, jwksUri: 'https://a.example/keys', fromHeaders: [{name: x}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a, namespace: shop}
spec: {selector: {matchLabels: {a: b}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: api, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a}, headers: [{name: x, value: y}], method: GET, queryParams: [{name: q, value: r}]}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]
    backendRefs: [{name: api, port: 80, weight: 1}]
    timeouts: {request: 1s}
    retry: {attempts: 1, codes: [503]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: a, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules: [{matches: [{method: {service: s, method: m}}], backendRefs: [{name: api, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: a, namespace: shop}
spec: {gatewayClassName: ambient-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: ambient.dev/v1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: a, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: api}], rules: [{backendRefs: [{name: api, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: a, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: api}], hostnames: [a.b], rules: [{backendRefs: [{name: api, port: 80}]}]}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: a, namespace: shop}
spec: {targetRefs: [{group: '', kind: Service, name: api}], retryConstraint: {budget: {percent: 20, interval: 10s}, minRetryRate: {count: 1, interval: 1s}}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XMesh
metadata: {name: a}
spec: {controllerName: ambient.dev/mesh}
---
apiVersion: ambient.dev/v1
kind: RateLimitPolicy
metadata: {name: a, namespace: shop}
spec: {targetRefs: [{kind: Service, name: api}], limits: [{name: a, requests: 10, per: 1s, burst: 20, key: {type: header, name: x}}]}
"""
ALL = [
    document.content
    for text in (GOOD.encode(), *(path.read_bytes() for path in sorted(SEED.glob("*.yaml"))))
    for document in documents(text)
    if isinstance(document, Document)
]
ODD = [
    None, True, False, 0, -1, 1, 80, 2**31, 2**63, 1.5, "", " ", "a", "*", "a*", "*a", "/", "//", "\n", "é", "\u0000", "0", "1s", "-1s",
    "1.1.1.1", "::1", "10.0.0.0/8", "a" * 300, "(", "[", "{*}", "%", "$", "a.b.c", "a/b", [], {}, [None], [[]], [{}], {"a": None}, {"": ""},
    {"a": "b"}, ["a"], ["a", "a"], [1], {"1": 1},
]  # fmt: skip


def paths(value, at=()):
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*at, number))


def bent(document, path, value):
    made = copy.deepcopy(document)
    within = made
    for step in path[:-1]:
        within = within[step]
    within[path[-1]] = value
    return made


@pytest.mark.parametrize("document", ALL, ids=lambda document: document["kind"])
def test_an_object_that_is_not_bent_is_taken(document):
    assert isinstance(translate(document, ("istio-system",)), Translated)


@pytest.mark.parametrize("document", ALL, ids=lambda document: document["kind"])
def test_a_bent_object_is_taken_or_refused_by_field(document):
    for path in paths(document):
        if not path or path[0] in {"apiVersion", "kind"}:
            continue
        for value in ODD:
            made = bent(document, path, value)
            for problem in faults(made):
                assert str(problem).isprintable(), (path, value, problem)
                assert len(str(problem)) < 1000


def faults(document):
    """What is wrong with it; refused, there is something."""
    try:
        translate(document, ("istio-system",))
    except Untranslatable as error:
        return error.problems or pytest.fail("refused without a reason")
    return ()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_bent_in_several_places_is_read_whole(data):
    document = data.draw(st.sampled_from(ALL))
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from([path for path in paths(document) if path]))
        document = bent(document, path, data.draw(st.sampled_from(ODD)))
    index = Index(Settings())
    for text in (json.dumps(document), yaml.safe_dump(document)):
        for item in read(text.encode(), ("istio-system",)):
            for problem in (*item.problems, *item.warnings):
                assert str(problem).isprintable()
                assert item.line_of(problem.field) >= 1
            if item.translated is not None:
                index.configure({item.key: item.translated.object})


def test_every_kind_is_bent():
    missing = KINDS.keys() - {document["kind"] for document in ALL}
    assert missing == set()
