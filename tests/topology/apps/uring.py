"""One connect through io_uring, by the system calls themselves."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct

_SETUP, _ENTER = 425, 426
_OFF_SQ_RING, _OFF_CQ_RING, _OFF_SQES = 0, 0x8000000, 0x10000000
_OP_CONNECT = 16
_GETEVENTS = 1
_libc = ctypes.CDLL(None, use_errno=True)


def connect(client: socket.socket, address: tuple[str, int]) -> int:
    """Connect; 0 or a negative errno, as the completion says. OSError: io_uring cannot be used here."""
    parameters = ctypes.create_string_buffer(120)
    ring = _libc.syscall(_SETUP, 1, parameters)
    if ring < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        # struct io_uring_params: 10 words, then sq_off at 40 (head, tail, mask, entries, flags, dropped, array, …)
        # and cq_off at 80 (head, tail, mask, entries, overflow, cqes, …).
        _, sq_tail, _, _, _, _, sq_array = struct.unpack_from("=7I", parameters, 40)
        _, _, _, _, _, cqes = struct.unpack_from("=6I", parameters, 80)
        with (
            mmap.mmap(ring, 4096, offset=_OFF_SQ_RING) as sq,
            mmap.mmap(ring, 4096, offset=_OFF_CQ_RING) as cq,
            mmap.mmap(ring, 4096, offset=_OFF_SQES) as entries,
        ):
            name = ctypes.create_string_buffer(_sockaddr(client.family, address))
            # opcode, flags, ioprio, fd, off (the length of the name), addr
            entries[:24] = struct.pack(
                "=BBHiQQ", _OP_CONNECT, 0, 0, client.fileno(), len(name) - 1, ctypes.addressof(name)
            )
            sq[sq_array : sq_array + 4] = struct.pack("=I", 0)
            sq[sq_tail : sq_tail + 4] = struct.pack("=I", 1)
            if _libc.syscall(_ENTER, ring, 1, 1, _GETEVENTS, None, 0) != 1:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            (result,) = struct.unpack_from("=i", cq, cqes + 8)
            return int(result)
    finally:
        os.close(ring)


def _sockaddr(family: int, address: tuple[str, int]) -> bytes:
    ip, port = socket.inet_pton(family, address[0]), struct.pack("!H", address[1])
    if family == socket.AF_INET:
        return struct.pack("=H", family) + port + ip + bytes(8)
    return struct.pack("=H", family) + port + bytes(4) + ip + bytes(4)
