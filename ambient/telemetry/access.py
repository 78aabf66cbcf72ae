"""The access log: one line when a connection opens (debug) and one when it ends; one line for each request.

Names of messages and fields are Istio's: ``connection opened``, ``connection complete`` (an error line if it failed
after it was let in), ``connection failed`` (a warning: it never was). Requests have ``request complete``, ``request
failed`` (it was passed on) and ``request refused`` (it was not).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ambient.core.observation import ResponseFlag
from ambient.telemetry.line import Format, Level, Value, joined, render
from ambient.telemetry.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ambient.core.observation import Observation


class AccessLog:
    """Writes lines about connections to ``fd``, from ``level`` on."""

    def __init__(self, fd: int, style: Format = Format.TEXT, level: Level = Level.INFO) -> None:
        self._sink, self._style, self._level = Sink(fd), style, level

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._sink.lost

    def set_level(self, level: Level) -> None:
        """From which level on lines are written."""
        self._level = level

    def opened(self, observation: Observation, policy: str | None = None) -> None:
        """It was let in (inbound) or reached (outbound); ``policy`` allowed it."""
        if self._level <= Level.DEBUG:
            self._write(Level.DEBUG, "connection opened", _fields(observation, policy))

    def complete(
        self,
        observation: Observation,
        sent: int,
        received: int,
        duration_seconds: float,
        error: str | None = None,
        flag: ResponseFlag = ResponseFlag.NONE,
        policy: str | None = None,
    ) -> None:
        """It has ended; ``error`` says how if not well. Bytes are as in ``metrics.Counts``."""
        level = Level.INFO if error is None else Level.ERROR
        if self._level <= level:
            fields = _fields(observation, policy)
            fields.update(_end(sent, received, duration_seconds, error, flag))
            self._write(level, "connection complete", fields)

    def failed(
        self,
        observation: Observation,
        duration_seconds: float,
        error: str,
        flag: ResponseFlag,
        policy: str | None = None,
    ) -> None:
        """It was never carried; ``policy`` denied it."""
        if self._level <= Level.WARNING:
            fields = _fields(observation, policy) | _end(0, 0, duration_seconds, error, flag)
            self._write(Level.WARNING, "connection failed", fields)

    def is_enabled(self, level: Level) -> bool:
        """Ask before making fields."""
        return self._level <= level

    @property
    def style(self) -> Format:
        """How lines are written."""
        return self._style

    def write(self, level: Level, event: str, parts: Iterable[str]) -> None:
        """Write a line of parts that ``line.part`` has made in this log's style, from its level on."""
        if self._level <= level:
            self._sink.write(joined(self._style, datetime.now(UTC), level, event, parts))

    def _write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        self._sink.write(render(self._style, datetime.now(UTC), level, event, fields))


def _fields(observation: Observation, policy: str | None) -> dict[str, Value]:
    fields: dict[str, Value] = {"scope": "access"}
    fields.update(observation.access_fields())
    if policy is not None:
        fields["policy"] = policy
    return fields


def _end(
    sent: int, received: int, duration_seconds: float, error: str | None, flag: ResponseFlag
) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "bytes_sent": sent,
        "bytes_recv": received,
        "duration": f"{duration_seconds * 1000:.0f}ms",
    }
    if flag is not ResponseFlag.NONE:
        fields["response_flags"] = flag
    if error is not None:
        fields["error"] = error
    return fields
