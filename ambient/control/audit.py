"""Who was given what, and who was refused: lines that are only ever appended.

Each is one JSON object in the state folder's ``audit.log``, and one line of the ordinary log. The file is opened for
each line, so that it can be moved away at any time (logrotate) and the next line begins another.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from ambient.telemetry import log
from ambient.telemetry.line import Format, Level, Value, render
from ambient.telemetry.sink import Sink

FILE: Final = "audit.log"
"""In the control plane's state folder."""
MOST_SPARING: Final = 60
"""Lines a minute that strangers can cause."""


class Audit:
    """The audit log of one control plane."""

    def __init__(self, file: Path, clock: Callable[[], datetime]) -> None:
        self._file, self._clock = file, clock
        self.lost = 0
        """Lines that could not be written to the file; the ordinary log has them."""
        self._minute = self._noted = self._left_out = 0

    def record(self, event: str, /, **fields: Value) -> None:
        """Note ``event``. A line that cannot be written is said and counted, and stops nobody: a full disk must not
        end the mesh's certificates.
        """
        log.info(event, **fields)
        line = render(Format.JSON, self._clock(), Level.INFO, event, fields)
        try:
            file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._lose(error.strerror)
            return
        try:
            sink = Sink(file)
            sink.write(line)
        finally:
            os.close(file)
        if sink.lost:
            self._lose("the line is cut short or missing: is the disk full?")

    def record_sparingly(self, event: str, /, **fields: Value) -> None:
        """Note what any stranger can cause: so many lines a minute, of which the next says how many were left out."""
        minute = int(self._clock().timestamp()) // 60
        if minute != self._minute:
            self._minute, self._noted = minute, 0
        self._noted += 1
        if self._noted > MOST_SPARING:
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        self.record(event, **fields, **({"left_out_before": left_out} if left_out else {}))

    def _lose(self, why: str | None) -> None:
        self.lost += 1
        log.error("audit line not kept", file=str(self._file), why=why)
