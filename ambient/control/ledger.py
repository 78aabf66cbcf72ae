"""What the authority has done, in the control plane's database: certificates that live, and who has seen which roots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ambient.core.errors import ConfigError
from ambient.core.pki.succession import Retiring, Spreading, State, Steady

if TYPE_CHECKING:
    from ambient.control.store import Store

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS certificate (
    serial TEXT PRIMARY KEY, identity TEXT NOT NULL, node TEXT NOT NULL, authority TEXT NOT NULL, issuer TEXT NOT NULL,
    ends INTEGER NOT NULL, revoked INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS certificate_ends ON certificate (ends);
CREATE INDEX IF NOT EXISTS certificate_revoked ON certificate (ends) WHERE revoked IS NOT NULL;
CREATE TABLE IF NOT EXISTS trusting (node TEXT PRIMARY KEY, ends INTEGER NOT NULL, seen TEXT NOT NULL) STRICT;
"""
_SUCCESSION: Final = "succession"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that the authority has signed."""

    serial: str
    """In hexadecimal, as is ``issuer``."""
    identity: str
    node: str
    authority: str
    """The name of the authority under whose root it is."""
    issuer: str
    """The serial number of its issuer's certificate."""
    not_after: datetime
    revoked: datetime | None = None


class Ledger:
    """The sole writer of these tables."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.database.executescript(_SCHEMA)

    def state(self) -> State | None:
        """How the authorities follow each other; None: there is none yet."""
        row = self._store.database.execute(
            "SELECT value FROM setting WHERE name = ?", (_SUCCESSION,)
        ).fetchone()
        match None if row is None else json.loads(row[0]):
            case None:
                return None
            case {"signing": str(signing), "coming": str(coming)}:
                return Spreading(signing, coming)
            case {"signing": str(signing), "leaving": str(leaving), "until": int(until)}:
                return Retiring(signing, leaving, _moment(until))
            case {"signing": str(signing)}:
                return Steady(signing)
            case _:
                raise ConfigError("control.db does not say which authority signs: restore it from a backup")

    def set_state(self, state: State) -> None:
        """Keep it. Raises Busy if that cannot be."""
        match state:
            case Steady(signing):
                fields: dict[str, object] = {"signing": signing}
            case Spreading(signing, coming):
                fields = {"signing": signing, "coming": coming}
            case Retiring(signing, leaving, until):
                fields = {"signing": signing, "leaving": leaving, "until": _seconds(until)}
        with self._store.writing() as database:
            database.execute(
                "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_SUCCESSION, json.dumps(fields)),
            )

    def issued(self, certificate: Issued, now: datetime, *, is_nodes_own: bool) -> None:
        """Note a certificate; what has ended is dropped. Raises Busy if that cannot be.

        Ten thousand workloads may ask at once, and a disk takes its time: the last notes before a power failure may be
        lost. No step of a rotation counts on them (a leaf of the old root is waited for as long as any could live).
        """
        one = certificate
        with self._store.hastily(), self._store.writing() as database:
            database.execute("DELETE FROM certificate WHERE ends < ?", (_seconds(now),))
            database.execute(
                "INSERT INTO certificate VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (one.serial, one.identity, one.node, one.authority, one.issuer, _seconds(one.not_after)),
            )
            if is_nodes_own:
                database.execute(
                    "INSERT INTO trusting VALUES (?, ?, '') "
                    "ON CONFLICT (node) DO UPDATE SET ends = max(ends, excluded.ends)",
                    (one.node, _seconds(one.not_after)),
                )

    def certificates(self, now: datetime) -> tuple[Issued, ...]:
        """All that have not ended, by identity and end."""
        return tuple(self._select("", now))

    def revoked(self, now: datetime) -> tuple[Issued, ...]:
        """Those of them that are revoked."""
        return tuple(self._select("AND revoked IS NOT NULL", now))

    def revoke(self, name: str, now: datetime) -> tuple[Issued, ...]:
        """Mark the certificates of a serial number or an identity; those that were not yet. Raises Busy."""
        found = tuple(
            one
            for one in self.certificates(now)
            if name in {one.serial, one.identity} and one.revoked is None
        )
        with self._store.writing() as database:
            database.executemany(
                "UPDATE certificate SET revoked = ? WHERE serial = ?",
                [(_seconds(now), one.serial) for one in found],
            )
        return tuple(replace(one, revoked=now) for one in found)

    def last_end(self, authority: str) -> datetime | None:
        """When the last certificate under the root of ``authority`` ends."""
        (ends,) = self._store.database.execute(
            "SELECT max(ends) FROM certificate WHERE authority = ?", (authority,)
        ).fetchone()
        return None if ends is None else _moment(ends)

    def saw(self, node: str, version: str, ends: datetime) -> bool:
        """A node trusts this version of the roots; whether that is news. Raises Busy.

        ``ends``: when its certificate does at the latest, if it is not known.
        """
        with self._store.writing() as database:
            changed = database.execute(
                "INSERT INTO trusting VALUES (?, ?, ?) "
                "ON CONFLICT (node) DO UPDATE SET seen = excluded.seen WHERE seen != excluded.seen",
                (node, _seconds(ends), version),
            )
        return changed.rowcount > 0

    def unaware(self, version: str, now: datetime) -> frozenset[str]:
        """Nodes with a certificate that has not ended which are not known to trust this version of the roots."""
        rows = self._store.database.execute(
            "SELECT node FROM trusting WHERE ends > ? AND seen != ?", (_seconds(now), version)
        )
        return frozenset(node for (node,) in rows)

    def node_ends(self, now: datetime) -> dict[str, datetime]:
        """When the certificate of each node ends that has one."""
        rows = self._store.database.execute(
            "SELECT node, ends FROM trusting WHERE ends > ?", (_seconds(now),)
        )
        return {node: _moment(ends) for node, ends in rows}

    def forget_node(self, node: str) -> None:
        """A node is gone for good: nobody waits for it. Raises Busy."""
        with self._store.writing() as database:
            database.execute("DELETE FROM trusting WHERE node = ?", (node,))

    def _select(self, condition: str, now: datetime) -> Iterator[Issued]:
        columns = "serial, identity, node, authority, issuer, ends, revoked"
        for serial, identity, node, authority, issuer, ends, revoked in self._store.database.execute(
            f"SELECT {columns} FROM certificate WHERE ends > ? {condition} ORDER BY identity, ends",  # noqa: S608  # Words of ours.
            (_seconds(now),),
        ):
            yield Issued(
                serial,
                identity,
                node,
                authority,
                issuer,
                _moment(ends),
                None if revoked is None else _moment(revoked),
            )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
