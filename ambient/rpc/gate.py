"""Who may call what: the one table of the control plane's methods, and the gate that asks it before each call.

Every call over a gated door goes through here, also of services that are not ours. What is refused, and what changes
anything, leaves a line in the audit log. The door of strangers has no gate: its one method takes tokens, and those say
who comes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import grpc

from ambient.core.errors import PeerError
from ambient.rpc.access import Role
from ambient.rpc.errors import PermissionDenied, status_of
from ambient.rpc.pb.ambient.control.v1 import access_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from ambient.rpc.server import Context, Service

Fields: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what they may do."""

    name: str
    role: Role


ROOT: Final = Caller("root", Role.ADMIN)
"""Whoever can open the socket that only root can."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method; ``noted`` says what the audit log has of a call that changes something."""

    roles: frozenset[Role]
    noted: Callable[[Any, Any], Fields] | None = None


_ANYONE: Final = frozenset(Role)
_OPERATORS: Final = frozenset({Role.ADMIN, Role.READER})
_ADMINS: Final = frozenset({Role.ADMIN})
_NODES: Final = frozenset({Role.NODE})


def _objects(_: Message, answer: Any) -> Fields:  # noqa: ANN401  # A message.
    names = [f"{one.object.kind} {one.object.namespace}/{one.object.name}" for one in answer.results]
    return {"objects": ", ".join(names[:_MOST_NAMED]), "applied": str(answer.applied).lower()}


def _asked(*fields: str) -> Callable[[Any, Any], Fields]:
    """Fields of the request, by name."""
    return lambda request, _: {field: str(getattr(request, field)) for field in fields}


def _token(request: Any, answer: Any) -> Fields:  # noqa: ANN401
    return {"name": request.name, "role": access_pb2.Role.Name(request.role), "id": answer.id}


_MOST_NAMED: Final = 20

METHODS: Final[Mapping[str, Rule]] = {
    "ambient.control.v1.Configuration/Validate": Rule(_OPERATORS),
    "ambient.control.v1.Configuration/Apply": Rule(_ADMINS, _objects),
    "ambient.control.v1.Configuration/Get": Rule(_OPERATORS),
    "ambient.control.v1.Configuration/List": Rule(_OPERATORS),
    "ambient.control.v1.Configuration/Delete": Rule(_ADMINS, _objects),
    "ambient.control.v1.Configuration/Watch": Rule(_OPERATORS),
    "ambient.control.v1.Explanation/Explain": Rule(_OPERATORS),
    "ambient.control.v1.Mesh/Status": Rule(_OPERATORS),
    "ambient.control.v1.Mesh/ListNodes": Rule(_OPERATORS),
    "ambient.control.v1.Mesh/ForgetNode": Rule(_ADMINS, _asked("node")),
    "ambient.control.v1.Mesh/ListWorkloads": Rule(_OPERATORS),
    "ambient.control.v1.Mesh/ListWaypoints": Rule(_OPERATORS),
    "ambient.control.v1.Mesh/RegisterWorkload": Rule(
        _ADMINS, _asked("namespace", "name", "service_account", "unhealthy", "lease_seconds")
    ),
    "ambient.control.v1.Mesh/WithdrawWorkload": Rule(_ADMINS, _asked("namespace", "name")),
    "ambient.control.v1.Access/CreateToken": Rule(_ADMINS, _token),
    "ambient.control.v1.Access/ListTokens": Rule(_ADMINS),
    "ambient.control.v1.Access/RevokeToken": Rule(_ADMINS, _asked("id")),
    "ambient.control.v1.Access/ListOperators": Rule(_ADMINS),
    "ambient.control.v1.Access/RemoveOperator": Rule(_ADMINS, _asked("name")),
    "ambient.control.v1.Certificates/ListCertificates": Rule(_OPERATORS),
    "ambient.control.v1.Certificates/GetStanding": Rule(_OPERATORS),
    # The authority has its own lines for what these do; this one says who asked.
    "ambient.control.v1.Certificates/RotateRoot": Rule(_ADMINS, _asked()),
    "ambient.control.v1.Certificates/RecoverRoot": Rule(_ADMINS, _asked("force")),
    "ambient.control.v1.Certificates/RevokeCertificate": Rule(_ADMINS, _asked("name")),
    # A node's reports are its own, and so is what it hears. The authority audits every certificate.
    "ambient.registry.v1.Registry/Report": Rule(_NODES),
    "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": Rule(_NODES),
    "istio.v1.auth.IstioCertificateService/CreateCertificate": Rule(_ANYONE),
    "grpc.health.v1.Health/Check": Rule(_ANYONE),
    # Streams that nothing else bounds are not for nodes, which may have been taken over.
    "grpc.health.v1.Health/Watch": Rule(_OPERATORS),
    "grpc.health.v1.Health/List": Rule(_ANYONE),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(_OPERATORS),
}
"""By service and method. What is not here is refused to everyone."""


class Audit(Protocol):
    """Where a line of audit goes."""

    def record(self, event: str, /, **fields: str) -> None:
        """Note ``event``."""

    def record_sparingly(self, event: str, /, **fields: str) -> None:
        """Note what anyone can cause who has no right to anything."""


class Gate(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types.
    """The services of one door, each call of which is let in or refused."""

    def __init__(
        self, services: tuple[Service, ...], identify: Callable[[Context], Caller], audit: Audit
    ) -> None:
        self._services = services
        self._identify, self._audit = identify, audit

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """GRPC asks for the handler of a method; None: there is no such method."""
        for service in self._services:
            handler = service.service(details)
            if handler is not None:
                return self._gated(details.method.removeprefix("/"), handler)
        return None

    def _gated(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        (kind,) = (kind for kind in kinds if getattr(handler, kind) is not None)
        inner = getattr(handler, kind)

        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401  # Whatever the method takes.
            caller = await self._admit(method, context)
            try:
                response = await inner(request, context)
            except BaseException:
                if METHODS[method].noted is not None:
                    self._note("call refused", caller, method, context, why=context.details() or "it failed")
                raise
            noted = METHODS[method].noted
            if noted is not None:
                self._note("call", caller, method, context, **noted(request, response))
            return response

        async def send(request: Any, context: Context) -> None:  # noqa: ANN401
            await self._admit(method, context)
            answers = inner(request, context)
            if inspect.isawaitable(answers):
                await answers
                return
            async for response in answers:
                await context.write(response)

        return handler._replace(**{kind: send if handler.response_streaming else answer})

    async def _admit(self, method: str, context: Context) -> Caller:
        try:
            caller = self._identify(context)
            rule = METHODS.get(method)
            if rule is None or caller.role not in rule.roles:
                raise PermissionDenied(_why_refused(caller, method, rule))
        except PeerError as error:
            self._audit.record_sparingly("call refused", method=method, peer=context.peer(), why=str(error))
            await context.abort(status_of(error), str(error))
            raise
        return caller

    def _note(self, event: str, caller: Caller, method: str, context: Context, **fields: str) -> None:
        self._audit.record(event, caller=caller.name, method=method, peer=context.peer(), **fields)


def _why_refused(caller: Caller, method: str, rule: Rule | None) -> str:
    if rule is None:
        return f"{method} is for nobody"
    roles = " or ".join(sorted(role.value for role in rule.roles))
    return (
        f"{caller.name} has the role {caller.role.value}, and {method} needs {roles}; ask somebody who has it"
    )
