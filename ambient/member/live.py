"""The connections that a worker carries: who they are, what they moved, and how they ended.

Each connection is recorded exactly once at its end, or once if it never began; nothing is carried unrecorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ambient.core.observation import ResponseFlag
from ambient.net.tunnel import TunnelEnd

if TYPE_CHECKING:
    from ambient.core.observation import Observation
    from ambient.net.relay import Relay
    from ambient.net.tunnel import Tunnel
    from ambient.telemetry.access import AccessLog
    from ambient.telemetry.metrics import Counts, Traffic

POLICY_CHANGE: Final = "connection closed due to policy change"

Q = TypeVar("Q")
"""What is asked again of a connection that lives when there is a new snapshot."""

BEGAN: Final[ContextVar[float]] = ContextVar("began")
"""When the connection that a task sets up was accepted, or asked for in a tunnel; of ``time.monotonic``."""


@dataclass(slots=True, eq=False)
class Carried(Generic[Q]):
    """One connection that lives."""

    uid: str
    """The workload it belongs to here."""
    observation: Observation
    question: Q | None
    """None: nothing is asked."""
    relay: Relay
    began: float
    counts: Counts
    policy: str | None
    """What let it in."""
    sent: int = 0
    received: int = 0
    """Bytes that the counters have heard of already."""
    flag: ResponseFlag = ResponseFlag.NONE

    def account(self) -> None:
        """Tell the counters of the bytes since last time. They speak from the server's side."""
        self.counts.received += self.relay.sent - self.sent
        self.counts.sent += self.relay.received - self.received
        self.sent, self.received = self.relay.sent, self.relay.received


class Live(Generic[Q]):
    """All connections of one worker."""

    def __init__(self, traffic: Traffic, access: AccessLog, changed: Callable[[str, int], None]) -> None:
        self._traffic = traffic
        self._access = access
        self._changed = changed
        self._of: dict[str, dict[Relay, Carried[Q]]] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __contains__(self, carried: Carried[Q]) -> bool:
        return self._of.get(carried.uid, {}).get(carried.relay) is carried

    def counts(self) -> dict[str, int]:
        """Live connections by workload."""
        return {uid: len(carried) for uid, carried in self._of.items()}

    def count(self, uid: str) -> int:
        """How many of one workload live."""
        return len(self._of.get(uid, ()))

    def of(self, uid: str) -> tuple[Carried[Q], ...]:
        """Those of one workload."""
        return tuple(self._of.get(uid, {}).values())

    def tunnelled(self) -> Iterator[tuple[Carried[Q], Tunnel]]:
        """Those that a tunnel carries, and which."""
        for carried in list(self._of.values()):
            for one in list(carried.values()):
                for end in (one.relay.near, one.relay.far):
                    if isinstance(end, TunnelEnd):
                        yield one, end.tunnel

    def failed(
        self,
        observation: Observation,
        flag: ResponseFlag,
        reason: str,
        error: str,
        policy: str | None = None,
        *,
        times: int = 1,
    ) -> None:
        """A connection was not carried; ``reason`` is the label, ``error`` the sentence, ``policy`` denied it.

        ``times``: so many alike, in one line of the log.
        """
        self._traffic.counts(observation.labels(flag)).failed += times
        self._traffic.refused(observation.reporter.value, reason, times)
        began = BEGAN.get(None)
        lasted = 0.0 if began is None else time.monotonic() - began
        self._access.failed(observation, lasted, error, flag, policy)

    def opened(
        self, uid: str, observation: Observation, relay: Relay, question: Q | None, policy: str | None
    ) -> Carried[Q]:
        """A connection begins to be carried."""
        counts = self._traffic.counts(observation.labels())
        counts.opened += 1
        carried = Carried(uid, observation, question, relay, time.monotonic(), counts, policy)
        pod = self._of.setdefault(uid, {})
        pod[relay] = carried
        self._total += 1
        self._changed(uid, len(pod))
        self._access.opened(observation, policy)
        return carried

    def ended(self, uid: str, relay: Relay) -> None:
        """A connection is over."""
        pod = self._of[uid]
        carried = pod.pop(relay)
        self._total -= 1
        if not pod:
            del self._of[uid]
        self._changed(uid, len(pod))
        carried.account()
        carried.counts.closed += 1
        self._access.complete(
            carried.observation,
            relay.received,
            relay.sent,
            time.monotonic() - carried.began,
            relay.error,
            carried.flag,
            carried.policy,
        )

    def cut(self, carried: Carried[Q], flag: ResponseFlag, why: str, reason: str | None = None) -> None:
        """End one now, for a reason; ``reason`` is its label if it counts as turned away."""
        carried.flag = flag
        if reason is not None:
            self._traffic.refused(carried.observation.reporter.value, reason)
        carried.relay.cut(why)

    def account(self) -> None:
        """Bring the counters up to the byte, before they are read."""
        for pod in self._of.values():
            for carried in pod.values():
                carried.account()
