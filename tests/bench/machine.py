"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from importlib import metadata
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_LIBRARIES = ("aiofastnet", "ngh2", "uvloop", "immutables", "cryptography")


def described() -> dict[str, str]:
    """Names and what they are here."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.processor(),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "aes-256-gcm": _gcm(),
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES),
        "commit": _said("git", "-C", str(_REPOSITORY), "describe", "--always", "--dirty"),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def _gcm() -> str:
    said = _said("openssl", "speed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp", "aes-256-gcm")
    found = re.search(r"^\+F:.*:([\d.]+)$", said, re.MULTILINE)
    return f"{float(found[1]) / 1e9:.1f} GB/s in records of 16 KiB" if found else "unknown"


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout.strip()
