"""What the proxy does next for a pod's place in the mesh, and which of its older connections must end.

Joining: certificate, then capture, then the report that lets peers send HBONE. Leaving: the report first (so that
peers stop), then draining, then off. So no connection meets a half that is not ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

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
    raise NotImplementedError


def forbidden(
    snapshot: Snapshot, workload: Workload, connections: Iterable[OlderConnection]
) -> tuple[OlderConnection, ...]:
    """The older connections that ``snapshot`` does not allow, in their order. Outbound ones are the peer's matter."""
    raise NotImplementedError
