"""HTTP/2 frame by frame, as either side of the mix speaks it: a library that has heard GOAWAY ends what may go on."""

from __future__ import annotations

import asyncio

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WIDE = 2**31 - 1
INITIAL_WINDOW, MAX_FRAME = 65_535, 16_384
Pairs = list[tuple[str, str]]


class Connection:
    """One end: what it sends waits for windows; of what it is sent, everything is taken at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._encoder, self._decoder = Encoder(), Decoder()
        self._room = INITIAL_WINDOW
        self._initial = INITIAL_WINDOW
        self._rooms: dict[int, int] = {}
        self._changed = asyncio.Event()
        self.is_over = False

    def greet(self, *, client: bool) -> None:
        if client:
            self.writer.write(PREFACE)
        settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: WIDE})
        self.write(settings, WindowUpdateFrame(0, window_increment=WIDE - INITIAL_WINDOW))

    def write(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    async def receive(self) -> Frame:
        """The next frame that is the caller's to understand. Raises EOFError or OSError at the end."""
        while True:
            frame, length = Frame.parse_frame_header(memoryview(await self.reader.readexactly(9)))
            frame.parse_body(memoryview(await self.reader.readexactly(length)))
            match frame:
                case SettingsFrame() if "ACK" not in frame.flags:
                    initial = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial)
                    self._rooms = {
                        stream: room + initial - self._initial for stream, room in self._rooms.items()
                    }
                    self._initial = initial
                    self.write(SettingsFrame(0, flags=["ACK"]))
                    self._note()
                case WindowUpdateFrame(stream_id=0):
                    self._room += frame.window_increment
                    self._note()
                case WindowUpdateFrame():
                    if frame.stream_id in self._rooms:
                        self._rooms[frame.stream_id] += frame.window_increment
                        self._note()
                case PingFrame() if "ACK" not in frame.flags:
                    self.write(PingFrame(0, frame.opaque_data, flags=["ACK"]))
                case HeadersFrame() | DataFrame() | RstStreamFrame() | GoAwayFrame():
                    return frame
                case _:
                    pass

    def headers_of(self, frame: HeadersFrame) -> Pairs:
        assert "END_HEADERS" in frame.flags
        return [(str(name), str(value)) for name, value in self._decoder.decode(frame.data)]

    def headers(self, stream: int, pairs: Pairs, *, ended: bool) -> None:
        flags = ["END_HEADERS", "END_STREAM"] if ended else ["END_HEADERS"]
        if ended:
            self._rooms.pop(stream, None)
        else:
            self._rooms.setdefault(stream, self._initial)
        self.write(HeadersFrame(stream, self._encoder.encode(pairs), flags=flags))

    async def body(self, stream: int, content: bytes, *, ended: bool) -> None:
        """Send a body as windows allow. Raises ConnectionError if its stream or connection is over first."""
        left = memoryview(content)
        while left:
            while (room := min(self._room, self._rooms.get(stream, 0), MAX_FRAME)) <= 0:
                if self.is_over or stream not in self._rooms:
                    raise ConnectionAbortedError("the stream ended before its body")
                self._changed.clear()
                await self._changed.wait()
            part, left = left[:room], left[room:]
            self._room -= len(part)
            self._rooms[stream] -= len(part)
            flags = ["END_STREAM"] if ended and not left else []
            self.write(DataFrame(stream, bytes(part), flags=flags))
            await self.writer.drain()
        if ended:
            self._rooms.pop(stream, None)

    def ended(self, stream: int) -> None:
        """Nothing more is sent on a stream."""
        self._rooms.pop(stream, None)
        self._note()

    def over(self) -> None:
        """Nothing more is sent at all."""
        self.is_over = True
        self._note()

    def _note(self) -> None:
        self._changed.set()
