"""What a connection does with its end and its receivers, whatever its machine says: by script, with a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from net.scripted import GET, OK, POST, FakeEnd, Heard, ScriptedClient, ScriptedServer
from net.travel import travel

from ambient.core.http.machine import Waiting
from ambient.core.http.message import (
    BodyCame,
    Event,
    Fault,
    InformationCame,
    MessageCut,
    MessageEnded,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseCame,
)
from ambient.net.http import (
    DEFAULT_TIMEOUTS,
    LINGER_SECONDS,
    HttpClient,
    HttpServer,
    ServerStream,
    Timeouts,
)

Scenario = Callable[[], Coroutine[Any, Any, None]]


class Serving:
    """A server, what it was asked, and what became of it."""

    def __init__(self, *script: list[Event], timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self.machine = ScriptedServer(*script)
        self.end = FakeEnd()
        self.streams: list[ServerStream] = []
        self.receivers: list[Heard] = []
        self.refused: list[RequestRefused] = []
        self.closed = 0
        self.answer: Callable[[ServerStream], None] = lambda _: None
        self.server = HttpServer(
            self.end, self.machine, self._requested, self.refused.append, self._closed, timeouts
        )

    def _requested(self, stream: ServerStream) -> None:
        self.streams.append(stream)
        self.receivers.append(Heard())
        stream.receiver = self.receivers[-1]
        self.answer(stream)

    def _closed(self) -> None:
        self.closed += 1

    def gone(self) -> None:
        """The end is."""
        if self.end.relay is not None:
            self.end.relay.gone(self.end, None)


def asked(head: RequestHead = GET, stream: int = 1) -> list[Event]:
    return [RequestCame(stream, head), MessageEnded(stream)]


async def turn() -> None:
    """Let all that is due soon happen."""
    for _ in range(3):
        await asyncio.sleep(0)


# Requests and answers:


def test_an_answer_leaves_at_the_end_of_the_read_that_asked_for_it() -> None:
    async def scenario() -> None:
        serving = Serving(asked())

        def answer(stream: ServerStream) -> None:
            stream.respond(OK)
            stream.send(b"hello")
            stream.finish((("t", "1"),))
            assert not serving.end.written

        serving.answer = answer
        serving.server.start()
        serving.end.say(b"1")
        assert serving.end.written == [b"200hello."]
        assert serving.streams[0].is_over
        assert serving.receivers[0].heard == [("ended", ())]
        assert serving.server.under_way == 0

    travel(scenario())


def test_an_answer_that_comes_later_leaves_once_in_its_turn() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream] = serving.streams
        stream.inform(103)
        stream.respond(OK)
        stream.send(b"a")
        stream.send(memoryview(b"b"))
        stream.finish()
        assert not serving.end.written
        await turn()
        assert serving.end.written == [b"103200ab."]

    travel(scenario())


def test_what_was_read_already_comes_first() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start(b"first")
        assert serving.machine.said[0] == ("receive", b"first")
        assert len(serving.streams) == 1
        assert serving.end.done == ["start"]

    travel(scenario())


def test_a_body_is_told_in_parts_and_consumed_when_its_receiver_says_so() -> None:
    async def scenario() -> None:
        serving = Serving(
            [RequestCame(1, POST), BodyCame(1, b"ab")],
            [BodyCame(1, memoryview(b"cd")), MessageEnded(1, (("t", "1"),))],
        )
        serving.server.start()
        serving.end.say(b"1")
        serving.end.say(b"2")
        [stream] = serving.streams
        assert serving.receivers[0].heard == [b"ab", b"cd", ("ended", (("t", "1"),))]
        assert (stream.received, stream.unconsumed) == (4, 4)
        stream.consumed(3)
        assert stream.unconsumed == 1
        assert ("consumed", 1, 3) in serving.machine.said

    travel(scenario())


def test_a_body_that_nobody_listens_to_is_thrown_away() -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST), BodyCame(1, b"abc"), BodyCame(7, b"d")])

        def answer(stream: ServerStream) -> None:
            stream.receiver = None
            stream.respond(OK, ended=True)

        serving.answer = answer
        serving.server.start()
        serving.end.say(b"1")
        assert ("consumed", 1, 3) in serving.machine.said
        assert ("consumed", 7, 1) in serving.machine.said

    travel(scenario())


def test_a_client_hears_of_its_own_streams_alone() -> None:
    async def scenario() -> None:
        machine = ScriptedClient(
            [InformationCame(1, 103, ()), ResponseCame(2, OK), BodyCame(1, b"no"), ResponseCame(1, OK)],
            [BodyCame(2, b"x"), MessageEnded(2), MessageCut(1, Fault.REFUSED, "busy"), ResponseCame(9, OK)],
        )
        machine.single = False
        end, one, other = FakeEnd(), Heard(), Heard()
        client = HttpClient(end, machine)
        client.request(GET, one, ended=True)
        client.request(GET, other, ended=True)
        await turn()
        assert end.written == [b"GET1GET2"]
        assert end.done == ["start"]
        end.say(b"1")
        end.say(b"2")
        assert one.heard == [103, b"no", OK, (Fault.REFUSED, "busy")]
        assert other.heard == [OK, b"x", ("ended", ())]
        assert client.under_way == 0

    travel(scenario())


def test_nothing_is_said_on_a_stream_that_is_over() -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST)], [MessageCut(1, Fault.CANCELLED, "gone")])
        serving.server.start()
        serving.end.say(b"1")
        serving.end.say(b"2")
        [stream] = serving.streams
        assert serving.receivers[0].heard == [(Fault.CANCELLED, "gone")]
        before = list(serving.machine.said)
        stream.inform(100)
        stream.respond(OK)
        stream.send(b"x")
        stream.finish()
        stream.reset()
        stream.consumed(1)
        assert not stream.is_full
        assert serving.machine.said == before

    travel(scenario())


def test_refusals_are_told() -> None:
    async def scenario() -> None:
        refusal = RequestRefused(400, "two hosts")
        serving = Serving([refusal])
        serving.server.start()
        serving.end.say(b"1")
        assert serving.refused == [refusal]

    travel(scenario())


def test_a_crowd_is_heard_in_turns() -> None:
    async def scenario() -> None:
        serving = Serving(asked(stream=1), asked(stream=3), asked(stream=5))
        serving.machine.unheard = 2
        serving.server.start()
        serving.end.say(b"1")
        assert len(serving.streams) == 1
        await asyncio.sleep(0)
        assert len(serving.streams) == 2
        await asyncio.sleep(0)
        assert len(serving.streams) == 3
        await turn()
        assert [what for what in serving.machine.said if what[0] == "receive"] == [
            ("receive", b"1"),
            ("receive", b""),
            ("receive", b""),
        ]

    travel(scenario())


# Back-pressure:


def test_the_end_is_read_while_the_machine_wants_more() -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST), BodyCame(1, b"abc")])
        serving.machine.more = False
        serving.server.start()
        serving.end.say(b"1")
        assert serving.end.held
        serving.machine.more = True
        serving.streams[0].consumed(3)
        await turn()
        assert not serving.end.held

    travel(scenario())


def test_a_full_end_leaves_what_is_said_to_the_machine_and_drains_in_order() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream], [heard] = serving.streams, serving.receivers
        stream.respond(OK)
        await turn()
        serving.server.full(serving.end)
        assert stream.is_full
        stream.send(b"a" * 20_000)
        await turn()
        assert serving.end.written == [b"200"]
        assert "drained" not in heard.heard
        serving.server.drained(serving.end)
        await turn()
        assert serving.end.written == [b"200", b"a" * 20_000]
        assert heard.heard[-1] == "drained"
        assert not stream.is_full

    travel(scenario())


def test_a_stream_whose_window_is_used_up_is_full_and_no_other() -> None:
    async def scenario() -> None:
        serving = Serving([*asked(stream=1), *asked(stream=3)])
        serving.server.start()
        serving.end.say(b"1")
        slow, fast = serving.streams
        slow.respond(OK)
        fast.respond(OK)
        serving.machine.behind[slow.id] = 40_000
        assert slow.is_full
        assert not fast.is_full
        serving.end.say(b"2")
        assert "drained" not in serving.receivers[0].heard
        serving.machine.behind[slow.id] = 8_000
        serving.end.say(b"3")
        serving.end.say(b"4")
        assert serving.receivers[0].heard.count("drained") == 1
        assert serving.receivers[1].heard.count("drained") == 0

    travel(scenario())


def test_a_large_part_leaves_uncopied_and_at_once_and_a_small_one_is_copied() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream] = serving.streams
        stream.respond(OK)
        buffer = bytearray(b"x" * 32768)
        stream.send(memoryview(buffer))
        assert serving.end.written == [b"200" + b"x" * 32768]
        stream.send(memoryview(buffer)[:10])
        buffer[:10] = b"y" * 10
        await turn()
        assert serving.end.written[1:] == [b"x" * 10]
        assert [what[2:] for what in serving.machine.said if what[0] == "send"] == [
            (32768, memoryview),
            (10, bytes),
        ]

    travel(scenario())


def test_what_a_full_end_cannot_take_is_copied_however_large() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream] = serving.streams
        stream.respond(OK)
        serving.server.full(serving.end)
        buffer = bytearray(b"x" * 32768)
        stream.send(memoryview(buffer))
        buffer[:] = b"y" * 32768
        serving.server.drained(serving.end)
        await turn()
        assert serving.end.written == [b"200" + b"x" * 32768]

    travel(scenario())


# The end:


def test_a_connection_that_is_over_half_closes_and_closes_after_its_peer() -> None:
    async def scenario() -> None:
        serving = Serving(asked(), [RequestCame(3, GET)])
        serving.answer = lambda stream: stream.respond(OK, ended=True)
        serving.server.start()
        serving.machine.over = True
        serving.end.say(b"1")
        assert serving.end.written == [b"200"]
        assert serving.end.done == ["start", "finish"]
        serving.end.say(b"this is thrown away")
        assert len(serving.streams) == 1
        serving.server.finished(serving.end)
        assert serving.end.done == ["start", "finish", "close"]
        assert serving.closed == 0
        serving.gone()
        assert (serving.closed, serving.end.relay) == (1, None)

    travel(scenario())


@pytest.mark.parametrize(
    ("waiting", "seconds"), [pytest.param(0, 5, id="all-sent"), pytest.param(9, 300, id="something-unsent")]
)
def test_a_peer_that_does_not_close_is_cut(waiting: int, seconds: float) -> None:
    async def scenario() -> None:
        serving = Serving()
        serving.end.waiting = waiting
        serving.server.start()
        serving.machine.over = True
        serving.end.say(b"1")
        await asyncio.sleep(seconds - 0.5)
        assert serving.closed == 0
        await asyncio.sleep(1)
        assert serving.end.done == ["start", "finish", "reset"]
        assert serving.closed == 1

    travel(scenario())


def test_a_peer_that_still_takes_its_answer_has_time() -> None:
    async def scenario() -> None:
        serving = Serving()
        serving.server.start()
        serving.machine.over = True
        serving.end.waiting = 60
        serving.end.say(b"1")
        for left in range(59, -1, -1):
            await asyncio.sleep(30)
            serving.end.waiting = left
        assert serving.closed == 0
        await asyncio.sleep(3 * LINGER_SECONDS)
        assert serving.closed == 1

    travel(scenario())


def test_all_is_written_before_the_half_close_though_the_end_is_full() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        serving.server.full(serving.end)
        serving.streams[0].respond(OK, ended=True)
        serving.machine.over = True
        await turn()
        assert serving.end.written == [b"200"]
        assert serving.end.done[-1] == "finish"
        serving.server.cut("the test is over")

    travel(scenario())


def test_what_a_machine_that_is_over_has_still_to_tell_is_told() -> None:
    async def scenario() -> None:
        serving = Serving(
            [RequestCame(1, POST), RequestCame(3, POST)], [MessageCut(3, Fault.OVERLOADED, "too much")]
        )
        serving.server.start()
        serving.machine.over = True
        serving.end.say(b"1")
        assert serving.machine.said[-1] == ("receive", b"")
        assert [heard.heard for heard in serving.receivers] == [
            [(Fault.RESET, "the connection is over")],
            [(Fault.OVERLOADED, "too much")],
        ]
        assert serving.end.done == ["start", "finish"]
        serving.server.cut("the test is over")

    travel(scenario())


def test_a_half_close_is_the_machines_to_understand() -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST)])
        serving.machine.at_end = [MessageCut(1, Fault.CANCELLED, "hung up")]
        serving.server.start()
        serving.end.say(b"1")
        serving.machine.over = True
        serving.server.finished(serving.end)
        assert serving.end.finished_reading
        assert serving.receivers[0].heard == [(Fault.CANCELLED, "hung up")]
        assert serving.end.done == ["start", "finish", "close"]
        serving.gone()

    travel(scenario())


def test_a_peer_that_half_closes_is_still_answered() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        serving.server.finished(serving.end)
        assert serving.end.done == ["start"]
        serving.streams[0].respond(OK, ended=True)
        serving.machine.over = True
        await turn()
        assert serving.end.written == [b"200"]
        assert serving.end.done == ["start", "finish", "close"]
        serving.gone()

    travel(scenario())


def test_our_half_of_an_upgraded_connection_ends_as_a_half_close() -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, GET)], [BodyCame(1, b"more")])
        serving.server.start()
        serving.end.say(b"1")
        serving.streams[0].finish()
        serving.machine.finished = True
        await turn()
        serving.end.say(b"2")
        assert serving.end.done == ["start", "finish"]
        assert serving.receivers[0].heard == [b"more"]
        serving.machine.over = True
        serving.server.finished(serving.end)
        assert serving.end.done == ["start", "finish", "close"]
        serving.gone()

    travel(scenario())


@pytest.mark.parametrize("how", ["broken", "closed", "cut"])
def test_a_connection_that_is_lost_costs_every_stream(how: str) -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST), RequestCame(3, POST)])
        serving.server.start()
        serving.end.say(b"1")
        match how:
            case "broken":
                serving.server.broken(serving.end, "connection reset by peer")
                why = "connection reset by peer"
                serving.gone()
            case "closed":
                serving.server.closed(serving.end)
                why = "the peer has left"
            case _:
                why = "a policy forbids it"
                serving.server.cut(why)
                assert serving.end.done == ["start", "reset"]
        assert [heard.heard for heard in serving.receivers] == [[(Fault.RESET, why)]] * 2
        assert serving.closed == 1
        assert serving.server.under_way == 0
        serving.server.cut("again")
        assert serving.closed == 1

    travel(scenario())


@pytest.mark.parametrize(
    ("said", "done"),
    [
        pytest.param("nothing", ["start", "finish"], id="nothing-was-answered"),
        pytest.param("part", ["start", "reset"], id="part-of-an-answer"),
        pytest.param("all", ["start", "finish"], id="the-whole-answer"),
    ],
)
def test_an_answer_that_was_begun_never_looks_whole(said: str, done: list[str]) -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, POST)])
        serving.server.start()
        serving.end.say(b"1")
        [stream] = serving.streams
        if said != "nothing":
            stream.respond(OK, ended=said == "all")
        serving.machine.over = True
        stream.reset(Fault.RESET)
        await turn()
        assert serving.end.done == done
        assert serving.receivers[0].heard == []
        serving.server.cut("the test is over")

    travel(scenario())


def test_a_request_that_is_given_up_resets_a_connection_that_had_nothing_else() -> None:
    async def scenario() -> None:
        machine, end, closed = ScriptedClient(), FakeEnd(), []
        client = HttpClient(end, machine, closed.append)
        stream = client.request(GET, Heard(), ended=True)
        await turn()
        machine.over = True
        stream.reset()
        assert end.done == ["start", "reset"]
        assert closed == [client]

    travel(scenario())


def test_a_client_that_is_lost_before_it_starts_never_reads() -> None:
    async def scenario() -> None:
        end, heard = FakeEnd(), Heard()
        client = HttpClient(end, ScriptedClient())
        client.request(GET, heard)
        client.cut("nobody wants it")
        await turn()
        assert end.done == ["reset"]
        assert heard.heard == [(Fault.RESET, "nobody wants it")]
        assert not client.has_room

    travel(scenario())


def test_a_receiver_that_fails_costs_its_connection_and_is_told_to_the_loop() -> None:
    async def scenario() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        serving = Serving([RequestCame(1, POST), RequestCame(3, POST), RequestCame(5, POST)])

        def answer(stream: ServerStream) -> None:
            if stream.id == 3:
                raise ValueError("wrong")

        serving.answer = answer
        serving.server.start()
        serving.end.say(b"1")
        assert [str(context["exception"]) for context in told] == ["wrong"]
        assert [len(heard.heard) for heard in serving.receivers] == [1, 1]
        assert (serving.end.done, serving.closed) == (["start", "reset"], 1)

    travel(scenario())


# Leaving:


def test_a_connection_that_leaves_ends_what_is_under_way() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        serving.server.leave(within=20)
        await turn()
        assert ("leave",) in serving.machine.said
        assert serving.end.done == ["start"]
        await asyncio.sleep(19)
        serving.streams[0].respond(OK, ended=True)
        serving.machine.over = True
        await turn()
        assert serving.end.done == ["start", "finish"]
        serving.server.finished(serving.end)
        serving.gone()
        await asyncio.sleep(30)
        assert serving.end.done == ["start", "finish", "close"]

    travel(scenario())


def test_what_has_not_ended_when_a_drain_must_end_is_cut() -> None:
    async def scenario() -> None:
        serving = Serving(asked(), [RequestCame(3, POST)])
        serving.server.start()
        serving.end.say(b"1")
        serving.end.say(b"2")
        serving.server.leave(within=20)
        await asyncio.sleep(20.1)
        assert serving.receivers[1].heard == [(Fault.RESET, "it did not end in time")]
        assert (serving.end.done, serving.closed) == (["start", "reset"], 1)

    travel(scenario())


# Time:


def test_a_head_that_does_not_end_is_refused_after_its_time() -> None:
    async def scenario() -> None:
        serving = Serving()
        serving.machine.state = Waiting.IDLE
        serving.server.start()
        await asyncio.sleep(100)
        serving.machine.state = Waiting.HEAD
        for _ in range(9):
            serving.end.say(b"x")
            await asyncio.sleep(1)
        assert ("expire",) not in serving.machine.said
        await asyncio.sleep(1.1)
        assert ("expire",) in serving.machine.said
        assert serving.end.written == [b"408"]
        assert serving.end.done == ["start", "finish"]
        serving.server.cut("the test is over")

    travel(scenario())


def test_a_head_that_ends_in_time_is_not_refused() -> None:
    async def scenario() -> None:
        serving = Serving([], asked())
        serving.machine.state = Waiting.HEAD
        serving.server.start()
        serving.end.say(b"x")
        await asyncio.sleep(9)
        serving.machine.state = Waiting.MESSAGE
        serving.end.say(b"x")
        await asyncio.sleep(200)
        assert ("expire",) not in serving.machine.said
        assert serving.end.done == ["start"]
        serving.server.cut("the test is over")

    travel(scenario())


def test_a_connection_without_requests_leaves_after_its_time() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.machine.state = Waiting.IDLE
        serving.answer = lambda stream: stream.respond(OK, ended=True)
        serving.server.start()
        await asyncio.sleep(3000)
        serving.machine.state = Waiting.MESSAGE
        serving.end.say(b"1")
        serving.machine.state = Waiting.IDLE
        serving.end.say(b"2")
        await asyncio.sleep(3590)
        assert serving.end.done == ["start"]
        await asyncio.sleep(20)
        assert serving.end.done == ["start", "finish", "reset"]
        assert serving.closed == 1

    travel(scenario())


GRPC = RequestHead("POST", "shop", "/", (("content-type", "application/grpc+proto"),), length=None)
PATIENT = RequestHead("POST", "shop", "/", length=5, expects_continue=True)


@pytest.mark.parametrize(
    ("head", "manner", "cut"),
    [
        pytest.param(POST, "silent", True, id="a-body-that-does-not-come"),
        pytest.param(POST, "slow", False, id="a-body-that-comes-slowly"),
        pytest.param(POST, "unconsumed", False, id="we-are-slow-ourselves"),
        pytest.param(POST, "answered", False, id="it-was-answered"),
        pytest.param(GRPC, "silent", False, id="a-call-of-grpc"),
        pytest.param(PATIENT, "silent", False, id="it-waits-for-100"),
        pytest.param(PATIENT, "informed", True, id="it-was-told-100"),
    ],
)
def test_a_client_that_owes_more_of_its_request_is_waited_for(
    head: RequestHead, manner: str, cut: bool
) -> None:
    async def scenario() -> None:
        serving = Serving([RequestCame(1, head)], *([BodyCame(1, b"x")] for _ in range(100)))
        serving.server.start()
        serving.end.say(b"1")
        [stream], [heard] = serving.streams, serving.receivers
        match manner:
            case "unconsumed":
                serving.end.say(b"2")
            case "answered":
                stream.respond(OK)
            case "informed":
                stream.inform(100)
            case _:
                pass
        for _ in range(5):
            if manner == "slow":
                serving.end.say(b"2")
                stream.consumed(1)
            await asyncio.sleep(30)
        if cut:
            assert heard.heard == [(Fault.TIMED_OUT, "the client stood still")]
            assert ("respond", 1, 408, True) in serving.machine.said
            assert ("reset", 1, Fault.TIMED_OUT) in serving.machine.said
        else:
            assert not stream.is_over
        serving.server.cut("the test is over")

    travel(scenario())


@pytest.mark.parametrize(
    ("manner", "cut"),
    [
        pytest.param("no-window", True, id="its-window-stays-shut"),
        pytest.param("no-reading", True, id="its-socket-is-not-read"),
        pytest.param("trickle", False, id="it-takes-a-little-now-and-then"),
        pytest.param("nothing-to-say", False, id="there-is-nothing-to-take"),
    ],
)
def test_a_client_that_takes_nothing_is_waited_for(manner: str, cut: bool) -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream], [heard] = serving.streams, serving.receivers
        stream.respond(OK)
        stream.send(b"x" * 1000)
        for number in range(60):
            await asyncio.sleep(6)
            match manner:
                case "no-window":
                    serving.machine.behind[1] = 900
                case "no-reading":
                    serving.end.waiting = 900
                case "trickle":
                    serving.machine.behind[1] = 900 - number
                case _:
                    pass
        assert stream.is_over is cut
        assert ((Fault.TIMED_OUT, "the client stood still") in heard.heard) is cut
        serving.server.cut("the test is over")

    travel(scenario())


def test_answers_that_are_the_machines_and_that_nobody_takes_end_with_the_connection() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.answer = lambda stream: stream.respond(OK, ended=True)
        serving.server.start()
        serving.end.say(b"1")
        await asyncio.sleep(290)
        assert serving.closed == 0
        await asyncio.sleep(40)
        assert serving.closed == 1

    travel(scenario())


def test_a_busy_connection_sets_its_clock_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        set_ = []
        later = loop.call_later
        monkeypatch.setattr(
            loop, "call_later", lambda *args, **kwargs: set_.append(1) or later(*args, **kwargs)
        )
        serving = Serving(*(asked(stream=number) for number in range(1000)))
        serving.answer = lambda stream: stream.respond(OK, ended=True)
        serving.machine.state = Waiting.IDLE
        serving.server.start()
        for _ in range(1000):
            serving.machine.state = Waiting.MESSAGE
            serving.end.say(b"1")
            serving.machine.state = Waiting.IDLE
            serving.end.say(b"")
        assert len(serving.streams) == 1000
        assert len(set_) < 5
        serving.server.cut("the test is over")

    travel(scenario())


def test_many_small_parts_do_not_pile_up_in_a_machine_that_has_no_windows() -> None:
    async def scenario() -> None:
        serving = Serving(asked())
        serving.server.start()
        serving.end.say(b"1")
        [stream] = serving.streams
        stream.respond(OK)
        for _ in range(100):
            stream.send(b"x" * 1000)
        assert sum(map(len, serving.end.written)) > 80_000
        serving.server.full(serving.end)
        stream.send(b"x")
        assert stream.is_full

    travel(scenario())
