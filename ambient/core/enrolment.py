"""What the proxy does next for a pod's place in the mesh, and which of its older connections must end.

Joining: certificate, then capture, then the report that lets peers send HBONE. Leaving: the report first (so that
peers stop), then draining, then off. So no connection meets a half that is not ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ambient.core.authorize import Connection
from ambient.core.inbound import recheck
from ambient.core.model.pod import Capture, OlderConnection

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one pod."""

    enrolled: bool | None
    """The control plane's order; None: it has not spoken."""
    has_certificate: bool
    """A certificate that is still valid."""
    capture: Capture
    """What the kernel does."""
    reported: bool
    """What the control plane was last told of ``captured``."""
    connections: int = 0
    """Live proxied connections of the pod, both ways."""
    now: bool = False
    """Whether leaving waits for nobody."""
    peers_have_heard: bool = True
    """Whether draining has lasted for as long as a change takes to reach every node: till then HBONE may come."""


@dataclass(frozen=True, slots=True)
class FetchCertificate:
    """Get its certificate."""


@dataclass(frozen=True, slots=True)
class SetCapture:
    """Ask the daemon to bring the kernel there."""

    capture: Capture


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the control plane."""

    captured: bool


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or waits for connections to end."""


Step: TypeAlias = FetchCertificate | SetCapture | Report | Nothing


def next_step(situation: Situation) -> Step:
    """What to do next; ask again when it is done or anything else changed."""
    match situation.enrolled:
        case True:
            return _join(situation)
        case False:
            return _leave(situation)
        case None:
            return _stay(situation)


def _join(situation: Situation) -> Step:
    if not situation.has_certificate:
        return FetchCertificate()
    if situation.capture is not Capture.ON:
        return SetCapture(Capture.ON)
    return Nothing() if situation.reported else Report(captured=True)


def _leave(situation: Situation) -> Step:
    if situation.reported:
        return Report(captured=False)
    match situation.capture:
        case Capture.ON:
            return SetCapture(Capture.OFF if situation.now else Capture.DRAINING)
        case Capture.DRAINING:
            is_drained = situation.connections == 0 and situation.peers_have_heard
            return SetCapture(Capture.OFF) if is_drained or situation.now else Nothing()
        case Capture.OFF:
            return Nothing()


def _stay(situation: Situation) -> Step:
    """Without an order: keep what an earlier proxy brought about in working order."""
    if situation.capture is Capture.OFF:
        return Nothing()
    if not situation.has_certificate:
        return FetchCertificate()
    is_unsaid = situation.capture is Capture.ON and not situation.reported
    return Report(captured=True) if is_unsaid else Nothing()


def forbidden(
    snapshot: Snapshot, workload: Workload, connections: Iterable[OlderConnection]
) -> tuple[OlderConnection, ...]:
    """The older connections that ``snapshot`` does not allow, in their order. Outbound ones are the peer's matter."""
    return tuple(
        older
        for older in connections
        if older.inbound
        and recheck(snapshot, workload, Connection(None, older.remote, older.local)) is not None
    )
