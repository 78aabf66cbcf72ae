#!/usr/bin/python3 -B
"""Init of the virtual machine: run what the order says, tell of each on the second serial line, power off.

It stands on Python's own library alone. What runs writes to the console, which the host shows when something is wrong; a
scenario that does not end in time is ended with all that it started.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import termios
import time
import traceback
from pathlib import Path
from typing import Any

ORDER = Path("/order.json")
RESULTS = Path("/dev/ttyS1")
JUNIT = Path("/tmp/junit.xml")
MOUNTS = (
    ("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/dev/shm"), ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
)  # fmt: skip
"""None on /tmp: the checkout may lie there."""
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "COLUMNS": "120",
    "PYTHONDONTWRITEBYTECODE": "1",
    "AMBIENT_TEST_PATIENCE": "10",
}
PATIENCE_SECONDS = 600
"""What pytest grants one test; on the machine below it is 120 s."""
POWER_OFF = 0x4321FEDC
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    try:
        for kind, point in MOUNTS:
            mount(kind, point)
        os.environ |= ENVIRONMENT
        insert_modules()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        order = json.loads(ORDER.read_bytes())
        os.chdir(order["repository"])
        if order["shell"]:
            subprocess.run(["sh", "-i"], check=False)
        else:
            with RESULTS.open("w", encoding="ascii") as results:
                for scenario in order["scenarios"]:
                    print(json.dumps(result(order, scenario)), file=results, flush=True)
                print(json.dumps({"scenario": None, "kernel": platform.release()}), file=results, flush=True)
    except BaseException:  # noqa: BLE001 - whatever it was, it must be said before the power goes
        traceback.print_exc()
    libc.sync()
    sys.stdout.flush()
    termios.tcdrain(sys.stdout)  # What is still in the serial line would be lost with the power.
    libc.reboot(POWER_OFF)


def result(order: dict[str, Any], scenario: dict[str, Any]) -> dict[str, object]:
    """What became of it: exit code, the last that it said, and pytest's own report."""
    print(f"\n· {scenario['name']}", flush=True)
    python = f"{order['environment']}/bin/python"
    command = {
        "programs": [python, "vm-tests/programs.py"],
        "check": [f"{order['environment']}/bin/ambient", "check", "--pre"],
    }.get(scenario["name"])
    if command is None:
        command = [
            python, "-m", "pytest", *scenario["pytest"], f"--timeout={PATIENCE_SECONDS}", f"--junitxml={JUNIT}",
            "--color=no", "-p", "no:cacheprovider", "--tb=short", "-vv",
        ]  # fmt: skip
    started = time.monotonic()
    code, said = run(command, scenario["seconds"])
    return {
        "scenario": scenario["name"],
        "seconds": round(time.monotonic() - started, 1),
        "code": code,
        "said": said,
        "junit": JUNIT.read_text(encoding="utf-8") if scenario["pytest"] and JUNIT.exists() else None,
    }


def run(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Its exit code, or None if it had to be ended, and its output, which goes to the console too."""
    JUNIT.unlink(missing_ok=True)
    started = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert started.stdout is not None
    said = bytearray()
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(started.pid, signal.SIGKILL))
    signal.alarm(int(seconds))
    while chunk := started.stdout.read1():  # type: ignore[attr-defined]
        said += chunk
        sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
    code = started.wait()
    was_ended = signal.alarm(0) == 0
    return (None if was_ended else code), said.decode(errors="replace")


def insert_modules() -> None:
    """In whatever order they need each other."""
    waiting = sorted(Path("/modules").iterdir())
    while waiting:
        left = [path for path in waiting if not inserted(path)]
        if len(left) == len(waiting):
            print("not inserted:", *(path.name for path in left))
            return
        waiting = left


def inserted(path: Path) -> bool:
    with path.open("rb") as module:
        if libc.syscall(313, module.fileno(), b"", 0) == 0:  # finit_module
            return True
    return ctypes.get_errno() == errno.EEXIST


def mount(kind: str, point: str) -> None:
    os.makedirs(point, exist_ok=True)  # noqa: PTH103
    if libc.mount(kind.encode(), point.encode(), kind.encode(), 0, None) != 0:
        error = ctypes.get_errno()
        if error != errno.EBUSY:
            raise OSError(error, f"mount {point}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
