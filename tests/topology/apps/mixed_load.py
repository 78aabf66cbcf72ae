"""A steady mix of requests over HTTP/1.1, HTTP/2 and gRPC; each is judged by what its client saw of it.

Lanes ask one request after another. On SIGTERM each ends what it has begun, and one line has the counts: by kind, and for
each kind by verdict:

``fine``         answered by a server, to the end, with the body that was asked for
``stale``        its connection had served others and ended before a byte of an answer: asked again on another
``refused``      the other side said that it had not acted on it (GOAWAY, REFUSED_STREAM): asked again on another
``cut``          the answer began and broke off, and its client could tell
``lost``         nothing of an answer came, and it may have been acted on
``unconnected``  there was no connection to ask it on
``late``         it took longer than ``--timeout``
``wrong``        it ended as if it were whole, and was not what was asked for
otherwise        the status, of gRPC that of the call, and the waypoint's reason where it gave one

``asked`` are requests that were sent, again or not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from common import say
from frames2 import Connection, Pairs
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

CANCEL, REFUSED_STREAM = 8, 7
ROUTES = 10
"""Requests name one of so many in ``x-route``."""
SHOWN = 200
"""Requests that did not end well of which a line is printed."""
AGAIN = frozenset({"stale", "refused"})


@dataclass
class Seen:
    """What became of all requests."""

    asked: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    versions: Counter[int] = field(default_factory=Counter)
    """By the route's mark in the answer."""
    newest: int = -1
    servers: Counter[str] = field(default_factory=Counter)
    shown: int = 0

    def note(self, kind: str, verdict: str, detail: str) -> None:
        self.verdicts.setdefault(kind, Counter())[verdict] += 1
        if verdict != "fine" and self.shown < SHOWN:
            self.shown += 1
            say(event="unwell", kind=kind, verdict=verdict, detail=detail)

    def heard(self, fields: dict[str, str]) -> None:
        version = int(fields.get("x-version", -1))
        self.versions[version] += 1
        self.newest = max(self.newest, version)
        self.servers[fields.get("server", "")] += 1


class Verdict(Exception):
    def __init__(self, text: str, detail: object = "") -> None:
        super().__init__(text)
        self.text, self.detail = text, repr(detail) if isinstance(detail, Exception) else str(detail)


def judged(fields: dict[str, str], body: bytes, asked: Asked) -> None:
    """Raises for an answer that is whole and not what was asked for."""
    status, reason = fields[":status"], fields.get("x-ambient-error", "")
    trailer = fields.get("grpc-status")
    if asked.is_call and status == "200" and reason:
        raise Verdict(f"grpc {trailer} {reason}", fields.get("grpc-message", ""))
    if status != "200" or reason:
        raise Verdict(f"{status} {reason}".strip(), body[:200])
    if asked.is_call:
        if trailer is None:
            raise Verdict("wrong", "a call without a status")
        if trailer != "0":
            raise Verdict(f"grpc {trailer}", fields.get("grpc-message", ""))
        body = body[5:]
    if len(body) != asked.size or asked.cut:
        raise Verdict("wrong", f"{len(body)} bytes of {asked.size}")


@dataclass(frozen=True, slots=True)
class Asked:
    id: str
    size: int
    body: bytes
    is_call: bool
    route: str
    wait: float
    cut: str

    @property
    def query(self) -> str:
        cut = f"&cut={self.cut}" if self.cut else ""
        return f"id={self.id}&size={self.size}&wait={self.wait}{cut}"


# ---- HTTP/1.1


class Http1:
    """One connection for one lane."""

    def __init__(self, host: str, port: int, seen: Seen) -> None:
        self.host, self.port, self.seen = host, port, seen
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, asked: Asked) -> None:
        is_fresh = self.streams is None
        if self.streams is None:
            try:
                self.streams = await asyncio.open_connection(self.host, self.port)
            except OSError as error:
                raise Verdict("unconnected", error) from error
        reader, writer = self.streams
        method = "POST" if asked.body else "GET"
        length = f"content-length: {len(asked.body)}\r\n" if asked.body else ""
        head = (
            f"{method} /mix?{asked.query} HTTP/1.1\r\nhost: mixed\r\nx-route: {asked.route}\r\n{length}\r\n"
        )
        stage, keep = "unsent", False
        try:
            writer.write(head.encode() + asked.body)
            first = await reader.read(1)
            if not first:
                raise EOFError("closed before a byte")  # noqa: TRY301
            stage = "cut"
            fields, body, keep = await self._answer(reader, first)
        except (OSError, EOFError) as error:
            if stage == "cut":
                raise Verdict("cut", error) from error
            raise Verdict("lost" if is_fresh else "stale", error) from error
        finally:
            if not keep:
                self.close()
        self.seen.heard(fields)
        judged(fields, body, asked)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None

    async def _answer(self, reader: asyncio.StreamReader, first: bytes) -> tuple[dict[str, str], bytes, bool]:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        fields = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
        }
        fields[":status"] = lines[0].split(" ")[1]
        if fields.get("transfer-encoding") == "chunked":
            body = bytearray()
            while size := int(await whole_line(reader), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            while await whole_line(reader) != b"\r\n":
                pass
            content = bytes(body)
        else:
            content = await reader.readexactly(int(fields["content-length"]))
        return fields, content, fields.get("connection") != "close"


async def whole_line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("closed in the middle")
    return line


# ---- HTTP/2


@dataclass
class Answer:
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    refused: bool = False
    why: str = ""


class Http2Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection = Connection(reader, writer)
        self.connection.greet(client=True)
        self.answers: dict[int, Answer] = {}
        self.next = 1
        self.takes_more = True
        self.reading = asyncio.create_task(self._read())

    async def ask(self, asked: Asked) -> Answer:
        stream, self.next = self.next, self.next + 2
        answer = self.answers[stream] = Answer()
        method = "POST" if asked.body or asked.is_call else "GET"
        path = "/mix.Mix/Ask" if asked.is_call else f"/mix?{asked.query}"
        pairs: Pairs = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "mixed")]
        pairs.append(("x-route", asked.route))
        if asked.is_call:
            pairs += [("content-type", "application/grpc"), ("te", "trailers"), ("x-ask", asked.query)]
        self.connection.headers(stream, pairs, ended=not asked.body)
        try:
            if asked.body:
                with contextlib.suppress(OSError):
                    await self.connection.body(stream, asked.body, ended=True)
            await answer.over.wait()
        finally:
            if not answer.over.is_set():
                self.connection.write(RstStreamFrame(stream, error_code=CANCEL))
            self.connection.ended(stream)
            del self.answers[stream]
        return answer

    async def _read(self) -> None:
        why = "closed"
        try:
            while True:
                match await self.connection.receive():
                    case GoAwayFrame() as frame:
                        self.takes_more = False
                        for stream, asked in tuple(self.answers.items()):
                            if stream > frame.last_stream_id:
                                asked.refused = True
                                self._end(stream, f"GOAWAY {frame.error_code}")
                        if not self.answers:
                            return
                    case RstStreamFrame() as frame:
                        if (answer := self.answers.get(frame.stream_id)) is not None:
                            answer.refused = frame.error_code == REFUSED_STREAM
                        self._end(frame.stream_id, f"RST_STREAM {frame.error_code}")
                    case HeadersFrame() as frame:
                        pairs = self.connection.headers_of(frame)
                        if (answer := self.answers.get(frame.stream_id)) is not None:
                            answer.fields.update(pairs)
                        self._look(frame.stream_id, frame.flags)
                    case DataFrame() as frame:
                        if (answer := self.answers.get(frame.stream_id)) is not None:
                            answer.body += frame.data
                        self._look(frame.stream_id, frame.flags)
                    case _:
                        pass
        except (OSError, EOFError) as error:
            why = repr(error)
        finally:
            self.takes_more = False
            self.connection.over()
            self.connection.writer.close()
            for stream in tuple(self.answers):
                self._end(stream, why)

    def _look(self, stream: int, flags: object) -> None:
        if "END_STREAM" in flags and stream in self.answers:  # type: ignore[operator]
            self.answers[stream].ended = True
            self._end(stream, "")
        if not self.takes_more and not any(not answer.over.is_set() for answer in self.answers.values()):
            self.connection.writer.close()

    def _end(self, stream: int, why: str) -> None:
        if (answer := self.answers.get(stream)) is not None and not answer.over.is_set():
            answer.why = why
            answer.over.set()
            self.connection.ended(stream)


class Http2:
    """One connection for some lanes."""

    def __init__(self, host: str, port: int, seen: Seen) -> None:
        self.host, self.port, self.seen = host, port, seen
        self.made: asyncio.Task[Http2Connection] | None = None

    async def ask(self, asked: Asked) -> None:
        if self.made is None or (
            self.made.done() and (self.made.exception() or not self.made.result().takes_more)
        ):
            self.made = asyncio.create_task(self._connect())
        try:
            connection = await asyncio.shield(self.made)
        except OSError as error:
            raise Verdict("unconnected", error) from error
        answer = await connection.ask(asked)
        if answer.refused:
            raise Verdict("refused", answer.why)
        if not answer.ended:
            raise Verdict("cut" if answer.fields else "lost", answer.why)
        self.seen.heard(answer.fields)
        judged(answer.fields, bytes(answer.body), asked)

    async def _connect(self) -> Http2Connection:
        return Http2Connection(*await asyncio.open_connection(self.host, self.port))

    def close(self) -> None:
        if self.made is not None and self.made.done() and not self.made.exception():
            self.made.result().connection.writer.close()


# ---- lanes


class Lanes:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.seen = Seen()
        self.over = asyncio.Event()
        self._number = 0

    def request(self, kind: str) -> Asked:
        self._number += 1
        arguments = self.arguments
        body = b"y" * random.randint(1, arguments.body) if kind.endswith("post") or kind == "grpc" else b""
        if kind == "grpc":
            body = bytes([0]) + len(body).to_bytes(4, "big") + body
        return Asked(
            f"{arguments.name}-{self._number}",
            random.randint(2, arguments.size),
            body,
            kind == "grpc",
            str(random.randrange(ROUTES)),
            round(random.random() * arguments.wait, 4),
            random.choice(arguments.cut) if arguments.cut else "",
        )

    async def lane(self, kind: str, ask: Callable[[Asked], Awaitable[None]]) -> None:
        await asyncio.sleep(random.random() * self.arguments.every)
        while not self.over.is_set():
            began = time.monotonic()
            asked = self.request(kind)
            while await self.judge(kind, ask, asked) in AGAIN:
                pass
            with contextlib.suppress(TimeoutError):
                left = self.arguments.every - (time.monotonic() - began)
                await asyncio.wait_for(self.over.wait(), max(0.0, left))

    async def judge(self, kind: str, ask: Callable[[Asked], Awaitable[None]], asked: Asked) -> str:
        self.seen.asked[kind] += 1
        verdict, detail = "fine", ""
        try:
            async with asyncio.timeout(self.arguments.timeout):
                await ask(asked)
        except TimeoutError:
            verdict = "late"
        except Verdict as said:
            verdict, detail = said.text, said.detail
        self.seen.note(kind, verdict, f"{asked.id}: {detail}")
        return verdict

    async def run(self) -> None:
        arguments, seen = self.arguments, self.seen
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.over.set)
        ends: list[Http1 | Http2] = []
        lanes = []
        for kind, count in (("h1", arguments.h1), ("h1-post", arguments.h1)):
            for _ in range(count):
                ends.append(Http1(arguments.host, arguments.port, seen))
                lanes.append(self.lane(kind, ends[-1].ask))
        for _ in range(arguments.h2):
            ends.append(Http2(arguments.host, arguments.port, seen))
            lanes += [self.lane(kind, ends[-1].ask) for kind in ("h2", "h2-post", "grpc", "grpc")]
        telling = asyncio.create_task(self.tell())
        await asyncio.gather(*lanes)
        telling.cancel()
        for end in ends:
            end.close()
        say(
            event="summary",
            asked=seen.asked,
            verdicts=seen.verdicts,
            versions=seen.versions,
            servers=seen.servers,
        )

    async def tell(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            fine = sum(verdicts["fine"] for verdicts in self.seen.verdicts.values())
            asked = sum(self.seen.asked.values())
            say(event="progress", asked=asked, fine=fine, newest=self.seen.newest)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="mix")
    parser.add_argument("--h1", type=int, default=2, help="lanes of each kind, and their connections")
    parser.add_argument("--h2", type=int, default=2, help="connections, of four lanes each")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between the requests of a lane")
    parser.add_argument("--size", type=int, default=2_000, help="most bytes of an answer")
    parser.add_argument("--body", type=int, default=2_000, help="most bytes of a request")
    parser.add_argument("--wait", type=float, default=0.01, help="most seconds that a server takes")
    parser.add_argument("--cut", action="append", default=[], help="a manner in which answers break off")
    parser.add_argument("--timeout", type=float, default=30)
    asyncio.run(Lanes(parser.parse_args()).run())


main()
