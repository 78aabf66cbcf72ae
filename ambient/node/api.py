"""The daemon's local interface, and the source of workloads where there is no Kubernetes: a unix socket for root.

One line of JSON asks, one line of JSON answers: ``{"result": …}`` or ``{"error": "…"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from immutables import Map
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ambient.aio import unix
from ambient.aio.streams import StreamServer
from ambient.core.errors import AmbientError, ConfigError, Unavailable
from ambient.core.model.authorization import IpNetwork
from ambient.core.model.pod import Exclusions, Probe
from ambient.node.source import Added, Apply, AtPath, Found, Judged, OfProcess, Removed
from ambient.telemetry import log

SOCKET_NAME: Final = "node.sock"
LINE_LIMIT: Final = 1 << 20
IDLE_SECONDS: Final = 10.0
CALL_SECONDS: Final = 120.0
"""An answer can take as long as the proxy's: connections of a workload that is removed may take 30 s to end."""
LABELS_LIMIT: Final = 256

Answer: TypeAlias = dict[str, Any]
_SEGMENT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LABEL_KEY: Final = re.compile(r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def _named(text: str) -> str:
    if not _SEGMENT.fullmatch(text):
        raise ValueError(
            f"{text!r} is no name; one has 1-253 letters, digits, '-', '_' and '.', with a letter or digit at each end"
        )
    return text


def _port(port: int) -> int:
    if not 0 < port <= 0xFFFF:
        raise ValueError(f"{port} is no port; a port is 1-65535")
    return port


def _network(text: str) -> IpNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no CIDR ({error}); write it like 10.0.0.0/8") from error


def _cidr(text: str) -> str:
    return str(_network(text))


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > LABELS_LIMIT:
        raise ValueError(f"{len(labels)} labels; a workload has at most {LABELS_LIMIT}")
    for key, value in labels.items():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            raise ValueError(
                f"{key}={value} is no label; its form is [prefix/]name=value, 63 characters each at most"
            )
    return labels


_Name: TypeAlias = Annotated[str, AfterValidator(_named)]
_Ports: TypeAlias = list[Annotated[int, AfterValidator(_port)]]
_Cidrs: TypeAlias = list[Annotated[str, AfterValidator(_cidr)]]


class Excluded(BaseModel):
    """Traffic that stays outside the mesh, as a person writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    exclude_outbound_ports: _Ports = []
    exclude_inbound_ports: _Ports = []
    exclude_cidrs: _Cidrs = []

    def exclusions(self) -> Exclusions:
        """As the core wants it."""
        return Exclusions(
            frozenset(self.exclude_outbound_ports),
            frozenset(self.exclude_inbound_ports),
            frozenset(map(_network, self.exclude_cidrs)),
        )


class _Add(Excluded):
    verb: Literal["add"]
    name: _Name
    namespace: _Name
    service_account: _Name
    labels: Annotated[dict[str, str], AfterValidator(_labels)] = {}
    netns: str | None = None
    pid: Annotated[int, Field(gt=0)] | None = None
    cgroup: str | None = None
    probe: str | None = None

    def found(self) -> Found:
        return Found(
            name=self.name,
            namespace=self.namespace,
            service_account=self.service_account,
            netns=self._where(),
            labels=Map(self.labels),
            cgroup=self.cgroup,
            exclusions=self.exclusions(),
            probe=None if self.probe is None else Probe.parse(self.probe),
        )

    def _where(self) -> AtPath | OfProcess:
        match self.netns, self.pid:
            case str() as path, None:
                return AtPath(path)
            case None, int() as pid:
                return OfProcess(pid)
            case _:
                raise ConfigError(
                    "netns and pid: give the path of the workload's network namespace or the pid of a process in it, "
                    "one of the two"
                )


class _Remove(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    verb: Literal["remove"]
    name: _Name
    namespace: _Name
    now: bool = False


class _Health(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    verb: Literal["health"]
    name: _Name
    namespace: _Name
    healthy: bool


class _List(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    verb: Literal["list"]


class _Status(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    verb: Literal["status"]


_Asked: TypeAlias = _Add | _Remove | _Health | _List | _Status
_Request: TypeAlias = Annotated[_Asked, Field(discriminator="verb")]
_REQUESTS: TypeAdapter[_Asked] = TypeAdapter(_Request)


class Api:
    """A ``source.Source``: tells of what is added and removed by hand."""

    def __init__(
        self, run_dir: Path, list_workloads: Callable[[], list[Answer]], status: Callable[[], Answer]
    ) -> None:
        self._path = run_dir / SOCKET_NAME
        self._list, self._status = list_workloads, status
        self._socket = unix.listen(str(self._path), socket.SOCK_STREAM)

    async def run(self, apply: Apply) -> None:
        """Serve the socket until cancelled."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(apply, reader, writer)

        try:
            await StreamServer([self._socket], serve, _failed, LINE_LIMIT).run()
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, apply: Apply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await reader.readline()
        except (TimeoutError, ValueError, ConnectionError) as error:
            log.debug("a client of the local interface asked nothing", error=repr(error))
            return
        if not line:
            return
        answer = await self._answer(apply, line)
        with contextlib.suppress(ConnectionError):  # It did not wait.
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _answer(self, apply: Apply, line: bytes) -> Answer:
        try:
            return {"result": await self._do(apply, _parse(line))}
        except AmbientError as error:
            return {"error": str(error)}
        except Exception as fault:  # noqa: BLE001  # The client must hear of it, and so must the operator.
            log.error("a request to the local interface failed", error=repr(fault))
            return {"error": f"the node daemon failed: {fault!r}"}

    async def _do(self, apply: Apply, request: _Asked) -> Any:  # noqa: ANN401  # JSON.
        match request:
            case _Add():
                return {"note": await apply(Added(request.found()))}
            case _Remove(name=name, namespace=namespace, now=now):
                return {"note": await apply(Removed(name, namespace, now))}
            case _Health(name=name, namespace=namespace, healthy=healthy):
                return {"note": await apply(Judged(name, namespace, healthy))}
            case _List():
                return self._list()
            case _Status():
                return self._status()


def parse_exclusions(outbound: list[int], inbound: list[int], cidrs: list[str]) -> Exclusions:
    """Exclusions as a person wrote them. Raises ConfigError."""
    try:
        return Excluded(
            exclude_outbound_ports=outbound, exclude_inbound_ports=inbound, exclude_cidrs=cidrs
        ).exclusions()
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def call(run_dir: Path, request: Mapping[str, object]) -> Any:  # noqa: ANN401  # JSON.
    """Ask the daemon of ``run_dir``. Raises ConfigError with its sentence, Unavailable if it is not there."""
    path = run_dir / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(CALL_SECONDS)
        try:
            sock.connect(str(path))
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as answers:
                line = answers.readline()
        except PermissionError as error:
            raise ConfigError(f"{path} is root's; run this as root") from error
        except OSError as error:
            raise Unavailable(
                f"no node daemon answers at {path}: {error.strerror or error}; start `ambient node`, or give its "
                "--run-dir"
            ) from error
    if not line:
        raise Unavailable(f"the node daemon at {path} went away before it answered")
    answer = json.loads(line)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer["result"]


def _failed(what: str, error: BaseException) -> None:
    log.error("the local interface failed", what=what, why=str(error) or repr(error))


def _parse(line: bytes) -> _Asked:
    try:
        return _REQUESTS.validate_json(line)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(
        str(part) for part in fault["loc"] if part not in {"add", "remove", "health", "list", "status"}
    )
    what = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
