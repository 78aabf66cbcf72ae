"""What stands behind a waypoint: a service for each kind of answer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.site import Programs
from topology import Pod, until

ROUTES: Final = 100
"""Of each service; requests take the last, which whoever asks one after another finds last."""
PREFIX: Final = f"/r/{ROUTES - 1}/"
SMALL_BYTES, LARGE_BYTES = 128, 64 * 1024
_CALL_BYTES: Final = 100
CALL: Final = struct.pack(">BI", 0, _CALL_BYTES) + bytes(_CALL_BYTES)
"""A message of gRPC, which is the request and the response of a call."""


@dataclass(frozen=True, slots=True)
class Application:
    """A service and the port of its pod."""

    name: str
    port: int
    """Those that follow it may be taken too."""
    path: str
    http2: bool = False
    calls: bool = False
    """It is asked, and answers, as gRPC does."""


SMALL: Final = Application("small", 8100, f"{PREFIX}small")
LARGE: Final = Application("large", 8110, f"{PREFIX}large")
SMALL_STREAMS: Final = Application("small-streams", 8120, f"{PREFIX}small", http2=True)
LARGE_STREAMS: Final = Application("large-streams", 8120, f"{PREFIX}large", http2=True)
CALLS: Final = Application("calls", 8121, f"{PREFIX}call.grpc", http2=True, calls=True)
APPLICATIONS: Final = (SMALL, LARGE, SMALL_STREAMS, LARGE_STREAMS, CALLS)


def serve(pod: Pod, programs: Programs, folder: Path) -> None:
    """Start the programs of all of them: our own for HTTP/1.1, nghttpd for HTTP/2."""
    served = folder / PREFIX.strip("/")
    served.mkdir(parents=True)
    (served / "small").write_bytes(bytes(SMALL_BYTES))
    (served / "large").write_bytes(bytes(LARGE_BYTES))
    (served / "call.grpc").write_bytes(CALL)
    types = folder / "mime.types"
    types.write_text("application/grpc grpc\n")
    for application, size in ((SMALL, SMALL_BYTES), (LARGE, LARGE_BYTES)):
        process = pod.popen(
            programs.path("serve"), "0.0.0.0", str(application.port), "--body", str(size)
        )  # fmt: skip
        process.wait_for_line(event="listening")
    common = ("nghttpd", "--no-tls", "--address", "0.0.0.0", "--htdocs", folder)
    pod.popen(*common, str(SMALL_STREAMS.port))
    pod.popen(*common, "--mime-types-file", types, "--trailer", "grpc-status: 0", str(CALLS.port))
    for port in (SMALL_STREAMS.port, CALLS.port):
        until(lambda port=port: f":{port} " in pod.run("ss", "-Hltn").stdout, 20, f"nghttpd on {port}")  # type: ignore[misc]
