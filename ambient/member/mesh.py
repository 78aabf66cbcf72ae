"""The mesh as a program's parent holds it: applied, passed to the workers, deposited where there is a daemon, kept on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from ambient.core import delta
from ambient.core.delta import Resource
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.member import files, messages
from ambient.rpc import trust, wire
from ambient.rpc.encoding import encode_resource
from ambient.rpc.holdings import Holdings
from ambient.rpc.wire import RawResource, Update
from ambient.telemetry import log

DEPOSIT: Final = "snapshot"
_SAVE_SECONDS: Final = 0.5
"""Changes that come in quick succession are kept together."""
_SAVE_SHARE: Final = 20
"""At least so many times as long as it takes: a large mesh that always changes is written out less often."""
_CHUNK: Final = 16 * 1024
"""Bytes of resources in one packet to a worker: it reads them at a stretch, in some milliseconds."""

Believe: TypeAlias = Callable[[Sequence[RawResource], bool], Mapping[str, str]]
"""Takes whom to trust, and whether that is the control plane's word of now; by name, why something could not be."""


class Mesh:
    """The sole owner of the parent's snapshot."""

    def __init__(
        self,
        file: Path,
        tell: Callable[[messages.Message, bytes], None],
        deposit: Callable[[bytes], Awaitable[None]],
        changed: Callable[[Snapshot, Snapshot], None],
        believe: Believe,
    ) -> None:
        self._file, self._tell, self._deposit, self._changed = file, tell, deposit, changed
        self._believe = believe
        self.held = Holdings()
        """Every resource, as it came; only read by others."""
        self._unsaved = asyncio.Event()
        self.snapshot: Snapshot = EMPTY

    @property
    def nouns(self) -> Update:
        """What workers decide by, whole."""
        return _apart(Update(tuple(self.held)))[0]

    def restore(self, content: bytes) -> None:
        """Begin with what an earlier parent held. Raises PeerError if it is not that."""
        self._take(wire.parse(content), fresh=False)

    def restore_from_disk(self) -> None:
        """Begin with the last snapshot on disk, if there is one that can be read."""
        try:
            self.restore(self._file.read_bytes())
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001  # A damaged file must not keep a node from starting.
            log.warning("snapshot on disk cannot be used", file=str(self._file), why=str(error))
        else:
            log.info("snapshot restored from disk", resources=len(self.held))

    def deliver(self, update: Update) -> Mapping[str, str]:
        """Apply an update here and in the workers; by name, why a resource was refused."""
        return self._take(update, fresh=True)

    async def save_for_ever(self) -> None:
        """Deposit and write what changed, a little later."""
        rest = _SAVE_SECONDS
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(rest)
            self._unsaved.clear()
            began = time.monotonic()
            content = self.content()
            rest = max(_SAVE_SECONDS, _SAVE_SHARE * (time.monotonic() - began))
            await self._deposit(content)
            try:
                await asyncio.to_thread(files.replace, self._file, content)
            except OSError as error:
                log.warning("snapshot cannot be kept on disk", file=str(self._file), why=str(error))

    def content(self) -> bytes:
        """The whole state, as ``restore`` takes it."""
        return wire.encode(Update(tuple(self.held)))

    def _take(self, update: Update, *, fresh: bool) -> Mapping[str, str]:
        nouns, believed = _apart(update)
        change, errors = wire.decode(nouns)
        errors |= self._believe(believed, fresh)
        shut = tuple(self._shut(nouns, errors))
        change = replace(change, upserted=change.upserted + shut)
        good = wire.accepted(nouns, errors)
        kept = wire.accepted(update, errors)
        in_place = tuple(map(encode_resource, shut))
        self.held.apply(kept)
        self.held.apply(Update(in_place))
        before, self.snapshot = self.snapshot, delta.apply(self.snapshot, change)
        for message, payload in in_packets(replace(good, upserted=good.upserted + in_place)):
            self._tell(message, payload)
        self._unsaved.set()
        for name, why in errors.items():
            log.warning("resource refused", resource=name, why=why)
        self._changed(before, self.snapshot)
        return errors

    def _shut(self, nouns: Update, errors: Mapping[str, str]) -> Iterator[Resource]:
        """What stands for policies that were refused while no earlier ones stand."""
        for raw in nouns.upserted:
            if raw.name not in errors or (raw.type_url, raw.name) in self.held:
                continue
            if (shut := wire.shut(raw)) is not None:
                yield shut


def _apart(update: Update) -> tuple[Update, tuple[RawResource, ...]]:
    """What workers decide by, and whom to trust."""
    believed = tuple(raw for raw in update.upserted if raw.type_url in trust.TYPES)
    return Update(
        tuple(raw for raw in update.upserted if raw.type_url not in trust.TYPES),
        tuple(name for name in update.removed if name[0] not in trust.TYPES),
    ), believed


def in_packets(update: Update) -> Iterator[tuple[messages.MeshChanged, bytes]]:
    """An update in pieces that fit a packet; the last says so."""
    pieces: list[Update] = []
    piece: list[RawResource] = []
    size = 0
    for raw in update.upserted:
        if piece and size + len(raw.body) > _CHUNK:
            pieces.append(Update(tuple(piece)))
            piece, size = [], 0
        piece.append(raw)
        size += len(raw.body) + len(raw.name) + len(raw.type_url) + 64
    pieces.append(Update(tuple(piece)))
    removed = list(update.removed)
    # Removal comes first: names that are removed and added anew in one update must end up added.
    heads = [Update((), tuple(removed[i : i + 500])) for i in range(0, len(removed), 500)]
    pieces = heads + pieces
    for i, one in enumerate(pieces):
        yield messages.MeshChanged(more=i + 1 < len(pieces)), wire.encode(one)
