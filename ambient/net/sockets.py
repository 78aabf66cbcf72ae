"""What every TCP socket of the data path is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from typing import Final

from ambient.core.errors import Unavailable
from ambient.core.model.address import SocketAddress

CONNECT_TIMEOUT: Final = 10.0
"""Seconds. Source: the peers' default."""
_ABORT: Final = struct.pack("ii", 1, 0)
_DELIVER: Final = struct.pack("ii", 0, 0)


def prepare(sock: socket.socket) -> None:
    """No delay, keep-alive after three minutes. Source: the peers' figures."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 180)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 180)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9)


def reset_on_close(sock: socket.socket) -> None:
    """Closing ``sock`` shall send a reset, whatever is queued."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


def deliver_on_close(sock: socket.socket) -> None:
    """Closing ``sock`` shall deliver what is queued, and then its end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DELIVER)


def reset(sock: socket.socket) -> None:
    """Close with a reset: the peer must not take it for an orderly end."""
    reset_on_close(sock)
    sock.close()


def fault_of(sock: socket.socket) -> OSError | None:
    """Why TCP has given the connection up, if it has: a reset, or nobody answered. It is told once."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


async def connect(sock: socket.socket, to: SocketAddress) -> None:
    """Connect within ``CONNECT_TIMEOUT``. Closes ``sock`` and raises Unavailable if that fails."""
    loop = asyncio.get_running_loop()
    name = (str(to.ip), to.port)
    try:
        if _connect_now(sock, name):
            return
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await loop.sock_connect(sock, name)
    except TimeoutError as error:
        sock.close()
        raise Unavailable(f"connection to {to} timed out after {CONNECT_TIMEOUT:.0f} s") from error
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot connect to {to}: {_sentence(error)}") from error
    except BaseException:
        sock.close()
        raise


def _sentence(error: OSError) -> str:
    """The system's own words: an event loop puts its own in ``strerror``."""
    return os.strerror(error.errno) if error.errno else str(error)


def _connect_now(sock: socket.socket, name: tuple[str, int]) -> bool:
    """Begin to connect; whether it is done. On the same machine it is, though only a second call says so."""
    number = sock.connect_ex(name)
    if number == errno.EINPROGRESS:
        number = sock.connect_ex(name)
    if number in (errno.EINPROGRESS, errno.EALREADY):
        return False
    if number:
        raise OSError(number, os.strerror(number))
    return True
