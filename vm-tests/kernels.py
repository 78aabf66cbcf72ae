"""Debian's kernels, downloaded from the machine's own package source and unpacked, never installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SUITES = {"6.1": ("bookworm", "bookworm-updates"), "6.12": ("bookworm-backports", "trixie")}
"""Kernel to the suites that have it; the first that answers is taken."""

PACKAGE = "linux-image-cloud-amd64"
ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NotAvailable(Exception):
    """No suite of this machine's package source has the kernel."""


def kernel(version: str, cache: Path) -> Path:
    """The ``vmlinuz`` of ``version``, from ``cache`` or downloaded into it."""
    unpacked = cache / f"kernel-{version}"
    image = _image(unpacked)
    if image is not None:
        return image
    failures = []
    for suite in SUITES[version]:
        try:
            _download(version, suite, cache / f"apt-{suite}", unpacked)
        except (NotAvailable, subprocess.CalledProcessError) as error:
            failures.append(f"{suite}: {getattr(error, 'stderr', None) or error}")
            continue
        image = _image(unpacked)
        if image is not None:
            return image
    raise NotAvailable(f"no Debian kernel {version} to be had: " + "; ".join(failures))


def _image(folder: Path) -> Path | None:
    return next(folder.glob("boot/vmlinuz-*"), None)


def _download(version: str, suite: str, private: Path, unpacked: Path) -> None:
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (private / folder).mkdir(parents=True, exist_ok=True)
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
    _run("apt-get", *options, "-qq", "download", name[1], folder=private)
    package = next(private.glob(f"{name[1]}_*.deb"))
    unpacked.mkdir(exist_ok=True)
    _run("dpkg", "-x", str(package), str(unpacked))
    package.unlink()


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
