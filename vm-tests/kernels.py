"""Debian's kernels, downloaded from the machine's own package source and unpacked, never installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from matrix import Kernel

PACKAGE = "linux-image-cloud-amd64"
COMPLETE = ".complete"
"""Made last, so that an interrupted download is begun anew."""
ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NotAvailable(Exception):
    """No suite of this machine's package source has the kernel."""


def unpacked(kernel: Kernel, cache: Path) -> Path:
    """A folder with the image and the modules, from ``cache`` or downloaded into it."""
    folder = cache / f"kernel-{kernel.version}"
    if (folder / COMPLETE).exists():
        return folder
    failures = []
    for suite in kernel.suites:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _download(kernel.version, suite, cache / f"apt-{suite}", folder)
        except (NotAvailable, subprocess.CalledProcessError) as error:
            failures.append(f"{suite}: {getattr(error, 'stderr', None) or error}")
            continue
        (folder / COMPLETE).touch()
        return folder
    raise NotAvailable(f"no Debian kernel {kernel.version} to be had: " + "; ".join(failures))


def image(folder: Path) -> Path:
    """The compressed kernel of an unpacked package."""
    return _images(folder)[0]


def modules(folder: Path) -> Path:
    """The folder of its modules, which has the kernel's release as its name."""
    (found,) = [*folder.glob("lib/modules/*"), *folder.glob("usr/lib/modules/*")]
    return found


def release(folder: Path) -> str:
    """What ``uname -r`` will say."""
    return modules(folder).name


def _images(folder: Path) -> list[Path]:
    """Newer packages have it beside the modules."""
    return [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]


def _download(version: str, suite: str, private: Path, folder: Path) -> None:
    for needed in ("state/lists/partial", "cache/archives/partial", "etc"):
        (private / needed).mkdir(parents=True, exist_ok=True)
    source = private / "etc" / "sources.list"
    source.write_text(
        f"deb [signed-by={ARCHIVE_KEYRING}] {package_source()} {suite} main\n", encoding="utf-8"
    )
    options = [
        f"-oDir::State={private}/state",
        f"-oDir::Cache={private}/cache",
        f"-oDir::Etc::sourcelist={source}",
        "-oDir::Etc::sourceparts=-",
        "-oDir::State::status=/var/lib/dpkg/status",
        "-oAPT::Sandbox::User=root",
        "-oAcquire::Languages=none",
    ]
    _run("apt-get", *options, "-qq", "update")
    said = _run("apt-cache", *options, "depends", PACKAGE)
    name = re.search(rf"Depends: (linux-image-{re.escape(version)}\.\S+)", said)
    if name is None:
        raise NotAvailable(f"{PACKAGE} is not {version} there")
    said = _run("apt-cache", *options, "depends", name[1])
    parts = re.findall(r"Depends: (linux-(?:modules|binary|image)-\d\S+)", said)
    folder.mkdir()
    for part in {name[1], *parts}:
        _run("apt-get", *options, "-qq", "download", part, folder=private)
        package = next(private.glob(f"{part}_*.deb"))
        _run("dpkg", "-x", str(package), str(folder))
        package.unlink()
    if not _images(folder):
        raise NotAvailable(f"{name[1]} has no kernel in it")


def package_source() -> str:
    """Where this machine gets Debian's main archive from."""
    folder = Path("/etc/apt")
    for file in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in file.read_text(encoding="utf-8").split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", stanza, re.MULTILINE))
            if "bookworm" in fields.get("Suites", "").split() and "URIs" in fields:
                return str(fields["URIs"].split()[0])
    for file in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for line in lines:
            match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+bookworm\s", line)
            if match is not None:
                return match[1]
    raise NotAvailable("this machine's package sources name no archive of bookworm")


def _run(*command: str, folder: Path | None = None) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return ran.stdout
