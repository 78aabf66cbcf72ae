"""What connections to a pod meet, and what its servers see of them."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
from kernel.pods import MAPPED_POD, OUTSIDE4, OUTSIDE6, POD4, POD6, World

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Role

PORT = 8080
CLIENT = SocketAddress.parse("10.9.8.7:40000")
CLIENT6 = SocketAddress.parse("[fd99::7]:40000")

FAMILIES = pytest.mark.parametrize(
    ("family", "pod", "client"),
    [
        pytest.param(socket.AF_INET, POD4, OUTSIDE4, id="v4"),
        pytest.param(socket.AF_INET6, POD6, OUTSIDE6, id="v6"),
        pytest.param(socket.AF_INET6, MAPPED_POD, OUTSIDE4, id="v4-mapped-client"),
    ],
)

# The application's listener, the family the proxy dials it with, and the client that is announced.
SERVERS = pytest.mark.parametrize(
    ("listens", "address", "dials", "own", "client"),
    [
        pytest.param(socket.AF_INET, "0.0.0.0", socket.AF_INET, POD4, CLIENT, id="v4"),
        pytest.param(socket.AF_INET6, "::", socket.AF_INET6, POD6, CLIENT6, id="v6"),
        pytest.param(socket.AF_INET6, "::", socket.AF_INET, POD4, CLIENT, id="v4-mapped-server"),
        pytest.param(
            socket.AF_INET6, "::", socket.AF_INET6, MAPPED_POD, CLIENT, id="v4-mapped-server-and-proxy"
        ),
    ],
)


def serve(world: World, family: int, address: str, port: int = PORT, **how: object) -> socket.socket:
    return world.listen(family, address, port, **how)[0]


def shown(name: tuple[str, int] | tuple[str, int, int, int]) -> SocketAddress:
    return SocketAddress.of(name)


def dial(world: World, family: int, own: str, client: SocketAddress, port: int = PORT) -> socket.socket:
    """What the proxy does to hand a connection to an application."""
    proxy = world.proxy_socket(family)
    proxy.bind((own, 0))
    world.clients.announce(
        world.netns.cookie, shown(proxy.getsockname()), SocketAddress.of((own, port)), client
    )
    proxy.connect((own, port))
    return proxy


@FAMILIES
@pytest.mark.parametrize("served", [True, False], ids=["served", "nobody-listens"])
def test_any_port_goes_to_the_plaintext_listener(
    world: World, family: int, pod: str, client: str, served: bool
) -> None:
    if served:
        serve(world, socket.AF_INET6, "::")
    world.capture()
    since = world.counted()
    outside = world.outside_socket(family)
    outside.connect((pod, PORT))
    _, peer, own = world.accept(Role.PLAINTEXT)
    assert (peer, own) == (shown(outside.getsockname()), SocketAddress.of((pod, PORT)))
    assert str(peer.ip) == client
    assert since("capture_plaintext") == 1


@FAMILIES
@pytest.mark.parametrize("capture", [Capture.ON, Capture.DRAINING])
def test_hbone_goes_to_its_listener_also_while_draining(
    world: World, family: int, pod: str, client: str, capture: Capture
) -> None:
    world.capture(capture)
    since = world.counted()
    world.outside_socket(family).connect((pod, 15008))
    _, _, own = world.accept(Role.HBONE)
    assert own == SocketAddress.of((pod, 15008))
    assert since("capture_hbone") == 1


def test_a_draining_pod_is_reached_directly(world: World) -> None:
    server = serve(world, socket.AF_INET, "0.0.0.0")
    world.capture()
    world.capture(Capture.DRAINING)
    outside = world.outside_socket(socket.AF_INET)
    outside.connect((POD4, PORT))
    with server.accept()[0] as connection:
        assert connection.getpeername() == outside.getsockname()


def test_an_excluded_port_is_reached_directly(world: World) -> None:
    server = serve(world, socket.AF_INET6, "::")
    world.capture(Capture.ON, Exclusions(inbound_ports=frozenset({PORT})))
    since = world.counted()
    world.outside_socket(socket.AF_INET).connect((POD4, PORT))
    server.accept()[0].close()
    assert since("pass_inbound_excluded_port") == 1
    world.outside_socket(socket.AF_INET).connect((POD4, PORT + 1))
    world.accept(Role.PLAINTEXT)


@SERVERS
@pytest.mark.parametrize("older", [True, False], ids=["older-listener", "newer-listener"])
def test_an_application_sees_who_really_calls(
    world: World, listens: int, address: str, dials: int, own: str, client: SocketAddress, older: bool
) -> None:
    server = serve(world, listens, address) if older else None
    world.capture()
    server = server or serve(world, listens, address)
    since = world.counted()
    dial(world, dials, own, client)
    connection, name = server.accept()
    with connection:
        assert shown(name) == client
        assert shown(connection.getpeername()) == client
        assert shown(connection.getsockname()) == SocketAddress.of((own, PORT))
    assert since("client_restored") == 1
    assert not world.announced()


def test_a_client_that_an_ipv4_socket_cannot_name_stays_the_proxy(world: World) -> None:
    server = serve(world, socket.AF_INET, "0.0.0.0")
    world.capture()
    since = world.counted()
    proxy = dial(world, socket.AF_INET, POD4, CLIENT6)
    connection, name = server.accept()
    with connection:
        assert name == proxy.getsockname()
    assert since("name_not_ipv4") == 1


def test_a_withdrawn_client_is_forgotten(world: World) -> None:
    world.capture()
    proxy = world.proxy_socket(socket.AF_INET)
    proxy.bind((POD4, 0))
    own, application = shown(proxy.getsockname()), SocketAddress.parse(f"{POD4}:{PORT}")
    world.clients.announce(world.netns.cookie, own, application, CLIENT)
    world.clients.withdraw(world.netns.cookie, own, application)
    world.clients.withdraw(world.netns.cookie, own, application)
    server = serve(world, socket.AF_INET, "0.0.0.0")
    proxy.connect((POD4, PORT))
    connection, name = server.accept()
    with connection:
        assert shown(name) == own


@pytest.mark.parametrize("older", [True, False], ids=["made-before-enrolment", "made-after-enrolment"])
def test_an_mptcp_server(world: World, older: bool) -> None:
    """Made after enrolment it falls back by itself, as a program does where MPTCP is off."""
    if older:
        server = serve(world, socket.AF_INET, "0.0.0.0", protocol=socket.IPPROTO_MPTCP)
        world.capture()
    else:
        world.capture()
        with pytest.raises(OSError, match="Protocol not available"):
            serve(world, socket.AF_INET, "0.0.0.0", protocol=socket.IPPROTO_MPTCP)
        server = serve(world, socket.AF_INET, "0.0.0.0")
    dial(world, socket.AF_INET, POD4, CLIENT)
    connection, name = server.accept()
    with connection:
        assert shown(name) == shown(connection.getpeername()) == CLIENT


def test_a_hairpin_through_the_proxy(world: World) -> None:
    """A pod calls its own service, is chosen itself, and the proxy takes both turns inside it."""
    server = serve(world, socket.AF_INET, "0.0.0.0")
    world.capture()
    client = world.socket(socket.AF_INET)
    client.connect(("10.96.0.10", 80))
    _, peer, own = world.accept(Role.OUTBOUND)
    assert world.destinations.take(world.netns.cookie, peer, own) == SocketAddress.parse("10.96.0.10:80")
    tunnel = world.proxy_socket(socket.AF_INET)
    tunnel.connect((POD4, 15008))
    _, source, _ = world.accept(Role.HBONE)
    assert source == shown(tunnel.getsockname())
    dial(world, socket.AF_INET, POD4, shown(client.getsockname()))
    connection, name = server.accept()
    with connection:
        assert name == client.getsockname()


def test_probes_pass_and_others_from_the_same_address_do_not(world: World, prober_group: Path) -> None:
    server = serve(world, socket.AF_INET6, "::")
    world.capture()
    since = world.counted()
    for family, pod in ((socket.AF_INET, POD4), (socket.AF_INET6, POD6), (socket.AF_INET6, MAPPED_POD)):
        probe = world.outside_socket(family, prober_group)
        probe.connect((pod, PORT))
        connection, name = server.accept()
        connection.close()
        assert shown(name) == shown(probe.getsockname())
        probe.close()
        world.outside_socket(family).connect((pod, PORT))
        world.accept(Role.PLAINTEXT)
    assert since("admit_probe") == since("pass_inbound_admitted") == since("capture_plaintext") == 3


def test_a_probe_takes_its_admission_with_it(world: World, prober_group: Path) -> None:
    serve(world, socket.AF_INET, "0.0.0.0")
    world.capture()
    probe = world.outside_socket(socket.AF_INET, prober_group)
    probe.bind((OUTSIDE4, 0))
    name = probe.getsockname()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    probe.connect((POD4, PORT))
    probe.close()
    outside = world.outside_socket(socket.AF_INET)
    outside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    outside.bind(name)
    outside.connect((POD4, PORT))
    assert world.accept(Role.PLAINTEXT)[1] == shown(name)


@FAMILIES
@pytest.mark.parametrize("port", [PORT, 15008])
def test_with_no_listener_a_connection_is_refused_at_once(
    world: World, family: int, pod: str, client: str, port: int
) -> None:
    serve(world, socket.AF_INET6, "::")
    world.capture()
    for listener in world.listeners.values():
        listener.close()
    since = world.counted()
    assert world.outside_socket(family).connect_ex((pod, port)) == errno.ECONNREFUSED
    assert since("drop_no_listener") >= 1


def test_listeners_can_be_replaced_without_a_gap(world: World) -> None:
    world.capture()
    world.outside_socket(socket.AF_INET).connect((POD4, PORT))
    for role in Role:
        world.listeners[role].close()
    world.relisten()
    assert world.capture() == 3
    world.outside_socket(socket.AF_INET).connect((POD4, PORT))
    world.accept(Role.PLAINTEXT)


def test_an_address_that_is_not_the_pods_is_not_served(world: World) -> None:
    serve(world, socket.AF_INET, "0.0.0.0")
    world.capture()
    world.add_address("10.233.7.9")
    since = world.counted()
    assert world.outside_socket(socket.AF_INET).connect_ex(("10.233.7.9", PORT)) == errno.ECONNREFUSED
    assert since("drop_unknown_address") >= 1
    world.capture()
    world.outside_socket(socket.AF_INET).connect(("10.233.7.9", PORT))
    world.accept(Role.PLAINTEXT)


def test_loopback_inside_the_pod_is_its_own_affair(world: World) -> None:
    server = serve(world, socket.AF_INET6, "::")
    world.capture()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        client = world.socket(family)
        client.connect((address, PORT))
        connection, name = server.accept()
        with connection:
            assert shown(name) == shown(client.getsockname())
