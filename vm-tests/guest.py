#!/usr/bin/python3 -B
"""Init of the virtual machine: load, attach and use every program, say so in one JSON line, power off.

Runs on Debian's Python with the checkout in ``/checkout`` and nothing else. The pod is a namespace with an address on
its loopback; it calls an address that is nowhere, and the proxy's listener must get the connection.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import traceback
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, "/checkout")
POD = {"4": "10.9.0.1", "6": "fd00:9::1"}
NOWHERE = {"4": "10.9.9.9", "6": "fd00:9::9"}
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    for kind, point in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")):
        mount(kind, point)
    mount("cgroup2", "/sys/fs/cgroup")
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    result: dict[str, object] = {"kernel": platform.release(), "ok": False}
    try:
        result |= checks()
        result["ok"] = True
    except BaseException:  # noqa: BLE001 - whatever it was, it must be said before the power goes
        result["error"] = traceback.format_exc()
    print("\n@@" + json.dumps(result), flush=True)
    libc.sync()
    libc.reboot(0x4321FEDC)


def checks() -> dict[str, object]:
    """What the redirector must do on any kernel from 6.1 on."""
    from ambient.core.model.pod import Capture, Exclusions  # noqa: PLC0415
    from ambient.core.redirection import Redirection  # noqa: PLC0415
    from ambient.kernel import loader, redirector  # noqa: PLC0415
    from ambient.kernel.handover import OriginalDestinations  # noqa: PLC0415
    from ambient.kernel.netns import Netns, listen_in  # noqa: PLC0415

    groups = {name: Path("/sys/fs/cgroup") / name for name in ("pod", "proxy", "prober")}
    for group in groups.values():
        group.mkdir()
    sleeper = in_new_namespace()
    netns = Netns.of_pid(sleeper)
    listeners = listen_in(netns)
    started = time.monotonic()
    kernel = redirector.Redirector.open(
        "vm", prober_cgroup=str(groups["prober"]), proxy_cgroup=str(groups["proxy"])
    )
    loaded = time.monotonic() - started
    found: dict[str, object] = {"load_seconds": round(loaded, 1)}
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
        found[mode] = sorted(program.name for program in Path("/sys/fs/bpf/ambient/vm").glob("*/links/*/*"))
        assert kernel.set([], {}, {}) > 0
    found["programs"] = sorted(program.name for program in Path("/sys/fs/bpf/ambient/vm").glob("*/progs/*"))
    found["reasons"] = {reason: count for reason, count in kernel.counters().items() if count}
    kernel.close()
    redirector.uninstall("vm")
    assert not loader.PINS.exists()
    os.kill(sleeper, signal.SIGKILL)
    return found


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
    connection.settimeout(10)
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


def taken(listeners: dict, cookie: int, destinations: object) -> str:  # type: ignore[type-arg]
    """The original destination of the next connection at the outbound listener."""
    from ambient.core.model.address import SocketAddress  # noqa: PLC0415
    from ambient.core.redirection import Role  # noqa: PLC0415

    listener = listeners[Role.OUTBOUND]
    listener.settimeout(10)
    connection, client = listener.accept()
    own = SocketAddress.of(connection.getsockname())
    meant = destinations.take(cookie, SocketAddress.of(client), own)  # type: ignore[attr-defined]
    connection.close()
    return f"{meant.ip}:{meant.port}" if meant else "nowhere"


def mount(kind: str, point: str) -> None:
    os.makedirs(point, exist_ok=True)  # noqa: PTH103
    if libc.mount(kind.encode(), point.encode(), kind.encode(), 0, None) != 0:
        error = ctypes.get_errno()
        if error != 16:
            raise OSError(error, f"mount {point}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
