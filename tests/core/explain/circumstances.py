from dataclasses import dataclass, field
from datetime import datetime

from ambient.core.authorize_request import concerns
from ambient.core.explain.answer import Certificate, Enrolment, NodeStanding
from ambient.core.model.request_authorization import RequestAuthorization
from ambient.core.model.route import Origin
from ambient.core.model.service import Service


@dataclass
class Known:
    """Circumstances as a test writes them down."""

    enrolments: dict[str, Enrolment] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    stricts: dict[str, Origin] = field(default_factory=dict)
    nodes: dict[str, NodeStanding] = field(default_factory=dict)
    ends: dict[str, datetime | None] = field(default_factory=dict)
    policies: tuple[RequestAuthorization, ...] = ()
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def enrolment(self, uid: str) -> Enrolment | None:
        return self.enrolments.get(uid.rpartition("/")[2])

    def refused(self, namespace: str, name: str) -> str | None:
        return self.refusals.get(f"{namespace}/{name}")

    def strict(self, uid: str) -> Origin | None:
        return self.stricts.get(uid.rpartition("/")[2])

    def node(self, name: str) -> NodeStanding | None:
        return self.nodes.get(name)

    def certificate(self, uid: str) -> Certificate | None:
        name = uid.rpartition("/")[2]
        return Certificate(self.ends[name]) if name in self.ends else None

    def request_policies(self, service: Service) -> tuple[RequestAuthorization, ...]:
        return tuple(one for one in self.policies if concerns(one, service, ("istio-system",)))

    def standing_problems(self, kind: str, namespace: str, name: str) -> tuple[str, ...]:
        return self.problems.get(f"{kind} {namespace}/{name}", ())
