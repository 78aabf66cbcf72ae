"""Documents from elsewhere, by real TLS; and whom nobody gets us to ask."""

import asyncio
import datetime as dt
import socket
import ssl
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ambient.core.errors import AmbientError, ConfigError, PeerError, Unavailable
from ambient.net.fetch import LARGEST, Fetching, Forbidden, fetch, is_forbidden

HOME = ip_address("127.0.0.1")
NAME = "issuer.test"


def certificate(folder, name: str) -> str:
    """A file with a key and its own certificate for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return str(file)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {name: certificate(folder, name) for name in (NAME, "other.test")}


@asynccontextmanager
async def serving(answer: bytes | None, file: str | None = None, *, keeps_open: bool = False):
    """A server that gives the same answer to all, and what it was asked; None: it never answers."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def converse(reader, writer):
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            if answer is None or keeps_open:
                await over.wait()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    tls = None
    if file is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
    server = await asyncio.start_server(converse, str(HOME), 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
        over.set()


def at_home(*addresses):
    """A resolver that knows one answer, and who was asked for."""

    async def resolve(host, port):
        return [ip_address(address) for address in addresses or (str(HOME),)]

    return resolve


async def get(url, roots=None, resolve=None, **more):
    return await fetch(url, Fetching(roots=roots, allowed=frozenset({HOME}), **more), resolve or at_home())


def run(body):
    return asyncio.run(asyncio.wait_for(body, 60))


def answered(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"content-length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status, *(headers or (length,)), b"", body))


def test_a_document_comes_over_tls(certificates):
    async def body():
        async with serving(answered(b'{"keys":[]}'), certificates[NAME]) as (port, asked):
            assert await get(f"https://{NAME}:{port}/keys?a=b", certificates[NAME]) == b'{"keys":[]}'
        (request,) = asked
        assert request.startswith(b"GET /keys?a=b HTTP/1.1\r\n")
        assert f"host: {NAME}:{port}\r\n".encode() in request.lower()

    run(body())


@pytest.mark.parametrize(
    "answer",
    [
        answered(b"x" * 200_000),
        answered(b"30d40\r\n" + b"x" * 200_000 + b"\r\n0\r\n\r\n", b"transfer-encoding: chunked"),
        answered(b"x" * 200_000, b"connection: close"),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + answered(b"x" * 200_000),
    ],
    ids=["length", "chunked", "until-the-end", "information-before"],
)
def test_however_it_is_written(answer):
    async def body():
        async with serving(answer) as (port, _):
            assert await get(f"http://{NAME}:{port}") == b"x" * 200_000

    run(body())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered(b"", b"location: http://169.254.169.254/", status=b"302 Found"), "302"),
        (answered(b"no", status=b"404 Not Found"), "404"),
        (answered(b"x" * (LARGEST + 1)), "larger than"),
        (answered(b"x", b"content-length: 2"), "ended|broken"),
        (answered(b"x", b"content-length: 1", b"content-length: 2"), "broken"),
        (b"220 mail ready\r\n", "broken"),
        (b"", "ended|broken"),
    ],
    ids=["redirect", "not-there", "too-large", "cut", "ambiguous", "not-http", "hangs-up"],
)
def test_what_is_no_document_is_the_others_fault(answer, words):
    async def body():
        async with serving(answer) as (port, _):
            with pytest.raises(PeerError, match=words):
                await get(f"http://{NAME}:{port}/")

    run(body())


def test_a_body_without_end_is_not_read_to_it():
    endless = answered(b"", b"transfer-encoding: chunked") + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 20

    async def body():
        async with serving(endless, keeps_open=True) as (port, _):
            with pytest.raises(PeerError, match="larger than"):
                await get(f"http://{NAME}:{port}/")

    run(body())


@pytest.mark.parametrize("answer", [None, answered(b"x", b"content-length: 2")], ids=["silent", "half"])
def test_nobody_is_waited_for_for_ever(answer):
    async def body():
        async with serving(answer, keeps_open=True) as (port, _):
            with pytest.raises(Unavailable, match="no answer within"):
                await get(f"http://{NAME}:{port}/", seconds=0.3)

    run(body())


@pytest.mark.parametrize("shown", [NAME, "other.test"], ids=["unknown-root", "another-name"])
def test_a_certificate_that_is_not_believed(certificates, shown):
    async def body():
        async with serving(answered(b"{}"), certificates[shown]) as (port, asked):
            with pytest.raises(PeerError, match="not believed"):
                await get(f"https://{NAME}:{port}/", certificates["other.test"])
            assert asked == []

    run(body())


def test_nobody_listens():
    with socket.create_server((str(HOME), 0)) as listener:
        port = listener.getsockname()[1]

    async def body():
        with pytest.raises(Unavailable):
            await get(f"http://{NAME}:{port}/")

    run(body())


def test_the_second_address_is_asked_where_the_first_does_not_answer():
    async def body():
        async with serving(answered(b"{}")) as (port, _):
            resolve = at_home("127.0.0.2", str(HOME))
            fetching = Fetching(allowed=frozenset({HOME, ip_address("127.0.0.2")}))
            assert await fetch(f"http://{NAME}:{port}/", fetching, resolve) == b"{}"

    run(body())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
        *("240.0.0.1", "100.100.100.200", "168.63.129.16"),
        *("::1", "::", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1"),
    ],
)
def test_the_machine_itself_and_its_clouds_are_not_asked(address):
    assert is_forbidden(ip_address(address))

    async def body():
        with pytest.raises(Forbidden, match="are not asked"):
            await fetch("http://issuer.test/", Fetching(), at_home("192.0.2.1", address))

    run(body())


@pytest.mark.parametrize("address", ["10.0.0.1", "192.0.2.1", "2001:db8::1", "fd12::1", "64:ff9b::c000:201"])
def test_other_machines_are(address):
    assert not is_forbidden(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://2130706433/", "http://0x7f.1/"),
        *("http://127.1/", "http://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest/meta-data"),
    ],
)
def test_other_ways_to_write_them_neither(url):
    async def body():
        with pytest.raises((Forbidden, Unavailable)):
            await fetch(url)

    run(body())


@pytest.mark.parametrize(
    "url",
    [
        *("", "issuer.test", "ftp://issuer.test/", "file:///etc/passwd", "http://", "http://issuer.test:0/"),
        *("http://issuer.test:99999/", "http://a@issuer.test/", "http://issuer.test/\r\nx: y"),
        *("http://issuer.test/ HTTP/1.1", "http://issuer.test\\@other/", "http://[::1/", "http://ä.test/"),
        "http://issuer.test/" + "x" * 2048,
    ],
)
def test_what_is_no_address_is_the_operators_fault(url):
    async def body():
        with pytest.raises(ConfigError):
            await fetch(url, Fetching(), at_home("192.0.2.1"))

    run(body())


def test_what_was_looked_at_is_what_is_dialled():
    """A name that stands for another address when it is asked for again gets nobody anywhere."""

    async def body():
        times = []

        async def resolve(host, port):
            times.append(host)
            return [HOME] if len(times) == 1 else [ip_address("169.254.169.254")]

        async with serving(answered(b"{}")) as (port, _):
            assert await get(f"http://{NAME}:{port}/", resolve=resolve) == b"{}"
        assert times == [NAME]

    run(body())


def test_a_name_that_nobody_knows():
    async def unknown(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def body():
        with pytest.raises(Unavailable):
            await fetch("http://nobody.test/", Fetching(), unknown)
        with pytest.raises(AmbientError, match="no address"):
            await fetch("http://nobody.test/", Fetching(), lambda host, port: asyncio.sleep(0, []))

    run(body())
