"""How much a peer may ask of an HTTP/2 connection that serves nothing.

A frame costs its sender nine bytes, and us an answer, a search or a reset. No clock is needed to tell a flood from
what honest peers send: they move bodies and messages with it. So each frame but DATA costs one, an empty DATA frame
too, whatever moves a message earns some back, and whoever has spent ``MOST_IDLE`` more than it has earned is sent away.
An honest peer that pings an idle connection every five minutes may do so for a month.

Resets are counted apart, for a request that is withdrawn has cost us far more than a frame (CVE-2023-44487), and one
that we were made to reset ourselves has too (CVE-2025-8671). An exchange that ends in order earns one back.
"""

from __future__ import annotations

from typing import Final

from ambient.core import frames

MOST_IDLE: Final = 10_000
"""Frames that serve nothing. Source: 20 ms of our time, and a thousand times what libraries send of themselves."""
_REFUSED: Final = 10
"""What a request costs that we refuse unheard, in frames."""


class Patience:
    """Follows the frames of one direction, in bytes that may be cut anywhere, and keeps both accounts."""

    __slots__ = (
        "_header",
        "_idle",
        "_in_block",
        "_inside",
        "_most_resets",
        "_resets",
        "_untouched",
        "heads",
        "is_flooded",
        "is_provoked",
        "passed",
    )

    def __init__(self, preface: int, most_resets: int) -> None:
        self._inside = preface
        """Bytes of a frame, or of the preface, that are still to come."""
        self._untouched = True
        """Nothing has come yet."""
        self._header = b""
        self._in_block = False
        """Between HEADERS and the CONTINUATION that ends them."""
        self._most_resets = most_resets
        self._resets = 0
        self._idle = 0
        """Frames that were spent, less those that were earned."""
        self.is_flooded = False
        """Too many frames were of no use."""
        self.is_provoked = False
        """Too many requests were withdrawn, or broke HTTP."""
        self.passed = 0
        """Frames so far."""
        self.heads = 0
        """HEADERS frames so far."""

    def step(self, view: memoryview, at: int) -> int:
        """How far the frame reaches that ``at`` is in, or that begins there. If it ``is_flooded`` then, leave it alone."""
        end = len(view)
        if not self._inside:
            if self._header or end - at < frames.HEADER:
                missing = frames.HEADER - len(self._header)
                self._header += view[at : at + missing]
                at = min(end, at + missing)
                if len(self._header) < frames.HEADER:
                    return at
                frame = frames.frame_at(self._header, 0)
                self._header = b""
            else:
                frame = frames.frame_at(view, at)
                at += frames.HEADER
            self._account(frame)
        upto = min(end, at + self._inside)
        self._inside -= upto - at
        self._untouched = False
        return upto

    def _account(self, frame: frames.Frame) -> None:
        self.passed += 1
        self._inside = frame.length
        if frame.kind == frames.DATA:
            self._idle += not (frame.length or frame.flags & frames.END_STREAM)
        else:
            self._idle += 1
            if frame.kind == frames.HEADERS:
                self.heads += 1
                self._in_block = not frame.flags & frames.END_HEADERS
            elif frame.kind == frames.CONTINUATION:
                self._in_block = not frame.flags & frames.END_HEADERS
        self.is_flooded = self.is_flooded or self._idle > MOST_IDLE

    @property
    def is_inside(self) -> bool:
        """Whether a frame, or a head of several, has begun and not ended."""
        return bool(self._header or self._in_block or (self._inside and not self._untouched))

    @property
    def is_spent(self) -> bool:
        """Whether it has had enough, once and for all."""
        return self.is_flooded or self.is_provoked

    def refuse(self) -> None:
        """A request was refused unheard."""
        self._idle += _REFUSED

    def earn(self, useful: int) -> None:
        """Something was of use, and worth so many frames."""
        self._idle = max(0, self._idle - useful)

    def provoke(self) -> None:
        """A request was withdrawn before it was answered, or broke HTTP."""
        self._resets += 1
        self.is_provoked = self._resets > self._most_resets

    def went_well(self) -> None:
        """An exchange ended in order."""
        if self._resets:
            self._resets -= 1
