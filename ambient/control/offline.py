"""A control plane of files alone: what they would mean, with nobody asked.

Workloads that the files name (as WorkloadEntries) are there; those of nodes are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ambient.control.catalog import Catalog
from ambient.control.circumstances import Circumstances
from ambient.control.folder import SUFFIXES
from ambient.control.index import Index, Settings
from ambient.control.sources import Change
from ambient.core.errors import ConfigError
from ambient.core.explain.call import explain as explain_call

if TYPE_CHECKING:
    from ambient.core.explain.answer import Explanation, Question

_SOURCE: Final = "files"


def explain(paths: Iterable[Path], question: Question) -> Explanation:
    """Why a call would work or not. Raises ConfigError if a file cannot be read or an object in it is refused."""
    catalog, index = read(paths)
    if catalog.errors:
        raise ConfigError("; ".join(catalog.errors))
    circumstances = Circumstances(
        index,
        lambda: catalog.objects,
        lambda key: tuple(map(str, catalog.problems(key))),
        tuple,
        tuple,
    )
    return explain_call(index.snapshot, circumstances, question, datetime.now(UTC))


def read(paths: Iterable[Path]) -> tuple[Catalog, Index]:
    """What the files say, and the mesh that comes of it. Raises ConfigError if a file cannot be read."""
    settings = Settings()
    catalog, index = Catalog(settings.root_namespaces), Index(settings)
    contents = {str(file): _content(file) for path in paths for file in _files(path)}
    catalog.take(catalog.plan_source(_SOURCE, Change(contents), datetime.now(UTC), is_first=True))
    index.configure(catalog.objects)
    return catalog, index


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    return sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
