"""A watched folder of YAML files.

A file is read only when it has stood still for one round, so that one that is being written is never seen half;
editors and ``mv`` replace files in ways that this does not care about. Looking is cheap: one ``stat`` a file.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

from ambient.control.documents import LARGEST
from ambient.control.sources import Change, Changes, Content, Unreadable
from ambient.core.errors import ConfigError

ROUND_SECONDS: Final = 0.08
"""Two rounds and the way to the nodes stay well within the second that a change may take."""

SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Folder:
    """A source of configuration; see ``sources.Source``."""

    root: Path

    name: ClassVar[str] = "folder"

    @property
    def place(self) -> str:
        """Which folder."""
        return str(self.root)

    def watch(self) -> Changes:
        """Its files, and their changes."""
        return watch(self.root)


Stamp: TypeAlias = tuple[int, ...]


async def watch(root: Path) -> Changes:
    """First everything that is there, then each change. Raises ConfigError if there is no such folder at first."""
    try:
        before = await asyncio.to_thread(_stamps, root)
    except OSError as error:
        raise ConfigError(f"--config {root} cannot be read as a folder: {error.strerror}") from error
    read: dict[str, Stamp] = {}
    trouble = ""
    is_first = True
    while True:
        await asyncio.sleep(ROUND_SECONDS)
        try:
            now = await asyncio.to_thread(_stamps, root)
            still = {path: stamp for path, stamp in now.items() if before.get(path) == stamp}
            earlier, before = before, now
            if is_first and len(still) < len(now):
                continue  # The first change is the whole folder.
            wanted = [path for path, stamp in still.items() if read.get(path) != stamp]
            changed = {path: await asyncio.to_thread(_read, root / path) for path in wanted}
            after = await asyncio.to_thread(_stamps, root) if changed else now
        except OSError as error:
            if trouble != (trouble := f"--config {root} cannot be read: {error.strerror}"):
                yield Change(trouble=trouble)
            continue
        if is_first and after != now:
            continue
        # What was written while it was read is read again when it stands still.
        changed = {path: content for path, content in changed.items() if after.get(path) == still[path]}
        removed = frozenset(path for path in read if path not in now and path not in earlier)
        read.update((path, still[path]) for path in changed)
        for path in removed:
            del read[path]
        if changed or removed or trouble or is_first:
            is_first, trouble = False, ""
            yield Change(changed, removed)


def _stamps(root: Path) -> dict[str, Stamp]:
    found: dict[str, Stamp] = {}
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith("."):
                path = os.path.join(folder, name)  # noqa: PTH118
                try:
                    status = os.stat(path)  # noqa: PTH116
                except OSError:
                    continue  # Gone since it was listed, or a link to nowhere.
                stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
                found[os.path.relpath(path, root)] = stamp
    return found


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path) -> Content:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        return Unreadable(f"the file cannot be read: {error.strerror}")
