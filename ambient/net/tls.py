"""Mutual TLS 1.3 between workloads: contexts from credentials, and who the other side proved to be."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
import weakref
from collections.abc import Callable
from typing import Final, TypeVar, cast

import aiofastnet
from aiofastnet import api_utils

from ambient.core.errors import AmbientError, ConfigError, PeerError, Unavailable
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import revocation, verify
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import Chain, Revocations, Revoked
from ambient.net.tunnel import Tunnel

HANDSHAKE_SECONDS: Final = 10.0
_NO_NAME: Final = "0.0.0.0"
"""An IP address is never sent as SNI, and HBONE sends none: the address that is dialled selects the certificate."""
_MEMORY: Final = "/dev/shm"  # noqa: S108  # The file is made by tempfile.
T = TypeVar("T", bound=Tunnel)


def keep_certificates_in_memory() -> None:
    """Choose where aiofastnet, which decodes each peer's certificate from a temporary file, puts that file.

    Not on a disk, which a handshake must not wait for, and which may be read-only. Raises ConfigError if there is no
    place at all: a handshake would fail with no word.
    """
    if os.access(_MEMORY, os.W_OK):
        tempfile.tempdir = _MEMORY
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            f"neither {_MEMORY} nor /tmp can be written to, and handshakes need one; mount a tmpfs at {_MEMORY}"
        ) from error


class Peers:
    """Who is at the other end of every tunnel, from its handshake to its end, and who is revoked."""

    def __init__(self) -> None:
        self._revocations = revocation.NONE
        self._chains: weakref.WeakKeyDictionary[Tunnel, Chain] = weakref.WeakKeyDictionary()

    def check(self, chain: Chain) -> None:
        """Raises Revoked."""
        self._revocations.check(chain)

    def add(self, tunnel: Tunnel, chain: Chain) -> None:
        """A tunnel begins with whoever proved ``chain``."""
        self._chains[tunnel] = chain

    def revoke(self, revocations: Revocations) -> list[tuple[Tunnel, Revoked]]:
        """Believe nobody who is revoked from here on; the tunnels that live with one, and why."""
        self._revocations = revocations
        found = []
        for tunnel, chain in list(self._chains.items()):
            try:
                revocations.check(chain)
            except Revoked as error:
                if not tunnel.over:
                    found.append((tunnel, error))
        return found


class HandshakeFailed(PeerError):
    """TLS itself could not agree with the peer."""

    reason = "tls"


class WrongServer(PeerError):
    """A server proved to be someone, and not who it must be."""

    reason = "wrong_server"


class Contexts:
    """The TLS contexts of one workload's credentials. Live connections keep the ones they began with."""

    def __init__(self, credentials: Credentials, peers: Peers | None = None) -> None:
        self.identity = credentials.identity
        self._peers = peers or Peers()
        self._server = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
        self._server.num_tickets = 0
        self._client = _context(ssl.PROTOCOL_TLS_CLIENT, credentials)

    async def serve(self, sock: socket.socket, make: Callable[[SpiffeId], Tunnel]) -> None:
        """Answer a handshake on ``sock``, and hand it to the tunnel that ``make`` builds for the caller's identity.

        The caller must be of our own trust domain, and not revoked. Closes ``sock`` and raises PeerError or
        Unavailable otherwise.
        """
        loop = asyncio.get_running_loop()
        bridge = _Checked(self._peers, lambda leaf: make(self._caller(leaf)))
        try:
            await aiofastnet.connect_accepted_socket(
                loop, lambda: bridge, sock, ssl=self._server, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (ssl.SSLError, ConnectionError, TimeoutError, OSError) as error:
            sock.close()
            raise _translated(error) from error
        bridge.raise_refusal()

    async def dial(self, sock: socket.socket, expect: frozenset[str], make: Callable[[], T]) -> T:
        """Handshake on the connected ``sock`` with a server that must be one of ``expect`` (SPIFFE URIs).

        No byte is sent to a server that is not. Raises PeerError or Unavailable.
        """
        loop = asyncio.get_running_loop()
        made: list[T] = []

        def checked(leaf: bytes) -> Tunnel:
            uri = verify.spiffe_uri(leaf)
            if uri not in expect:
                wanted = ", ".join(sorted(expect))
                raise WrongServer(f"tls error: the server is {uri}, not {wanted}")
            made.append(make())
            return made[0]

        bridge = _Checked(self._peers, checked)
        try:
            await aiofastnet.create_connection(
                loop,
                lambda: bridge,
                sock=sock,
                ssl=self._client,
                server_hostname=_NO_NAME,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (ssl.SSLError, ConnectionError, TimeoutError, OSError) as error:
            sock.close()
            raise _translated(error) from error
        bridge.raise_refusal()
        return made[0]

    def _caller(self, leaf: bytes) -> SpiffeId:
        caller = verify.identity_of(leaf)
        verify.check_trust_domain(self.identity, caller)
        return caller


class _Outspoken(api_utils.SSLTransport_Socket):  # type: ignore[misc, name-defined]
    """Sends what TLS has to say of a failed handshake: the alert that tells the peer what was wrong with it.

    The library leaves the alert in its buffer when it closes.
    """

    __slots__ = ("_has_spoken",)

    def _force_close(self, error: Exception | None) -> None:
        # Speaking may fail in its turn, and comes back here then.
        if isinstance(error, ssl.SSLError) and not hasattr(self, "_has_spoken"):
            self._has_spoken = True
            self._write_ready()
        super()._force_close(error)


api_utils.SSLTransport_Socket = _Outspoken  # type: ignore[attr-defined]


class _Checked(asyncio.Protocol):
    """Looks at the peer's certificates when the handshake is done; only then is the tunnel made and connected."""

    def __init__(self, peers: Peers, make: Callable[[bytes], Tunnel]) -> None:
        self._peers, self._make = peers, make
        self._refusal: AmbientError | None = None

    def connection_made(self, made: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", made)
        session = transport.get_extra_info("ssl_object")
        try:
            if session.selected_alpn_protocol() != "h2":
                raise HandshakeFailed("tls error: the peer does not speak h2")
            chain = tuple(session.get_verified_chain())
            verify.check_length(chain)
            self._peers.check(chain)
            tunnel = self._make(chain[0])
            self._peers.add(tunnel, chain)
        except AmbientError as error:
            self._refusal = error
            transport.abort()
            return
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)

    def raise_refusal(self) -> None:
        """Raise what was found wrong with the peer."""
        if self._refusal is not None:
            raise self._refusal


def _context(side: int, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=credentials.roots_pem.decode())
    # OpenSSL reads keys from files alone; this one is memory that no other process has.
    memory = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        os.write(memory, credentials.chain_pem + credentials.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return context


def _translated(error: Exception) -> PeerError | Unavailable:
    match error:
        case ssl.SSLCertVerificationError():
            return verify.BadCertificate(f"tls error: {error.verify_message}")
        case ssl.SSLError():
            return HandshakeFailed(f"tls error: {error.reason}")
        case TimeoutError():
            return Unavailable(f"tls error: no handshake within {HANDSHAKE_SECONDS:.0f} s")
        case _:
            return Unavailable(f"tls error: {str(error) or type(error).__name__}")
