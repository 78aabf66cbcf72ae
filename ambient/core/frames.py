"""HTTP/2 frames told apart in a stream of bytes that may be cut anywhere (RFC 9113, section 4.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | memoryview

DATA: Final = 0x0
HEADERS: Final = 0x1
SETTINGS: Final = 0x4
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HEADER: Final = 9
"""Bytes before the payload of each frame."""
PREFACE: Final = 24
"""Bytes that a client says before its first frame."""
_LAYOUT: Final = struct.Struct(">IBI")
"""24 bits of length and the type in one word, flags, stream."""
_UPDATE: Final = struct.Struct(">IBII")
_GOAWAY: Final = struct.Struct(">IBIII")


class Frame(NamedTuple):
    """The header of one frame. ``length`` counts the bytes of its payload."""

    length: int
    kind: int
    flags: int
    stream: int


class Piece(NamedTuple):
    """Some of a frame's payload, in order. ``first`` and ``last`` may both be true, and the payload empty."""

    frame: Frame
    payload: memoryview
    first: bool
    last: bool


class Frames:
    """Cuts one direction of a connection into pieces of frames, none of which is copied or waited for."""

    def __init__(self) -> None:
        self._header = b""
        self._frame = Frame(0, 0, 0, 0)
        self._left = 0
        self.at = 0
        """How far into the view the last piece reached: the rest may be fed later, if no more pieces are taken."""

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._left or self._header)

    def feed(self, view: memoryview) -> Iterator[Piece]:
        """The pieces in ``view``, which they are slices of. All that is not fed again must be taken before the next call."""
        at, end = 0, len(view)
        while at < end:
            first = not self._left
            if first:
                if self._header or end - at < HEADER:
                    missing = HEADER - len(self._header)
                    self._header += view[at : at + missing]
                    at += missing
                    if len(self._header) < HEADER:
                        self.at = end
                        return
                    self._frame = frame_at(self._header, 0)
                    self._header = b""
                else:
                    self._frame = frame_at(view, at)
                    at += HEADER
                self._left = self._frame.length
                self.at = at
                if at >= end and self._left:
                    yield Piece(self._frame, view[:0], first=True, last=False)
                    return
            payload = view[at : at + self._left]
            at += len(payload)
            self._left -= len(payload)
            self.at = at
            yield Piece(self._frame, payload, first, not self._left)


def frame_at(view: Buffer, at: int) -> Frame:
    """The header that begins at ``at``, all of which is in ``view``."""
    word, flags, stream = _LAYOUT.unpack_from(view, at)
    return Frame(word >> 8, word & 0xFF, flags, stream & 0x7FFF_FFFF)


def alone(view: memoryview) -> Frame | None:
    """The frame that ``view`` is, if it is one and nothing else."""
    if len(view) < HEADER:
        return None
    frame = frame_at(view, 0)
    return frame if HEADER + frame.length == len(view) else None


def header(frame: Frame) -> bytes:
    """A frame's first nine bytes."""
    return _LAYOUT.pack(frame.length << 8 | frame.kind, frame.flags, frame.stream)


def data_header(length: int, stream: int) -> bytes:
    """What stands before ``length`` bytes of DATA."""
    return _LAYOUT.pack(length << 8, 0, stream)


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return _UPDATE.pack(4 << 8 | WINDOW_UPDATE, 0, stream, increment)


def goaway(last_stream: int, code: int) -> bytes:
    """A GOAWAY frame."""
    return _GOAWAY.pack(8 << 8 | GOAWAY, 0, 0, last_stream, code)
