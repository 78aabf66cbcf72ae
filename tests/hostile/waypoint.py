"""A real waypoint between a client that may say any bytes and a server that writes all down."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hostile.caller import Speaker
from hostile.frames import SETTINGS, frame
from topology import Mesh, Pod, Topology, Workload, objects

if TYPE_CHECKING:
    from pathlib import Path

    from topology.process import Process
    from topology.waypoint import Replica

_words = itertools.product(b"0123456789abcdefghijklmnopqrstuvwxyz", repeat=3)


@dataclass(frozen=True)
class Answer:
    """All that a client was told on a connection that was then ended, or stood still."""

    data: bytes
    how: str
    """``closed``, ``reset``, or ``open``."""

    @property
    def statuses(self) -> list[int]:
        return [int(line) for line in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.data)]


class Door:
    """Connections of a pod, in the hands of the test."""

    def __init__(self, pod: Pod) -> None:
        self._path: Path = pod.topology.folder / f"{pod.name}-door"
        pod.start("lend", self._path).wait_for_line(event="listening")

    def open(self, host: object, port: int, *, receive_buffer: int = 0) -> socket.socket:
        """A connection that the pod has made."""
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(self._path))
            asker.sendall(f"{host} {port}\n".encode())
            said, descriptors, _, _ = socket.recv_fds(asker, 4096, 1)
        assert descriptors, said
        made = socket.socket(fileno=descriptors[0])
        made.settimeout(20)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return made


def everything(connection: socket.socket, seconds: float = 10.0) -> Answer:
    """What comes until the end; ``open`` when nothing came for so long."""
    heard = bytearray()
    connection.settimeout(seconds)
    try:
        while block := connection.recv(65536):
            heard += block
    except TimeoutError:
        return Answer(bytes(heard), "open")
    except ConnectionResetError:
        return Answer(bytes(heard), "reset")
    return Answer(bytes(heard), "closed")


@dataclass
class Scene:
    """``client`` and ``server`` are captured on one node; everything is behind a waypoint of one worker.

    One, so that honest callers share its loop.
    """

    mesh: Mesh
    client: Workload
    server: Workload
    attacker: Pod
    """Of no node's daemon."""
    replica: Replica
    record: Process
    door: Door
    addresses: dict[str, str]
    """Of the services."""

    def connect(self, service: str = "server", **options: int) -> socket.socket:
        """From the client's pod."""
        return self.door.open(self.addresses[service], 80, **options)

    def say(self, data: bytes, service: str = "server", seconds: float = 10.0) -> Answer:
        """What comes of these bytes on a connection of their own."""
        with self.connect(service) as connection:
            connection.sendall(data)
            return everything(connection, seconds)

    def speak(self, service: str = "server", first: bytes = frame(SETTINGS), **options: int) -> Speaker:
        """HTTP/2 by hand, from the client's pod."""
        return Speaker(self.connect(service, **options), first)

    def mark(self) -> bytes:
        """A word of four letters that is in nothing else; no request's id has its first."""
        return b"q" + bytes(next(_words))

    def heard(self, mark: bytes) -> str:
        """What the server was sent on connections on which it was sent this too.

        An honest request goes after whatever went before.
        """
        last = self.mark()
        answer = self.say(b"GET /%s HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n" % last)
        assert answer.statuses == [200], answer
        lines = self._lines(last)
        texts: dict[int, str] = {}
        for line in lines:
            if line.get("event") == "heard":
                texts[line["connection"]] = texts.get(line["connection"], "") + line["text"]
        return "".join(text for text in texts.values() if mark.decode() in text)

    def requests(self, mark: bytes) -> list[dict[str, Any]]:
        """Those with it in their first line that the server has heard to their end, and answered."""
        self.heard(mark)
        lines = (line for line in self.record.lines() if line.get("event") == "request")
        return [line for line in lines if mark.decode() in line["line"]]

    def _lines(self, last: bytes) -> Sequence[dict[str, Any]]:
        def found() -> Sequence[dict[str, Any]] | None:
            lines = self.record.lines()
            for line in lines:
                if line.get("event") == "request" and last.decode() in line["line"]:
                    return lines
            return None

        self.replica.wait(found, "an honest request")
        return found() or ()


@contextmanager
def scene(services: Sequence[str], *more: objects.Object) -> Iterator[Scene]:
    """With these services, which all speak HTTP, and objects. All have the same server, or ``NAME=APP`` that of a label."""
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server", "waypoint")),
            objects.peer_authentication("shop", "STRICT"),
            objects.waypoint("shop"),
        )
        apps = {name: app or "server" for name, _, app in (service.partition("=") for service in services)}
        addresses = {name: f"203.0.113.{number}" for number, name in enumerate(apps, start=10)}
        made = [
            objects.service("shop", name, [address], {80: 8080}, {"app": apps[name]})
            for name, address in addresses.items()
        ]
        for one in made:
            if one["metadata"]["name"] != "undeclared":
                one["spec"]["ports"][0]["appProtocol"] = "http"
        mesh.apply("services", *(objects.behind(one, "waypoint") for one in made))
        mesh.apply("more", *more)
        mesh.start_control()
        node = mesh.node("one", workers=1)
        pod = node.node.pod("server")
        record = pod.serve("record", 8080)
        server = node.add(pod, "shop", "server", labels={"app": "server"})
        client = node.add(node.node.pod("client"), "shop", "client")
        (replica,) = mesh.waypoint("shop", workers=1).replicas
        mesh.settle(client, server)
        node.wait_for_dump("workloads", partial(_is_ready, replica.uid), replica.uid)
        door = Door(client.pod)
        yield Scene(mesh, client, server, node.node.pod("attacker"), replica, record, door, addresses)


def _is_ready(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")


def asked(*lines: bytes, first: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    """A request, of lines that are as they are."""
    return b"\r\n".join((first, *lines, b"", body))
