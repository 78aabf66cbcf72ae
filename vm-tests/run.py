"""Load, attach and use every BPF program on Debian's kernels, in virtual machines without hardware help.

``./dev vm-test [6.1] [6.12]``; both when none is named. The exit code is 0 only if every kernel said yes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import image
import kernels

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = REPOSITORY / ".cache" / "vm"
CPU = "max,cx16=off"
"""Debian 12's qemu (7.2) now and then leaves the flags wrong after cmpxchg16b; kernels do without it."""
BOOT_SECONDS = 300
SPLAT = re.compile(r"\b(BUG:|WARNING:|Oops:|Kernel panic|general protection)")


def main(versions: list[str]) -> int:
    for unknown in set(versions) - kernels.SUITES.keys():
        sys.exit(f"kernel {unknown} is not known here; give one of {', '.join(kernels.SUITES)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    initramfs = image.build(Path(sys.prefix), CACHE)
    passed = failed = 0
    for version in versions or kernels.SUITES:
        started = time.monotonic()
        vmlinuz = kernels.kernel(version, CACHE)
        failure, result = boot(vmlinuz, initramfs)
        seconds = time.monotonic() - started
        print(json.dumps({"asked": version, "seconds": round(seconds, 1), **result}), flush=True)
        if failure is None:
            passed += 1
        else:
            failed += 1
            print(f"kernel {version}: {failure}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def boot(vmlinuz: Path, initramfs: Path) -> tuple[str | None, dict[str, object]]:
    """What went wrong, if anything, and what the guest said."""
    command: list[str | Path] = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-m", "2048",
        "-kernel", vmlinuz, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1",
        "-no-reboot", "-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio",
    ]  # fmt: skip
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=BOOT_SECONDS, check=False,
        )  # fmt: skip
        said = ran.stdout + ran.stderr
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        return f"no answer in {BOOT_SECONDS} s:\n{said[-3000:]}", {}
    answer = re.search(r"^@@(\{.*\})", said, re.MULTILINE)
    if answer is None:
        return f"it said nothing:\n{said[-3000:]}", {}
    result: dict[str, object] = json.loads(answer[1])
    splat = SPLAT.search(said)
    if splat is not None:
        return f"the kernel complained:\n{said[splat.start() : splat.start() + 3000]}", result
    return (None if result["ok"] else str(result["error"])), result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
