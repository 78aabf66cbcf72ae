"""One call to an echo server in a manner of programs: ``MANNER HOST PORT OWN``, where OWN is the pod's address of that family.

Says what the program itself sees by ``getpeername`` and ``getsockname``, and what the server greeted it with.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import signal
import socket
import sys
from collections.abc import Callable

import uring
from common import MPTCP, read_line, say

IP_BIND_ADDRESS_NO_PORT, TCP_FASTOPEN_CONNECT, MSG_FASTOPEN = 24, 30, 0x20000000
BOUND_PORT = 41234


def main() -> None:
    manner, host, port, own = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    with MANNERS[manner](host, port, own) as client:
        peername, sockname = client.getpeername()[:2], client.getsockname()[:2]
        greeting = json.loads(read_line(client))
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        echoed = b""
        while block := client.recv(65536):
            echoed += block
    say(event="called", peername=peername, sockname=sockname, server=greeting, echoed=echoed.decode())


def client_for(host: str, protocol: int = 0) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, protocol)
    client.settimeout(10)
    return client


def plain(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.connect((host, port))
    return client


def bound_to_address(host: str, port: int, own: str) -> socket.socket:
    client = client_for(host)
    client.bind((own, 0))
    client.connect((host, port))
    return client


def bound_to_port(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(("", BOUND_PORT))
    client.connect((host, port))
    return client


def bound_without_port(host: str, port: int, own: str) -> socket.socket:
    client = client_for(host)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((own, 0))
    client.connect((host, port))
    return client


def bound_to_device(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    client.connect((host, port))
    return client


def non_blocking(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setblocking(False)
    assert client.connect_ex((host, port)) == errno.EINPROGRESS
    assert select.select([], [client], [], 10)[1]
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    client.settimeout(10)
    return client


def fast_open(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    client.connect((host, port))
    client.sendall(b"")
    return client


def fast_open_with_data(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setblocking(True)
    client.sendto(b"early ", MSG_FASTOPEN, (host, port))
    return client


def io_uring(host: str, port: int, own: str) -> socket.socket:
    del own
    client = client_for(host)
    client.setblocking(True)
    assert uring.connect(client, (host, port)) == 0
    return client


def mptcp(host: str, port: int, own: str) -> socket.socket:
    """As Go does: MPTCP, and TCP where that is not to be had."""
    del own
    try:
        client = client_for(host, MPTCP)
    except OSError:
        client = client_for(host)
    client.connect((host, port))
    return client


def older(host: str, port: int, own: str) -> socket.socket:
    """A socket made before it is told to go on: SIGUSR1 comes when the pod has been captured."""
    del own
    client = client_for(host)
    return _when_told(client, host, port)


def older_mptcp(host: str, port: int, own: str) -> socket.socket:
    del own
    return _when_told(client_for(host, MPTCP), host, port)


def _when_told(client: socket.socket, host: str, port: int) -> socket.socket:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    say(event="waiting")
    signal.sigwait({signal.SIGUSR1})
    client.connect((host, port))
    return client


def after_a_refusal(host: str, port: int, own: str) -> socket.socket:
    """The same socket, refused first, then used for loopback, then for the call."""
    del own
    loopback = "::1" if ":" in host and not host.startswith("::ffff:") else "127.0.0.1"
    loopback = f"::ffff:{loopback}" if host.startswith("::ffff:") else loopback
    client = client_for(host)
    client.setblocking(True)
    with contextlib.suppress(ConnectionRefusedError):
        client.connect((loopback, 9))
    with socket.socket(client.family) as listener:
        listener.bind((loopback, 0))
        listener.listen()
        client.connect((loopback, listener.getsockname()[1]))
        assert client.getpeername()[0] == loopback, client.getpeername()
        assert client.getsockname()[0] == loopback, client.getsockname()
    client.close()
    return plain(host, port, "")


MANNERS: dict[str, Callable[[str, int, str], socket.socket]] = {
    "plain": plain,
    "bound-to-address": bound_to_address,
    "bound-to-port": bound_to_port,
    "bound-without-port": bound_without_port,
    "bound-to-device": bound_to_device,
    "non-blocking": non_blocking,
    "fast-open": fast_open,
    "fast-open-with-data": fast_open_with_data,
    "io-uring": io_uring,
    "mptcp": mptcp,
    "after-a-refusal": after_a_refusal,
    "older": older,
    "older-mptcp": older_mptcp,
}


if __name__ == "__main__":
    main()
