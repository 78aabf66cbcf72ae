"""Updates of the mesh as a worker takes them in: piece by piece, and in force when whole.

A whole mesh is some hundred thousand objects that live on. The cyclic collector would look at all of them again and
again, while connections wait for their bytes: it rests while they come, and never sees those of the first mesh after.
(They are in no cycles; counting references frees them.) Of later updates it sees all: connections live by then, and what
it is told to pass over it passes over for ever, also when it has become garbage.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from ambient.core import delta
from ambient.rpc import wire

if TYPE_CHECKING:
    from ambient.core.snapshot import Snapshot


class Incoming:
    """What has come of an update that is not whole yet."""

    def __init__(self) -> None:
        self._ahead: Snapshot | None = None
        self._is_first = True

    def take(self, snapshot: Snapshot, payload: bytes, *, more: bool) -> Snapshot | None:
        """The next snapshot after ``snapshot``; None: there is more to come of it."""
        if more:
            gc.disable()
        change, _ = wire.decode(wire.parse(payload))
        ahead = delta.apply(self._ahead or snapshot, change)
        if more:
            self._ahead = ahead
            return None
        self.forget()
        return ahead

    def forget(self) -> None:
        """Nothing more of it will come."""
        self._ahead = None
        if not gc.isenabled():
            if self._is_first:
                gc.freeze()
            self._is_first = False
            gc.enable()
