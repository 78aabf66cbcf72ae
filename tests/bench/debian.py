"""The same bench inside another Debian: a root folder of its own, the machine's kernel, network and settings.

The root is made once by debootstrap from wherever this machine gets its packages, and entered with a mount namespace
of its own, so that what is mounted there goes with the last process. The checkout is at the same path inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import kernels

SUITES: Final = {12: "bookworm", 13: "trixie"}
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_CARRIED: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "~/.config/pip/pip.conf",
    "~/.pip/pip.conf",
)
"""Files that say how this machine reaches package sources; those that variables of the environment name come along."""
_ENTER: Final = """
set -e
mount --bind "$root" "$root"
for folder in $folders; do
    mkdir -p "$root$folder"
    mount --bind -o ro "$folder" "$root$folder"
done
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root$repository"
mount --bind "$repository" "$root$repository"
exec chroot "$root" /bin/sh -c 'cd "$0" && exec ./dev bench "$@"' "$repository" "$@"
"""


def enter(version: int, output: Path, arguments: Sequence[str]) -> NoReturn:
    """Become ``./dev bench`` with ``arguments`` in that Debian. What it needs is kept below ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    folder = output.resolve()
    if not folder.is_relative_to(_REPOSITORY):
        raise SystemExit("--debian keeps its root and results inside the checkout: choose an --output there")
    root = folder / "root"
    if not root.exists():
        _make(root, SUITES[version])
    _carry(root)
    environment = {
        **os.environ,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "AMBIENT_VENV": str(folder / "venv"),
        "root": str(root),
        "folders": " ".join(str(path) for path in _settings() if path.is_dir()),
        "repository": str(_REPOSITORY),
    }
    command = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _ENTER, "enter"]
    os.execvpe(command[0], [*command, *arguments, "--output", str(folder)], environment)


def _make(root: Path, suite: str) -> None:
    unfinished = root.with_name("root.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    source = kernels.package_source()
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, unfinished, source],
        check=True,
    )
    (unfinished / "etc/apt/sources.list").write_text(
        f"deb [signed-by={kernels.ARCHIVE_KEYRING}] {source} {suite} main\n"
    )
    for kind in ("apt.conf.d", "auth.conf.d"):
        shutil.copytree(Path("/etc/apt") / kind, unfinished / "etc/apt" / kind, dirs_exist_ok=True)
    # Installing a program must not start it as a service.
    policy = unfinished / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    unfinished.rename(root)


def _carry(root: Path) -> None:
    for path in _settings():
        if path.is_file():
            inside = root / path.relative_to("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.unlink(missing_ok=True)
            shutil.copyfile(path, inside)


def _settings() -> list[Path]:
    paths = {Path(name).expanduser() for name in _CARRIED}
    for name, value in os.environ.items():
        if name.startswith("PIP_") or name.endswith(("_CERT", "_CERT_FILE", "_CA_BUNDLE")):
            paths |= {Path(word) for word in value.split()}
    return sorted(path for path in paths if path.is_absolute() and path.exists())
