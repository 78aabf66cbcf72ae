"""Why a connection or a request goes where it goes: both ends of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from ambient.rpc.errors import answered
from ambient.rpc.pb.ambient.control.v1 import explanation_pb2 as pb, explanation_pb2_grpc
from ambient.rpc.server import service, unary

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Explanation"
_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """A connection, or a request on it if there is a ``method`` or a ``path``."""

    source: str
    destination: str
    port: int = 0
    """0: the only port of the destination."""
    method: str = ""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Verdict(Enum):
    """What becomes of it."""

    TUNNEL = "tunnel"
    DIRECT = "direct"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """One decision, and the object and field behind it."""

    name: str
    passed: bool
    message: str
    object: str = ""
    field: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """The steps in the order of deciding, and what comes of them."""

    steps: tuple[Step, ...]
    verdict: Verdict
    summary: str
    remedy: str = ""
    version: int = 0


class Explainer(Protocol):
    """Who can say why."""

    def explain(self, question: Question) -> Explained:
        """Decide on the mesh as it stands now. Raises ConfigError if ``question`` makes no sense."""


def explanation_service(explainer: Explainer) -> Service:
    """``ambient.control.v1.Explanation``."""

    async def explain(request: pb.ExplainRequest) -> pb.ExplainResponse:
        question = Question(
            request.source,
            request.destination,
            request.port,
            request.method,
            request.path,
            dict(request.headers),
        )
        explained = explainer.explain(question)
        return pb.ExplainResponse(
            steps=[
                pb.Step(
                    name=step.name,
                    passed=step.passed,
                    message=step.message,
                    object=step.object,
                    field=step.field,
                    remedy=step.remedy,
                )
                for step in explained.steps
            ],
            verdict=_VERDICTS[explained.verdict],
            summary=explained.summary,
            remedy=explained.remedy,
            version=explained.version,
        )

    return service(SERVICE, {"Explain": unary(explain, pb.ExplainRequest)})


async def explain(channel: Channel, question: Question) -> Explained:
    """Ask the control plane; on a channel of rpc.operator."""
    request = pb.ExplainRequest(
        source=question.source,
        destination=question.destination,
        port=question.port,
        method=question.method,
        path=question.path,
        headers=dict(question.headers),
    )
    stub = explanation_pb2_grpc.ExplanationStub(channel)  # type: ignore[no-untyped-call]
    response = await answered(stub.Explain(request, timeout=_TIMEOUT_SECONDS))
    return Explained(
        tuple(
            Step(step.name, step.passed, step.message, step.object, step.field, step.remedy)
            for step in response.steps
        ),
        _VERDICTS_BACK[response.verdict],
        response.summary,
        response.remedy,
        response.version,
    )


_VERDICTS: Final = {
    Verdict.TUNNEL: pb.VERDICT_TUNNEL,
    Verdict.DIRECT: pb.VERDICT_DIRECT,
    Verdict.REFUSED: pb.VERDICT_REFUSED,
}
_VERDICTS_BACK: Final = {number: verdict for verdict, number in _VERDICTS.items()}
