"""The programs' own log: an event name and fields, one line on standard error.

``log.info("certificate renewed", identity=identity, not_after=not_after)``. Never bytes of traffic, tokens or keys.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ambient.telemetry.line import Format, Level, Value, render
from ambient.telemetry.sink import Sink

STDERR = 2


class Log:
    """Where lines go, and from which level on."""

    def __init__(self, fd: int = STDERR, style: Format = Format.TEXT, level: Level = Level.INFO) -> None:
        self._sink, self._style, self._level = Sink(fd), style, level

    def configure(self, style: Format | None = None, level: Level | None = None) -> None:
        """Change how or from which level on; None leaves it."""
        self._style = style or self._style
        self._level = level or self._level

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._sink.lost

    @property
    def level(self) -> Level:
        """The lowest level that is written."""
        return self._level

    def is_enabled(self, level: Level) -> bool:
        """Ask before computing costly fields."""
        return level >= self._level

    def debug(self, event: str, /, **fields: Value) -> None:
        """Note something about one connection."""
        if self._level <= Level.DEBUG:
            self._write(Level.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Value) -> None:
        """Note a change of the world."""
        if self._level <= Level.INFO:
            self._write(Level.INFO, event, fields)

    def warning(self, event: str, /, **fields: Value) -> None:
        """Note what someone should look at tomorrow."""
        if self._level <= Level.WARNING:
            self._write(Level.WARNING, event, fields)

    def error(self, event: str, /, **fields: Value) -> None:
        """Note what someone must wake for."""
        self._write(Level.ERROR, event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        self._sink.write(render(self._style, datetime.now(UTC), level, event, fields))


root = Log()
"""The log of this process."""

configure = root.configure
is_enabled = root.is_enabled
debug = root.debug
info = root.info
warning = root.warning
error = root.error
