"""Peers with a true certificate and no manners, who speak frames to a real worker from inside a pod."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hostile.certificates import Presented, Signer
from hostile.frames import ACK, END_HEADERS, HEADERS, PING, PREFACE, SETTINGS, Plain, frame, read
from topology.authority import root_of
from topology.namespace import entered

from ambient.core.pki import issue

if TYPE_CHECKING:
    from hyperframe.frame import Frame
    from topology import Mesh, Pod


def authority_of(mesh: Mesh) -> issue.Authority:
    """The authority of a mesh, by its files."""
    return root_of(mesh.state)


class Speaker:
    """One connection with a server of HTTP/2; frames are written as they are given."""

    def __init__(self, connection: socket.socket, first: bytes = frame(SETTINGS)) -> None:
        self.tls = connection
        self._unread = b""
        self.say(PREFACE + first)

    def say(self, data: bytes) -> bool:
        """Whether the peer still listens."""
        try:
            self.tls.sendall(data)
        except OSError:
            return False
        return True

    def say_all(self, pieces: Iterable[bytes]) -> int:
        """How many pieces the peer took; what it says meanwhile is read and dropped."""
        taken = 0
        for taken, piece in enumerate(pieces, start=1):
            if not self.say(piece):
                return taken
            self.hear(0)
        return taken

    def say_unheard(self, pieces: Iterable[bytes]) -> None:
        """Until the peer has taken all of it, or takes no more for a second; what it says is not read before that."""
        for piece in pieces:
            rest, is_jammed = memoryview(piece), False
            while rest:
                self.tls.settimeout(1)
                try:
                    rest = rest[self.tls.send(rest) :]
                except TimeoutError:
                    is_jammed = True
                    self.hear(0)
            if is_jammed:
                break
        self.tls.settimeout(20)

    def hear(self, seconds: float) -> list[Frame]:
        """What comes within a time; 0: what is there."""
        until = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while True:
                self.tls.settimeout(max(0.0, until - time.monotonic()))
                data = self.tls.recv(65536)
                if not data:
                    break
                self._unread += data
        self.tls.settimeout(20)
        whole = 0
        while len(self._unread) >= whole + 9:
            length = int.from_bytes(self._unread[whole : whole + 3]) + 9
            if len(self._unread) < whole + length:
                break
            whole += length
        said, self._unread = self._unread[:whole], self._unread[whole:]
        return read(said)

    def outcome(self, seconds: float = 30) -> str:
        """Whether the tunnel is ``alive``, once the peer has heard all that was said, or has ``ended``."""
        last = b"the last"
        self.say(frame(PING, 0, last))
        until = time.monotonic() + seconds
        heard = b""
        try:
            while (left := until - time.monotonic()) > 0:
                self.tls.settimeout(left)
                data = self.tls.recv(65536)
                if not data:
                    return "ended"
                heard = heard[-64:] + data
                if frame(PING, 0, last, ACK) in heard:
                    return "alive"
        except TimeoutError:
            pass
        except OSError:
            return "ended"
        raise AssertionError(f"neither an answer nor an end within {seconds} s")

    def close(self) -> None:
        self.tls.close()


class Caller(Speaker):
    """One TLS connection to a pod's HBONE port."""

    def __init__(
        self,
        pod: Pod,
        target: object,
        context: ssl.SSLContext,
        *,
        first: bytes = frame(SETTINGS),
        receive_buffer: int = 0,
    ) -> None:
        with entered(pod.netns):
            plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(20)
        plain.connect((str(target), 15008))
        super().__init__(context.wrap_socket(plain), first)


def true_context(mesh: Mesh, uri: str) -> ssl.SSLContext:
    """What a peer of ``uri`` shows, signed by the mesh's own authority."""
    return Presented(uris=(uri,), signer=Signer.of(authority_of(mesh))).context()


def connect_to(authority: str, stream: int) -> bytes:
    """A request, as a HEADERS frame."""
    fields = [(":method", "CONNECT"), (":authority", authority)]
    return frame(HEADERS, stream, Plain().encode(fields), END_HEADERS)
