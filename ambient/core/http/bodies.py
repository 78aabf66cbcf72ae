"""Bodies of HTTP/1.1: which bytes are one, and where it ends (RFC 9112, sections 6 and 7).

The pieces are slices of what was fed; what is in chunks, and is no ``bytes``, is copied once, to be searched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from ambient.core.frames import Buffer
from ambient.core.http import heads
from ambient.core.http.fields import Refusal
from ambient.core.http.machine import Limits
from ambient.core.http.message import Headers

MOST_CHUNKS: Final = 512
"""Chunks of one turn: about a millisecond."""
MOST_CHUNK_LINE: Final = 256
"""Bytes of the line before a chunk. Whoever writes one fills a fraction of that."""
MOST_EXTENSIONS: Final = 4 * 1024
"""Bytes of chunk extensions in one body: nobody has a use for any, and each byte of body might carry a line of them."""
MOST_TRAILERS: Final = 8 * 1024
"""Bytes of all trailers of a message."""
_MOST_DIGITS: Final = 15
_HEX: Final = b"0123456789abcdefABCDEF"
_PLAIN: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


class Body(ABC):
    """One body that is read."""

    __slots__ = ("fault", "is_tired", "trailers")

    def __init__(self) -> None:
        self.is_tired = False
        """It stopped for others to have their turn: feed it the rest later."""
        self.fault: Refusal | None = None
        """It is none."""
        self.trailers: Headers = ()

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether all of it has been fed."""

    @abstractmethod
    def feed(self, data: Buffer, at: int, pieces: list[Buffer]) -> int:
        """Add what there is of it in ``data``, from ``at`` on, to ``pieces``; where that stops. The rest is fed again."""


class Counted(Body):
    """A body whose length was said."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length

    @property
    def has_ended(self) -> bool:
        return not self._left

    def feed(self, data: Buffer, at: int, pieces: list[Buffer]) -> int:
        size = min(len(data) - at, self._left)
        if size:
            pieces.append(data if size == len(data) else memoryview(data)[at : at + size])
            self._left -= size
        return at + size


class Unbounded(Body):
    """A body that ends with its connection: nothing says how much is missing."""

    __slots__ = ()

    @property
    def has_ended(self) -> bool:
        return False

    def feed(self, data: Buffer, at: int, pieces: list[Buffer]) -> int:
        if at < len(data):
            pieces.append(memoryview(data)[at:] if at else data)
        return len(data)


class Chunked(Body):
    """A body in chunks."""

    __slots__ = ("_due", "_ended", "_extensions", "_left", "_limits", "_of_request", "_seen")

    _SIZE, _DATA, _DATA_END, _TRAILERS = range(4)

    def __init__(self, limits: Limits, *, of_request: bool) -> None:
        super().__init__()
        self._limits = limits
        self._of_request = of_request
        self._due = self._SIZE
        self._left = 0
        """Bytes of this chunk."""
        self._extensions = 0
        self._ended = False

    @property
    def has_ended(self) -> bool:
        return self._ended

    def feed(self, data: Buffer, at: int, pieces: list[Buffer]) -> int:
        data = data if isinstance(data, bytes) else bytes(data)
        view = memoryview(data)
        self.is_tired = False
        turn = MOST_CHUNKS
        while not (self._ended or self.fault):
            if self._due == self._DATA:
                size = min(len(data) - at, self._left)
                if size:
                    pieces.append(view[at : at + size])
                    self._left -= size
                    at += size
                if self._left:
                    return at
                self._due = self._DATA_END
            if self._due == self._DATA_END:
                if (data_end := data[at : at + 2]) in (b"", b"\r"):
                    return at
                if data_end != b"\r\n":
                    self.fault = Refusal(400, "a chunk is longer than its size")
                    return at
                at += 2
                self._due = self._SIZE
                turn -= 1
                if not turn:
                    self.is_tired = at < len(data)
                    return at
            if self._due == self._SIZE:
                end = data.find(b"\r\n", at, at + MOST_CHUNK_LINE + 2)
                if end < 0:
                    if len(data) - at >= MOST_CHUNK_LINE + 2:
                        self.fault = Refusal(400, "the line before a chunk is too long")
                    return at
                self._size(data[at:end])
                at = end + 2
            if self._due == self._TRAILERS:
                end = at if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", at, at + MOST_TRAILERS)
                if end < 0:
                    if len(data) - at >= MOST_TRAILERS:
                        self.fault = Refusal(400, "the trailers are too long")
                    return at
                end += 2 if end == at else 4
                self._end(data[at:end])
                return end
        return at

    def _size(self, line: bytes) -> None:
        digits, semicolon, extension = line.partition(b";")
        if not 0 < len(digits) <= _MOST_DIGITS or digits.translate(None, _HEX):
            self.fault = Refusal(400, "the size of a chunk is none")
            return
        if semicolon:
            self._extensions += len(extension) + 1
            if extension.translate(None, _PLAIN) or self._extensions > MOST_EXTENSIONS:
                self.fault = Refusal(400, "the extensions of chunks are too long, or none")
                return
        self._left = int(digits, 16)
        self._due = self._DATA if self._left else self._TRAILERS

    def _end(self, block: bytes) -> None:
        trailers = heads.read_trailers(block, self._limits, of_request=self._of_request)
        if isinstance(trailers, Refusal):
            self.fault = trailers
        else:
            self.trailers = trailers
            self._ended = True
