"""What a control plane must not forget: the tokens it gave out, what nodes reported.

One sqlite database in its state folder, beside the authorities' files.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self

from immutables import Map

from ambient.control import object_store
from ambient.control.object_store import ObjectStore
from ambient.core.errors import ConfigError
from ambient.rpc.errors import Busy
from ambient.rpc.registration import LocalWorkload

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS token (
    hash BLOB PRIMARY KEY, node TEXT NOT NULL, expires INTEGER NOT NULL, used_by BLOB, role TEXT NOT NULL DEFAULT 'node'
) STRICT;
CREATE TABLE IF NOT EXISTS operator (name TEXT PRIMARY KEY, role TEXT NOT NULL, since INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS registration (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, uid TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (node, uid)
) STRICT;
CREATE TABLE IF NOT EXISTS lease (uid TEXT PRIMARY KEY, seconds INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is kept of a token."""

    digest: bytes
    name: str
    role: str
    expires: datetime
    used_by: bytes | None
    """The key that has used it up."""


class Store:
    """The state folder of one control plane, which it alone uses while this is open."""

    def __init__(self, folder: Path, lock: int, database: sqlite3.Connection) -> None:
        self.folder = folder
        self.database = database
        """For reading; what is written goes through ``writing``."""
        self.objects = ObjectStore(database, self.writing)
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, trust_domain: str) -> Self:
        """Make the folder or take up what is in it. Raises ConfigError if it cannot be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"--state-dir {folder} cannot be used: {error.strerror}; run as root, or name another folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ConfigError(
                f"--state-dir {folder} is in use by another control plane: stop it, or name another folder"
            ) from error
        try:
            database = _open_database(folder / "control.db")
            _check_trust_domain(database, trust_domain, folder)
            return cls(folder, lock, database)
        except sqlite3.Error as error:
            os.close(lock)
            raise ConfigError(
                f"{folder / 'control.db'} cannot be used: {error}; restore it from a backup"
            ) from error
        except ConfigError:
            os.close(lock)
            raise

    @staticmethod
    def trust_domain_of(folder: Path) -> str:
        """Whose folder it is. Raises ConfigError if no control plane has used it."""
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{folder / 'control.db'}?mode=ro", uri=True)
            ) as database:
                (kept,) = database.execute("SELECT value FROM setting WHERE name = 'trust_domain'").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise ConfigError(
                f"--state-dir {folder} is not the folder of a control plane: {error}"
            ) from error
        return str(kept)

    def close(self) -> None:
        """Let another control plane use the folder."""
        self.database.close()
        os.close(self._lock)

    def add_token(self, digest: bytes, name: str, role: str, expires: datetime, now: datetime) -> None:
        """Keep a token's hash; those that are long expired are dropped. Raises Busy if that cannot be."""
        with self.writing() as database:
            database.execute("DELETE FROM token WHERE expires < ?", (_seconds(now) - 86400,))
            database.execute(
                "INSERT INTO token (hash, node, expires, role) VALUES (?, ?, ?, ?)",
                (digest, name, _seconds(expires), role),
            )

    def token(self, digest: bytes) -> KeptToken | None:
        """What is known of a token."""
        return next((one for one in self.tokens() if one.digest == digest), None)

    def tokens(self) -> Iterator[KeptToken]:
        """Every token, by what it is for."""
        for digest, name, role, expires, used_by in self.database.execute(
            "SELECT hash, node, role, expires, used_by FROM token ORDER BY node, expires"
        ).fetchall():
            yield KeptToken(digest, name, role, datetime.fromtimestamp(expires, UTC), used_by)

    def remove_token(self, digest: bytes) -> None:
        """Forget a token. Raises Busy if that cannot be kept."""
        with self.writing() as database:
            database.execute("DELETE FROM token WHERE hash = ?", (digest,))

    def use_token(self, token: KeptToken, key: bytes, now: datetime) -> None:
        """A token is used up by a key; an operator's makes it one, with the token's role. Raises Busy."""
        with self.writing() as database:
            database.execute("UPDATE token SET used_by = ? WHERE hash = ?", (key, token.digest))
            if token.role != "node":
                database.execute(
                    "INSERT INTO operator VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET role = excluded.role",
                    (token.name, token.role, _seconds(now)),
                )

    def operators(self) -> Iterator[tuple[str, str, datetime]]:
        """Each operator's name and role, and since when it is one."""
        rows = self.database.execute("SELECT name, role, since FROM operator ORDER BY name").fetchall()
        for name, role, since in rows:
            yield name, role, datetime.fromtimestamp(since, UTC)

    def operator_role(self, name: str) -> str | None:
        """What an operator may do; None: there is none of that name."""
        row = self.database.execute("SELECT role FROM operator WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remove_operator(self, name: str) -> bool:
        """Forget an operator, and the tokens that would make it one again; whether there was one. Raises Busy."""
        with self.writing() as database:
            database.execute("DELETE FROM token WHERE node = ? AND role != 'node'", (name,))
            return database.execute("DELETE FROM operator WHERE name = ?", (name,)).rowcount > 0

    def registrations(self) -> Iterator[tuple[str, LocalWorkload]]:
        """What nodes have reported, in the order of their first report."""
        for node, body in self.database.execute("SELECT node, body FROM registration ORDER BY sequence"):
            yield node, _workload(json.loads(body))

    def leases(self) -> dict[str, int]:
        """Which of them must be renewed, by uid, and after how many seconds."""
        return dict(self.database.execute("SELECT uid, seconds FROM lease"))

    def save_registrations(
        self,
        node: str,
        upserted: tuple[LocalWorkload, ...],
        gone: tuple[str, ...],
        leases: Mapping[str, int] | None = None,
    ) -> None:
        """Keep what a node has reported; ``leases``: in seconds, by uid, 0: none. Raises Busy if that cannot be."""
        ended = [*gone, *(leases or {})]
        with self.writing() as database:
            database.executemany("DELETE FROM lease WHERE uid = ?", [(uid,) for uid in ended])
            database.executemany(
                "INSERT INTO lease VALUES (?, ?)",
                [(uid, seconds) for uid, seconds in (leases or {}).items() if seconds],
            )
            database.executemany(
                "DELETE FROM registration WHERE node = ? AND uid = ?", [(node, uid) for uid in gone]
            )
            database.executemany(
                "INSERT INTO registration (node, uid, body) VALUES (?, ?, ?) "
                "ON CONFLICT (node, uid) DO UPDATE SET body = excluded.body",
                [(node, workload.uid, _body(workload)) for workload in upserted],
            )

    @contextlib.contextmanager
    def hastily(self) -> Iterator[None]:
        """What is written inside survives this process and not the machine's power: fifty times as fast."""
        self.database.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self.database.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing. Raises Busy for a disk that is full, say."""
        try:
            with self.database as database:
                yield database
        except sqlite3.OperationalError as error:
            raise Busy(
                f"{self.folder / 'control.db'} cannot be written to: {error}; make room there"
            ) from error


def _open_database(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(_SCHEMA + object_store.SCHEMA)
    columns = {name for _, name, *_ in database.execute("PRAGMA table_info(token)")}
    if "role" not in columns:  # Of a control plane that knew only nodes.
        database.execute("ALTER TABLE token ADD COLUMN role TEXT NOT NULL DEFAULT 'node'")
    return database


def _check_trust_domain(database: sqlite3.Connection, trust_domain: str, folder: Path) -> None:
    with database:
        database.execute("INSERT OR IGNORE INTO setting VALUES ('trust_domain', ?)", (trust_domain,))
    (kept,) = database.execute("SELECT value FROM setting WHERE name = 'trust_domain'").fetchone()
    if kept != trust_domain:
        raise ConfigError(
            f"--trust-domain is {trust_domain}, and {folder} is of {kept}: give that, or another --state-dir"
        )


def _body(workload: LocalWorkload) -> str:
    return json.dumps(
        {
            "uid": workload.uid,
            "name": workload.name,
            "namespace": workload.namespace,
            "service_account": workload.service_account,
            "addresses": [str(ip) for ip in workload.addresses],
            "labels": dict(workload.labels),
            "captured": workload.captured,
            "healthy": workload.healthy,
        }
    )


def _workload(body: dict[str, object]) -> LocalWorkload:
    match body:
        case {
            "uid": str(uid),
            "name": str(name),
            "namespace": str(namespace),
            "service_account": str(account),
            "addresses": list(addresses),
            "labels": dict(labels),
            "captured": bool(captured),
        }:
            ips = tuple(ip_address(ip) for ip in addresses)
            healthy = body.get("healthy") is not False  # Left out by those who kept it before there was any.
            return LocalWorkload(uid, name, namespace, account, ips, Map(labels), captured, healthy)
        case _:
            raise ConfigError("control.db holds a registration that cannot be read: remove the file")


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
