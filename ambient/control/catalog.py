"""Which objects stand, out of the files of a folder.

A bad object keeps its last good version; so do the objects of a file whose documents cannot all be told apart. An
object that two files claim stays with the file that had it. Everything else applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.control.documents import BadDocument, Document, documents
from ambient.control.folder import Unreadable
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import key_of, translate
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.control.folder import Change
    from ambient.control.objects import Key, Object


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object in one file."""

    translated: Translated | None
    """None: it is bad."""
    line: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it was read last."""

    entries: Mapping[Key, _Entry]
    problems: tuple[str, ...]
    """Of the file itself."""
    warnings: tuple[str, ...]
    is_whole: bool
    """Whether every document could be told apart, so that an object that is not in it is really gone."""


class Catalog:
    """The files of one folder, and what stands of them."""

    def __init__(self, root_namespaces: tuple[str, ...]) -> None:
        self._root_namespaces = root_namespaces
        self._files: dict[str, _File] = {}
        self._owners: dict[Key, str] = {}
        self._trouble = ""
        self.objects: Mapping[Key, Object] = {}
        """What stands."""
        self._standing: dict[Key, Translated] = {}
        self.errors: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()

    def apply(self, change: Change) -> None:
        """Take a change of the folder."""
        self._trouble = change.trouble
        if change.trouble:
            self._settle()
            return
        for path in change.removed:
            self._files.pop(path, None)
        for path, content in change.changed.items():
            if isinstance(content, Unreadable):
                self._files[path] = _File({}, (content.why,), (), is_whole=False)
            else:
                self._files[path] = self._read(content)
        self._settle()

    def _read(self, content: bytes) -> _File:
        entries: dict[Key, _Entry] = {}
        problems: list[str] = []
        warnings: list[str] = []
        is_whole = True
        for document in documents(content):
            match document:
                case BadDocument(line, why):
                    is_whole = False
                    problems.append(f"line {line}: {why}")
                case Document(line, body):
                    try:
                        key = key_of(body)
                    except ConfigError as error:
                        is_whole = False
                        problems.append(f"line {line}: {error}")
                        continue
                    if key is None:
                        warnings.append(
                            f"line {line}: {body['kind']} of {body['apiVersion']} is a kind that has no effect here"
                        )
                    elif key in entries:
                        first = entries[key].line
                        entries[key] = _Entry(
                            None,
                            first,
                            (f"is in this file twice, at lines {first} and {line}; remove one of them",),
                        )
                    else:
                        entries[key] = self._entry(line, body)
        return _File(entries, tuple(problems), tuple(warnings), is_whole)

    def _entry(self, line: int, body: Mapping[str, object]) -> _Entry:
        try:
            return _Entry(translate(body, self._root_namespaces), line)
        except Untranslatable as error:
            return _Entry(None, line, tuple(map(str, error.problems)))

    def _settle(self) -> None:
        """Who owns each object, and what it is."""
        errors = [self._trouble] if self._trouble else []
        warnings: list[str] = []
        owners: dict[Key, str] = {}
        standing: dict[Key, Translated] = {}
        claims: dict[Key, list[str]] = {}
        for path in sorted(self._files):
            file = self._files[path]
            errors += [f"{path}: {problem}" for problem in file.problems]
            warnings += [f"{path}: {warning}" for warning in file.warnings]
            for key in file.entries:
                claims.setdefault(key, []).append(path)
        for key, paths in claims.items():
            had = self._owners.get(key)
            owner = owners[key] = had if had in paths else paths[0]
            for path in paths:
                entry = self._files[path].entries[key]
                if path != owner:
                    errors.append(f"{path}: {key}: is in {owner} as well, which counts; remove one of them")
                    continue
                translated = entry.translated or self._standing.get(key)
                if translated is not None:
                    standing[key] = translated
                stands = "; its last good version stands" if translated and entry.problems else ""
                errors += [f"{path}: {key}: {problem}{stands}" for problem in entry.problems]
                if entry.translated is not None:
                    warnings += [f"{path}: {key}: {warning}" for warning in entry.translated.warnings]
        for key, path in self._owners.items():
            file_now = self._files.get(path)
            if key not in claims and file_now is not None and not file_now.is_whole and key in self._standing:
                owners[key] = path
                standing[key] = self._standing[key]
        self._owners, self._standing = owners, standing
        self.objects = {key: translated.object for key, translated in standing.items()}
        self.errors, self.warnings = tuple(errors), tuple(warnings)
