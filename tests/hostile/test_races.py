"""Two ends of HBONE that do anything at any time over a wire that cuts bytes anywhere: a state machine of Hypothesis."""

from __future__ import annotations

import pytest
from hostile.frames import PREFACE, frame
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ambient.core import hbone
from ambient.core.errors import PeerError, Unavailable
from ambient.core.hbone import Hbone, Role

CLIENT, SERVER = 0, 1
ENDS = st.sampled_from([CLIENT, SERVER])
SIZES = st.one_of(st.integers(1, 3000), st.integers(100_000, 700_000))


def text(end: int, stream: int, start: int, size: int) -> bytes:
    """What ``end`` says on ``stream`` from a place on: no two streams or directions say the same."""
    period = b"%d:%d|" % (end, stream)
    begin = start % len(period)
    return (period * (size // len(period) + 2))[begin : begin + size]


class Wire(RuleBasedStateMachine):
    """Both ends are ours and honest: whatever they do, neither may blame the other, and nothing may be mixed or lost."""

    streams = Bundle("streams")

    @initialize()
    def connect(self) -> None:
        self.ends = (Hbone(Role.CLIENT), Hbone(Role.SERVER))
        self.on_the_wire = [b"", b""]
        """Bytes on their way, by who sent them."""
        self.said: dict[tuple[int, int], int] = {}
        self.heard: dict[tuple[int, int], int] = {}
        self.held: dict[tuple[int, int], int] = {}
        """Bytes that the end of the first number has and has not returned the credit of."""
        self.asked: set[int] = set()
        self.cut: set[int] = set()
        self.leaving = False
        self.answered: set[int] = set()

    @property
    def over(self) -> bool:
        """An end has said goodbye with no stream left: its tunnel would close now."""
        return any(machine.wants_nothing for machine in self.ends)

    def speaks(self, end: int, stream: int) -> bool:
        """A client speaks when it was answered, as its tunnel does; what a server says before falls on the floor."""
        return end == SERVER or stream in self.answered

    @rule(target=streams)
    def open(self) -> int:
        try:
            stream = self.ends[CLIENT].open("10.0.0.1:80", [("baggage", "x")])
        except Unavailable:
            assert self.leaving
            return -1
        return stream

    @rule(stream=streams, status=st.sampled_from([200, 200, 200, 401, 503]))
    def answer(self, stream: int, status: int) -> None:
        if stream in self.asked:
            self.asked.discard(stream)
            if status == 200:
                self.ends[SERVER].accept(stream)
            else:
                self.ends[SERVER].refuse(stream, status)

    @rule(end=ENDS, stream=streams, size=SIZES)
    def send(self, end: int, stream: int, size: int) -> None:
        if not self.speaks(end, stream):
            return
        said = self.said.get((end, stream), 0)
        before = self.ends[end].queued(stream)
        self.ends[end].send(stream, text(end, stream, said, size))
        if self.ends[end].queued(stream) > before:
            self.said[end, stream] = said + size

    @rule(end=ENDS, stream=streams)
    def finish(self, end: int, stream: int) -> None:
        if self.speaks(end, stream):
            self.ends[end].finish(stream)

    @rule(end=ENDS, stream=consumes(streams), untouched=st.booleans())
    def reset(self, end: int, stream: int, untouched: bool) -> None:
        self.cut.add(stream)
        self.ends[end].reset(stream, untouched=untouched)

    @rule(end=ENDS, stream=streams, most=SIZES)
    def take_in(self, end: int, stream: int, most: int) -> None:
        amount = min(most, self.held.get((end, stream), 0))
        if amount:
            self.held[end, stream] -= amount
            self.ends[end].consumed(stream, amount)

    @rule(end=ENDS)
    def ping(self, end: int) -> None:
        self.ends[end].ping()

    @rule(now=st.sampled_from([False] * 20 + [True]))
    def leave(self, now: bool) -> None:
        if not now:
            return
        self.leaving = True
        self.ends[SERVER].leave()

    @rule(end=ENDS, size=SIZES)
    def deliver(self, end: int, size: int) -> None:
        """Some of what ``end`` has said arrives."""
        self.on_the_wire[end] += self.ends[end].take()
        self.happened(end, self.ends[end].settled())
        arrives, self.on_the_wire[end] = self.on_the_wire[end][:size], self.on_the_wire[end][size:]
        other = self.ends[1 - end]
        if other.wants_nothing:
            return
        events = other.receive(arrives)
        while True:
            self.happened(1 - end, events)
            if other.heard_all:
                return
            events = other.receive()

    def happened(self, end: int, events: list[hbone.HboneEvent]) -> None:
        for event in events:
            match event:
                case hbone.TunnelRequested(stream):
                    assert end == SERVER
                    self.asked.add(stream)
                case hbone.TunnelAnswered(stream, 200):
                    self.answered.add(stream)
                case hbone.TunnelData(stream, data):
                    heard = self.heard.get((end, stream), 0)
                    assert bytes(data) == text(1 - end, stream, heard, len(data)), "bytes of another place"
                    self.heard[end, stream] = heard + len(data)
                    self.held[end, stream] = self.held.get((end, stream), 0) + len(data)
                case hbone.TunnelFinished(stream):
                    heard, said = self.heard.get((end, stream), 0), self.said.get((1 - end, stream), 0)
                    assert heard == said or stream in self.cut, "an orderly end before all was heard"
                case _:
                    pass

    @invariant()
    def nobody_holds_more_than_a_window(self) -> None:
        for held in getattr(self, "held", {}).values():
            assert held <= hbone.MOST_WINDOW

    def teardown(self) -> None:
        """Everything arrives and is taken in, every stream is cut; nothing may be left of any of it."""
        if not hasattr(self, "ends"):
            return
        for _ in range(5):
            for end in (CLIENT, SERVER):
                for stream in list(self.ends[end]._streams):
                    self.ends[end].reset(stream)
                for (holder, stream), amount in self.held.items():
                    if holder == end and amount:
                        self.ends[end].consumed(stream, amount)
                        self.held[end, stream] = 0
            self.cut |= {stream for _, stream in self.said}
            for end in (CLIENT, SERVER):
                self.deliver(end, 1 << 30)
        if self.over:
            return
        for machine in self.ends:
            assert not machine._streams
            assert machine.queued_in_all == 0
            assert machine._growth_left == hbone.GROWTH
            assert machine._credit + machine._uncredited == hbone._CONNECTION_WINDOW, "credit was lost"


Wire.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
test_whatever_two_ends_do_at_whatever_time = Wire.TestCase


@pytest.mark.long
def test_whatever_two_ends_do_at_whatever_time_for_long() -> None:
    class Long(Wire):
        pass

    Long.TestCase.settings = settings(
        max_examples=400, stateful_step_count=100, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Long.TestCase().runTest()


FRAMES = st.lists(
    st.builds(
        frame,
        st.integers(0, 12),
        st.sampled_from([0, 1, 1, 3, 3, 5, 2]),
        st.one_of(
            st.sampled_from(
                [b"", bytes(4), bytes(5), bytes(8), b"\x7f\xff\xff\xff", b"\x88", b"\x08\x03100"]
            ),
            st.just(bytes.fromhex("204287bdab4e9c17b7ff4188081702e05c371e07")),
            st.binary(max_size=30),
        ),
        st.sampled_from([0, 1, 4, 5, 8, 0xC, 0x20, 0x2D]),
    ),
    max_size=25,
)


@given(
    FRAMES, st.sampled_from([Role.CLIENT, Role.SERVER]), st.lists(st.integers(1, 80), max_size=20), st.data()
)
def test_any_frames_in_any_order_are_taken_or_the_peers_fault(
    frames: list[bytes], role: Role, cuts: list[int], data: st.DataObject
) -> None:
    machine = Hbone(role)
    if role is Role.CLIENT:
        machine.open("10.0.0.1:80", [])
        machine.open("10.0.0.1:81", [])
    machine.take()
    script = (PREFACE if role is Role.SERVER else b"") + frame(4) + b"".join(frames)
    at = 0
    for cut in [*cuts, len(script)]:
        try:
            events = machine.receive(script[at : at + cut])
        except PeerError:
            events = []
        at += cut
        for event in events:
            match event:
                case hbone.TunnelRequested(stream):
                    match data.draw(st.integers(0, 3)):
                        case 0:
                            machine.accept(stream)
                            machine.send(stream, b"hello")
                            machine.finish(stream)
                        case 1:
                            machine.refuse(stream, 503)
                        case 2:
                            machine.reset(stream)
                case hbone.TunnelData(stream, received):
                    machine.consumed(stream, len(received))
                case _:
                    pass
        machine.take()
        machine.settled()
    assert machine._credit + machine._uncredited == hbone._CONNECTION_WINDOW or machine._broken
