"""Every message of ZDS as bytes, and bytes that are none."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, strategies as st
from immutables import Map
from rpc.zds.samples import INFO, OLDER, UID, kind

from ambient.core.errors import ConfigError, PeerError
from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, OlderConnection
from ambient.rpc import zds
from ambient.rpc.pb.istio.zds import zds_pb2 as pb

REQUESTS = (
    zds.AddWorkload(UID, INFO),
    zds.AddWorkload(UID, zds.WorkloadInfo("cart", "shop", "cart")),
    *(zds.AddWorkload(UID, zds.WorkloadInfo("cart", "shop", "cart", capture=capture)) for capture in Capture),
    zds.KeepWorkload(UID),
    zds.DelWorkload(UID),
    zds.DelWorkload(UID, now=True),
    zds.SnapshotSent(),
    zds.Welcome("node-1"),
    zds.Welcome("node-1", ("clients", "verdicts", "original_destinations")),
    zds.Deposited("snapshot"),
    zds.Result(7),
    zds.Result(7, "no such workload"),
    zds.Result(7, "", (OLDER,), more=True),
)
RESPONSES = (
    zds.Ack(),
    zds.Ack("the namespace does not exist"),
    *(zds.SetCapture(UID, mode, 3) for mode in Capture),
    zds.Deposit("snapshot", 4),
    zds.Returned(UID, 5),
    zds.ListConnections(UID, 6),
    zds.DestroyConnections(UID, (OLDER, OLDER), 8),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=kind)
def test_a_request_is_read_as_it_was_written(request_):
    assert zds.decode_request(zds.encode(request_)) == request_


def test_a_welcome_of_an_earlier_daemon_brings_the_first_two_maps():
    packet = pb.WorkloadRequest(welcome=pb.Welcome(node="node-1")).SerializeToString()
    assert zds.decode_request(packet) == zds.Welcome("node-1", ("original_destinations", "clients"))


@pytest.mark.parametrize("response", RESPONSES, ids=kind)
def test_a_response_is_read_as_it_was_written(response):
    assert zds.decode_response(zds.encode(response)) == response


def test_a_hello_is_read_as_it_was_written():
    hello = zds.Hello(frozenset({zds.AMBIENT_V1}), (UID,))
    assert zds.decode_hello(zds.encode(hello)) == hello


def test_the_hello_of_a_plain_ztunnel_names_no_extension():
    assert zds.decode_hello(b"\x08\x01") == zds.Hello()


def test_another_version_is_refused():
    with pytest.raises(PeerError, match="version 0"):
        zds.decode_hello(pb.ZdsHello().SerializeToString())


def test_a_plain_add_fits_the_kilobyte_that_ztunnel_reads():
    info = zds.WorkloadInfo("n" * 63, "s" * 63, "a" * 63)
    assert (
        len(zds.encode(zds.AddWorkload("local/ambient.dev/Workload/" + "s" * 63 + "/" + "n" * 63, info)))
        < 1024
    )


def test_no_workload_info_is_rejected_as_an_order_that_cannot_be_followed():
    packet = pb.WorkloadRequest(add=pb.AddWorkload(uid=UID)).SerializeToString()
    with pytest.raises(zds.UnusableOrder, match="no workload_info"):
        zds.decode_request(packet)


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_an_address_has_4_or_16_bytes(length):
    info = pb.WorkloadInfo(addresses=[bytes(length)])
    packet = pb.WorkloadRequest(add=pb.AddWorkload(uid=UID, workload_info=info)).SerializeToString()
    with pytest.raises(zds.UnusableOrder, match=f"{length} bytes"):
        zds.decode_request(packet)


def test_a_port_is_at_most_65535():
    doomed = pb.DestroyConnections(
        uid=UID, connections=[pb.Connection(local_ip=bytes(4), remote_ip=bytes(4), local_port=70000)]
    )
    with pytest.raises(PeerError, match="port 70000"):
        zds.decode_response(pb.WorkloadResponse(destroy_connections=doomed).SerializeToString())


def test_an_unknown_capture_mode_is_the_peers_fault():
    wish = pb.SetCapture(uid=UID)
    wish.MergeFromString(bytes([0x10, 9]))
    with pytest.raises(PeerError, match="capture mode 9"):
        zds.decode_response(pb.WorkloadResponse(set_capture=wish).SerializeToString())


def test_a_message_too_big_for_a_packet_is_refused_before_it_is_sent():
    with pytest.raises(ConfigError, match="packet holds 65536"):
        zds.encode(zds.Deposit("x" * 70000))


@given(st.binary(max_size=300))
def test_garbage_is_the_peers_fault(packet):
    for decode in (zds.decode_hello, zds.decode_request, zds.decode_response):
        with contextlib.suppress(PeerError):
            decode(packet)


ips = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(2**64, 2**128 - 1).map(IPv6Address),
)
sockets = st.builds(SocketAddress, ips, st.integers(0, 65535))
older = st.builds(OlderConnection, sockets, sockets, st.booleans(), st.integers(0, 2**64 - 1))


@given(st.integers(0, 2**64 - 1), st.text(max_size=50), st.lists(older, max_size=20), st.booleans())
def test_any_result_is_read_as_it_was_written(number, error, connections, more):
    result = zds.Result(number, error, tuple(connections), more)
    assert zds.decode_request(zds.encode(result)) == result


@given(
    st.text(min_size=1, max_size=50),
    st.dictionaries(st.text(max_size=20), st.text(max_size=20)),
    st.lists(ips, max_size=6),
    st.integers(0, 2**64 - 1),
)
def test_any_add_is_read_as_it_was_written(uid, labels, addresses, cookie):
    added = zds.AddWorkload(uid, zds.WorkloadInfo("n", "s", "a", Map(labels), tuple(addresses), cookie))
    assert zds.decode_request(zds.encode(added)) == added


@given(st.integers(0, 2000))
def test_results_fit_in_packets_and_only_the_last_says_no_more(count):
    parts = list(zds.results(9, (OLDER,) * count))
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert sum(len(part.connections) for part in parts) == count
    assert all(len(zds.encode(part)) <= zds.PACKET_LIMIT for part in parts)
