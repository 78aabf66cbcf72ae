"""Files with private keys: for their owner alone, and either whole or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ambient.core.errors import ConfigError


def read(file: Path) -> bytes:
    """The content of a file that only root or this user can read.

    Raises ConfigError for one that others can, FileNotFoundError or another OSError if it cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:  # noqa: PTH123  # A descriptor.
        status = os.fstat(descriptor)
        if status.st_uid not in {0, os.geteuid()}:
            raise ConfigError(
                f"{file} belongs to user {status.st_uid}, who could change it: chown root {file}, if you trust what is in it"
            )
        if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            raise ConfigError(
                f"{file} has mode {mode:04o}, so that others can read the key: chmod 0600 {file}, or make a new key if "
                "anyone may have done so"
            )
        return stream.read()


def write(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a file in its place so that after any crash it is the old one or the new one. Raises OSError."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as stream:  # noqa: PTH123  # A descriptor.
        stream.write(content)
        stream.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    unfinished.rename(file)
    sync(file.parent)


def sync(folder: Path) -> None:
    """What was renamed in it stays so, whatever happens to the machine. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
