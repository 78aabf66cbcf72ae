"""Unix sockets that listen at a path, for their owner alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

from ambient.core.errors import ConfigError

_BACKLOG: Final = 64


def listen(path: str, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking listener of mode 0600. A dead one's file is replaced, a live one's is not.

    Raises ConfigError.
    """
    make_way(path)
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101  # Nobody can connect before listen().
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
    return sock


def make_way(path: str) -> None:
    """Remove the file of a socket that no process has any more. Raises ConfigError if something else is there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"cannot listen at {path}: something that is not a socket is there")
    if _is_bound(path):
        raise ConfigError(f"cannot listen at {path}: another process does")
    os.unlink(path)  # noqa: PTH108


def _is_bound(path: str) -> bool:
    # A datagram socket cannot connect to a listener, so one that lives never hears of this.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
        return True
