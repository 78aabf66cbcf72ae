"""Who may come in, and the tokens for it: both ends of the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from ambient.rpc.errors import InvalidRequest, answered
from ambient.rpc.moments import moment_message, read_moment
from ambient.rpc.pb.ambient.control.v1 import access_pb2 as pb, access_pb2_grpc
from ambient.rpc.server import service, unary

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Access"
BOOTSTRAP_SERVICE: Final = "ambient.control.v1.Bootstrap"
_TIMEOUT_SECONDS: Final = 30.0


class Role(Enum):
    """What somebody may do."""

    ADMIN = "admin"
    READER = "reader"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token."""

    token: str = field(repr=False)
    """The bare secret."""
    join_token: str = field(repr=False)
    """The secret, where the control plane is, and how to know it."""
    id: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its secret."""

    id: str
    name: str
    role: Role
    expires: datetime
    is_used: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who may call with a certificate."""

    name: str
    role: Role
    since: datetime


class Access(Protocol):
    """Who lets in."""

    def create_token(self, name: str, role: Role, ttl_seconds: int, address: str) -> Issued:
        """A new token. Raises ConfigError."""

    def check_token(self, token: str) -> None:
        """Raises Unauthenticated if nobody could come in with it any more."""

    def tokens(self) -> tuple[Token, ...]:
        """Those that have not expired."""

    def revoke_token(self, token_id: str) -> None:
        """Nobody can use it any more. Raises NotFound."""

    def operators(self) -> tuple[Operator, ...]:
        """Everyone with an operator's certificate."""

    def remove_operator(self, name: str) -> None:
        """Their certificate opens nothing any more. Raises NotFound."""


# The control plane's end


def access_service(access: Access) -> Service:
    """``ambient.control.v1.Access``."""

    async def create_token(request: pb.CreateTokenRequest) -> pb.CreateTokenResponse:
        role = Role.NODE if request.role == pb.ROLE_UNSPECIFIED else _role(request.role)
        issued = access.create_token(request.name, role, request.ttl_seconds, request.address)
        return pb.CreateTokenResponse(
            token=issued.token,
            join_token=issued.join_token,
            id=issued.id,
            expires=moment_message(issued.expires),
        )

    async def list_tokens(_: pb.ListTokensRequest) -> pb.ListTokensResponse:
        return pb.ListTokensResponse(
            tokens=[
                pb.Token(
                    id=one.id,
                    name=one.name,
                    role=_ROLES[one.role],
                    expires=moment_message(one.expires),
                    used=one.is_used,
                )
                for one in access.tokens()
            ]
        )

    async def revoke_token(request: pb.RevokeTokenRequest) -> pb.RevokeTokenResponse:
        access.revoke_token(request.id)
        return pb.RevokeTokenResponse()

    async def list_operators(_: pb.ListOperatorsRequest) -> pb.ListOperatorsResponse:
        return pb.ListOperatorsResponse(
            operators=[
                pb.Operator(name=one.name, role=_ROLES[one.role], since=moment_message(one.since))
                for one in access.operators()
            ]
        )

    async def remove_operator(request: pb.RemoveOperatorRequest) -> pb.RemoveOperatorResponse:
        access.remove_operator(request.name)
        return pb.RemoveOperatorResponse()

    return service(
        SERVICE,
        {
            "CreateToken": unary(create_token, pb.CreateTokenRequest),
            "ListTokens": unary(list_tokens, pb.ListTokensRequest),
            "RevokeToken": unary(revoke_token, pb.RevokeTokenRequest),
            "ListOperators": unary(list_operators, pb.ListOperatorsRequest),
            "RemoveOperator": unary(remove_operator, pb.RemoveOperatorRequest),
        },
    )


def bootstrap_service(access: Access) -> Service:
    """``ambient.control.v1.Bootstrap``."""

    async def check_token(request: pb.CheckTokenRequest) -> pb.CheckTokenResponse:
        access.check_token(request.token)
        return pb.CheckTokenResponse()

    return service(BOOTSTRAP_SERVICE, {"CheckToken": unary(check_token, pb.CheckTokenRequest)})


# The caller's end: on a channel of rpc.operator


async def create_token(
    channel: Channel, name: str, role: Role = Role.NODE, *, ttl_seconds: int = 0, address: str = ""
) -> Issued:
    """A new token for a node or an operator; ``address`` is where its user reaches the control plane."""
    request = pb.CreateTokenRequest(name=name, role=_ROLES[role], ttl_seconds=ttl_seconds, address=address)
    made = await answered(_stub(channel).CreateToken(request, timeout=_TIMEOUT_SECONDS))
    return Issued(made.token, made.join_token, made.id, read_moment(made.expires))


async def check_token(channel: Channel, token: str) -> None:
    """Whether a token would be taken; on a channel without a certificate. Raises Unauthenticated."""
    stub = access_pb2_grpc.BootstrapStub(channel)  # type: ignore[no-untyped-call]
    await answered(stub.CheckToken(pb.CheckTokenRequest(token=token), timeout=_TIMEOUT_SECONDS))


async def tokens(channel: Channel) -> tuple[Token, ...]:
    """Those that have not expired."""
    response = await answered(_stub(channel).ListTokens(pb.ListTokensRequest(), timeout=_TIMEOUT_SECONDS))
    return tuple(
        Token(one.id, one.name, _role(one.role), read_moment(one.expires), one.used)
        for one in response.tokens
    )


async def revoke_token(channel: Channel, token_id: str) -> None:
    """Nobody can use it any more. Raises NotFound."""
    request = pb.RevokeTokenRequest(id=token_id)
    await answered(_stub(channel).RevokeToken(request, timeout=_TIMEOUT_SECONDS))


async def operators(channel: Channel) -> tuple[Operator, ...]:
    """Everyone with an operator's certificate."""
    request = pb.ListOperatorsRequest()
    response = await answered(_stub(channel).ListOperators(request, timeout=_TIMEOUT_SECONDS))
    return tuple(Operator(one.name, _role(one.role), read_moment(one.since)) for one in response.operators)


async def remove_operator(channel: Channel, name: str) -> None:
    """Their certificate opens nothing any more. Raises NotFound."""
    request = pb.RemoveOperatorRequest(name=name)
    await answered(_stub(channel).RemoveOperator(request, timeout=_TIMEOUT_SECONDS))


def _stub(channel: Channel) -> access_pb2_grpc.AccessStub:
    return access_pb2_grpc.AccessStub(channel)  # type: ignore[no-untyped-call]


_ROLES: Final = {Role.ADMIN: pb.ROLE_ADMIN, Role.READER: pb.ROLE_READER, Role.NODE: pb.ROLE_NODE}
_ROLES_BACK: Final = {number: role for role, number in _ROLES.items()}


def _role(number: pb.Role) -> Role:
    try:
        return _ROLES_BACK[number]
    except KeyError as error:
        raise InvalidRequest(f"role {number} is unknown; it is {', '.join(pb.Role.keys())}") from error
