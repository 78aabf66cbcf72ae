"""Where a request stands in a trace: read from its headers, and told to whom it goes to next.

W3C's ``traceparent`` comes before Zipkin's B3, in one header or in several. What goes out is what came in, and
``traceparent`` besides. What cannot be read counts as not said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from ambient.core.forwarding.edits import Edit

if TYPE_CHECKING:
    from ambient.core.http.message import Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
B3: Final = "b3"
B3_TRACE: Final = "x-b3-traceid"
B3_SPAN: Final = "x-b3-spanid"
B3_PARENT: Final = "x-b3-parentspanid"
B3_SAMPLED: Final = "x-b3-sampled"
B3_FLAGS: Final = "x-b3-flags"
NAMES: Final = frozenset((TRACEPARENT, TRACESTATE, B3, B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS))
"""Headers that say where a request stands."""

_W3C: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_B3: Final = re.compile(r"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_DECISIONS: Final = {"0": False, "1": True, "d": True, "true": True, "false": False}
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_LONGEST_STATE: Final = 512
"""Source: W3C Trace Context, section 3.3.1.5: so much must be passed on."""


class Format(Enum):
    """How a context is written."""

    W3C = "w3c"
    B3_SINGLE = "b3"
    B3_MULTI = "b3-multi"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace."""

    trace_id: str = ""
    """32 digits; empty: it was only said whether to sample."""
    span_id: str = ""
    """16 digits: of whoever asks."""
    is_sampled: bool | None = None
    """None: that is left to whoever comes next."""
    state: str = ""
    """``tracestate``, which is passed on as it came."""
    formats: frozenset[Format] = frozenset({Format.W3C})

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> TraceContext | None:
        """What headers say, by name in lower case; values of one name joined by commas. None: nothing."""
        if NAMES.isdisjoint(headers):
            return None
        found = [one for one in (_w3c(headers), _b3(headers), _b3_multi(headers)) if one is not None]
        if not found:
            return None
        first = next((one for one in found if one.trace_id), found[0])
        decision = next((one.is_sampled for one in found if one.is_sampled is not None), None)
        formats = frozenset[Format]().union(*(one.formats for one in found))
        return replace(
            first,
            is_sampled=decision if first.is_sampled is None else first.is_sampled,
            formats=formats,
        )

    def headers(self) -> Headers:
        """How it is told: as it came in, and as W3C has it."""
        said = [(TRACEPARENT, f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}")]
        if self.state:
            said.append((TRACESTATE, self.state))
        decision = "" if self.is_sampled is None else str(int(self.is_sampled))
        if Format.B3_SINGLE in self.formats:
            said.append((B3, "-".join(filter(None, (self.trace_id, self.span_id, decision)))))
        if Format.B3_MULTI in self.formats:
            said += [(B3_TRACE, self.trace_id), (B3_SPAN, self.span_id)]
            if decision:
                said.append((B3_SAMPLED, decision))
        return tuple(said)


def _w3c(headers: Mapping[str, str]) -> TraceContext | None:
    read = _W3C.fullmatch(headers.get(TRACEPARENT, "").strip())
    if read is None or read[1] == "ff" or (read[1] == "00" and read[5] is not None):
        return None
    if read[2] == _NO_TRACE or read[3] == _NO_SPAN:
        return None
    state = headers.get(TRACESTATE, "")
    return TraceContext(
        read[2], read[3], bool(int(read[4], 16) & 1), state if len(state) <= _LONGEST_STATE else ""
    )


def _b3(headers: Mapping[str, str]) -> TraceContext | None:
    said = headers.get(B3, "").strip()
    formats = frozenset({Format.B3_SINGLE})
    if said in _DECISIONS:
        return TraceContext("", "", _DECISIONS[said], formats=formats)
    read = _B3.fullmatch(said)
    if read is None:
        return None
    return _of_b3(read[1], read[2], formats, decision=_DECISIONS.get(read[3] or ""))


def _b3_multi(headers: Mapping[str, str]) -> TraceContext | None:
    formats = frozenset({Format.B3_MULTI})
    decision = _DECISIONS.get(headers.get(B3_SAMPLED, "").strip().lower())
    if headers.get(B3_FLAGS, "").strip() == "1":
        decision = True
    trace, span = headers.get(B3_TRACE, "").strip(), headers.get(B3_SPAN, "").strip()
    if _TRACE_ID.fullmatch(trace) and _SPAN_ID.fullmatch(span):
        return _of_b3(trace, span, formats, decision=decision)
    return None if decision is None else TraceContext("", "", decision, formats=formats)


def _of_b3(
    trace: str, span: str, formats: frozenset[Format], *, decision: bool | None
) -> TraceContext | None:
    whole = trace.rjust(32, "0")
    if whole == _NO_TRACE or span == _NO_SPAN:
        return None
    return TraceContext(whole, span, decision, formats=formats)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is told of one request's place."""

    context: TraceContext
    """Its span is the request's own."""
    parent_id: str
    """The span of whoever asked; empty: the trace begins here."""
    is_told: bool
    """Whether there are spans of it."""
    propagates: bool
    bits: Callable[[int], int]

    def attempt(self) -> tuple[str, Edit]:
        """A span for one try, and what is done to the request's headers for it."""
        if not self.is_told:
            # A span that nobody is told of must not be anyone's parent.
            started_here = not self.parent_id and self.propagates
            return "", Edit(NAMES, self.context.headers()) if started_here else Edit()
        span = _id(64, self.bits)
        if not self.propagates:
            return span, Edit()
        return span, Edit(NAMES, replace(self.context, span_id=span).headers())


def begin(
    headers: Mapping[str, str],
    sampled_share: float,
    chance: float,
    bits: Callable[[int], int],
    *,
    propagates: bool = True,
    reports: bool = True,
) -> Trace:
    """The trace of a request with these headers, where spans can be told of.

    Who asks decides whether it is sampled; where nobody has, ``chance`` in [0, 1) does. ``bits(n)`` gives n random bits.
    """
    came = TraceContext.of(headers)
    decided = None if came is None else came.is_sampled
    is_sampled = chance < sampled_share if decided is None else decided
    if came is None or not came.trace_id:
        formats = TraceContext().formats if came is None else came.formats
        context = TraceContext(_id(128, bits), _id(64, bits), is_sampled, formats=formats)
        return Trace(context, "", is_sampled and reports, propagates, bits)
    context = replace(came, span_id=_id(64, bits), is_sampled=is_sampled)
    return Trace(context, came.span_id, is_sampled and reports, propagates, bits)


def _id(size: int, bits: Callable[[int], int]) -> str:
    """Never zero, which stands for none."""
    return f"{bits(size) or 1:0{size // 4}x}"
