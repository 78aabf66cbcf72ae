"""Messages to packets of protobuf, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from google.protobuf.message import DecodeError
from immutables import Map

from ambient.core.errors import ConfigError, PeerError
from ambient.core.model.address import IpAddress, SocketAddress, unmapped
from ambient.core.model.pod import Capture, OlderConnection
from ambient.rpc import exclusions
from ambient.rpc.pb.istio.zds import zds_pb2 as pb
from ambient.rpc.zds.messages import (
    FIRST_MAPS,
    Ack,
    AddWorkload,
    DelWorkload,
    Deposit,
    Deposited,
    DestroyConnections,
    Hello,
    KeepWorkload,
    ListConnections,
    Message,
    Request,
    Response,
    Result,
    Returned,
    SetCapture,
    SnapshotSent,
    UnusableOrder,
    Welcome,
    WorkloadInfo,
)

PACKET_LIMIT: Final = 65536


def encode(message: Message) -> bytes:
    """One packet. Raises ConfigError if the message is too big for one."""
    packet = _encoded(message).SerializeToString(deterministic=True)
    if len(packet) > PACKET_LIMIT:
        raise ConfigError(f"a {type(message).__name__} of {len(packet)} bytes; a packet holds {PACKET_LIMIT}")
    return packet


def decode_hello(packet: bytes) -> Hello:
    """The first packet of a proxy. Raises PeerError."""
    hello = pb.ZdsHello()
    _parse(hello, packet)
    if hello.version != pb.V1:
        raise PeerError(f"the proxy speaks version {hello.version} of ZDS; this is version 1")
    return Hello(frozenset(hello.extensions), tuple(hello.returning))


def decode_request(packet: bytes) -> Request:
    """What a daemon sent. Raises UnusableOrder if it lacks something, another PeerError if it is garbage."""
    request = pb.WorkloadRequest()
    _parse(request, packet)
    match request.WhichOneof("payload"):
        case "add":
            return _added(request.add)
        case "keep":
            return KeepWorkload(_uid(request.keep.uid, "KeepWorkload"))
        case "del":
            removal: pb.DelWorkload = getattr(request, "del")
            return DelWorkload(_uid(removal.uid, "DelWorkload"), removal.now)
        case "snapshot_sent":
            return SnapshotSent()
        case "welcome":
            welcome = request.welcome
            return Welcome(welcome.node, tuple(welcome.maps) or FIRST_MAPS)
        case "deposited":
            return Deposited(request.deposited.name)
        case "result":
            result = request.result
            return Result(result.id, result.error, _connections(result.connections), result.more)
        case _:
            raise PeerError("the daemon sent a request of no known kind")


def decode_response(packet: bytes) -> Response:
    """What a proxy sent after its hello. Raises PeerError."""
    response = pb.WorkloadResponse()
    _parse(response, packet)
    match response.WhichOneof("payload"):
        case "ack":
            return Ack(response.ack.error)
        case "set_capture":
            wish = response.set_capture
            if wish.mode not in _CAPTURES:
                raise PeerError(f"the proxy asked for capture mode {wish.mode}; there are 0, 1 and 2")
            return SetCapture(wish.uid, _CAPTURES[wish.mode], response.id)
        case "deposit":
            return Deposit(response.deposit.name, response.id)
        case "returned":
            return Returned(response.returned.uid, response.id)
        case "list_connections":
            return ListConnections(response.list_connections.uid, response.id)
        case "destroy_connections":
            doomed = response.destroy_connections
            return DestroyConnections(doomed.uid, _connections(doomed.connections), response.id)
        case _:
            raise PeerError("the proxy sent a response of no known kind")


_CAPTURES: Final[Mapping[pb.SetCapture.Mode, Capture]] = {
    pb.SetCapture.OFF: Capture.OFF,
    pb.SetCapture.DRAINING: Capture.DRAINING,
    pb.SetCapture.ON: Capture.ON,
}
_MODES: Final = {capture: mode for mode, capture in _CAPTURES.items()}


def _encoded(message: Message) -> pb.ZdsHello | pb.WorkloadRequest | pb.WorkloadResponse:
    match message:
        case Hello():
            return pb.ZdsHello(
                version=pb.V1, extensions=sorted(message.extensions), returning=list(message.returning)
            )
        case AddWorkload(uid, info):
            encoded = pb.WorkloadInfo(
                name=info.name,
                namespace=info.namespace,
                service_account=info.service_account,
                labels=dict(info.labels),
                addresses=[ip.packed for ip in info.addresses],
                netns_cookie=info.netns_cookie,
                capture=_MODES[info.capture],
                exclusions=exclusions.message(pb.Exclusions, info.exclusions),
                unhealthy=not info.healthy,
            )
            return pb.WorkloadRequest(add=pb.AddWorkload(uid=uid, workload_info=encoded))
        case KeepWorkload(uid):
            return pb.WorkloadRequest(keep=pb.KeepWorkload(uid=uid))
        case DelWorkload(uid, now):
            request = pb.WorkloadRequest()
            removal: pb.DelWorkload = getattr(request, "del")
            removal.uid, removal.now = uid, now
            return request
        case SnapshotSent():
            return pb.WorkloadRequest(snapshot_sent=pb.SnapshotSent())
        case Welcome(node, maps):
            return pb.WorkloadRequest(welcome=pb.Welcome(node=node, maps=maps))
        case Deposited(name):
            return pb.WorkloadRequest(deposited=pb.Deposited(name=name))
        case Result(number, error, connections, more):
            result = pb.Result(id=number, error=error, connections=map(_connection, connections), more=more)
            return pb.WorkloadRequest(result=result)
        case Ack(error):
            return pb.WorkloadResponse(ack=pb.Ack(error=error))
        case SetCapture(uid, mode, number):
            wish = pb.SetCapture(uid=uid, mode=_MODES[mode])
            return pb.WorkloadResponse(set_capture=wish, id=number)
        case Deposit(name, number):
            return pb.WorkloadResponse(deposit=pb.Deposit(name=name), id=number)
        case Returned(uid, number):
            return pb.WorkloadResponse(returned=pb.Returned(uid=uid), id=number)
        case ListConnections(uid, number):
            return pb.WorkloadResponse(list_connections=pb.ListConnections(uid=uid), id=number)
        case DestroyConnections(uid, connections, number):
            doomed = pb.DestroyConnections(uid=uid, connections=map(_connection, connections))
            return pb.WorkloadResponse(destroy_connections=doomed, id=number)


def _parse(message: pb.ZdsHello | pb.WorkloadRequest | pb.WorkloadResponse, packet: bytes) -> None:
    try:
        message.ParseFromString(packet)
    except DecodeError as error:
        raise PeerError(f"{len(packet)} bytes that are no {type(message).__name__}") from error


def _added(added: pb.AddWorkload) -> AddWorkload:
    uid = _uid(added.uid, "AddWorkload")
    if not added.HasField("workload_info"):
        raise UnusableOrder(f"AddWorkload {uid!r} has no workload_info")
    info = added.workload_info
    try:
        addresses = tuple(_ip(packed) for packed in info.addresses)
    except ValueError as error:
        raise UnusableOrder(f"AddWorkload {uid!r}: {error}") from error
    try:
        excluded = exclusions.read(info.exclusions)
    except ValueError as error:
        raise UnusableOrder(f"AddWorkload {uid!r}: {error}") from error
    if info.capture not in _CAPTURES:
        raise UnusableOrder(f"AddWorkload {uid!r}: capture mode {info.capture}; there are 0, 1 and 2")
    return AddWorkload(
        uid,
        WorkloadInfo(
            info.name,
            info.namespace,
            info.service_account,
            Map(dict(info.labels)),
            addresses,
            info.netns_cookie,
            _CAPTURES[info.capture],
            excluded,
            not info.unhealthy,
        ),
    )


def _uid(uid: str, where: str) -> str:
    if not uid:
        raise UnusableOrder(f"{where} names no uid")
    return uid


def _ip(packed: bytes) -> IpAddress:
    match len(packed):
        case 4:
            return IPv4Address(packed)
        case 16:
            return unmapped(IPv6Address(packed))
        case length:
            raise ValueError(f"an address of {length} bytes; it has 4 or 16")


def _connection(connection: OlderConnection) -> pb.Connection:
    return pb.Connection(
        local_ip=connection.local.ip.packed,
        local_port=connection.local.port,
        remote_ip=connection.remote.ip.packed,
        remote_port=connection.remote.port,
        inbound=connection.inbound,
        cookie=connection.cookie,
    )


def _connections(connections: Collection[pb.Connection]) -> tuple[OlderConnection, ...]:
    try:
        return tuple(
            OlderConnection(
                SocketAddress(_ip(connection.local_ip), _port(connection.local_port)),
                SocketAddress(_ip(connection.remote_ip), _port(connection.remote_port)),
                connection.inbound,
                connection.cookie,
            )
            for connection in connections
        )
    except ValueError as error:
        raise PeerError(f"a connection with {error}") from error


def _port(port: int) -> int:
    if port > 0xFFFF:
        raise ValueError(f"port {port}; a port is at most 65535")
    return port
