"""The objects that stand, on disk: one row each, and a row for each of the last that went.

A revision's rows are written in one transaction, which is on the disk when the call returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ambient.control.catalog import Kept, Place
from ambient.control.objects import Key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from ambient.control.catalog import Plan

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS object (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, file TEXT NOT NULL,
    origin TEXT NOT NULL, document TEXT NOT NULL, revision INTEGER NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS gone (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS configuration (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, forgotten INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO configuration VALUES (1, 0, 0);
"""

MOST_GONE: Final = 10_000
"""Objects that went and are remembered, for watchers that come back."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ObjectStore:
    """Rows of a database that its owner has opened; ``writing`` begins a transaction."""

    def __init__(
        self,
        database: sqlite3.Connection,
        writing: Callable[[], AbstractContextManager[sqlite3.Connection]],
    ) -> None:
        self._database, self._writing = database, writing

    @property
    def revision(self) -> int:
        """The last that was kept."""
        (revision,) = self._database.execute("SELECT revision FROM configuration").fetchone()
        return int(revision)

    def objects(self) -> Iterator[Kept]:
        """Everything that stands."""
        for (
            kind,
            namespace,
            name,
            source,
            file,
            origin,
            document,
            revision,
            changed,
        ) in self._database.execute(
            "SELECT kind, namespace, name, source, file, origin, document, revision, changed FROM object"
        ):
            yield Kept(
                Key(kind, namespace, name),
                Place(source, file),
                origin,
                json.loads(document),
                revision,
                _EPOCH + timedelta(microseconds=changed),
            )

    def gone(self) -> tuple[Mapping[Key, int], int]:
        """What went and when, and the revision up to which that is forgotten."""
        rows = self._database.execute("SELECT kind, namespace, name, revision FROM gone ORDER BY revision")
        went = {Key(kind, namespace, name): int(revision) for kind, namespace, name, revision in rows}
        (forgotten,) = self._database.execute("SELECT forgotten FROM configuration").fetchone()
        return went, int(forgotten)

    def keep(self, plan: Plan) -> None:
        """Keep what changes. Raises Busy if that cannot be: then nothing of it is kept."""
        with self._writing() as database:
            database.executemany(
                "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *key,
                        *standing.place,
                        standing.origin,
                        json.dumps(standing.document),
                        standing.revision,
                        (standing.changed - _EPOCH) // timedelta(microseconds=1),
                    )
                    for key, standing in plan.put.items()
                ],
            )
            named = "WHERE kind = ? AND namespace = ? AND name = ?"
            database.executemany(f"DELETE FROM object {named}", plan.gone)  # noqa: S608
            database.executemany(f"DELETE FROM gone {named}", plan.put.keys())  # noqa: S608
            database.executemany(
                "INSERT OR REPLACE INTO gone VALUES (?, ?, ?, ?)",
                [(*key, plan.revision) for key in plan.gone],
            )
            database.execute("UPDATE configuration SET revision = ?", (plan.revision,))
            self._forget(database)

    def _forget(self, database: sqlite3.Connection) -> None:
        (count,) = database.execute("SELECT count(*) FROM gone").fetchone()
        if count <= MOST_GONE:
            return
        (forgotten,) = database.execute(
            "SELECT revision FROM gone ORDER BY revision LIMIT 1 OFFSET ?", (count - MOST_GONE // 2,)
        ).fetchone()
        database.execute("DELETE FROM gone WHERE revision <= ?", (forgotten,))
        database.execute("UPDATE configuration SET forgotten = ?", (forgotten,))


def as_json(document: Mapping[str, Any], revision: int) -> bytes:
    """An object as it is shown: as it was written, with its version."""
    metadata = {**document["metadata"], "resourceVersion": str(revision)}
    return json.dumps({**document, "metadata": metadata}).encode()
