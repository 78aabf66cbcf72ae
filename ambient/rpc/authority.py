"""The certificate authority as its operator sees it: both ends of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from ambient.rpc.errors import answered
from ambient.rpc.moments import moment_message, read_moment
from ambient.rpc.pb.ambient.control.v1 import certificates_pb2 as pb, certificates_pb2_grpc
from ambient.rpc.server import service, unary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Certificates"
_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that was signed and has not ended."""

    serial: str
    """In hexadecimal, as is ``issuer``."""
    identity: str
    node: str
    issuer: str
    not_after: datetime
    revoked: datetime | None


@dataclass(frozen=True, slots=True)
class Member:
    """A root or an issuer."""

    role: str
    """root or issuer."""
    root: str
    """The root's name."""
    serial: str
    not_after: datetime
    signs: bool
    has_key: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Who signs and who is trusted."""

    phase: str
    waits_for: str
    authorities: tuple[Member, ...]
    unaware_nodes: tuple[str, ...]
    trouble: str


class Authority(Protocol):
    """Who has the say."""

    def certificates(self) -> Sequence[Certificate]:
        """Those that live."""

    def standing(self) -> Standing:
        """How it stands."""

    def rotate(self) -> None:
        """Have another root, step by step. Raises ConfigError."""

    def recover(self, *, force: bool) -> None:
        """Have another root at once. Raises ConfigError."""

    def revoke(self, name: str) -> Sequence[Certificate]:
        """Believe a serial number or an identity no more. Raises NotFound."""


# The control plane's end


def certificates_service(authority: Authority) -> Service:
    """``ambient.control.v1.Certificates``."""

    async def list_certificates(_: pb.ListCertificatesRequest) -> pb.ListCertificatesResponse:
        return pb.ListCertificatesResponse(certificates=map(_certificate_message, authority.certificates()))

    async def get_standing(_: pb.GetStandingRequest) -> pb.Standing:
        return _standing_message(authority.standing())

    async def rotate(_: pb.RotateRootRequest) -> pb.Standing:
        authority.rotate()
        return _standing_message(authority.standing())

    async def recover(request: pb.RecoverRootRequest) -> pb.Standing:
        authority.recover(force=request.force)
        return _standing_message(authority.standing())

    async def revoke(request: pb.RevokeCertificateRequest) -> pb.RevokeCertificateResponse:
        return pb.RevokeCertificateResponse(revoked=map(_certificate_message, authority.revoke(request.name)))

    return service(
        SERVICE,
        {
            "ListCertificates": unary(list_certificates, pb.ListCertificatesRequest),
            "GetStanding": unary(get_standing, pb.GetStandingRequest),
            "RotateRoot": unary(rotate, pb.RotateRootRequest),
            "RecoverRoot": unary(recover, pb.RecoverRootRequest),
            "RevokeCertificate": unary(revoke, pb.RevokeCertificateRequest),
        },
    )


# The caller's end: on a channel of rpc.operator


async def certificates(channel: Channel) -> tuple[Certificate, ...]:
    """Those that live."""
    response = await answered(
        _stub(channel).ListCertificates(pb.ListCertificatesRequest(), timeout=_TIMEOUT_SECONDS)
    )
    return _read_certificates(response.certificates)


async def standing(channel: Channel) -> Standing:
    """How it stands."""
    call = _stub(channel).GetStanding(pb.GetStandingRequest(), timeout=_TIMEOUT_SECONDS)
    return _read_standing(await answered(call))


async def rotate(channel: Channel) -> Standing:
    """Begin with another root. Raises InvalidRequest if that cannot be now."""
    call = _stub(channel).RotateRoot(pb.RotateRootRequest(), timeout=_TIMEOUT_SECONDS)
    return _read_standing(await answered(call))


async def recover(channel: Channel, *, force: bool) -> Standing:
    """Have another root at once. Raises InvalidRequest while the one that signs still can."""
    call = _stub(channel).RecoverRoot(pb.RecoverRootRequest(force=force), timeout=_TIMEOUT_SECONDS)
    return _read_standing(await answered(call))


async def revoke(channel: Channel, name: str) -> tuple[Certificate, ...]:
    """Believe a serial number or an identity no more. Raises NotFound."""
    call = _stub(channel).RevokeCertificate(pb.RevokeCertificateRequest(name=name), timeout=_TIMEOUT_SECONDS)
    return _read_certificates((await answered(call)).revoked)


def _stub(channel: Channel) -> certificates_pb2_grpc.CertificatesStub:
    return certificates_pb2_grpc.CertificatesStub(channel)  # type: ignore[no-untyped-call]


def _certificate_message(one: Certificate) -> pb.Certificate:
    return pb.Certificate(
        serial=one.serial,
        identity=one.identity,
        node=one.node,
        issuer_serial=one.issuer,
        not_after=moment_message(one.not_after),
        revoked=moment_message(one.revoked),
    )


def _read_certificates(messages: Iterable[pb.Certificate]) -> tuple[Certificate, ...]:
    return tuple(
        Certificate(
            one.serial,
            one.identity,
            one.node,
            one.issuer_serial,
            read_moment(one.not_after),
            read_moment(one.revoked) if one.HasField("revoked") else None,
        )
        for one in messages
    )


def _standing_message(standing: Standing) -> pb.Standing:
    return pb.Standing(
        phase=standing.phase,
        waits_for=standing.waits_for,
        authorities=[
            pb.Authority(
                role=one.role,
                root=one.root,
                serial=one.serial,
                not_after=moment_message(one.not_after),
                signs=one.signs,
                has_key=one.has_key,
            )
            for one in standing.authorities
        ],
        unaware_nodes=standing.unaware_nodes,
        trouble=standing.trouble,
    )


def _read_standing(message: pb.Standing) -> Standing:
    return Standing(
        message.phase,
        message.waits_for,
        tuple(
            Member(one.role, one.root, one.serial, read_moment(one.not_after), one.signs, one.has_key)
            for one in message.authorities
        ),
        tuple(message.unaware_nodes),
        message.trouble,
    )
