from dataclasses import replace

import pytest
from core.worlds import at, workload
from hypothesis import given, strategies as st

from ambient.core.baggage import (
    Baggage,
    Forwarded,
    baggage_of,
    build_baggage,
    build_forwarded,
    build_traceparent,
    parse_baggage,
    parse_forwarded,
    parse_traceparent,
)
from ambient.core.model.workload import Locality

FULL = Baggage("Kubernetes", "shop", "deployment", "web", "web-app", "v2", "eu", "eu-1a")
FULL_HEADER = (
    "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web-app,"
    "service.version=v2,cloud.region=eu,cloud.availability_zone=eu-1a"
)


def test_a_workload_says_what_it_is():
    web = workload(
        "web-6f9c-x2",
        cluster="Kubernetes",
        workload_name="web",
        canonical_name="web-app",
        canonical_revision="v2",
        locality=Locality("eu", "eu-1a"),
    )
    assert baggage_of(web) == FULL
    assert build_baggage(FULL) == FULL_HEADER
    lone = baggage_of(replace(web, workload_name="", canonical_name=""))
    assert (lone.workload_kind, lone.workload, lone.service_name) == ("pod", "web-6f9c-x2", "")


PARSED = {
    "full": (FULL_HEADER, FULL),
    "nothing": ("", Baggage()),
    "empty-values": ("k8s.cluster.name=,service.name=", Baggage()),
    "unknown-keys": ("user=alice,service.name=web,,=x,nonsense", Baggage(service_name="web")),
    "white-space": (" service.name = web ,\tcloud.region= eu", Baggage(service_name="web", region="eu")),
    "properties": ("service.name=web;ttl=3;x", Baggage(service_name="web")),
    "first-of-a-repeated-key": ("service.name=a,service.name=b", Baggage(service_name="a")),
    "equals-in-a-value": ("service.name=a=b", Baggage(service_name="a=b")),
    "percent-encoded": ("service.name=a%2Cb%20c", Baggage(service_name="a,b c")),
    "broken-percent": ("service.name=a%2", Baggage(service_name="a%2")),
    "cronjob": ("k8s.cronjob.name=nightly", Baggage(workload_kind="cronjob", workload="nightly")),
    "one-workload-only": ("k8s.pod.name=a,k8s.job.name=b", Baggage(workload_kind="pod", workload="a")),
    "encoded-line-break-is-no-name": ("service.name=a%0Ab,cloud.region=eu", Baggage(region="eu")),
    "terminal-escape-is-no-name": ("service.name=\x1b[31m", Baggage()),
    "bidirectional-mark-is-no-name": ("service.name=a%E2%80%AEb", Baggage()),
    "too-long-a-value": ("service.name=" + "a" * 254, Baggage()),
    "too-long-a-header": ("x=" + "a" * 8190 + ",service.name=a", Baggage()),
}


@pytest.mark.parametrize(("header", "baggage"), list(PARSED.values()), ids=PARSED)
def test_parse_baggage(header, baggage):
    assert parse_baggage(header) == baggage
    assert parse_baggage(header.encode("latin-1")) == baggage


printable = st.text(
    st.characters(exclude_categories=("C", "Zl", "Zp", "Zs")) | st.sampled_from(' ,;=%"\\'), max_size=40
).map(str.strip)
baggages = st.builds(
    lambda kind, workload, **rest: Baggage(workload_kind=kind if workload else "", workload=workload, **rest),
    kind=st.sampled_from(["deployment", "cronjob", "pod", "job"]),
    workload=printable,
    cluster=printable,
    namespace=printable,
    service_name=printable,
    service_version=printable,
    region=printable,
    zone=printable,
)


@given(baggages)
def test_baggage_survives_its_header(baggage):
    header = build_baggage(baggage)
    assert header.isascii()
    assert header.isprintable()
    assert parse_baggage(header) == baggage


V4, V6 = at("10.0.0.1:1234"), at("[fd00::1]:1234")
FORWARDED = {
    "as-written": ('for="10.0.0.1:1234";host=web.shop.svc', Forwarded(V4, "web.shop.svc")),
    "v6": ('for="[fd00::1]:1234"', Forwarded(V6)),
    "any-order-and-case": ('Host=web; FOR="10.0.0.1:1234"', Forwarded(V4, "web")),
    "unquoted-address-has-no-colon": ("for=10.0.0.1:1234", None),
    "address-without-port": ("for=10.0.0.1;host=web", Forwarded(None, "web")),
    "hidden": ("for=_hidden", Forwarded(None)),
    "other-parameters": ('by=x;proto=http;for="10.0.0.1:1234"', Forwarded(V4)),
    "first-element-counts": ('for="10.0.0.1:1234", for="10.0.0.2:5"', Forwarded(V4)),
    "escaped": (r'host="a\"b\\c"', Forwarded(None, r'a"b\c')),
    "comma-and-semicolon-in-quotes": ('host="a;b,c"', Forwarded(None, "a;b,c")),
    "empty-quotes": ('host=""', Forwarded(None, "")),
    "repeated": ("host=a;host=b", None),
    "unterminated": ('for="10.0.0.1:1234', None),
    "dangling-semicolon": ("host=a;", None),
    "empty": ("", None),
    "garbage-after-value": ('host="a"b', None),
    "control-character": ('host="a\x1bb"', None),
    "too-long": ("host=" + "a" * 9000, None),
}


@pytest.mark.parametrize(("header", "forwarded"), list(FORWARDED.values()), ids=FORWARDED)
def test_parse_forwarded(header, forwarded):
    assert parse_forwarded(header) == forwarded
    assert parse_forwarded(header.encode("latin-1")) == forwarded


def test_build_forwarded():
    assert build_forwarded(V4, "web.shop.svc") == 'for="10.0.0.1:1234";host=web.shop.svc'
    assert build_forwarded(V6) == 'for="[fd00::1]:1234"'


@given(st.builds(Forwarded, st.sampled_from([V4, V6]), printable))
def test_forwarded_survives_its_header(forwarded):
    assert parse_forwarded(build_forwarded(forwarded.source, forwarded.host)) == forwarded


@given(st.binary(min_size=16, max_size=16).filter(any), st.binary(min_size=8, max_size=8).filter(any))
def test_traceparent_survives_its_header(trace_id, parent_id):
    header = build_traceparent(trace_id, parent_id)
    assert len(header) == 55
    assert header.endswith("-00")
    assert parse_traceparent(header) == (trace_id, parent_id)


GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_TRACES = {
    "empty": "",
    "upper-case": GOOD.upper(),
    "zero-trace": f"00-{'0' * 32}-b7ad6b7169203331-01",
    "zero-parent": f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    "longer": GOOD + "-x",
    "version-ff": "ff" + GOOD[2:],
    "shorter": GOOD[:-1],
}


@pytest.mark.parametrize("header", list(NOT_TRACES.values()), ids=NOT_TRACES)
def test_what_is_no_traceparent(header):
    assert parse_traceparent(GOOD) is not None
    assert parse_traceparent(header) is None


def test_ids_of_the_wrong_size_are_our_own_fault():
    with pytest.raises(ValueError, match="16 and 8"):
        build_traceparent(b"short", b"12345678")


hostile = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            ["for", "host", "=", '"', "\\", ";", ",", "%", "%FF", "service.name", "00-", "\ud800"]
        )
    ).map("".join),
)


@given(hostile)
def test_any_header_can_be_read(header):
    parse_baggage(header)
    parse_forwarded(header)
    parse_traceparent(header)
