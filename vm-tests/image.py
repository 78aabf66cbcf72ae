"""An initramfs of the host's own files: Debian's Python and BCC, this checkout with its environment, ``guest.py`` as init.

The checkout lies where it lies on the host, so that whatever names its own path works inside too. What is the same for all
kernels is one archive; a kernel's modules and what is to run are a second one, put behind a copy of it for each boot.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import kernels
from matrix import Kernel

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = Path("/usr/bin/python3.11")
COMMANDS = ("ip", "sh", "sleep", "mount", "umount", "nsenter", "setpriv", "unshare")
PYTHON_FOLDERS = [Path("/usr/lib/python3.11"), Path("/usr/lib/python3/dist-packages/bcc")]
HEADERS = [
    Path("/usr/include/linux"),
    Path("/usr/include/asm-generic"),
    Path("/usr/include/x86_64-linux-gnu/asm"),
    Path("/usr/include/x86_64-linux-gnu/bits"),
    Path("/usr/include/x86_64-linux-gnu/gnu"),
]
CHECKOUT = ("ambient", "bpf", "tests", "vm-tests", "pyproject.toml")
LEFT_OUT = {"test", "idlelib", "lib2to3", "ensurepip", "tkinter"}
NOT_OF_THE_ENVIRONMENT = {
    "include", "mypy", "mypyc", "mypy-2", "pip", "setuptools", "grpc_tools", "grimp", "importlinter", "ast_serialize",
}  # fmt: skip
"""What development needs and no test that runs in a machine."""
LARGEST_TOOL = 20_000_000
"""Bytes; what is larger in the environment's ``bin`` or beside its packages is a compiled tool, such as ruff."""
LIBC_HEADERS = Path("/usr/include")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
MODULES = ("veth", "dummy", "llc", "stp", "bridge", "inet_diag", "tcp_diag", "tls", "sch_netem")
EMPTY = {"proc", "sys", "dev", "run", "tmp", "root", "var/tmp"}
MERGED = {"bin", "sbin", "lib", "lib64"}


def common(environment: Path, cache: Path) -> Path:
    """What all kernels share, made anew only when something that goes into it changed."""
    files = dict(_files(environment))
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for inside, outside in sorted(files.items()):
        state = outside.lstat()
        digest.update(f"{inside} {outside} {state.st_size} {state.st_mtime_ns}\n".encode())
    image = cache / f"initramfs-{digest.hexdigest()[:16]}.cpio"
    if not image.exists():
        for old in cache.glob("initramfs-*"):
            old.unlink()
        _write(files, environment, image)
    return image


def complete(shared: Path, kernel: Kernel, unpacked: Path, environment: Path, *, shell: bool) -> Path:
    """``shared`` with the modules of one kernel and the order of the day."""
    image = shared.with_name(f"boot-{kernel.version}.cpio")
    order = {
        "repository": str(REPOSITORY),
        "environment": str(environment),
        "scenarios": [asdict(scenario) for scenario in kernel.scenarios],
        "shell": shell,
    }
    shutil.copyfile(shared, image)
    with image.open("ab") as out:
        _entry(out, "modules", stat.S_IFDIR | 0o755)
        for name, content in _modules(unpacked):
            _entry(out, f"modules/{name}.ko", stat.S_IFREG | 0o644, content)
        _entry(out, "order.json", stat.S_IFREG | 0o644, json.dumps(order).encode())
        _entry(out, "TRAILER!!!", 0)
    return image


def _modules(unpacked: Path) -> Iterator[tuple[str, bytes]]:
    """Those of ``MODULES`` that this kernel has not built in, as it loads them."""
    for name in MODULES:
        for path in kernels.modules(unpacked).rglob(f"{name}.ko*"):
            content = path.read_bytes()
            yield name, lzma.decompress(content) if path.suffix == ".xz" else content


def _files(environment: Path) -> Iterator[tuple[str, Path]]:
    """Path in the image to file on this machine."""
    commands = [Path(found) for name in COMMANDS if (found := shutil.which(name)) is not None]
    of_environment = list(_environment(environment))
    binaries = [PYTHON, *commands, Path("/lib64/ld-linux-x86-64.so.2")]
    binaries += [path for folder in PYTHON_FOLDERS for path in folder.rglob("*.so")]
    binaries += [LIBRARIES / name for name in ("libbcc.so.0", "librt.so.1")]
    binaries += [path for path in of_environment if ".so" in path.suffixes]
    for path in [*binaries, *_libraries(binaries)]:
        yield str(path), path
    yield "/usr/bin/python3", PYTHON
    for folder in PYTHON_FOLDERS:
        yield from ((str(path), path) for path in _tree(folder) if path.suffix in {".py", ".pyc"})
    for folder in HEADERS:
        yield from ((str(path), path) for path in _tree(folder))
    yield from ((str(path), path) for path in LIBC_HEADERS.glob("*.h"))
    for name in CHECKOUT:
        yield from ((str(path), path) for path in _tree(REPOSITORY / name, {"__pycache__"}))
    yield from ((str(path), path) for path in of_environment)
    yield "/init", Path(__file__).with_name("guest.py")


def _environment(environment: Path) -> Iterator[Path]:
    for path in _tree(environment, NOT_OF_THE_ENVIRONMENT):
        if path.is_symlink() or path.stat().st_size < LARGEST_TOOL:
            yield path


def _tree(folder: Path, left_out: AbstractSet[str] = LEFT_OUT) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in left_out]
        yield from (Path(path, name) for name in names)


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"=> (/\S+)", said)}


def _write(files: Mapping[str, Path], environment: Path, image: Path) -> None:
    """A cpio archive in the ``newc`` format, which is what the kernel unpacks at boot.

    Links within ``environment`` stay links, as Python finds an environment by where it was started from.
    """
    folders = {"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", *EMPTY}
    for inside in files:
        folders.update(str(parent) for parent in Path(inside.lstrip("/")).parents)
    unfinished = image.with_suffix(".part")
    with unfinished.open("wb") as out:
        for name in sorted(folders - {"."} - MERGED):
            _entry(out, name, stat.S_IFDIR | 0o755)
        for name in MERGED:
            _entry(out, name, stat.S_IFLNK | 0o777, f"usr/{name}".encode())
        _entry(out, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        for inside, outside in files.items():
            name = inside.lstrip("/")
            if outside.is_symlink() and outside.is_relative_to(environment):
                _entry(out, name, stat.S_IFLNK | 0o777, os.readlink(outside).encode())  # noqa: PTH115
            else:
                modified = int(outside.stat().st_mtime)
                _entry(out, name, stat.S_IFREG | 0o755, outside.read_bytes(), modified=modified)
        _entry(out, "TRAILER!!!", 0)
    unfinished.rename(image)


def _entry(
    out: BinaryIO,
    name: str,
    mode: int,
    content: bytes = b"",
    device: tuple[int, int] = (0, 0),
    modified: int = 0,
) -> None:
    """One file. Compiled Python counts only while ``modified``, in seconds, is that of its source."""
    inode = out.tell()
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, modified, len(content), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % (value & 0xFFFFFFFF) for value in fields) + path
    out.write(header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4))
