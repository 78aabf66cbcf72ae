"""The bpf(2) system call: pins, maps, links and what they say about themselves.

Loading programs is not here: the loader process does it (``kernel.loader``) and leaves pins behind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_NUMBER = {"x86_64": 321, "aarch64": 280}.get(platform.machine())

_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _OBJ_PIN, _OBJ_GET = 1, 2, 3, 4, 6, 7
_TEST_RUN, _PROGRAM_BY_ID, _INFO, _QUERY, _MAP_TAKE, _LINK_CREATE, _LINK_UPDATE = 10, 13, 15, 16, 21, 28, 29

_LINK_CGROUP, _LINK_NETNS = 3, 5
_MOST_ATTACHED = 64
"""Source: BPF_CGROUP_MAX_PROGS."""
_NAME_END = 80
"""Of struct bpf_prog_info."""

_libc = ctypes.CDLL(None, use_errno=True)


class Attach(IntEnum):
    """``enum bpf_attach_type``: where a link hangs a program."""

    SOCK_CREATE = 2
    SOCK_OPS = 3
    CONNECT4 = 10
    CONNECT6 = 11
    GETPEERNAME4 = 29
    GETPEERNAME6 = 30
    GETSOCKNAME4 = 31
    GETSOCKNAME6 = 32
    SK_LOOKUP = 36


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a link says about itself."""

    program_id: int
    target: int
    """The cgroup's id or the network namespace's inode; 0: what it hung on is gone."""
    attach: int


def get(path: Path) -> int:
    """A descriptor of the map, program or link pinned at ``path``."""
    name = _text(path)
    return _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0), f"open {path}")


def pin(fd: int, path: Path) -> None:
    """Keep an object at ``path`` for as long as the file is there."""
    name = _text(path)
    _bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), fd, 0), f"pin {path}")


def link(program_fd: int, target_fd: int, attach: Attach) -> int:
    """Hang a program on a cgroup or network namespace; it stays while the link is open or pinned."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program_fd, target_fd, attach, 0), f"attach {attach.name}")


def relink(link_fd: int, program_fd: int) -> None:
    """Put another program in a link's place, with no moment without either. OSError(ENOLINK): its target is gone."""
    _bpf(_LINK_UPDATE, struct.pack("=IIII", link_fd, program_fd, 0, 0), "replace the program of a link")


def link_info(fd: int) -> LinkInfo:
    """What is linked, and where."""
    kind, _, program, _, first, second, third = struct.unpack_from("=IIIIIII", _info(fd, 32))
    if kind == _LINK_CGROUP:
        return LinkInfo(program, first | second << 32, third)
    if kind == _LINK_NETNS:
        return LinkInfo(program, first, second)
    raise OSError(errno.EINVAL, f"a link of type {kind} is not one of ours")


def program_id(fd: int) -> int:
    """The kernel's id of a program."""
    _, number = struct.unpack_from("=II", _info(fd, 8))
    return int(number)


def attached(target_fd: int, attach: Attach) -> tuple[str, ...]:
    """The names of the programs that hang on a cgroup's or network namespace's hook, whoever put them there."""
    numbers = (ctypes.c_uint32 * _MOST_ATTACHED)()
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIIIQI", target_fd, attach, 0, 0, ctypes.addressof(numbers), _MOST_ATTACHED), 64
    )
    _call(_QUERY, attributes, f"ask what hangs on {attach.name}")
    (count,) = struct.unpack_from("=I", attributes, 24)
    return tuple(map(_program_name, numbers[:count]))


def capacity(map_fd: int) -> int:
    """How many entries a map can have; of a ring buffer, its bytes."""
    *_, most = struct.unpack_from("=IIIII", _info(map_fd, 20))
    return int(most)


def exists_program(number: int) -> bool:
    """Whether the kernel still has a program with this id."""
    try:
        os.close(_bpf(_PROGRAM_BY_ID, struct.pack("=III", number, 0, 0), "find a program"))
    except FileNotFoundError:
        return False
    return True


def test_run(program_fd: int, context: bytes) -> tuple[int, bytes]:
    """Run a program on a made-up context: what it returned, and the context afterwards."""
    given, after = (
        ctypes.create_string_buffer(context, len(context)),
        ctypes.create_string_buffer(len(context)),
    )
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIIIQQIIIIQQIII", program_fd, 0, 0, 0, 0, 0, 0, 0, len(context), len(context),
                    ctypes.addressof(given), ctypes.addressof(after), 0, 0, 0), 80)  # fmt: skip
    _call(_TEST_RUN, attributes, "test run")
    (returned,) = struct.unpack_from("=I", attributes, 4)
    return returned, after.raw


class Map:
    """A map behind a descriptor, which stays the caller's. Keys and values are bytes.

    Its buffers serve every call: it is used by one thread.
    """

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.fd, self.key_size, self.value_size = fd, key_size, value_size
        self._key = ctypes.create_string_buffer(key_size)
        self._value = ctypes.create_string_buffer(value_size)
        key, value = ctypes.addressof(self._key), ctypes.addressof(self._value)
        self._attributes = ctypes.create_string_buffer(struct.pack("=IIQQQ", fd, 0, key, value, 0), 32)
        self._attributes_of_key = ctypes.create_string_buffer(struct.pack("=IIQQQ", fd, 0, key, 0, 0), 32)

    def lookup(self, key: bytes) -> bytes | None:
        """The value of ``key``; None: there is none."""
        return self._fetch(_MAP_LOOKUP, key)

    def take(self, key: bytes) -> bytes | None:
        """The value of ``key``, which is gone afterwards; None: there was none."""
        return self._fetch(_MAP_TAKE, key)

    def update(self, key: bytes, value: bytes) -> None:
        """Set ``key``."""
        _put(self._key, key)
        _put(self._value, value)
        _call(_MAP_UPDATE, self._attributes, "write a map")

    def delete(self, key: bytes) -> bool:
        """Forget ``key``; whether it was there."""
        _put(self._key, key)
        try:
            _call(_MAP_DELETE, self._attributes_of_key, "delete from a map")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return False
            raise
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key. The map should not lose keys meanwhile, or the walk may start over."""
        following = ctypes.create_string_buffer(self.key_size)
        current: ctypes.Array[ctypes.c_char] | None = None
        while True:
            at = 0 if current is None else ctypes.addressof(current)
            try:
                _bpf(
                    _MAP_NEXT_KEY,
                    struct.pack("=IIQQ", self.fd, 0, at, ctypes.addressof(following)),
                    "walk a map",
                )
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield following.raw
            current = ctypes.create_string_buffer(following.raw, self.key_size)

    def items(self) -> dict[bytes, bytes]:
        """Everything in it."""
        return {key: value for key in list(self.keys()) if (value := self.lookup(key)) is not None}

    def _fetch(self, command: int, key: bytes) -> bytes | None:
        _put(self._key, key)
        try:
            _call(command, self._attributes, "read a map")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw


def possible_cpus() -> int:
    """How many values a per-CPU map keeps for each key."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return 1 + int(text.replace(",", "-").rsplit("-", 1)[-1])


def _program_name(number: int) -> str:
    try:
        fd = _bpf(_PROGRAM_BY_ID, struct.pack("=III", number, 0, 0), "find a program")
    except FileNotFoundError:
        return f"program {number}"
    try:
        name = _info(fd, _NAME_END)[_NAME_END - 16 :].rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(fd)
    return name or f"program {number}"


def _info(fd: int, size: int) -> bytes:
    information = ctypes.create_string_buffer(size)
    _bpf(_INFO, struct.pack("=IIQ", fd, size, ctypes.addressof(information)), "ask about an object")
    return information.raw


def _text(path: Path) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(os.fsencode(path))


def _put(buffer: ctypes.Array[ctypes.c_char], content: bytes) -> None:
    if len(content) != len(buffer):
        raise ValueError(f"a map's key or value has {len(buffer)} bytes, not {len(content)}")
    buffer.raw = content


def _bpf(command: int, attributes: bytes, what: str) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, len(attributes)), what)


def _call(command: int, attributes: ctypes.Array[ctypes.c_char], what: str) -> int:
    if _NUMBER is None:
        raise OSError(errno.ENOSYS, f"bpf(2) on {platform.machine()} is not known to ambient")
    result: int = _libc.syscall(_NUMBER, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf: {what}: {os.strerror(code)}")
    return result
