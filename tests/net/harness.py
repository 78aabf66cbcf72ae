"""Two ends of a tunnel in one process, with real TLS over loopback and real TCP applications."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address

from ambient.core.errors import AmbientError, PeerError, Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, issue
from ambient.core.pki.bundle import Credentials
from ambient.net import sockets
from ambient.net.pool import Pool, PoolKey
from ambient.net.relay import Relay
from ambient.net.tcp import SocketEnd
from ambient.net.tls import Contexts
from ambient.net.tunnel import ClientTunnel, ServerTunnel, Tunnel

CLIENT = SpiffeId("cluster.local", "shop", "client")
SERVER = SpiffeId("cluster.local", "shop", "server")
AUTHORITY = issue.new_authority("cluster.local", datetime.now(UTC))

Application = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def credentials_of(identity: SpiffeId, authority: issue.Authority = AUTHORITY) -> Credentials:
    """Fresh credentials, as the authority would issue them."""
    request = csr.new_request(identity)
    now = datetime.now(UTC)
    chain = issue.issue(authority, issue.requested_key(request.csr_pem), identity, now)
    return Credentials.of(identity, request.key_pem, chain, authority.root_pem, now)


class Fabric:
    """A client's pool, a server, and the application behind it."""

    def __init__(self, application: SocketAddress) -> None:
        self.application = application
        self.tunnels: list[ServerTunnel] = []
        self.relays: list[Relay] = []
        self.dials = 0
        self.withdrawn = 0
        """Requests that were taken back before they were heard."""
        self.errors: list[AmbientError] = []
        self.server_contexts = Contexts(credentials_of(SERVER))
        self.client_contexts = Contexts(credentials_of(CLIENT))
        self.pool = Pool(self._dial)
        self.answer = self._relay
        """What becomes of a request; tests put other manners here."""
        self.writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = SocketAddress.of(self._listener.getsockname())

    def key(self, expect: SpiffeId = SERVER) -> PoolKey:
        return PoolKey("client", str(CLIENT), ip_address("127.0.0.1"), self.address, frozenset({str(expect)}))

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for tunnel in self.tunnels:
            tunnel.abort("the test is over")
        for writer in self.writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0.05)

    def live(self) -> int:
        """Streams of which either end still knows."""
        tunnels = [*self.pool._keys, *(tunnel for tunnel in self.tunnels if not tunnel.over)]
        return sum(tunnel.streams for tunnel in tunnels)

    async def connect(
        self, authority: str = "10.0.0.1:80"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection that is relayed through the tunnel, as an application would hold it."""
        far = await self.pool.open(self.key(), authority, [])
        ours, theirs = _tcp_pair()
        relay = Relay(SocketEnd(ours), far, lambda _: None)
        self.relays.append(relay)
        relay.start()
        reader, writer = await asyncio.open_connection(sock=theirs)
        self.writers.append(writer)
        return reader, writer

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._run(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        sockets.prepare(sock)
        try:
            await self.server_contexts.serve(sock, self._tunnel)
        except (PeerError, Unavailable) as error:
            self.errors.append(error)

    def _tunnel(self, identity: SpiffeId) -> Tunnel:
        tunnel = ServerTunnel(lambda _: None, self._requested, self._withdraw)
        self.tunnels.append(tunnel)
        return tunnel

    def _requested(self, tunnel: ServerTunnel, request) -> None:
        self._run(self.answer(tunnel, request.stream))

    def _withdraw(self, count: int) -> None:
        self.withdrawn += count

    async def _relay(self, tunnel: ServerTunnel, stream: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        await sockets.connect(sock, self.application)
        far = SocketEnd(sock)
        near = tunnel.end_of(stream)
        if near is None:
            far.reset()
            return
        tunnel.accept(stream)
        relay = Relay(near, far, lambda _: None)
        self.relays.append(relay)
        relay.start()

    async def _dial(self, key: PoolKey, make: Callable[[], ClientTunnel]) -> ClientTunnel:
        self.dials += 1
        sock = socket.socket()
        sock.setblocking(False)
        await sockets.connect(sock, key.hop)
        sockets.prepare(sock)
        return await self.client_contexts.dial(sock, key.expect, make)

    def _run(self, work) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def fabric(application: Application) -> AsyncIterator[Fabric]:
    serving: list[asyncio.StreamWriter] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(writer)
        await application(reader, writer)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    built = Fabric(SocketAddress.of(server.sockets[0].getsockname()))
    built.start()
    try:
        yield built
    finally:
        for writer in serving:
            writer.transport.abort()
        server.close()
        await built.stop()


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
    return ours, theirs
