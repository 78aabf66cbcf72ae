"""What a peer whose handshake fails hears: the alert that says what was wrong, not a bare reset."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from net.harness import AUTHORITY, CLIENT, SERVER, credentials_of, fabric

from ambient.core.errors import PeerError
from ambient.core.pki import csr, issue
from ambient.net import sockets
from ambient.net.tls import Contexts

OTHER = issue.new_authority("cluster.local", datetime.now(UTC))


def run(work: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 30))


def context(side: int, *, authority: issue.Authority | None, age: timedelta = timedelta(0)) -> ssl.SSLContext:
    """A peer that believes everybody, with a certificate of ``authority`` that is ``age`` old, or with none."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols(["h2"])
    if authority is not None:
        request = csr.new_request(SERVER if side == ssl.PROTOCOL_TLS_SERVER else CLIENT)
        key = issue.requested_key(request.csr_pem)
        leaf, _ = issue.issue(authority, key, CLIENT, datetime.now(UTC) - age)
        with tempfile.NamedTemporaryFile() as file:
            file.write(leaf + request.key_pem)
            file.flush()
            made.load_cert_chain(file.name)
    return made


@pytest.mark.parametrize(
    ("peer", "alert", "reason"),
    [
        pytest.param(
            context(ssl.PROTOCOL_TLS_CLIENT, authority=None),
            "TLSV13_ALERT_CERTIFICATE_REQUIRED", "RETURN_A_CERTIFICATE", id="no-certificate",
        ),
        pytest.param(
            context(ssl.PROTOCOL_TLS_CLIENT, authority=AUTHORITY, age=timedelta(days=2)),
            "SSLV3_ALERT_CERTIFICATE_EXPIRED", "expired", id="expired",
        ),
        pytest.param(
            context(ssl.PROTOCOL_TLS_CLIENT, authority=OTHER),
            "TLSV1_ALERT_UNKNOWN_CA", "unable to get local issuer", id="other-authority",
        ),
    ],
)  # fmt: skip
def test_a_client_is_told_what_is_wrong_with_its_certificate(
    peer: ssl.SSLContext, alert: str, reason: str
) -> None:
    async def scenario() -> None:
        async with fabric(lambda *_: None) as mesh:

            def dial() -> None:
                plain = socket.create_connection(("127.0.0.1", mesh.address.port), timeout=10)
                with peer.wrap_socket(plain) as tls:
                    tls.recv(1)

            with pytest.raises(ssl.SSLError) as heard:
                await asyncio.to_thread(dial)
            assert heard.value.reason == alert
            (error,) = mesh.errors
            assert reason in str(error)

    run(scenario())


def test_a_client_of_an_old_protocol_is_told_so() -> None:
    peer = context(ssl.PROTOCOL_TLS_CLIENT, authority=AUTHORITY)
    peer.maximum_version = ssl.TLSVersion.TLSv1_2

    async def scenario() -> None:
        async with fabric(lambda *_: None) as mesh:

            def dial() -> None:
                plain = socket.create_connection(("127.0.0.1", mesh.address.port), timeout=10)
                with plain, peer.wrap_socket(plain):
                    pass

            with pytest.raises(ssl.SSLError) as heard:
                await asyncio.to_thread(dial)
            assert heard.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"

    run(scenario())


def test_a_server_of_an_unknown_authority_is_told_so() -> None:
    peer = context(ssl.PROTOCOL_TLS_SERVER, authority=OTHER)

    def serve(listener: socket.socket, heard: list[str | None]) -> None:
        accepted, _ = listener.accept()
        with accepted, contextlib.suppress(ConnectionError):
            accepted.settimeout(10)
            try:
                with peer.wrap_socket(accepted, server_side=True) as tls:
                    tls.recv(1)
            except ssl.SSLError as error:
                heard.append(error.reason)

    async def scenario() -> None:
        heard: list[str | None] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(asyncio.to_thread(serve, listener, heard))
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, listener.getsockname())
            sockets.prepare(sock)
            with pytest.raises(PeerError, match="unable to get local issuer"):
                await Contexts(credentials_of(CLIENT)).dial(sock, frozenset({str(SERVER)}), pytest.fail)
            await serving
        assert heard == ["TLSV1_ALERT_UNKNOWN_CA"]

    run(scenario())
