"""An initramfs of the host's own files: Debian's Python and BCC, this checkout, and ``guest.py`` as init."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = Path("/usr/bin/python3.11")
PROGRAMS = [PYTHON, Path("/bin/ip")]
PYTHON_FOLDERS = [Path("/usr/lib/python3.11"), Path("/usr/lib/python3/dist-packages/bcc")]
HEADERS = [
    Path("/usr/include/linux"),
    Path("/usr/include/asm-generic"),
    Path("/usr/include/x86_64-linux-gnu/asm"),
    Path("/usr/include/x86_64-linux-gnu/bits"),
    Path("/usr/include/x86_64-linux-gnu/gnu"),
]
LEFT_OUT = {"__pycache__", "test", "idlelib", "lib2to3", "ensurepip", "tkinter", "pb"}
LIBC_HEADERS = Path("/usr/include")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
EMPTY = {"proc", "sys", "dev", "run", "tmp", "root"}
MERGED = {"bin", "sbin", "lib", "lib64"}


def build(environment: Path, cache: Path) -> Path:
    """The image, made anew only when something that goes into it changed. ``environment`` has immutables."""
    files = dict(_files(environment))
    digest = hashlib.sha256()
    for inside, outside in sorted(files.items()):
        state = outside.stat()
        digest.update(f"{inside} {outside} {state.st_size} {state.st_mtime_ns}\n".encode())
    image = cache / f"initramfs-{digest.hexdigest()[:16]}.cpio"
    if not image.exists():
        for old in cache.glob("initramfs-*"):
            old.unlink()
        _write(files, image)
    return image


def _files(environment: Path) -> Iterator[tuple[str, Path]]:
    """Path in the image to file on this machine."""
    binaries = [*PROGRAMS, Path("/lib64/ld-linux-x86-64.so.2")]
    binaries += [path for folder in PYTHON_FOLDERS for path in folder.rglob("*.so")]
    binaries += [LIBRARIES / name for name in ("libbcc.so.0", "librt.so.1")]
    for path in [*binaries, *_libraries(binaries)]:
        yield str(path), path
    yield "/usr/bin/python3", PYTHON
    for folder in PYTHON_FOLDERS:
        yield from ((str(path), path) for path in _tree(folder) if path.suffix == ".py")
    for folder in HEADERS:
        yield from ((str(path), path) for path in _tree(folder))
    yield from ((str(path), path) for path in LIBC_HEADERS.glob("*.h"))
    for name in ("ambient/__init__.py", "ambient/core", "ambient/kernel", "bpf"):
        for path in _tree(REPOSITORY / name):
            yield f"/checkout/{path.relative_to(REPOSITORY)}", path
    (immutables,) = environment.glob("lib/python3.11/site-packages/immutables")
    yield from ((f"/checkout/immutables/{path.relative_to(immutables)}", path) for path in _tree(immutables))
    yield "/init", Path(__file__).with_name("guest.py")


def _tree(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        yield from (Path(path, name) for name in names)


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"=> (/\S+)", said)}


def _write(files: dict[str, Path], image: Path) -> None:
    """A cpio archive in the ``newc`` format, which is what the kernel unpacks at boot."""
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
            _entry(out, inside.lstrip("/"), stat.S_IFREG | 0o755, outside.read_bytes())
        _entry(out, "TRAILER!!!", 0)
    unfinished.rename(image)


def _entry(
    out: BinaryIO, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> None:
    inode = out.tell()
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % (value & 0xFFFFFFFF) for value in fields) + path
    out.write(header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4))
