"""A connection of which nobody has said what is spoken on it: whoever talks first decides.

Its server is dialled at once, unless clients of that port were seen to talk first; then only if the client is silent for
a while. What comes before it is decided waits where it is: in the window of the client's stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ambient.core import client_hello, detect
from ambient.core.detect import Expected, Spoken
from ambient.net.relay import End, Relay

if TYPE_CHECKING:
    from ambient.core.frames import Buffer
    from ambient.net.tunnel import TunnelEnd

UNDECIDED_SECONDS: Final = 5.0
"""So long may the first bytes be too few to tell. Then they are nobody's business."""
BRIEF_SECONDS: Final = 0.2
"""The same of bytes that could begin anything."""
SILENT_SECONDS: Final = 0.2
"""So long a client may be silent that talks first as a rule; its server may be one that does, after all."""
UNREACHABLE_SECONDS: Final = 1.0
"""So long a client may still begin to talk whose server could not be reached: the answer may be HTTP's to give."""

FORBIDDEN_SECONDS: Final = 10.0
"""The same where policies let nothing pass but requests."""


class Lead(Relay):
    """The way to a server that may talk first. ``spoke`` is called when it does, or ends: then it is joined or parted."""

    def __init__(
        self, near: TunnelEnd, far: End, ended: Callable[[Relay], None], spoke: Callable[[], None]
    ) -> None:
        super().__init__(near, far, ended)
        self._spoke = spoke
        self._is_leading = self._is_joined = self._is_parted = False

    def start(self) -> None:
        """Hear the server alone."""
        self._is_leading = True
        self.far.start()

    def join(self) -> None:
        """Be a relay like others; it need not have been started."""
        self._is_joined = True
        if self._is_leading:
            self.near.start()
        else:
            super().start()

    def part(self) -> None:
        """Leave the client's end to others, and the server alone."""
        self._is_parted = True
        self.near.relay = None
        self.far.reset()

    def arrived(self, end: End, data: Buffer) -> None:
        if self._goes_on():
            super().arrived(end, data)

    def finished(self, end: End) -> None:
        if self._goes_on():
            super().finished(end)

    def closed(self, end: End) -> None:
        if self._goes_on():
            super().closed(end)

    def broken(self, end: End, why: str) -> None:
        if self._goes_on():
            super().broken(end, why)

    def gone(self, end: End, why: str | None) -> None:
        if self._goes_on():
            super().gone(end, why)

    def _goes_on(self) -> bool:
        """Whether it is a relay, which it becomes at the server's first word if nobody minds."""
        if not (self._is_joined or self._is_parted):
            self._spoke()
        return self._is_joined


class Opening:
    """Finds out what is spoken. ``decided`` is told once: what, and the SNI if it is TLS.

    ``lead`` has the server dialled. ``gone`` is called instead if the client gave up first, or it was abandoned.
    """

    def __init__(
        self,
        near: TunnelEnd,
        expectation: Expected,
        decided: Callable[[Spoken, str | None], None],
        lead: Callable[[], None],
        gone: Callable[[], None],
        *,
        waits_for_client: bool,
    ) -> None:
        self._near, self._expectation = near, expectation
        self._decided, self._lead, self._gone = decided, lead, gone
        self._waits_for_client = waits_for_client
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waits_as_likely: bool | None = None
        """None: it has heard nothing that is not told yet."""
        self.is_over = False
        """It is known, or there is nobody left to ask."""

    def begin(self) -> None:
        """Listen to the client, and let it be known if its server is to be dialled."""
        self._near.heard, self._near.given_up = self._heard, self.abandon
        if self._near.gone:
            self.abandon()
            return
        self._heard()
        if self.is_over or self._expectation is not Expected.ANYTHING or self._timer is not None:
            return
        if self._waits_for_client:
            self._timer = self._loop.call_later(SILENT_SECONDS, self._lead)
        else:
            self._lead()

    def misled(self, patience_seconds: float) -> None:
        """There is no server that could talk first: a client that stays silent need not wait for one."""
        if not (self.is_over or self._near.early):
            self._set_timer(patience_seconds, self.abandon)

    def decide(self, spoken: Spoken, server_name: str | None = None) -> None:
        """It is known."""
        self._end(lambda: self._decided(spoken, server_name))

    def abandon(self) -> None:
        """Ask no more."""
        self._end(self._gone)

    def _heard(self) -> None:
        if self.is_over:
            return
        first, finished = self._near.early, self._near.finished_early
        if not first:
            if finished:
                self.decide(Spoken.OPAQUE)
            return
        match detect.spoken(first, self._expectation):
            case None if finished:
                self.decide(Spoken.HTTP1 if self._expectation is Expected.HTTP else Spoken.OPAQUE)
            case None:
                self._wait_for_more(first)
            case Spoken.TLS:
                hello = client_hello.read(first)
                if hello is not None or finished:
                    self.decide(Spoken.TLS, "" if hello is None else hello.server_name)
                else:
                    self._wait_for_more(first)
            case Spoken.HTTP1 | Spoken.HTTP2 | Spoken.OPAQUE as spoken:
                self.decide(spoken)

    def _wait_for_more(self, first: bytes) -> None:
        is_likely = self._expectation is not Expected.ANYTHING or detect.is_likely(first)
        if self._waits_as_likely is is_likely:
            return
        self._waits_as_likely = is_likely

        def decide() -> None:
            match self._expectation:
                case Expected.HTTP:
                    self.decide(Spoken.HTTP1)
                case Expected.TLS:
                    self.decide(Spoken.TLS, "")
                case Expected.ANYTHING | Expected.OPAQUE:
                    self.decide(Spoken.OPAQUE)

        self._set_timer(UNDECIDED_SECONDS if is_likely else BRIEF_SECONDS, decide)

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)

    def _end(self, then: Callable[[], None]) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._near.heard = self._near.given_up = None
        then()
