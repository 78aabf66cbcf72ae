"""A TCP socket as an end.

It reads into one buffer that all ends of a process share, because what is read is passed on at once; what the other
side cannot take at once is copied there.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

from ambient.core.frames import Buffer
from ambient.net import sockets
from ambient.net.relay import End

LOOK_SECONDS: Final = 10.0
"""How often a socket is asked for its fault. One that is held does not read, and one that reads is told of its fault
but once, when more may be queued than is read at once: uvloop does not watch it any longer then."""
SOON_SECONDS: Final = 0.25
"""So soon after something was read it is read again: a fault that came with the last bytes was told of together with
them, and is not again."""
_HIGH_WATER: Final = 64 * 1024
"""Bytes that may wait in an end before the other is held."""
_read: Final = memoryview(bytearray(256 * 1024))
"""What was read last, by any of them."""


class SocketEnd(End):
    """A connected socket. It reads nothing before ``start``."""

    __slots__ = (
        "_again",
        "_at_once",
        "_backlog",
        "_closing",
        "_finishing",
        "_full",
        "_gone",
        "_held",
        "_looking",
        "_looks_soon",
        "_loop",
        "_queued",
        "_reading",
        "_sock",
        "_started",
    )

    def __init__(self, sock: socket.socket, most_at_once: int = len(_read)) -> None:
        """Take over ``sock``, of which no more than ``most_at_once`` bytes are read before others have their turn."""
        super().__init__()
        self._at_once = _read[:most_at_once]
        sockets.prepare(sock)
        # If this process dies, the kernel closes: the other side must not take that for an orderly end.
        sockets.reset_on_close(sock)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[Buffer] = deque()
        self._queued = 0
        self._again = False
        self._started = self._held = self._reading = self._full = False
        self._finishing = self._closing = self._gone = False
        self._looking: asyncio.TimerHandle | None = None
        self._looks_soon = False

    def start(self) -> None:
        self._started = True
        if not self._gone:
            self._look_later()
            self._read_on()
            self._readable()  # Something has often come already.

    def write(self, data: Buffer) -> None:
        if self._gone:
            return
        if not self._backlog:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._leave_soon(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._sock, self._write_on)
        self._keep(data)

    def write_all(self, pieces: Sequence[Buffer]) -> None:
        if self._gone:
            return
        sent = 0
        waited = bool(self._backlog)
        if not waited:
            try:
                sent = self._sock.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._leave_soon(error)
                return
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._keep(piece[sent:])
                sent = 0
        if self._backlog and not waited:
            self._loop.add_writer(self._sock, self._write_on)

    @property
    def unsent(self) -> int:
        return self._queued

    def finish(self) -> None:
        self._finishing = True
        if not self._backlog:
            self._half_close()

    def close(self) -> None:
        self._closing = True
        if not self._gone:
            sockets.deliver_on_close(self._sock)
        if not (self._backlog or self._gone):
            self._leave_soon(None)

    def reset(self) -> None:
        if not self._gone:
            sockets.reset_on_close(self._sock)
            self._leave_soon(None)

    def hold(self) -> None:
        self._held = True
        self._stop_reading()

    def release(self) -> None:
        self._held = False
        self._read_on()

    # Reading:

    def _read_on(self) -> None:
        if self._started and not (self._held or self._reading or self.finished_reading or self._gone):
            self._reading = True
            self._loop.add_reader(self._sock, self._readable)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def _readable(self) -> None:
        if not self._reading or self.relay is None:
            return
        try:
            size = self._sock.recv_into(self._at_once)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._leave(error)
            return
        if not size:
            self._stop_reading()
            self.relay.finished(self)
            return
        self.relay.arrived(self, self._at_once[:size])
        if size == len(self._at_once) and not self._again:
            # A socket with a fault is not watched any longer, whatever it still has.
            self._again = True
            self._loop.call_soon(self._read_again)
        elif not (self._looks_soon or self._gone):
            self._look_soon()

    def _read_again(self) -> None:
        self._again = False
        self._readable()

    # Writing:

    def _keep(self, data: Buffer) -> None:
        self._backlog.append(bytes(data))
        self._queued += len(data)
        if self._queued > _HIGH_WATER and not self._full and self.relay is not None:
            self._full = True
            self.relay.full(self)

    def _write_on(self) -> None:
        if self._gone:
            return
        try:
            while self._backlog:
                data = self._backlog[0]
                sent = self._sock.send(data)
                self._queued -= sent
                if sent < len(data):
                    self._backlog[0] = memoryview(data)[sent:]
                    break
                self._backlog.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._leave(error)
            return
        if not self._backlog:
            self._loop.remove_writer(self._sock)
            if self._finishing:
                self._half_close()
            if self._closing:
                self._leave(None)
                return
        if self._full and self._queued <= _HIGH_WATER // 4 and self.relay is not None:
            self._full = False
            self.relay.drained(self)

    def _half_close(self) -> None:
        if self._gone:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
            sockets.deliver_on_close(self._sock)
        except OSError as error:
            self._leave_soon(sockets.fault_of(self._sock) or error)

    # The end:

    def _look_later(self) -> None:
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look_soon(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looks_soon = True
        self._looking = self._loop.call_later(SOON_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looks_soon = False
        self._look_later()
        self._readable()

    def _look(self) -> None:
        fault = sockets.fault_of(self._sock)
        if fault is None:
            self._look_later()
        else:
            self._leave(fault)

    def _leave_soon(self, error: OSError | None) -> None:
        """Be gone when whoever called us has finished."""
        self._silence()
        self._loop.call_soon(self._report, error)

    def _leave(self, error: OSError | None) -> None:
        if not self._gone:
            self._silence()
            self._report(error)

    def _silence(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._stop_reading()
        if self._backlog:
            self._loop.remove_writer(self._sock)
            self._backlog.clear()
            self._queued = 0
        if self._looking is not None:
            self._looking.cancel()

    def _report(self, error: OSError | None) -> None:
        self._sock.close()
        if self.relay is not None:
            why = _sentence(error)
            self.relay.broken(self, why)
            self.relay.gone(self, None if error is None else why)


def _sentence(error: OSError | None) -> str:
    match error:
        case ConnectionResetError():
            return "connection reset by peer"
        case BrokenPipeError():
            return "the peer closed before it had read everything"
        case None:
            return "connection closed"
        case _:
            return str(error)
