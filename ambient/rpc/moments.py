"""Points in time as they travel."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def moment_message(moment: datetime | None) -> Timestamp | None:
    """None is left out of its message."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def read_moment(message: Timestamp) -> datetime:
    """The way back."""
    return message.ToDatetime(tzinfo=UTC)
