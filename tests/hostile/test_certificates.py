"""What peers present in TLS: who is let in, who is not and by which reason, and that nothing reaches anyone meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hostile.certificates import (
    CLIENT_AUTH,
    CLIENT_URI,
    DAY,
    SERVER_AUTH,
    SERVER_URI,
    Presented,
    Signer,
    anyone,
    intermediates,
)
from hostile.measure import Cost
from net.harness import AUTHORITY, CLIENT, SERVER, credentials_of, fabric
from proxy.test_inbound import Scene, until

from ambient.core.errors import AmbientError
from ambient.core.hbone import Hbone, Role
from ambient.core.pki import issue
from ambient.net import sockets
from ambient.net.tls import Contexts
from ambient.net.tunnel import ClientTunnel
from ambient.telemetry.metrics import Totals

BASE = "spiffe://cluster.local/ns/shop/sa/"
HOUR = timedelta(hours=1)
FIVE_MINUTES = timedelta(minutes=5)


def of(uri: str) -> Presented:
    return Presented(uris=(uri,))


REFUSED: dict[str, tuple[Presented | None, str, str]] = {
    "none": (None, "tls", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    "expired": (Presented(starts=-2 * DAY, ends=-HOUR), "bad_certificate", "expired"),
    "expired-five-minutes-ago": (Presented(starts=-DAY, ends=-FIVE_MINUTES), "bad_certificate", "expired"),
    "not-yet-valid": (Presented(starts=HOUR), "bad_certificate", "not yet valid"),
    "other-trust-domain": (of("spiffe://other.domain/ns/shop/sa/client"), "trust_domain_mismatch", "other.domain"),
    "other-authority-of-the-same-name": (
        Presented(signer=Signer.of(issue.new_authority("cluster.local", datetime.now(UTC)))),
        "bad_certificate",
        "",
    ),
    "self-signed": (
        Presented(signer=Signer(AUTHORITY.root.subject, ec.generate_private_key(ec.SECP256R1()))),
        "bad_certificate",
        "signature",
    ),
    "common-name-alone": (Presented(uris=(), common_name=CLIENT_URI[:60]), "bad_certificate", "0 URI names"),
    "dns-name-that-looks-like-it": (
        Presented(uris=(), dns=("cluster.local/ns/shop/sa/client",)),
        "bad_certificate",
        "0 URI names",
    ),
    "two-uris": (Presented(uris=(CLIENT_URI, BASE + "admin")), "bad_certificate", "2 URI names"),
    "same-uri-twice": (Presented(uris=(CLIENT_URI, CLIENT_URI)), "bad_certificate", "2 URI names"),
    "uri-of-another-scheme": (of("https://cluster.local/ns/shop/sa/client"), "bad_certificate", "not a SPIFFE"),
    "uri-with-dots": (of("spiffe://cluster.local/ns/shop/sa/../sa/admin"), "bad_certificate", "not a workload's"),
    "uri-with-one-pair-of-dots": (of("spiffe://cluster.local/ns/../sa/admin"), "bad_certificate", "not a workload's"),
    "uri-in-upper-case": (of("spiffe://CLUSTER.local/ns/shop/sa/client"), "bad_certificate", "not a workload's"),
    "scheme-in-upper-case": (of("SPIFFE://cluster.local/ns/shop/sa/client"), "bad_certificate", "not a SPIFFE"),
    "uri-with-port": (of("spiffe://cluster.local:443/ns/shop/sa/client"), "bad_certificate", "not a workload's"),
    "uri-with-user": (of("spiffe://root@cluster.local/ns/shop/sa/client"), "bad_certificate", "not a workload's"),
    "uri-with-query": (of(CLIENT_URI + "?as=admin"), "bad_certificate", "not a workload's"),
    "uri-with-fragment": (of(CLIENT_URI + "#admin"), "bad_certificate", "not a workload's"),
    "uri-with-percent": (of(BASE + "%61dmin"), "bad_certificate", "not a workload's"),
    "uri-with-trailing-slash": (of(CLIENT_URI + "/"), "bad_certificate", "not a workload's"),
    "uri-of-a-node": (of("spiffe://cluster.local/node/one"), "bad_certificate", "not a workload's"),
    "uri-of-2000-bytes": (of(BASE + "a" * 1960), "bad_certificate", "not a workload's"),
    "usage-of-a-server-only": (Presented(usages=(SERVER_AUTH,)), "bad_certificate", "purpose"),
    "leaf-that-is-an-authority": (Presented(is_authority=True, may_sign=True), "bad_certificate", "authority's"),
    "leaf-that-may-sign": (Presented(may_sign=True), "bad_certificate", ""),
    "key-p521": (Presented(key=ec.generate_private_key(ec.SECP521R1())), "bad_certificate", "too weak"),
    "key-rsa-1024": (Presented(key=rsa.generate_private_key(65537, 1024)), "bad_certificate", "too"),
    "chain-of-100": (Presented(signer=intermediates(98, Signer.of(AUTHORITY))), "bad_certificate", "certificates"),
    "chain-of-100-of-nobody": (
        Presented(signer=intermediates(99, Signer.of(issue.new_authority("cluster.local", datetime.now(UTC))))),
        "bad_certificate",
        "",
    ),
    "chain-of-a-megabyte": (Presented(padding=2500), "tls", "EXCESSIVE_MESSAGE_SIZE"),
}  # fmt: skip

ADMITTED = {
    "as-issued": Presented(),
    "no-extended-key-usage": Presented(usages=None),
    "with-a-dns-name-beside": Presented(dns=("client.example",)),
    "one-intermediate": Presented(signer=intermediates(1, Signer.of(AUTHORITY))),
    "key-p384": Presented(key=ec.generate_private_key(ec.SECP384R1())),
    "key-ed25519": Presented(key=ed25519.Ed25519PrivateKey.generate()),
    "key-rsa-2048": Presented(key=rsa.generate_private_key(65537, 2048)),
    "issued-this-moment": Presented(starts=timedelta()),
}


def answered(plain: socket.socket, context: ssl.SSLContext) -> bool:
    """Whether a peer that comes with ``context`` is heard at all; its request goes out with its handshake."""
    machine = Hbone(Role.CLIENT)
    machine.open("127.0.0.1:80", [])
    try:
        with context.wrap_socket(plain) as tls:
            tls.sendall(machine.take())
            while data := tls.recv(65536):
                if machine.receive(data):
                    return True
    except OSError:
        return False
    return False


def reasons(scene: Scene) -> dict[tuple[str, str], int]:
    totals = Totals()
    totals.update(1, scene.traffic.report())
    return dict(totals.refused())


@pytest.mark.parametrize(("presented", "reason", "words"), list(REFUSED.values()), ids=REFUSED)
def test_who_does_not_prove_an_identity_reaches_nobody_and_the_reason_is_told(
    tmp_path: Path, presented: Presented | None, reason: str, words: str
) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        context = anyone() if presented is None else presented.context()
        plain = scene.connected()
        cost = Cost(["self"])
        assert not await asyncio.to_thread(answered, plain, context)
        await until(lambda: bool(scene.lines()))
        assert cost.kib < 8 * 1024
        assert scene.dialer.most == 0
        (line,) = scene.lines()
        assert (line["message"], line["response_flags"]) == ("connection failed", "TLS_FAILURE")
        assert words in line["error"], line["error"]
        assert reasons(scene) == {("destination", reason): 1}
        assert "src.identity" not in line
        await until(lambda: len(scene.tunnels) == 0)
        assert scene.crashes == []

    asyncio.run(scenario())


@pytest.mark.parametrize("presented", list(ADMITTED.values()), ids=ADMITTED)
def test_who_proves_an_identity_is_heard(tmp_path: Path, presented: Presented) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.dialer.fails = True
        assert await asyncio.to_thread(answered, scene.connected(), presented.context())
        await until(lambda: bool(scene.lines()))
        assert scene.lines()[0]["src.identity"] == CLIENT_URI
        await until(lambda: len(scene.tunnels) == 0)

    asyncio.run(scenario())


# ---- TLS itself


def handshake(tmp_path: Path, context: ssl.SSLContext) -> dict[str, object]:
    """What a client with a true certificate sees of the handshake, and what was logged of it."""
    seen: dict[str, object] = {}

    def client(plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain) as tls:
                machine = Hbone(Role.CLIENT)
                machine.open("127.0.0.1:80", [])
                tls.sendall(machine.take())
                seen["answer"] = tls.recv(65536)
                seen.update({
                    "version": tls.version(), "compression": tls.compression(), "alpn": tls.selected_alpn_protocol(),
                    "ticket": tls.session is not None and tls.session.has_ticket, "session": tls.session,
                })  # fmt: skip
        except OSError as error:
            seen["error"] = error

    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.dialer.fails = True
        await asyncio.to_thread(client, scene.connected())
        await until(lambda: bool(scene.lines()))
        await until(lambda: len(scene.tunnels) == 0)
        seen["lines"], seen["reasons"] = scene.lines(), reasons(scene)

    asyncio.run(scenario())
    return seen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_a_version_before_1_3_is_refused_with_an_alert(tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = Presented().context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    seen = handshake(tmp_path, context)
    assert "answer" not in seen
    assert seen["reasons"] == {("destination", "tls"): 1}


def test_tls_1_3_without_compression_tickets_or_anything_to_resume(tmp_path: Path) -> None:
    seen = handshake(tmp_path, Presented().context())
    assert (seen["version"], seen["compression"], seen["alpn"]) == ("TLSv1.3", None, "h2")
    assert not seen["ticket"], "a session that is resumed, or sends early data, needs a ticket"


@pytest.mark.parametrize("alpn", ["", "http/1.1", "h2c"])
def test_another_protocol_than_h2_is_refused(tmp_path: Path, alpn: str) -> None:
    seen = handshake(tmp_path, Presented().context(alpn=alpn))
    assert not seen.get("answer")
    assert seen["reasons"] == {("destination", "tls"): 1}


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 5), reason=f"{ssl.OPENSSL_VERSION} has no X25519MLKEM768")
def test_a_post_quantum_key_exchange_is_taken(tmp_path: Path) -> None:
    identity = tmp_path / "identity.pem"
    identity.write_bytes(Presented().pem())

    async def scenario() -> bytes:
        async with fabric(nobody) as mesh:
            client = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{mesh.address.port}", "-cert", identity, "-key", identity,
                "-groups", "X25519MLKEM768", "-alpn", "h2",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            return (await client.communicate())[0]

    assert b"X25519MLKEM768" in asyncio.run(asyncio.wait_for(scenario(), 30))


async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


# ---- servers, as our client meets them


BAD_SERVERS: dict[str, tuple[Presented | None, str]] = {
    "another-workload": (of(CLIENT_URI), "wrong_server"),
    "node": (of("spiffe://cluster.local/node/one"), "wrong_server"),
    "expired": (Presented(uris=(SERVER_URI,), starts=-2 * DAY, ends=-HOUR), "bad_certificate"),
    "other-authority": (
        Presented(uris=(SERVER_URI,), signer=Signer.of(issue.new_authority("cluster.local", datetime.now(UTC)))),
        "bad_certificate",
    ),
    "two-uris": (Presented(uris=(CLIENT_URI, SERVER_URI)), "bad_certificate"),
    "dns-name-alone": (Presented(uris=(), dns=("server.shop.svc",)), "bad_certificate"),
    "usage-of-a-client-only": (Presented(uris=(SERVER_URI,), usages=(CLIENT_AUTH,)), "bad_certificate"),
    "leaf-that-is-an-authority": (Presented(uris=(SERVER_URI,), is_authority=True, may_sign=True), "bad_certificate"),
    "key-p521": (Presented(uris=(SERVER_URI,), key=ec.generate_private_key(ec.SECP521R1())), "bad_certificate"),
    "no-tls": (None, "tls"),
}  # fmt: skip


@contextlib.contextmanager
def server(presented: Presented | None, heard: list[bytes], **changed: object) -> Iterator[tuple[str, int]]:
    context = (
        anyone(ssl.PROTOCOL_TLS_SERVER) if presented is None else presented.context(ssl.PROTOCOL_TLS_SERVER)
    )
    for name, value in changed.items():
        setattr(context, name, value)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            accepted, _ = listener.accept()
            accepted.settimeout(5)
            if presented is None:
                accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                accepted.close()
                return
            with context.wrap_socket(accepted, server_side=True) as tls:
                while data := tls.recv(65536):
                    heard.append(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.close()
        thread.join(10)


async def dial(address: tuple[str, int]) -> AmbientError | None:
    plain = socket.create_connection(address)
    sockets.prepare(plain)
    contexts = Contexts(credentials_of(CLIENT))
    try:
        tunnel = await contexts.dial(
            plain, frozenset({str(SERVER)}), lambda: ClientTunnel(lambda _: None, lambda _: None)
        )
    except AmbientError as error:
        return error
    tunnel.abort("enough")
    return None


@pytest.mark.parametrize(("presented", "reason"), list(BAD_SERVERS.values()), ids=BAD_SERVERS)
def test_a_server_that_does_not_prove_who_it_must_be_gets_no_byte(
    presented: Presented | None, reason: str
) -> None:
    heard: list[bytes] = []
    with server(presented, heard) as address:
        error = asyncio.run(dial(address))
    assert error is not None
    assert error.reason == reason, error
    assert heard == []


def test_a_server_that_speaks_only_an_old_version_gets_no_byte() -> None:
    heard: list[bytes] = []
    with server(Presented(uris=(SERVER_URI,)), heard, maximum_version=ssl.TLSVersion.TLSv1_2) as address:
        error = asyncio.run(dial(address))
    assert error is not None
    assert error.reason == "tls"
    assert heard == []


def test_the_server_that_it_must_be_is_spoken_to() -> None:
    heard: list[bytes] = []
    with server(Presented(uris=(SERVER_URI,)), heard) as address:
        assert asyncio.run(dial(address)) is None
