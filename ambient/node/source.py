"""How the daemon hears of workloads: a source tells what it has found, and waits for what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from immutables import Map

from ambient.core.model.pod import Exclusions, Probe


@dataclass(frozen=True, slots=True)
class AtPath:
    """A network namespace that has a name in the file system."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class OfProcess:
    """The network namespace of a process, as long as that lives."""

    pid: int

    def __str__(self) -> str:
        return f"pid {self.pid}"


@dataclass(frozen=True, slots=True)
class Found:
    """A workload as its source describes it."""

    name: str
    namespace: str
    service_account: str
    netns: AtPath | OfProcess
    labels: Map[str, str] = Map()  # noqa: RUF009
    cgroup: str | None = None
    """Its cgroup v2 folder; None: that of the process, or the root of the hierarchy."""
    exclusions: Exclusions = Exclusions()  # noqa: RUF009
    probe: Probe | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A workload is there."""

    workload: Found


@dataclass(frozen=True, slots=True)
class Removed:
    """A workload is gone, or shall be no part of the mesh any more."""

    name: str
    namespace: str
    now: bool = False
    """Cut its connections instead of letting them end."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Others may be sent to a workload, or not."""

    name: str
    namespace: str
    healthy: bool


Event: TypeAlias = Added | Removed | Judged
Apply: TypeAlias = Callable[[Event], Awaitable[str]]
"""Do what an event asks for. Returns a sentence if not all of it is done yet, or an empty string; raises ConfigError,
with nothing changed, if it is refused."""


class Source(Protocol):
    """Finds workloads."""

    async def run(self, apply: Apply) -> None:
        """Tell of every workload that is there, then of each change, until cancelled."""
