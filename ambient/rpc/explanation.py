"""Why a call works or does not: both ends of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from immutables import Map

from ambient.core.errors import ConfigError, PeerError
from ambient.core.explain.answer import Explanation, Question, Step, Topic, Verdict
from ambient.core.model.route import Origin
from ambient.rpc.errors import answered
from ambient.rpc.pb.ambient.control.v1 import explanation_pb2 as pb, explanation_pb2_grpc
from ambient.rpc.server import service, unary

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Explanation"
_TIMEOUT_SECONDS: Final = 30.0


class Explainer(Protocol):
    """Who can say why."""

    def explain(self, question: Question) -> tuple[Explanation, int]:
        """Decide on the mesh as it stands now, and which version of it that is."""


def explanation_service(explainer: Explainer) -> Service:
    """``ambient.control.v1.Explanation``."""

    async def explain(request: pb.ExplainRequest) -> pb.ExplainResponse:
        if request.port > 0xFFFF:
            raise ConfigError(f"port is {request.port}; a port is 1-65535")
        explanation, version = explainer.explain(
            Question(
                request.source,
                request.destination,
                request.port or None,
                request.method,
                request.path,
                Map(request.headers),
            )
        )
        return pb.ExplainResponse(steps=[_message(step) for step in explanation.steps], version=version)

    return service(SERVICE, {"Explain": unary(explain, pb.ExplainRequest)})


async def explain(channel: Channel, question: Question) -> Explanation:
    """Ask the control plane; on a channel of rpc.operator."""
    request = pb.ExplainRequest(
        source=question.source,
        destination=question.destination,
        port=question.port or 0,
        method=question.method,
        path=question.path,
        headers=dict(question.headers),
    )
    stub = explanation_pb2_grpc.ExplanationStub(channel)  # type: ignore[no-untyped-call]
    response = await answered(stub.Explain(request, timeout=_TIMEOUT_SECONDS))
    return Explanation(tuple(_step(step) for step in response.steps))


_VERDICTS: Final = {
    Verdict.OK: pb.VERDICT_OK,
    Verdict.WARNING: pb.VERDICT_WARNING,
    Verdict.FAILS: pb.VERDICT_FAILS,
}
_VERDICTS_BACK: Final = {number: verdict for verdict, number in _VERDICTS.items()}


def _message(step: Step) -> pb.Step:
    origin = step.origin or Origin("", "", "")
    return pb.Step(
        topic=step.topic.value,
        verdict=_VERDICTS[step.verdict],
        text=step.text,
        kind=origin.kind,
        namespace=origin.namespace,
        name=origin.name,
        field=origin.field,
        remedy=step.remedy,
    )


def _step(step: pb.Step) -> Step:
    origin = Origin(step.kind, step.namespace, step.name, step.field) if step.kind else None
    try:
        return Step(Topic(step.topic), _VERDICTS_BACK[step.verdict], step.text, origin, step.remedy)
    except (ValueError, KeyError) as error:
        raise PeerError(
            f"the control plane explains {step.topic!r}, which this `ambient` does not know: bring both to one version"
        ) from error
