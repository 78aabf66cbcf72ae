"""Load, attach and use every program: the pod is a namespace with addresses on its loopback.

It calls an address that is nowhere, and the proxy's listener must get the connection.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Redirection, Role
from ambient.kernel import loader, redirector
from ambient.kernel.handover import OriginalDestinations
from ambient.kernel.netns import Netns, listen_in

POD = {"4": "10.9.0.1", "6": "fd00:9::1"}
NOWHERE = {"4": "10.9.9.9", "6": "fd00:9::9"}
PINS = loader.node_folder("vm")
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """What the redirector must do on any kernel from 6.1 on."""
    groups = {name: Path("/sys/fs/cgroup") / name for name in ("pod", "proxy", "prober")}
    for group in groups.values():
        group.mkdir()
    sleeper = in_new_namespace()
    try:
        use(sleeper, groups)
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
    for group in groups.values():
        group.rmdir()


def use(sleeper: int, groups: Mapping[str, Path]) -> None:
    """Capture the pod in either way, and connect over either family."""
    netns = Netns.of_pid(sleeper)
    listeners = listen_in(netns)
    started = time.monotonic()
    kernel = redirector.Redirector.open(
        "vm", prober_cgroup=str(groups["prober"]), proxy_cgroup=str(groups["proxy"])
    )
    print(f"compiled and loaded in {time.monotonic() - started:.1f} s")
    destinations = OriginalDestinations(kernel.shared_maps["original_destinations"])
    addresses = tuple(ip_address(address) for address in POD.values())
    for mode, cgroup in (("pod-cgroup", str(groups["pod"])), ("root", None)):
        wish = [Redirection("pod", netns.cookie, addresses, cgroup, Capture.ON, Exclusions())]
        writes = kernel.set(wish, {"pod": netns}, {"pod": listeners})
        assert writes > 0
        assert kernel.set(wish, {"pod": netns}, {"pod": listeners}) == 0
        for family, address in NOWHERE.items():
            child = calling(sleeper, groups["pod"], family, address)
            meant = taken(listeners, netns.cookie, destinations)
            assert meant == f"{address}:80", (mode, family, meant)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, (mode, family)
        print(f"{mode}:", *sorted(link.name for link in PINS.glob("*/links/*/*")))
        assert kernel.set([], {}, {}) > 0
    print("programs:", *sorted(program.name for program in PINS.glob("*/progs/*")))
    print("counted:", {reason: count for reason, count in kernel.counters().items() if count})
    kernel.close()
    redirector.uninstall("vm")
    assert not loader.PINS.exists()


def in_new_namespace() -> int:
    """A process that only keeps a network namespace with the pod's addresses."""
    ready, up = os.pipe()
    child = os.fork()
    if child == 0:
        assert libc.unshare(0x40000000) == 0
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in POD.values():
            subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
        subprocess.run(["ip", "route", "add", "default", "dev", "lo"], check=True)
        subprocess.run(["ip", "-6", "route", "add", "default", "dev", "lo"], check=True)
        os.write(up, b"1")
        signal.pause()
    os.read(ready, 1)
    return child


def calling(sleeper: int, cgroup: Path, family: str, address: str) -> int:
    """A process of the pod that connects and checks what it is told about both ends."""
    child = os.fork()
    if child:
        return child
    (cgroup / "cgroup.procs").write_text("0")
    with open(f"/proc/{sleeper}/ns/net") as namespace:  # noqa: PTH123
        assert libc.setns(namespace.fileno(), 0x40000000) == 0
    connection = socket.socket(socket.AF_INET if family == "4" else socket.AF_INET6)
    connection.settimeout(60)
    status = 1
    try:
        connection.connect((address, 80))
        own = connection.getsockname()[0]
        assert connection.getpeername()[:2] == (address, 80), connection.getpeername()
        assert own == POD[family], own
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    os._exit(status)


def taken(listeners: Mapping[Role, socket.socket], cookie: int, destinations: OriginalDestinations) -> str:
    """The original destination of the next connection at the outbound listener."""
    listener = listeners[Role.OUTBOUND]
    listener.settimeout(60)
    connection, client = listener.accept()
    own = SocketAddress.of(connection.getsockname())
    meant = destinations.take(cookie, SocketAddress.of(client), own)
    connection.close()
    return f"{meant.ip}:{meant.port}" if meant else "nowhere"


if __name__ == "__main__":
    main()
