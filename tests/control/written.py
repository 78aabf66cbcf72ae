"""Objects as their authors write them, for properties."""

from hypothesis import strategies as st

# Names that YAML could take for something else.
NAMES = st.sampled_from(
    ["a", "on", "no", "y", "null", "true", "1e3", "0x1f", "010", "1.5", "2026-01-01", "a-b.c"]
)
LABELS = st.sampled_from(["a", "on", "no", "null", "0x1f", "007", "a-b"])
PORTS = st.integers(1, 65535)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
VALUES = st.text(VISIBLE, min_size=1, max_size=12)
TOKENS = st.text(st.sampled_from("abcXYZ019!#$%&'*+-.^_`|~"), min_size=1, max_size=8)
DURATIONS = st.builds("{}{}".format, st.integers(1, 3000), st.sampled_from(["ms", "s", "m"]))
SEGMENTS = st.text(st.sampled_from("abcXYZ019-_~!$&'()*+,;=:@"), min_size=1, max_size=6)
PATHS = st.lists(SEGMENTS, max_size=3).map(lambda parts: "/" + "/".join(parts))
REGEXES = st.sampled_from(["/a.*", "[a-z]+", "(?i)x|y", r"\d{3}", "^/a$", "'\"#: - {}"])


def some(required=None, **optional):
    return st.fixed_dictionaries(required or {}, optional=optional)


def lists(of, **bounds):
    return st.lists(of, max_size=3, **bounds)


def named(entries):
    """No two of one name."""
    return st.lists(entries, max_size=3, unique_by=lambda entry: entry["name"].lower())


TEXTS = some({"name": TOKENS, "value": VALUES}, type=st.just("Exact")) | some(
    {"name": TOKENS, "value": REGEXES, "type": st.just("RegularExpression")}
)
PATH = some({"value": PATHS}, type=st.sampled_from(["Exact", "PathPrefix"])) | some(
    {"value": REGEXES, "type": st.just("RegularExpression")}
)
SERVICE = {"name": NAMES, "port": PORTS}
HEADERS = some(set=named(some({"name": TOKENS, "value": VALUES})), remove=lists(TOKENS))
FILTERS = st.one_of(
    some({"type": st.just("RequestHeaderModifier"), "requestHeaderModifier": HEADERS}),
    some({"type": st.just("ResponseHeaderModifier"), "responseHeaderModifier": HEADERS}),
    some(
        {
            "type": st.just("RequestMirror"),
            "requestMirror": some({"backendRef": some(SERVICE)}, percent=st.integers(0, 100)),
        }
    ),
    some({"type": st.just("URLRewrite"), "urlRewrite": some(hostname=NAMES.filter(lambda name: name not in {"1.5", "010"}))}),
    some({"type": st.just("ExtensionRef"), "extensionRef": some({"group": NAMES, "kind": st.just("X"), "name": NAMES})}),
)  # fmt: skip
MANY_FILTERS = st.lists(FILTERS, max_size=3, unique_by=lambda entry: entry["type"])
HTTP_RULE = some(
    matches=lists(some(path=PATH, headers=lists(TEXTS), queryParams=lists(TEXTS), method=st.sampled_from(["GET", "POST"]))),
    filters=MANY_FILTERS,
    backendRefs=lists(some(SERVICE, namespace=LABELS, weight=st.integers(0, 1_000_000), filters=MANY_FILTERS)),
    timeouts=some(request=st.just("1h"), backendRequest=DURATIONS),
    retry=some(codes=lists(st.integers(400, 599)), attempts=st.integers(1, 9), backoff=DURATIONS),
)  # fmt: skip
GRPC_NAMES = st.sampled_from(["a", "on", "null", "Shop_1"])
GRPC_RULE = some(
    matches=lists(some(method=some({"service": GRPC_NAMES}, method=GRPC_NAMES), headers=lists(TEXTS))),
    backendRefs=lists(some(SERVICE)),
)
PARENTS = st.lists(
    some({"group": st.just(""), "kind": st.just("Service"), "name": NAMES}, namespace=LABELS),
    max_size=3,
    unique_by=lambda ref: (ref["name"], ref.get("namespace")),
)

REQUEST = st.recursive(
    some({"pathRegex": REGEXES}, method=st.sampled_from(["GET", "on"])),
    lambda inner: some({"all": lists(inner)}, **{"not": inner}) | some({"any": lists(inner)}),
    max_leaves=4,
)
RESPONSE = st.recursive(
    some({"status": some({"min": st.integers(100, 300)}, max=st.integers(300, 599))}),
    lambda inner: some({"all": lists(inner)}, **{"not": inner}) | some({"any": lists(inner)}),
    max_leaves=4,
)
PROFILE_ROUTE = some(
    {"name": VALUES, "condition": REQUEST},
    responseClasses=lists(some({"condition": RESPONSE}, isFailure=st.booleans())),
    isRetryable=st.booleans(),
    timeout=DURATIONS | st.sampled_from(["1.5h", ".5s", "0"]),
)
SPECS = {
    ("HTTPRoute", "gateway.networking.k8s.io/v1"): some(parentRefs=PARENTS, rules=lists(HTTP_RULE, min_size=1)),
    ("GRPCRoute", "gateway.networking.k8s.io/v1"): some(parentRefs=PARENTS, rules=lists(GRPC_RULE)),
    ("ServiceProfile", "linkerd.io/v1alpha2"): some(
        routes=lists(PROFILE_ROUTE),
        retryBudget=some(
            {
                "retryRatio": st.floats(0, 1000),
                "minRetriesPerSecond": st.integers(0, 2**31 - 1),
                "ttl": st.just("10s"),
            }
        ),
        dstOverrides=lists(
            some(
                {
                    "authority": st.just("b.shop.svc.cluster.local:80"),
                    "weight": st.sampled_from(["500m", "1e3", "0.5"]) | st.integers(0, 9),
                }
            ),
            min_size=1,
        ),
        opaquePorts=st.dictionaries(PORTS, st.booleans(), max_size=3),
    ),
    ("RateLimitPolicy", "ambient.dev/v1"): some(
        {
            "targetRefs": st.lists(
                some({"kind": st.just("Service"), "name": NAMES}), min_size=1, max_size=3, unique_by=lambda ref: ref["name"]
            ),
            "limits": st.lists(
                some(
                    {"name": NAMES, "requests": st.integers(1, 10**9), "per": DURATIONS.filter(lambda text: text[-1] != "m")},
                    burst=st.integers(1, 10**9),
                    key=some({"type": st.sampled_from(["none", "identity", "address"])}) | some({"type": st.just("header"), "name": TOKENS}),
                    scope=st.sampled_from(["local", "mesh"]),
                    dryRun=st.booleans(),
                ),
                min_size=1,
                max_size=3,
                unique_by=lambda limit: limit["name"],
            ),
        }
    ),
    ("MeshConfig", "ambient.dev/v1"): some(
        trustDomain=st.sampled_from(["on", "1e3", "a.b"]),
        sameNode=st.sampled_from(["direct", "mtls"]),
        outbound=st.sampled_from(["allow", "refuse"]),
    ),
}  # fmt: skip


@st.composite
def objects(draw):
    (kind, version), specs = draw(st.sampled_from(list(SPECS.items())))
    metadata = {"name": draw(NAMES), "namespace": draw(LABELS)}
    if kind == "ServiceProfile":
        metadata["name"] = f"{draw(LABELS)}.shop.svc.cluster.local"
    if kind == "MeshConfig":
        metadata = {"name": "default", "namespace": "ambient-system"}
    spec = draw(specs)
    timeouts = [rule.get("timeouts", {}) for rule in spec.get("rules", [])]
    if any("backendRequest" in one for one in timeouts):
        for one in timeouts:
            one["request"] = "99999h"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
