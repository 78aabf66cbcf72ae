"""Which kernels are booted, why each of them, and what runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that runs inside the virtual machine."""

    name: str
    why: str
    seconds: float
    """It is ended after this long. Software emulation is ten to twenty times as slow as the machine below it."""
    pytest: tuple[str, ...] = ()
    """Arguments of pytest, from the root of the checkout. None: a function of ``guest.py`` has the scenario's name."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of Debian's kernels for virtual machines."""

    version: str
    """The head of its release: ``6.12``, or ``7`` for the newest of that series."""
    why: str
    suites: tuple[str, ...]
    """Those that have it; the first that answers is taken."""
    scenarios: tuple[Scenario, ...]
    needs_cmpxchg16b: bool = False
    """Without it the newer allocator gives BPF programs no storage for sockets (EPERM from ``connect``), though all load.

    Debian 12's qemu (7.2) leaves the flags wrong after it in about every third boot, if its processors run in parallel:
    such a kernel's take turns, and the others have no such instruction.
    """


PROGRAMS: Final = Scenario(
    "programs", "every program loads, attaches and is used, in both ways of capturing a pod", seconds=180
)
CHECK: Final = Scenario(
    "check", "what `ambient check --pre` says of the kernel, compared with golden/", seconds=180
)
SOCKETS: Final = Scenario(
    "sockets",
    "what a pod's sockets meet in every manner of connecting, what is captured, and how the programs are taken away",
    seconds=900,
    pytest=("tests/kernel",),
)
FABRIC: Final = Scenario(
    "fabric",
    "namespaces, cgroups and processes of the test topology, which each larger scenario stands on",
    seconds=300,
    pytest=("tests/topology/test_topology.py", "-k", "born or reach_each_other or without_ipv6 or reaped"),
)

KERNELS: Final[Mapping[str, Kernel]] = {
    kernel.version: kernel
    for kernel in (
        Kernel(
            "6.1",
            "Debian 12, and the oldest that the README promises",
            ("bookworm", "bookworm-updates"),
            (PROGRAMS, CHECK, SOCKETS),
        ),
        Kernel(
            "6.12",
            "Debian 13, and a long-term series",
            ("bookworm-backports", "trixie"),
            (PROGRAMS, CHECK, SOCKETS, FABRIC),
        ),
        Kernel(
            "7",
            "what comes next: a change of the verifier or of a hook shows here first",
            ("trixie-backports", "forky"),
            (PROGRAMS, CHECK, SOCKETS),
            needs_cmpxchg16b=True,
        ),
    )
}
