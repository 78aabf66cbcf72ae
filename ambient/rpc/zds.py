"""ZDS, how a node's daemon and its proxy speak: typed messages, and the socket that carries them with descriptors.

One message is one packet of a unix ``SOCK_SEQPACKET`` socket. The daemon listens. It sends orders, one at a time
(``Ack`` carries no number), and the proxy may ask for things meanwhile (``Result`` carries the number of the
question). Descriptors that are sent stay the sender's; descriptors that are received are the receiver's to close.
Source: ``proto/istio/zds/zds.proto``; numbers from 1000 on are extension ``ambient.v1``.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import os
import socket
import stat
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple, Self, TypeAlias

from google.protobuf.message import DecodeError
from immutables import Map

from ambient.aio.tasks import Crash, Tasks
from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.address import IpAddress, SocketAddress, unmapped
from ambient.core.model.pod import Capture, OlderConnection
from ambient.rpc.pb.istio.zds import zds_pb2 as pb

AMBIENT_V1: Final = "ambient.v1"
SOCKET_NAME: Final = "zds.sock"
"""The daemon's socket in its run folder."""
PACKET_LIMIT: Final = 65536
FDS_LIMIT: Final = 16
"""Descriptors in one packet that are received at all; no message has more than four."""
CONNECTIONS_PER_PACKET: Final = 512
"""At most 73 bytes each."""
ACCEPT_PAUSE_SECONDS: Final = 1.0
UNANSWERED_LIMIT: Final = 1024
"""Questions of a proxy that wait for their Result, and orders that wait for the proxy."""


# --- messages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The proxy's first packet."""

    extensions: frozenset[str] = frozenset()
    returning: tuple[str, ...] = ()
    """Workloads whose listeners the proxy holds from an earlier daemon."""


@dataclass(frozen=True, slots=True)
class WorkloadInfo:
    """Who a workload is; from ``labels`` on only with ambient.v1."""

    name: str
    namespace: str
    service_account: str
    labels: Map[str, str] = Map()  # noqa: RUF009
    addresses: tuple[IpAddress, ...] = ()
    netns_cookie: int = 0
    capture: Capture = Capture.OFF
    """How far the kernel captures its traffic now."""


@dataclass(frozen=True, slots=True)
class AddWorkload:
    """A workload of this node, or what is new of one: netns, and with ambient.v1 outbound, plaintext, hbone."""

    uid: str
    info: WorkloadInfo


@dataclass(frozen=True, slots=True)
class KeepWorkload:
    """A workload whose namespace the daemon cannot find, but that is to be kept."""

    uid: str


@dataclass(frozen=True, slots=True)
class DelWorkload:
    """A workload is gone."""

    uid: str
    now: bool = False
    """Cut its connections instead of letting them end."""


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """Every workload was sent: any other is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """To an ambient.v1 proxy, first of all: the maps original_destinations and clients."""

    node: str


@dataclass(frozen=True, slots=True)
class Deposited:
    """To an ambient.v1 proxy: a sealed memfd that an earlier one left."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """The daemon's answer to what the proxy asked."""

    id: int
    error: str = ""
    connections: tuple[OlderConnection, ...] = ()
    more: bool = False
    """Another Result of the same question follows."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The proxy's answer to an order; an empty error is success."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class SetCapture:
    """How far a workload's traffic is to be captured."""

    uid: str
    mode: Capture
    id: int = 0


@dataclass(frozen=True, slots=True)
class Deposit:
    """Keep this sealed memfd; without one: forget what was kept under the name."""

    name: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Returned:
    """A workload's listeners, for a daemon that was started anew: outbound, plaintext, hbone."""

    uid: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class ListConnections:
    """Name the connections of a workload that never met the mesh."""

    uid: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class DestroyConnections:
    """Reset these connections of a workload."""

    uid: str
    connections: tuple[OlderConnection, ...]
    id: int = 0


Order: TypeAlias = AddWorkload | KeepWorkload | DelWorkload | SnapshotSent
"""What the daemon tells and the proxy acknowledges."""
Request: TypeAlias = Order | Welcome | Deposited | Result
"""What the daemon sends."""
Question: TypeAlias = SetCapture | Deposit | Returned | ListConnections | DestroyConnections
"""What the proxy asks and the daemon answers with a Result."""
Response: TypeAlias = Ack | Question
"""What the proxy sends after its hello."""
Message: TypeAlias = Hello | Request | Response


class UnusableOrder(PeerError):
    """An order that can be read but not followed: it is answered by an Ack with this error."""


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
            return Welcome(request.welcome.node)
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


def expected_fds(message: Message) -> frozenset[int]:
    """How many descriptors may travel with a message."""
    match message:
        case AddWorkload():
            return frozenset({1, 4})
        case Welcome():
            return frozenset({2})
        case Deposited():
            return frozenset({1})
        case Hello() | Deposit():
            return frozenset({0, 1})
        case Returned():
            return frozenset({3})
        case _:
            return frozenset({0})


# --- the socket -------------------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """Who is at the other end, as the kernel tells."""

    pid: int
    uid: int


class ZdsSocket:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._ready: dict[str, asyncio.Event] = {}
        self._closed = False
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", credentials)
        self.peer = Peer(pid, uid)

    @classmethod
    async def connect(cls, path: str) -> Self:
        """To the daemon that listens at ``path``. Raises Unavailable if there is none."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            sock.connect(path)
            return cls(sock)
        except OSError as error:
            sock.close()
            raise Unavailable(f"no node daemon listens at {path}: {error.strerror or error}") from error

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """One packet. Raises Unavailable once the other side is gone."""
        if len(fds) not in expected_fds(message):
            raise ValueError(f"a {type(message).__name__} does not travel with {len(fds)} descriptors")
        packet = encode(message)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while True:
            self._check_open()
            try:
                self._socket.sendmsg([packet], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await self._until("write")
            except OSError as error:
                raise Unavailable(f"the other end of ZDS is gone: {error.strerror or error}") from error
            else:
                return

    async def recv(self, decode: Callable[[bytes], Message]) -> tuple[Message, tuple[int, ...]]:
        """The next message and its descriptors, read with ``decode``.

        Raises Unavailable when the other side has closed, PeerError for a packet that is not right; no descriptor
        is left open then.
        """
        packet, fds = await self.recv_packet()
        try:
            message = decode(packet)
            _check_fds(message, fds)
        except BaseException:
            close_fds(fds)
            raise
        return message, fds

    async def recv_packet(self) -> tuple[bytes, tuple[int, ...]]:
        """The next packet as it is."""
        while True:
            self._check_open()
            try:
                packet, ancillary, flags, _ = self._socket.recvmsg(
                    PACKET_LIMIT, socket.CMSG_SPACE(FDS_LIMIT * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await self._until("read")
                continue
            except OSError as error:
                raise Unavailable(f"the other end of ZDS is gone: {error.strerror or error}") from error
            fds = tuple(_descriptors(ancillary))
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                close_fds(fds)
                raise PeerError(f"a packet over {PACKET_LIMIT} bytes or {FDS_LIMIT} descriptors")
            if not packet:
                close_fds(fds)
                raise Unavailable("the other end of ZDS has closed it")
            return packet, fds

    def close(self) -> None:
        """End it; who waits in ``send`` or ``recv`` gets Unavailable."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for event in self._ready.values():
            event.set()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("ZDS was closed at this end")

    async def _until(self, direction: str) -> None:
        event = self._ready.get(direction)
        if event is None:
            event = self._ready[direction] = asyncio.Event()
            watch = self._loop.add_reader if direction == "read" else self._loop.add_writer
            watch(self._socket.fileno(), self._is_ready, direction)
        await event.wait()

    def _is_ready(self, direction: str) -> None:
        unwatch = self._loop.remove_reader if direction == "read" else self._loop.remove_writer
        unwatch(self._socket.fileno())
        self._ready.pop(direction).set()


class ZdsListener:
    """The daemon's socket; ``close`` ends it, its connections and their handlers."""

    def __init__(self, sock: socket.socket, path: str, handler: Handler, failed: Crash) -> None:
        self._socket, self._path, self._handler, self._failed = sock, path, handler, failed
        self._tasks = Tasks(failed)
        self._loop = asyncio.get_running_loop()
        self._paused: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._accept)

    async def close(self) -> None:
        """Let go of the path and of every connection."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108
        await self._tasks.stop()

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # No descriptors are left, most likely: spinning would not make any.
            self._failed("zds", error)
            self._loop.remove_reader(self._socket.fileno())
            self._paused = self._loop.call_later(
                ACCEPT_PAUSE_SECONDS, self._loop.add_reader, self._socket.fileno(), self._accept
            )
            return
        connection = ZdsSocket(accepted)
        if connection.peer.uid != 0:
            pid, uid = connection.peer
            connection.close()
            self._failed(
                "zds", PeerError(f"process {pid} of user {uid} was turned away; a proxy runs as root")
            )
            return
        self._tasks.start(self._serve(connection), f"zds of process {connection.peer.pid}")

    async def _serve(self, connection: ZdsSocket) -> None:
        try:
            await self._handler(connection)
        finally:
            connection.close()


Handler: TypeAlias = Callable[[ZdsSocket], Awaitable[None]]


def serve(path: str, handler: Handler, failed: Crash) -> ZdsListener:
    """Listen at ``path`` (mode 0600, root only) and run ``handler`` for each proxy that connects.

    ``failed`` hears of turned-away peers and of handlers that ended with an error. Raises ConfigError if something
    else is at the path.
    """
    return ZdsListener(bind(path, socket.SOCK_SEQPACKET), path, handler, failed)


def bind(path: str, kind: int) -> socket.socket:
    """A non-blocking unix listener that only root can reach; a dead one's file is replaced, a live one's is not."""
    _remove_stale(path, kind)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        sock.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101  # Nobody can connect before listen().
        sock.listen(16)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
    return sock


# --- the proxy's end --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Received:
    """An order, Welcome or Deposited as the proxy got it."""

    message: Order | Welcome | Deposited
    fds: tuple[int, ...]
    """The taker's to close."""
    _socket: ZdsSocket
    _acknowledged: bool = False

    async def acknowledge(self, error: str = "") -> None:
        """Tell the daemon that it was done, or why not; nothing for a message that asks for no answer."""
        if self._acknowledged:
            raise ValueError(f"{self.message} was acknowledged before")
        self._acknowledged = True
        if isinstance(self.message, Order):
            await self._socket.send(Ack(error[:4096]))


@dataclass(slots=True)
class _Asked:
    answered: asyncio.Future[tuple[OlderConnection, ...]]
    connections: list[OlderConnection] = field(default_factory=list)


class ZdsClient:
    """The proxy's conversation with its node's daemon, as long as one connection lives.

    Take what the daemon sends from ``orders`` in one task and acknowledge each; ask from any task, also before an
    order is acknowledged. When the connection ends, ``orders`` and every question raise.
    """

    def __init__(self, sock: ZdsSocket, returning: Mapping[str, Sequence[int]]) -> None:
        self._socket = sock
        self._returning = dict(returning)
        self._orders: deque[Received] = deque()
        self._news = asyncio.Event()
        self._asked: dict[int, _Asked] = {}
        self._ids = itertools.count(1)
        self._ended: Exception | None = None
        self.extended = False
        """Whether the daemon speaks ambient.v1 (it has sent Welcome); asking needs that."""
        self._reading = asyncio.create_task(self._read(), name="zds of the node daemon")
        self._giving_back: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls, path: str, returning: Mapping[str, Sequence[int]] | None = None, witness: int | None = None
    ) -> Self:
        """Say hello to the daemon.

        ``returning`` is what an earlier daemon gave: for each workload its outbound, plaintext and hbone listeners.
        They are sent when the daemon says Welcome and stay open here. ``witness`` is a socket by which the daemon sees
        the proxy's cgroup. Raises Unavailable.
        """
        sock = await ZdsSocket.connect(path)
        try:
            hello = Hello(frozenset({AMBIENT_V1}), tuple(returning or ()))
            await sock.send(hello, () if witness is None else (witness,))
        except BaseException:
            sock.close()
            raise
        return cls(sock, returning or {})

    async def orders(self) -> AsyncIterator[Received]:
        """What the daemon sends, in order. Raises Unavailable or PeerError when the connection ends."""
        while True:
            while self._orders:
                yield self._orders.popleft()
            if self._ended is not None:
                raise self._ended
            self._news.clear()
            await self._news.wait()

    async def set_capture(self, uid: str, mode: Capture) -> None:
        """Have the kernel capture a workload's traffic; done when this returns. Raises ConfigError if it cannot."""
        await self._ask(SetCapture(uid, mode))

    async def deposit(self, name: str, fd: int | None) -> None:
        """Have the daemon keep a sealed memfd for the next proxy; None: forget the one of that name."""
        await self._ask(Deposit(name), () if fd is None else (fd,))

    async def returned(self, uid: str, fds: Sequence[int]) -> None:
        """Give the daemon a workload's listeners; ``connect`` does it for all."""
        await self._ask(Returned(uid), fds)

    async def list_connections(self, uid: str) -> tuple[OlderConnection, ...]:
        """The connections of a workload that are older than its capture and still there."""
        return await self._ask(ListConnections(uid))

    async def destroy_connections(self, uid: str, connections: Collection[OlderConnection]) -> None:
        """Reset older connections of a workload."""
        remaining = iter(connections)
        while batch := tuple(itertools.islice(remaining, CONNECTIONS_PER_PACKET)):
            await self._ask(DestroyConnections(uid, batch))

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _ask(self, question: Question, fds: Sequence[int] = ()) -> tuple[OlderConnection, ...]:
        if self._ended is not None:
            raise Unavailable(f"no daemon to ask: {self._ended}")
        if not self.extended:
            raise Unavailable("the daemon has not said Welcome: it does not speak ambient.v1")
        if len(self._asked) >= UNANSWERED_LIMIT:
            raise Unavailable(f"{UNANSWERED_LIMIT} questions to the daemon are unanswered")
        number = next(self._ids)
        asked = self._asked[number] = _Asked(asyncio.get_running_loop().create_future())
        try:
            await self._socket.send(replace(question, id=number), fds)
            return await asked.answered
        finally:
            self._asked.pop(number, None)

    async def _read(self) -> None:
        try:
            while True:
                await self._take_one()
        except (PeerError, Unavailable) as error:
            self._end(error)
        except asyncio.CancelledError:
            self._end(Unavailable("ZDS was closed at this end"))
            raise
        except BaseException as error:
            self._end(Unavailable(f"reading ZDS failed: {error!r}"))
            raise

    async def _take_one(self) -> None:
        try:
            message, fds = await self._socket.recv(decode_request)
        except UnusableOrder as error:
            await self._socket.send(Ack(str(error)))
            return
        match message:
            case Result():
                self._answer(message)
            case AddWorkload() | KeepWorkload() | DelWorkload() | SnapshotSent() | Welcome() | Deposited():
                if len(self._orders) >= UNANSWERED_LIMIT:
                    close_fds(fds)
                    raise PeerError(
                        f"the daemon sent {UNANSWERED_LIMIT} orders without waiting for an answer"
                    )
                self._orders.append(Received(message, fds, self._socket))
                self._news.set()
                if isinstance(message, Welcome):
                    self.extended = True
                    self._giving_back = asyncio.create_task(
                        self._give_back(), name="zds listeners given back"
                    )
            case _:
                raise PeerError(f"the daemon sent a {type(message).__name__}")

    def _answer(self, result: Result) -> None:
        asked = self._asked.get(result.id)
        if asked is None or asked.answered.done():
            return  # Whoever asked was cancelled.
        asked.connections.extend(result.connections)
        if result.error:
            asked.answered.set_exception(ConfigError(result.error))
        elif not result.more:
            asked.answered.set_result(tuple(asked.connections))

    async def _give_back(self) -> None:
        returning, self._returning = self._returning, {}
        for uid, fds in returning.items():
            with contextlib.suppress(ConfigError, Unavailable):  # A daemon that has no use for them says so.
                await self.returned(uid, fds)

    def _end(self, error: Exception) -> None:
        self._ended = error
        self._socket.close()
        if self._giving_back is not None:
            self._giving_back.cancel()
        for received in self._orders:
            close_fds(received.fds)
        self._orders.clear()
        for asked in self._asked.values():
            if not asked.answered.done():
                asked.answered.set_exception(Unavailable(f"the daemon did not answer: {error}"))
        self._news.set()


def close_fds(fds: Collection[int]) -> None:
    """Close each."""
    for fd in fds:
        os.close(fd)


def results(question_id: int, connections: Sequence[OlderConnection]) -> Iterator[Result]:
    """A list of connections as Results that fit in packets."""
    for start in range(0, max(len(connections), 1), CONNECTIONS_PER_PACKET):
        end = start + CONNECTIONS_PER_PACKET
        yield Result(question_id, "", tuple(connections[start:end]), more=end < len(connections))


# --- protobuf ---------------------------------------------------------------------------------------------------

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
        case Welcome(node):
            return pb.WorkloadRequest(welcome=pb.Welcome(node=node))
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


def _check_fds(message: Message, fds: Collection[int]) -> None:
    if len(fds) not in expected_fds(message):
        fault = UnusableOrder if isinstance(message, Order) else PeerError
        raise fault(f"a {type(message).__name__} came with {len(fds)} descriptors")


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> Iterator[int]:
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
            yield from fds


def _remove_stale(path: str, kind: int) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"cannot listen at {path}: something that is not a socket is there")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108
        except OSError as error:
            raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from error
        else:
            raise ConfigError(f"cannot listen at {path}: another process does")
