"""A control plane of files alone: what they would mean, with nobody asked.

Workloads are those that the files name, and those that the caller has from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ambient.control import manifest
from ambient.control.analysis.findings import Said, findings
from ambient.control.catalog import Catalog
from ambient.control.circumstances import Circumstances
from ambient.control.folder import SUFFIXES
from ambient.control.index import Index, Settings
from ambient.control.sources import Change
from ambient.core.errors import ConfigError
from ambient.core.explain.call import explain as explain_call

if TYPE_CHECKING:
    from ambient.control.analysis.codes import Finding
    from ambient.core.explain.answer import Explanation, Question
    from ambient.rpc.registration import LocalWorkload

_SOURCE: Final = "files"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What would come of some files."""

    contents: Mapping[str, bytes]
    catalog: Catalog
    index: Index


def mesh(contents: Mapping[str, bytes], workloads: Iterable[tuple[str, LocalWorkload]] = ()) -> Mesh:
    """Of files by name, and of workloads, each with its node."""
    settings = Settings()
    catalog, index = Catalog(settings.root_namespaces), Index(settings)
    catalog.take(catalog.plan_source(_SOURCE, Change(contents), datetime.now(UTC), is_first=True))
    index.configure(catalog.objects)
    for node, some in groupby(sorted(workloads, key=lambda one: one[0]), key=lambda one: one[0]):
        index.register(node, [workload for _, workload in some], (), full=True)
    return Mesh(contents, catalog, index)


def explain(paths: Iterable[Path], question: Question) -> Explanation:
    """Why a call would work or not. Raises ConfigError if a file cannot be read or an object in it is refused."""
    of = mesh(read(paths))
    if of.catalog.errors:
        raise ConfigError("; ".join(of.catalog.errors))
    circumstances = Circumstances(
        of.index,
        lambda: of.catalog.objects,
        lambda key: tuple(map(str, of.catalog.problems(key))),
        tuple,
        tuple,
    )
    return explain_call(of.index.snapshot, circumstances, question, datetime.now(UTC))


def analyze(of: Mesh) -> tuple[Finding, ...]:
    """All that is to be looked at."""
    said: list[Said] = []
    places: dict[str, str] = {}
    for file, content in of.contents.items():
        for item in manifest.read(content, of.catalog.root_namespaces):
            name = "" if item.key is None else str(item.key)
            places.setdefault(name, f"{file}:{item.line}")
            for problems, is_error in ((item.problems, True), (item.warnings, False)):
                said += [
                    Said(f"{file}:{item.line_of(problem.field)}", name, problem, is_error)
                    for problem in problems
                ]
    return findings(said, of.catalog.objects, of.index, places)


def read(paths: Iterable[Path]) -> dict[str, bytes]:
    """Files, and those in folders, by path. Raises ConfigError if one cannot be read."""
    return {str(file): _content(file) for path in paths for file in _files(path)}


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    return sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
