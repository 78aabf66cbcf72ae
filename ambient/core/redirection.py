"""What the kernel should do for each pod: the wish that ``kernel.redirector`` brings about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ambient.core.model.pod import Capture, Exclusions

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress
    from ambient.core.model.pod import Pod


class Role(Enum):
    """What a listener of a pod is for. Values are the ports it listens on inside the pod's namespace."""

    OUTBOUND = 15001
    PLAINTEXT = 15006
    HBONE = 15008


@dataclass(frozen=True, slots=True)
class Redirection:
    """What the kernel is to know of one pod."""

    uid: str
    netns_cookie: int
    addresses: tuple[IpAddress, ...]
    cgroup: str | None
    """Where the socket hooks hang; None: at the root of the hierarchy, found by netns cookie."""
    capture: Capture
    exclusions: Exclusions


def desired(
    pods: Iterable[Pod], captures: Mapping[str, Capture], mesh_wide: Exclusions
) -> tuple[Redirection, ...]:
    """One redirection for each pod that is not OFF, in uid order; a pod with no word on it is OFF."""
    return tuple(
        Redirection(pod.uid, pod.netns_cookie, pod.addresses, pod.cgroup, capture, pod.exclusions | mesh_wide)
        for pod in sorted(pods, key=lambda pod: pod.uid)
        if (capture := captures.get(pod.uid, Capture.OFF)) is not Capture.OFF
    )
