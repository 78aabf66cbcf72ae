"""The question, the answer, and what has to be known besides the snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from immutables import Map

from ambient.core.model.pod import Exclusions
from ambient.core.model.route import Origin

if TYPE_CHECKING:
    from ambient.core.model.request_authorization import RequestAuthorization
    from ambient.core.model.service import Service


class Topic(Enum):
    """What a step is about."""

    SOURCE = "source"
    NODE = "node"
    NAME = "name"
    SERVICE = "service"
    ROUTE = "route"
    ENDPOINT = "endpoint"
    PROTOCOL = "protocol"
    IDENTITY = "identity"
    POLICY = "policy"


class Verdict(Enum):
    """What a step means for the call."""

    OK = "ok"
    WARNING = "warning"
    """The call may work, and not as its caller thinks."""
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Step:
    """One decision."""

    topic: Topic
    verdict: Verdict
    text: str
    origin: Origin | None = None
    """The object and field that decided it."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A call that somebody makes, or would like to."""

    source: str
    """A workload: ``namespace/name``, ``name.namespace``, ``name`` or an IP."""
    destination: str
    """A service or workload: a name as the source would write it, ``namespace/name`` or an IP."""
    port: int | None = None
    """None: the only one that there is."""
    method: str = ""
    """With it or a path, the call is a request of HTTP."""
    path: str = ""
    headers: Mapping[str, str] = Map()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer."""

    steps: tuple[Step, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all steps."""
        found = {step.verdict for step in self.steps}
        return next((one for one in (Verdict.FAILS, Verdict.WARNING) if one in found), Verdict.OK)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How far a workload is in the mesh."""

    is_wanted: bool
    """Whether labels say that it is to be captured."""
    origin: Origin | None
    """The label that says so, or the place where one would."""
    exclusions: Exclusions = Exclusions()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """What is known of a node."""

    is_connected: bool
    behind: tuple[str, ...] = ()
    """Types of resources that it has not acknowledged as they are now."""
    refused: tuple[str, ...] = ()
    """What it would not take, a sentence each."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was issued."""

    end: datetime | None
    """None: there is none that has not ended."""


class Circumstances(Protocol):
    """What a snapshot does not know; None: nobody does."""

    def enrolment(self, uid: str) -> Enrolment | None:
        """How far a workload is in the mesh."""

    def refused(self, namespace: str, name: str) -> str | None:
        """Why a workload of that name, which its node reports, is not in the mesh."""

    def strict(self, uid: str) -> Origin | None:
        """The PeerAuthentication by which a workload takes no plaintext."""

    def node(self, name: str) -> NodeStanding | None:
        """How a node stands."""

    def certificate(self, uid: str) -> Certificate | None:
        """What its node holds to prove a workload's identity."""

    def request_policies(self, service: Service) -> tuple[RequestAuthorization, ...]:
        """The policies that a waypoint asks about requests for a service."""

    def standing_problems(self, kind: str, namespace: str, name: str) -> tuple[str, ...]:
        """What is wrong with the newest version of an object whose last good one stands."""
