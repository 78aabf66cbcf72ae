"""Machines that say what a test has written down, and an end that is nobody's socket."""

from __future__ import annotations

from ambient.core.frames import Buffer
from ambient.core.http.machine import ClientMachine, ServerMachine, Waiting
from ambient.core.http.message import Event, Fault, Headers, RequestHead, ResponseHead
from ambient.net.relay import End

GET = RequestHead("GET", "shop", "/")
POST = RequestHead("POST", "shop", "/", length=None)
OK = ResponseHead(200)


class FakeEnd(End):
    """Remembers what it was asked to do; ``relay`` is told of what happens by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.written: list[bytes] = []
        self.held = False
        self.waiting = 0

    def start(self) -> None:
        self.done.append("start")

    def write(self, data: Buffer) -> None:
        self.written.append(bytes(data))

    @property
    def unsent(self) -> int:
        return self.waiting

    def finish(self) -> None:
        self.done.append("finish")

    def close(self) -> None:
        self.done.append("close")

    def reset(self) -> None:
        self.done.append("reset")

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    def say(self, data: bytes) -> None:
        """The peer's bytes: the number of a piece of the script."""
        assert self.relay is not None
        self.relay.arrived(self, data)


class _Scripted:
    """``script`` has the events of each call of ``receive``; ``said`` is what is asked of the machine, in order."""

    def __init__(self, *script: list[Event]) -> None:
        self.script = list(script)
        self.said: list[tuple[object, ...]] = []
        self.due: list[Buffer] = []
        self.behind: dict[int, int] = {}
        self.at_end: list[Event] = []
        self.unheard = 0
        self.more = True
        self.over = self.finished = False
        self.state = Waiting.MESSAGE

    def receive(self, data: Buffer) -> list[Event]:
        self.said.append(("receive", bytes(data)))
        if not data:
            self.unheard -= 1
        return self.script.pop(0) if self.script else []

    def receive_end(self) -> list[Event]:
        self.said.append(("receive_end",))
        return self.at_end

    def gather(self) -> list[Buffer]:
        due, self.due = self.due, []
        return due

    def send(self, stream: int, data: Buffer) -> None:
        self.said.append(("send", stream, len(data), type(data)))
        self.due.append(data)

    def finish(self, stream: int, trailers: Headers = ()) -> None:
        self.said.append(("finish", stream, trailers))
        self.due.append(b".")

    def reset(self, stream: int, fault: Fault = Fault.CANCELLED) -> None:
        self.said.append(("reset", stream, fault))

    def consumed(self, stream: int, size: int) -> None:
        self.said.append(("consumed", stream, size))

    def queued(self, stream: int) -> int:
        return self.behind.get(stream, 0)

    def leave(self) -> None:
        self.said.append(("leave",))
        self.over = self.state is Waiting.IDLE

    @property
    def heard_all(self) -> bool:
        return self.unheard == 0

    @property
    def wants_more(self) -> bool:
        return self.more

    @property
    def waiting(self) -> Waiting:
        return self.state

    @property
    def has_finished(self) -> bool:
        return self.finished

    @property
    def is_over(self) -> bool:
        return self.over


class ScriptedServer(_Scripted, ServerMachine):
    def inform(self, stream: int, status: int, headers: Headers = ()) -> None:
        self.said.append(("inform", stream, status))
        self.due.append(b"%d" % status)

    def respond(self, stream: int, head: ResponseHead, *, ended: bool = False) -> None:
        self.said.append(("respond", stream, head.status, ended))
        self.due.append(b"%d" % head.status)

    def expire(self) -> list[Event]:
        self.said.append(("expire",))
        self.due.append(b"408")
        self.over = True
        return []


class ScriptedClient(_Scripted, ClientMachine):
    """Numbers its requests from 1; ``single``: it has room for one."""

    def __init__(self, *script: list[Event]) -> None:
        super().__init__(*script)
        self.room = True
        self.single = True
        self.asked = 0

    def request(self, head: RequestHead, *, ended: bool = False) -> int:
        self.asked += 1
        self.room = self.room and not self.single
        self.due.append(f"{head.method}{self.asked}".encode())
        return self.asked

    def leave(self) -> None:
        super().leave()
        self.room = False

    @property
    def has_room(self) -> bool:
        return self.room and not self.over

    @property
    def is_fresh(self) -> bool:
        return self.asked == 0


class Heard:
    """A receiver that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def informed(self, status: int, headers: Headers) -> None:
        self.heard.append(status)

    def answered(self, head: ResponseHead) -> None:
        self.heard.append(head)

    def body(self, data: Buffer) -> None:
        self.heard.append(bytes(data))

    def ended(self, trailers: Headers) -> None:
        self.heard.append(("ended", trailers))

    def cut(self, fault: Fault, detail: str) -> None:
        self.heard.append((fault, detail))

    def drained(self) -> None:
        self.heard.append("drained")
