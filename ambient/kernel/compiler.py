"""Compiles ``bpf/``, loads every program and pins the lot; then exits.

A script of its own for Debian's Python, which alone has BCC (126 MB with its compiler): nothing of ambient can be
imported here. Usage: ``compiler.py SOURCE_FOLDER TARGET_FOLDER``. The target is a folder in a BPF file system; it gets
``maps/`` and ``progs/``. What went wrong is the last line of standard error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from pathlib import Path
from typing import Any

HEADERS = ("include/abi.h", "include/reason.h", "include/address.h", "include/maps.h", "include/ends.h")

CGROUP_SOCK, SOCK_OPS, SOCK_ADDR, SK_LOOKUP = 9, 13, 18, 30

# Function → its file, program type and expected attach type (include/uapi/linux/bpf.h).
PROGRAMS = {
    "plain_tcp": ("plain_tcp.c", CGROUP_SOCK, 2),
    "mark_proxy": ("mark.c", CGROUP_SOCK, 2),
    "follow_connection": ("sockops.c", SOCK_OPS, None),
    "account_direct": ("flows.c", SOCK_OPS, None),
    "admit_probe": ("prober.c", SOCK_OPS, None),
    "redirect_connect4": ("redirect.c", SOCK_ADDR, 10),
    "redirect_connect6": ("redirect.c", SOCK_ADDR, 11),
    "name_peer4": ("names.c", SOCK_ADDR, 29),
    "name_peer6": ("names.c", SOCK_ADDR, 30),
    "name_own4": ("names.c", SOCK_ADDR, 31),
    "name_own6": ("names.c", SOCK_ADDR, 32),
    "capture_inbound": ("capture.c", SK_LOOKUP, 36),
    "follow_mptcp": ("mptcp.c", SOCK_OPS, None),
}
# Left out where the kernel refuses them.
OPTIONAL = {"follow_mptcp"}

MAPS = (
    "pods",
    "addresses",
    "excluded_ports",
    "excluded_networks",
    "listeners",
    "reasons",
    "original_destinations",
    "clients",
    "admissions",
    "sockets",
    "flow_sockets",
    "flows",
    "flow_losses",
    "flow_records",
)

# include/uapi/linux/sched.h and mount.h
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
SCRATCH = "/tmp"  # noqa: S108 - only a place to mount on

# The 6.1 UAPI is the floor; programs that need no more than it load on later kernels as they are.
KERNEL_VERSION = 6 << 16 | 1 << 8

# Just enough of the kernel's own headers for BCC's preamble; contexts and helpers are UAPI, and BCC brings those.
SHIMS = {
    "linux/kconfig.h": "#pragma once\n#define CONFIG_BPF_SYSCALL 1\n",
    "linux/version.h": (
        f"#pragma once\n#define LINUX_VERSION_CODE {KERNEL_VERSION}\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
    ),
    "linux/log2.h": "#pragma once\n",
    "asm/page.h": "#pragma once\n#define PAGE_SIZE 4096\n",
    "uapi/linux/bpf.h": "#pragma once\n",
    "linux/types.h": """#pragma once
#include_next <linux/types.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
""",
    **{
        f"uapi/linux/{name}.h": f'#pragma once\n#include "/usr/include/linux/{name}.h"\n'
        for name in ("if_ether", "if_packet", "in", "in6", "ip", "tcp")
    },
}

# What programs need of libc's headers, which would drag in more than BPF can compile.
PRELUDE = f"""
#define BPF_LICENSE Dual BSD/GPL
#include <uapi/linux/in.h>
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOL_SOCKET 1
#define SO_BINDTODEVICE 25
#define ENOPROTOOPT {errno.ENOPROTOOPT}
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
"""


def main(source: Path, target: Path) -> None:
    """Compile ``source``, load it, and pin it into ``target``."""
    text = one_file(source)
    module = compiled(text, scratch_folder())
    (target / "maps").mkdir()
    (target / "progs").mkdir()
    pin_maps(module, target / "maps")
    pin_programs(module, target / "progs")


def one_file(source: Path) -> str:
    """Every header and program in one text: BCC rewrites map calls in its main file only."""
    parts = [PRELUDE]
    for name in (*HEADERS, *sorted({file for file, _, _ in PROGRAMS.values()})):
        text = (source / name).read_text(encoding="utf-8")
        ours = '#include "'
        lines = ["" if line.startswith((ours, "#pragma once")) else line for line in text.splitlines()]
        parts.append(f'#line 1 "{name}"\n' + "\n".join(lines) + "\n")
    return "".join(parts)


def scratch_folder() -> Path:
    """A folder in memory that this process alone sees: the root may be read-only, and nothing outlives a kill."""
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.unshare(CLONE_NEWNS) != 0
        or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0
        or libc.mount(b"ambient", SCRATCH.encode(), b"tmpfs", 0, b"mode=0700") != 0
    ):
        sys.exit(f"cannot mount a file system in memory at {SCRATCH}: {os.strerror(ctypes.get_errno())}")
    return Path(SCRATCH)


def compiled(text: str, folder: Path) -> Any:  # noqa: ANN401 - BCC has no types
    """The BCC module of ``text``; ``folder`` is for shim headers."""
    for name, content in SHIMS.items():
        path = folder / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    os.environ["BCC_LINUX_VERSION_CODE"] = str(KERNEL_VERSION)
    import bcc  # noqa: PLC0415 - reads the environment

    flags = ["-I/usr/include", f"-I/usr/include/{platform.machine()}-linux-gnu", "-Wall", "-Werror"]
    flags += ["-Wno-unused-function", "-Wno-address-of-packed-member", "-Wno-macro-redefined"]
    return bcc.BPF(text=text, cflags=flags)


def pin_maps(module: Any, folder: Path) -> None:  # noqa: ANN401
    """Pin each map under its name."""
    from bcc import lib  # noqa: PLC0415

    for name in MAPS:
        fd = lib.bpf_table_fd(module.module, name.encode())
        if fd < 0:
            sys.exit(f"map {name} is not in the sources")
        pin(lib, fd, folder / name)


def pin_programs(module: Any, folder: Path) -> None:  # noqa: ANN401
    """Load each program and pin it under its name."""
    from bcc import lib  # noqa: PLC0415

    for name, (file, kind, attach) in PROGRAMS.items():
        try:
            if attach is None:
                loaded = module.load_func(name, kind)
            else:
                loaded = module.load_func(name, kind, attach_type=attach)
        except Exception as error:  # noqa: BLE001 - BCC raises nothing narrower
            if name in OPTIONAL:
                continue
            sys.exit(f"the kernel refused program {name} ({file}): {error}")
        pin(lib, loaded.fd, folder / name)


def pin(lib: Any, fd: int, path: Path) -> None:  # noqa: ANN401
    """Keep an object after this process is gone."""
    ctypes.set_errno(0)
    if lib.bpf_obj_pin(fd, os.fsencode(path)) != 0:
        sys.exit(f"cannot pin {path}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
