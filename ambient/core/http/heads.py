"""Heads of HTTP/1.1: where one ends, and what it says.

llhttp judges the syntax of a head that is whole, and of that alone: where it begins and ends, and where bodies do, is
found here, because a parser that is fed whatever came cannot stop between two messages. So any cut of the same bytes is
judged alike, a head that no end may come of is refused as soon as that is certain, and limits hold before anything is
parsed.

What llhttp lets pass and we refuse: no Host, two, or another than the request's own; ``Transfer-Encoding`` that is more
than ``chunked``, or in HTTP/1.0; HTTP/0.9 and other versions; more than one empty line before a request; more bytes
and fields than ``Limits`` has; CONNECT; a fragment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import httptools

from ambient.core.http import fields
from ambient.core.http.fields import Fields, RawFields, Refusal
from ambient.core.http.machine import Limits
from ambient.core.http.message import Headers, RequestHead, ResponseHead

_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"
_PLAIN: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_BREAKS_SYNTAX: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")
_H2C: Final = frozenset(("h2c", "h2", "http/2.0", "http/1.1", ""))
"""What nobody is upgraded to: HTTP/2 begins with its preface, and what comes behind it would be unseen."""
_CONTROL: Final = "the head has control characters, or a line that does not end with CR LF"

LineFault = Callable[[bytes], Refusal | None]


class Scanner:
    """Finds the end of a head that comes in pieces, or the first thing that is wrong with its lines.

    Of several faults it is always the same that counts: the one for which the fewest bytes must be known.
    """

    __slots__ = ("_has_line", "_line_fault", "_most", "_most_line", "_seen", "_too_long")

    def __init__(self, most_line: int, most: int, too_long: Refusal, line_fault: LineFault) -> None:
        self._most_line = most_line
        self._most = most
        self._too_long = too_long
        self._line_fault = line_fault
        self._seen = 0
        """Bytes of the head that are in order; the last may be a CR."""
        self._has_line = False

    def find(self, data: bytes, at: int) -> int | Refusal | None:
        """Where the head ends that begins ``at``; None: not in ``data``. When more has come, ask again with all of it."""
        end = data.find(_END, at + max(0, self._seen - 3))
        stop = end + 4 if end >= 0 else len(data)
        if stop - at > self._most or not self._is_clean(data, at, stop):
            return self._first_fault(data[at:stop])
        self._seen = stop - at - data.endswith(b"\r", at, stop)
        if end < 0:
            return None
        self._seen, self._has_line = 0, False
        return stop

    def _is_clean(self, data: bytes, at: int, stop: int) -> bool:
        if not self._has_line:
            line_end = data.find(_LINE_END, at, min(stop, at + self._most_line + 2))
            if line_end >= 0:
                self._has_line = True
                if self._line_fault(data[at:line_end]) is not None:
                    return False
            elif stop - at >= self._most_line + 2:
                return False
        fresh = data[at + self._seen : stop]
        breaks = len(fresh.translate(None, _PLAIN))
        return breaks == 2 * fresh.count(_LINE_END) + fresh.endswith(b"\r")

    def _first_fault(self, head: bytes) -> Refusal:
        """Of each fault, how many bytes show it."""
        faults: list[tuple[int, Refusal]] = []
        line_end = head.find(_LINE_END, 0, self._most_line + 2)
        if line_end < 0:
            if len(head) >= self._most_line + 2:
                faults.append((self._most_line + 2, Refusal(414, "the request line is too long")))
        elif (fault := self._line_fault(head[:line_end])) is not None:
            faults.append((line_end + 2, fault))
        if len(head) > self._most:
            faults.append((self._most + 1, self._too_long))
        if (broken := _BREAKS_SYNTAX.search(head)) is not None:
            faults.append((broken.end(), Refusal(400, _CONTROL)))
        return min(faults)[1]


class Asked(NamedTuple):
    """A request's head, and what of it is between the two ends of its connection."""

    head: RequestHead
    is_chunked: bool
    is_old: bool
    """HTTP/1.0: no chunks, nothing before the answer, no upgrade."""
    keeps: bool
    """The client would use the connection again."""


class Answered(NamedTuple):
    """A response's head, and what of it is between the two ends of its connection."""

    head: ResponseHead
    is_chunked: bool
    keeps: bool
    """The server would use the connection again."""
    upgrade: str
    """What it goes on with; of status 101 alone."""


def request_scanner(limits: Limits) -> Scanner:
    """For the heads of one connection with a client."""
    too_long = Refusal(431, "the head is too long")
    return Scanner(limits.request_line, limits.header_bytes, too_long, request_line_fault)


def response_scanner(limits: Limits) -> Scanner:
    """For the heads of one connection with a server; of a ``Refusal`` its detail counts."""
    too_long = Refusal(502, "the head is too long")
    return Scanner(limits.header_bytes, limits.header_bytes, too_long, _status_line_fault)


def request_line_fault(line: bytes) -> Refusal | None:
    """What is wrong with a request's first line, if anything is."""
    words = line.split(b" ")
    version = words[-1]
    if len(words) == 3 and version in _VERSIONS:
        if words[0] == b"CONNECT":
            return Refusal(405, "CONNECT is not for here")
        return None if words[0] and words[1] else Refusal(400, "the request line is not one")
    if len(words) == 3 and version.startswith(b"HTTP/"):
        return Refusal(505, "the version is not HTTP/1.1")
    if len(words) == 2:
        return Refusal(400, "the request line has no version")
    return Refusal(400, "the request line is not one")


def _status_line_fault(line: bytes) -> Refusal | None:
    if line[:8] in _VERSIONS and line[8:9] == b" " and line[9:12].isdigit() and line[12:13] in (b"", b" "):
        return None
    return Refusal(502, "the status line is not one")


def read_request(head: bytes, limits: Limits) -> Asked | Refusal:
    """What a head says that a ``request_scanner`` has found the end of."""
    method, target, version = str(head[: head.index(b"\r")], "latin-1").split(" ")
    raw = _parse(httptools.HttpRequestParser, head)
    if isinstance(raw, Refusal):
        return raw
    if len(raw) > limits.header_count:
        return Refusal(431, "the head has too many fields")
    found = fields.sort_request(raw, is_clean=True)
    if isinstance(found, Refusal):
        return found
    own = found.own
    is_old = version == "HTTP/1.0"
    is_chunked, length, upgrade = False, 0, ""
    options: Sequence[str] = ()
    if len(own) > 1:  # Without any Host, all that matters is that.
        told = _between(found, is_old=is_old)
        if isinstance(told, Refusal):
            return told
        is_chunked, length, upgrade, options = told
    authority, path = "", target
    if not target.startswith("/") and target != "*":
        place = _place(method, target)
        if isinstance(place, Refusal):
            return place
        if "host" not in own:
            return Refusal(400, "there is no Host")
        authority, path = place
    asked = fields.request_head(
        method, authority, path, found, length=None if is_chunked or upgrade else length, upgrade=upgrade
    )
    if isinstance(asked, Refusal):
        return asked
    keeps = "close" not in options and (not is_old or "keep-alive" in options)
    return Asked(asked, is_chunked, is_old, keeps)


def _between(found: Fields, *, is_old: bool) -> tuple[bool, int, str, Sequence[str]] | Refusal:
    """Whether the body is in chunks, its length, what to go on with instead, and the options of the connection."""
    own = found.own
    options: Sequence[str] = ()
    upgrade = ""
    if "connection" in own:
        if (fault := fields.nominated_fault(found)) is not None:
            return Refusal(400, fault)
        options = found.elements("connection")
        found.headers = fields.without_nominated(found)
    length = fields.content_length(found)
    if isinstance(length, Refusal):
        return length
    is_chunked = "transfer-encoding" in own
    if is_chunked and (is_old or length is not None or found.elements("transfer-encoding") != ["chunked"]):
        return Refusal(400, "Transfer-Encoding is not chunked alone")
    if "upgrade" in options and not (is_old or is_chunked or length):
        upgrade = _upgrade(found)
    if is_old:
        own.pop("te", None)
    if (is_old or not (is_chunked or length)) and found.elements("expect") == ["100-continue"]:
        # Nobody waits before a body that there is none of, and HTTP/1.0 does not know how to.
        del own["expect"]
    return is_chunked, length or 0, upgrade, options


def _place(method: str, target: str) -> tuple[str, str] | Refusal:
    """Authority and path of a URI."""
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() != "http":
        return Refusal(400, "the target is no path, and no URI of http")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority:
        return Refusal(400, "the target has no authority")
    if not path:
        path = "*" if method == "OPTIONS" else "/"
    elif path[0] != "/":
        path = "/" + path
    return authority, path


def _upgrade(found: Fields) -> str:
    """What a peer would go on with. It is written again, so it is checked; what nobody goes on with is none."""
    offered = [name for name in found.elements("upgrade") if name not in _H2C]
    if not offered:
        return ""
    name, _, version = offered[0].partition("/")
    return offered[0] if fields.is_token(name) and (not version or fields.is_token(version)) else ""


def read_response(head: bytes, limits: Limits) -> Answered | Refusal:
    """What a head says that a ``response_scanner`` has found the end of; of a ``Refusal`` its detail counts."""
    is_old, status = head.startswith(b"HTTP/1.0"), int(head[9:12])
    raw = _parse(httptools.HttpResponseParser, head)
    if isinstance(raw, Refusal):
        return raw
    if not 100 <= status <= 599:
        return Refusal(502, "the status is none")
    if len(raw) > limits.header_count:
        return Refusal(502, "the head has too many fields")
    found = fields.sort_response(raw, is_clean=True)
    if isinstance(found, Refusal):
        return found
    own = found.own
    length = fields.content_length(found)
    is_chunked = "transfer-encoding" in own
    if isinstance(length, Refusal):
        return length
    if is_chunked and (is_old or length is not None or found.elements("transfer-encoding") != ["chunked"]):
        return Refusal(502, "Transfer-Encoding is not chunked alone")
    if (status < 200 or status == 204) and (is_chunked or length):
        return Refusal(502, f"status {status} has no body")
    options: list[str] = []
    upgrade = ""
    if "connection" in own:
        options = found.elements("connection")
        found.headers = fields.without_nominated(found)
        if status == 101 and "upgrade" in options:
            upgrade = _upgrade(found)
    if status == 204:
        length = 0
    return Answered(
        ResponseHead(status, tuple(found.headers), length),
        is_chunked,
        "close" not in options and (not is_old or "keep-alive" in options),
        upgrade,
    )


def read_trailers(block: bytes, limits: Limits, *, of_request: bool) -> Headers | Refusal:
    """What may be passed on of the lines behind a last chunk, of which the last is empty."""
    if block == _LINE_END:
        return ()
    if _BREAKS_SYNTAX.search(block) is not None:
        return Refusal(400, "a trailer has control characters, or a line that does not end with CR LF")
    raw = _parse(httptools.HttpRequestParser, b"GET / HTTP/1.1\r\n" + block)
    if isinstance(raw, Refusal):
        return raw
    if len(raw) > limits.header_count:
        return Refusal(400, "there are too many trailers")
    return fields.trailers(fields.sort_request(raw) if of_request else fields.sort_response(raw))


class _Collected:
    """What llhttp calls while it reads a head."""

    __slots__ = ("is_whole", "raw")

    def __init__(self) -> None:
        self.raw: list[tuple[bytes, bytes]] = []
        self.is_whole = False

    def on_url(self, url: bytes) -> None:
        pass

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_whole = True


def _parse(
    parser: type[httptools.HttpRequestParser | httptools.HttpResponseParser], head: bytes
) -> RawFields | Refusal:
    collected = _Collected()
    try:
        parser(collected).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        return Refusal(501, "the method is not known")
    except httptools.HttpParserError as error:
        return Refusal(400, f"the head is not HTTP: {error}")
    return collected.raw if collected.is_whole else Refusal(400, "the head is not HTTP")
