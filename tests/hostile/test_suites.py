"""Suites that others wrote, against real ports: h2spec for frames, testssl.sh for TLS. They need Go and testssl.sh."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hostile.certificates import Presented
from net.harness import Fabric, fabric

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]
SOURCE = Path(__file__).parent / "h2spec"


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
        writer.close()


@pytest.fixture(scope="module")
def h2spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("h2spec is a Go program, and there is no Go here")
    folder = tmp_path_factory.mktemp("h2spec")
    for file in SOURCE.iterdir():
        shutil.copy(file, folder)
    program = folder / "h2spec"
    command = ["go", "build", "-mod=mod", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if built.returncode != 0:
        pytest.skip(f"h2spec could not be built: {built.stderr[-300:]}")
    return program


@asynccontextmanager
async def shim(mesh: Fabric) -> AsyncIterator[int]:
    """Plain HTTP/2 on loopback, carried to the HBONE port in TLS with a true certificate: h2spec has none."""
    context = Presented().context()

    forwarding: set[asyncio.Task[None] | None] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", mesh.address.port, ssl=context, server_hostname=""
        )

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait([task for task in forwarding if task is not None], timeout=10)


def test_h2spec_finds_nothing(h2spec: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"

    async def scenario() -> None:
        async with fabric(hang_up) as mesh, shim(mesh) as port:

            def refuse(tunnel, request) -> None:
                # As ``proxy/inbound`` answers what is no CONNECT.
                tunnel.refuse(request.stream, 400)

            mesh._requested = refuse
            process = await asyncio.create_subprocess_exec(
                h2spec, "-p", str(port), "-o", "3", "-j", report,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            (tmp_path / "said").write_bytes(said)

    asyncio.run(scenario())
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("failure") is not None
    }
    assert len(cases) > 130
    assert not failed, (tmp_path / "said").read_text()[-4000:]


def test_testssl_finds_tls_1_3_and_nothing_weak(tmp_path: Path) -> None:
    if shutil.which("testssl") is None:
        pytest.skip("testssl.sh is not installed")
    report = tmp_path / "report.json"

    async def scenario() -> None:
        async with fabric(hang_up) as mesh:
            process = await asyncio.create_subprocess_exec(
                "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", report, "--ip", "one",
 "-p", "-s", "-f", "-H", "-R", "-C", "-B", "-I", "-T",
                f"127.0.0.1:{mesh.address.port}",
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await process.wait()

    asyncio.run(scenario())
    found = {entry["id"]: entry for entry in json.loads(report.read_text())}
    assert found["TLS1_3"]["finding"].startswith("offered")
    for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"):
        assert found[old]["finding"].startswith("not offered"), found[old]
    bad = [entry for entry in found.values() if entry["severity"] in ("MEDIUM", "HIGH", "CRITICAL")]
    assert bad == []
