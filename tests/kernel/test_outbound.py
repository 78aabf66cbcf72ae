"""What a pod's clients meet: every way in which programs make connections."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network

import pytest
from kernel.pods import MAPPED_OUTSIDE, OUTSIDE4, OUTSIDE6, POD4, POD6, World, namespace, nested, socket_of
from topology.apps import uring

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Redirection, Role
from ambient.kernel.netns import Netns

IP_BIND_ADDRESS_NO_PORT = 24
TCP_FASTOPEN_CONNECT = 30
MSG_FASTOPEN = 0x20000000
PORT = 8080

FAMILIES = pytest.mark.parametrize(
    ("family", "destination", "own"),
    [
        pytest.param(socket.AF_INET, OUTSIDE4, POD4, id="v4"),
        pytest.param(socket.AF_INET6, OUTSIDE6, POD6, id="v6"),
        pytest.param(socket.AF_INET6, MAPPED_OUTSIDE, "::ffff:" + POD4, id="v4-mapped"),
    ],
)


def meant_for(destination: str, port: int = PORT) -> SocketAddress:
    return SocketAddress.of((destination, port))


def accepted(server: socket.socket) -> tuple[str, int]:
    """Who called."""
    connection, peer = server.accept()
    connection.close()
    return peer


@FAMILIES
def test_a_connection_reaches_the_proxy_and_the_application_sees_what_it_meant(
    world: World, family: int, destination: str, own: str
) -> None:
    world.capture()
    since = world.counted()
    client = world.socket(family)
    client.connect((destination, PORT))
    assert world.meant() == meant_for(destination)
    assert client.getpeername()[:2] == (destination, PORT)
    assert client.getsockname()[0] == own
    assert since("redirect_outbound") == 1


@FAMILIES
@pytest.mark.parametrize("how", ["address", "port", "address-no-port"])
def test_a_bound_client_keeps_its_name(
    world: World, family: int, destination: str, own: str, how: str
) -> None:
    world.capture()
    client = world.socket(family)
    if how == "address-no-port":
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    any_address = "0.0.0.0" if family == socket.AF_INET else "::"
    client.bind((any_address, 45017) if how == "port" else (own, 0))
    client.connect((destination, PORT))
    _, peer, listener = world.accept(Role.OUTBOUND)
    assert world.destinations.take(world.netns.cookie, peer, listener) == meant_for(destination)
    assert client.getpeername()[:2] == (destination, PORT)
    assert client.getsockname()[0] == own
    if how == "port":
        assert client.getsockname()[1] == peer.port == 45017


@FAMILIES
@pytest.mark.parametrize("capable", [True, False], ids=["CAP_NET_RAW", "no-capability"])
def test_a_client_bound_to_a_device(
    world: World, family: int, destination: str, own: str, capable: bool
) -> None:
    world.capture()
    since = world.counted()
    client = world.socket(family)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    if capable:
        client.connect((destination, PORT))
    else:
        world.unprivileged(lambda: client.connect((destination, PORT)))
    assert world.meant() == meant_for(destination)
    assert client.getpeername()[:2] == (destination, PORT)
    assert client.getsockname()[0] == own
    assert since("redirect_outbound" if capable else "redirect_bound_device") == 1


@FAMILIES
def test_a_non_blocking_connect(world: World, family: int, destination: str, own: str) -> None:
    world.capture()
    client = world.socket(family)
    client.setblocking(False)
    assert client.connect_ex((destination, PORT)) == errno.EINPROGRESS
    assert world.meant() == meant_for(destination)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert client.getpeername()[:2] == (destination, PORT)


@FAMILIES
@pytest.mark.parametrize("how", ["sendto", "connect"])
def test_tcp_fast_open(world: World, family: int, destination: str, own: str, how: str) -> None:
    world.capture()
    for _ in range(2):
        client = world.socket(family)
        if how == "sendto":
            client.setblocking(True)
            client.sendto(b"early", MSG_FASTOPEN, (destination, PORT))
        else:
            client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            client.connect((destination, PORT))
            client.send(b"early")
        connection, peer, listener = world.accept(Role.OUTBOUND)
        assert world.destinations.take(world.netns.cookie, peer, listener) == meant_for(destination)
        assert connection.recv(16) == b"early"
        assert client.getpeername()[:2] == (destination, PORT)


@FAMILIES
def test_a_connect_through_io_uring(world: World, family: int, destination: str, own: str) -> None:
    world.capture()
    client = world.socket(family)
    client.setblocking(True)
    assert uring.connect(client, (destination, PORT)) == 0
    assert world.meant() == meant_for(destination)
    assert client.getpeername()[:2] == (destination, PORT)
    assert client.getsockname()[0] == own


@FAMILIES
def test_a_socket_that_meets_the_programs_twice_is_redirected_once(
    world: World, family: int, destination: str, own: str
) -> None:
    """Its container's cgroup is below the pod's, and another pod has its hooks at the root."""
    with namespace("other") as other, nested(world.group) as container:
        netns = Netns.open(str(other.path))
        neighbour = Redirection("neighbour", netns.cookie, (), None, Capture.ON, Exclusions())
        world.redirector.set(
            [world.redirection(), neighbour],
            {"pod": world.netns, "neighbour": netns},
            {"pod": world.listeners},
        )
        since = world.counted()
        with socket_of(container, world.pod, family) as client:
            client.connect((destination, PORT))
            assert world.meant() == meant_for(destination)
            assert client.getpeername()[:2] == (destination, PORT)
            assert client.getsockname()[0] == own
        assert since("redirect_outbound") == 1
        assert since("pass_redirected") == (0 if world.root else 1)
        netns.close()


def test_a_socket_reused_after_a_refused_connect(world: World) -> None:
    world.capture()
    client = world.socket(socket.AF_INET)
    client.setblocking(True)
    world.listeners[Role.OUTBOUND].shutdown(socket.SHUT_RDWR)
    since = world.counted()
    with pytest.raises(ConnectionRefusedError):
        client.connect((OUTSIDE4, PORT))
    assert since("connect_failed") == 1
    world.listeners[Role.OUTBOUND].listen(16)
    client.connect((OUTSIDE4, PORT + 1))
    assert world.meant() == meant_for(OUTSIDE4, PORT + 1)
    assert client.getpeername() == (OUTSIDE4, PORT + 1)


def test_a_socket_reused_for_loopback_forgets_where_it_meant_to_go(world: World) -> None:
    world.capture()
    _, port = world.listen(socket.AF_INET, "127.0.0.1")
    client = world.socket(socket.AF_INET)
    client.setblocking(True)
    world.listeners[Role.OUTBOUND].shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectionRefusedError):
        client.connect((OUTSIDE4, PORT))
    client.connect(("127.0.0.1", port))
    assert client.getpeername() == ("127.0.0.1", port)
    assert client.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1"),
     (socket.AF_INET, "0.0.0.0")],
)  # fmt: skip
def test_loopback_is_left_alone(world: World, family: int, address: str) -> None:
    world.capture()
    server, port = world.listen(
        socket.AF_INET if "." in address else socket.AF_INET6, address.replace("::ffff:", "")
    )
    since = world.counted()
    client = world.socket(family)
    client.connect((address, port))
    accepted(server)
    assert since("pass_loopback") == 1
    assert since("redirect_outbound") == 0


def test_a_v6_only_socket_is_captured(world: World) -> None:
    world.capture()
    client = world.socket(socket.AF_INET6)
    client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    client.connect((OUTSIDE6, PORT))
    assert world.meant() == meant_for(OUTSIDE6)


@pytest.mark.parametrize(
    ("exclusions", "reason"),
    [
        (Exclusions(outbound_ports=frozenset({PORT})), "pass_excluded_port"),
        (
            Exclusions(outbound_networks=frozenset({ip_network(OUTSIDE4 + "/24", strict=False)})),
            "pass_excluded_network",
        ),
        (Exclusions(outbound_networks=frozenset({ip_network("0.0.0.0/0")})), "pass_excluded_network"),
    ],
    ids=["port", "network", "every-v4-address"],
)
def test_what_is_excluded_goes_straight(world: World, exclusions: Exclusions, reason: str) -> None:
    server = world.outside_socket(socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((OUTSIDE4, PORT))
    server.listen(1)
    world.capture(Capture.ON, exclusions)
    since = world.counted()
    client = world.socket(socket.AF_INET)
    client.connect((OUTSIDE4, PORT))
    assert accepted(server)[0] == POD4
    assert since(reason) == 1
    v6 = world.socket(socket.AF_INET6)
    v6.connect((OUTSIDE6, PORT + 1))
    assert world.meant() == meant_for(OUTSIDE6, PORT + 1)


def test_an_excluded_inbound_port_is_not_excluded_outbound(world: World) -> None:
    world.capture(Capture.ON, Exclusions(inbound_ports=frozenset({PORT})))
    client = world.socket(socket.AF_INET)
    client.connect((OUTSIDE4, PORT))
    assert world.meant() == meant_for(OUTSIDE4)


def test_the_proxy_reaches_the_world_from_inside_the_pod(world: World) -> None:
    world.capture()
    server = world.outside_socket(socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((OUTSIDE4, PORT))
    server.listen(1)
    proxy = world.proxy_socket(socket.AF_INET)
    proxy.connect((OUTSIDE4, PORT))
    assert accepted(server) == proxy.getsockname()


def test_a_draining_pod_goes_straight(world: World) -> None:
    world.capture()
    world.capture(Capture.DRAINING)
    since = world.counted()
    client = world.socket(socket.AF_INET)
    assert client.connect_ex((OUTSIDE4, PORT)) == errno.ECONNREFUSED
    assert since("pass_outbound_off") == 1


def test_nobody_at_the_listener_refuses_the_connection(world: World) -> None:
    world.capture()
    for listener in world.listeners.values():
        listener.close()
    for family, destination in ((socket.AF_INET, OUTSIDE4), (socket.AF_INET6, OUTSIDE6)):
        assert world.socket(family).connect_ex((destination, PORT)) == errno.ECONNREFUSED


def test_somebody_who_dials_the_listener_meant_nothing(world: World) -> None:
    world.capture()
    client = world.socket(socket.AF_INET)
    client.connect(("127.0.0.1", Role.OUTBOUND.value))
    assert world.meant() is None


def test_an_mptcp_client_is_made_to_speak_tcp(world: World) -> None:
    world.capture()
    since = world.counted()
    with pytest.raises(OSError, match="Protocol not available") as refused:
        world.socket(socket.AF_INET, protocol=socket.IPPROTO_MPTCP)
    assert refused.value.errno == errno.ENOPROTOOPT
    assert since("refuse_mptcp") == 1


@FAMILIES
def test_an_mptcp_client_older_than_the_capture(
    world: World, family: int, destination: str, own: str
) -> None:
    client = world.socket(family, protocol=socket.IPPROTO_MPTCP)
    world.capture()
    client.connect((destination, PORT))
    assert world.meant() == meant_for(destination)
    assert client.getpeername()[:2] == (destination, PORT)
    assert client.getsockname()[0] == own
