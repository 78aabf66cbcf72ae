"""One HBONE connection as a script of bytes and events."""

import ngh2
import pytest
from hypothesis import given, strategies as st
from ngh2.config import Configuration
from ngh2.enums import Setting

from ambient.core import hbone
from ambient.core.errors import PeerError, Unavailable
from ambient.core.hbone import Hbone, HboneEvent, Role


class Pair:
    """A client and a server that hear each other at once."""

    def __init__(self, most_streams: int = 200) -> None:
        self.client = Hbone(Role.CLIENT)
        self.server = Hbone(Role.SERVER, most_streams=most_streams)
        self.exchange()

    def exchange(self) -> tuple[list[HboneEvent], list[HboneEvent]]:
        """Deliver everything both ways; what the client and the server saw."""
        seen: tuple[list[HboneEvent], list[HboneEvent]] = ([], [])
        while True:
            to_server, to_client = self.client.take(), self.server.take()
            seen[0].extend(self.client.settled())
            seen[1].extend(self.server.settled())
            if to_server:
                seen[1].extend(self.server.receive(to_server))
            if to_client:
                seen[0].extend(self.client.receive(to_client))
            if not (to_server or to_client):
                return seen

    def open(self) -> int:
        """A tunnel that both sides agreed on."""
        stream = self.client.open("10.0.0.1:80", [])
        self.exchange()
        self.server.accept(stream)
        self.exchange()
        return stream


def test_a_tunnel_is_asked_for_with_its_authority_and_headers() -> None:
    pair = Pair()
    stream = pair.client.open("10.0.0.1:80", [("baggage", "x=y")])
    _, server = pair.exchange()
    assert server == [hbone.TunnelRequested(stream, "CONNECT", "10.0.0.1:80", (("baggage", "x=y"),))]


def test_a_peer_that_said_all_and_will_hear_no_more_is_not_a_reset() -> None:
    pair = Pair()
    stream = pair.open()
    pair.server.send(stream, b"all")
    pair.server.finish(stream)
    sent = pair.server.take()
    pair.server._say(pair.server._connection.reset_stream, stream, 0)
    client = pair.client.receive(sent + pair.server.take())
    assert client[:3] == [
        hbone.TunnelData(stream, b"all"),
        hbone.TunnelFinished(stream),
        hbone.TunnelStopped(stream),
    ]


def test_a_peer_that_will_hear_no_more_in_the_middle_is_a_reset() -> None:
    pair = Pair()
    stream = pair.open()
    pair.server.send(stream, b"half")
    sent = pair.server.take()
    pair.server._say(pair.server._connection.reset_stream, stream, 0)
    client = pair.client.receive(sent + pair.server.take())
    assert client[:2] == [hbone.TunnelData(stream, b"half"), hbone.TunnelReset(stream, untouched=False)]


def test_the_limit_of_streams_is_told_once_and_when_it_changes() -> None:
    client, server = Hbone(Role.CLIENT), Hbone(Role.SERVER, most_streams=7)
    assert client.receive(server.take()) == [hbone.StreamLimitChanged(7)]
    server._say(server._connection.update_settings, {Setting.INITIAL_WINDOW_SIZE: 70_000})
    assert client.receive(server.take()) == []
    server._say(server._connection.update_settings, {Setting.MAX_CONCURRENT_STREAMS: 3})
    assert client.receive(server.take()) == [hbone.StreamLimitChanged(3)]


def test_a_peer_that_names_no_limit_of_streams_has_none() -> None:
    client, server = Hbone(Role.CLIENT), ngh2.Connection(Role.SERVER, Configuration())
    server.initiate_connection({})
    assert client.receive(server.data_to_send()) == [hbone.StreamLimitChanged(2**31 - 1)]


def test_bytes_and_half_closes_flow_both_ways() -> None:
    pair = Pair()
    stream = pair.open()
    pair.client.send(stream, b"question")
    pair.client.finish(stream)
    assert pair.exchange()[1] == [hbone.TunnelData(stream, b"question"), hbone.TunnelFinished(stream)]
    pair.server.send(stream, b"answer")
    pair.server.finish(stream)
    client, server = pair.exchange()
    assert client == [
        hbone.TunnelData(stream, b"answer"),
        hbone.TunnelFinished(stream),
        hbone.TunnelClosed(stream),
    ]
    assert server == [hbone.TunnelClosed(stream)]


def test_a_refusal_carries_its_status() -> None:
    pair = Pair()
    stream = pair.client.open("10.0.0.1:80", [])
    pair.exchange()
    pair.server.refuse(stream, 401)
    assert pair.exchange()[0] == [hbone.TunnelAnswered(stream, 401), hbone.TunnelFinished(stream)]


@pytest.mark.parametrize("untouched", [True, False])
def test_a_reset_says_whether_the_peer_acted(untouched: bool) -> None:
    pair = Pair()
    stream = pair.client.open("10.0.0.1:80", [])
    pair.exchange()
    pair.server.reset(stream, untouched=untouched)
    assert hbone.TunnelReset(stream, untouched) in pair.exchange()[0]


def test_after_goaway_live_tunnels_go_on_and_no_new_one_opens() -> None:
    pair = Pair()
    stream = pair.open()
    pair.server.leave()
    assert pair.exchange()[0] == [hbone.PeerLeaving()]
    with pytest.raises(Unavailable):
        pair.client.open("10.0.0.1:80", [])
    pair.server.send(stream, b"still here")
    assert pair.exchange()[0] == [hbone.TunnelData(stream, b"still here")]


def test_what_was_asked_before_a_goodbye_is_heard_before_it() -> None:
    pair = Pair()
    stream = pair.client.open("10.0.0.1:80", [])
    pair.client.leave()
    requested, leaving = pair.exchange()[1]
    assert requested == hbone.TunnelRequested(stream, "CONNECT", "10.0.0.1:80", ())
    assert leaving == hbone.PeerLeaving()


def test_what_comes_behind_the_last_word_of_an_end_that_leaves_is_no_fault() -> None:
    pair = Pair()
    stream = pair.open()
    pair.server.leave()
    pair.server.send(stream, b"the last of it")
    pair.server.finish(stream)
    pair.exchange()
    pair.client.finish(stream)
    pair.client.ping()
    events = pair.server.receive(pair.client.take())
    assert events[-2:] == [hbone.TunnelFinished(stream), hbone.TunnelClosed(stream)]
    pair.server.receive(b"and more")
    pair.server.take()
    assert pair.server.wants_nothing


def test_a_ping_is_answered() -> None:
    pair = Pair()
    pair.client.ping()
    assert pair.exchange()[0] == [hbone.Ponged()]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\x16\x03\x01\x02\x00\x01\x00"])
def test_bytes_that_are_not_http2_are_the_peers_fault(garbage: bytes) -> None:
    with pytest.raises(PeerError):
        Hbone(Role.SERVER).receive(garbage)


def test_a_stalled_stream_holds_its_window_and_no_more() -> None:
    pair = Pair()
    stream = pair.open()
    pair.client.send(stream, b"x" * (4 * hbone.FIRST_WINDOW))
    received = sum(len(event.data) for event in pair.exchange()[1] if isinstance(event, hbone.TunnelData))
    assert received == hbone.FIRST_WINDOW
    assert pair.client.queued(stream) == 3 * hbone.FIRST_WINDOW


def test_stalled_streams_do_not_starve_a_sibling() -> None:
    pair = Pair()
    for _ in range(90):
        pair.client.send(pair.open(), b"x" * hbone.FIRST_WINDOW * 2)
    pair.exchange()
    stream = pair.open()
    pair.client.send(stream, b"y" * hbone.FIRST_WINDOW)
    received = [event for event in pair.exchange()[1] if isinstance(event, hbone.TunnelData)]
    assert sum(len(event.data) for event in received) == hbone.FIRST_WINDOW


def test_the_window_of_a_stream_grows_while_its_reader_keeps_up() -> None:
    pair = Pair()
    stream = pair.open()
    for _ in range(64):
        pair.client.send(stream, b"x" * hbone.FIRST_WINDOW)
        for event in pair.exchange()[1]:
            assert isinstance(event, hbone.TunnelData)
            pair.server.consumed(stream, len(event.data))
        pair.exchange()
    pair.client.send(stream, b"x" * 2 * hbone.MOST_WINDOW)
    received = sum(len(event.data) for event in pair.exchange()[1] if isinstance(event, hbone.TunnelData))
    assert hbone.FIRST_WINDOW < received <= hbone.MOST_WINDOW


def test_growth_over_all_streams_is_bounded() -> None:
    pair = Pair()
    streams = [pair.open() for _ in range(40)]
    for _ in range(64):
        for stream in streams:
            pair.client.send(stream, b"x" * hbone.FIRST_WINDOW)
        for event in pair.exchange()[1]:
            assert isinstance(event, hbone.TunnelData)
            pair.server.consumed(event.stream, len(event.data))
        pair.exchange()
    for stream in streams:
        pair.client.send(stream, b"x" * 2 * hbone.MOST_WINDOW)
    received = sum(len(event.data) for event in pair.exchange()[1] if isinstance(event, hbone.TunnelData))
    assert received <= 40 * hbone.FIRST_WINDOW + hbone.GROWTH


def test_ten_thousand_resets_leave_the_connection_and_its_other_streams_alone() -> None:
    pair = Pair()
    survivor = pair.open()
    for _ in range(10_000):
        doomed = pair.client.open("10.0.0.1:80", [])
        pair.exchange()
        pair.client.reset(doomed)
        pair.exchange()
    pair.client.send(survivor, b"alive")
    assert pair.exchange()[1] == [hbone.TunnelData(survivor, b"alive")]


def test_what_is_said_of_a_closed_stream_falls_on_the_floor() -> None:
    pair = Pair()
    stream = pair.open()
    pair.server.reset(stream)
    pair.exchange()
    pair.client.send(stream, b"late")
    pair.client.finish(stream)
    pair.client.reset(stream)
    pair.server.accept(stream)
    pair.server.refuse(stream, 503)
    assert pair.exchange() == ([], [])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_any_split_of_the_same_bytes_gives_the_same_events(cuts: list[int]) -> None:
    script = _script()
    whole = _merged(Hbone(Role.SERVER).receive(script))
    server, events, at = Hbone(Role.SERVER), [], 0
    for cut in cuts:
        events += server.receive(script[at : at + cut])
        at += cut
    events += server.receive(script[at:])
    assert _merged(events) == whole


def _script() -> bytes:
    client = Hbone(Role.CLIENT)
    stream = client.open("10.0.0.1:80", [("forwarded", "for=10.0.0.9")])
    sent = client.take()
    client.send(stream, b"some bytes of an application" * 20)
    client.finish(stream)
    return sent + client.take()


def _merged(events: list[HboneEvent]) -> list[HboneEvent]:
    """Adjacent data events of one stream are one: where bytes were cut is nobody's business."""
    merged: list[HboneEvent] = []
    for event in events:
        match merged[-1:], event:
            case [hbone.TunnelData(stream, before)], hbone.TunnelData(other, data) if stream == other:
                merged[-1] = hbone.TunnelData(stream, bytes(before) + bytes(data))
            case _:
                merged.append(event)
    return merged


@pytest.mark.parametrize("end", ["client-resets", "server-resets", "both-finish"])
def test_bytes_of_streams_that_have_closed_are_credited_to_the_connection(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(hbone, "_CONNECTION_WINDOW", 1024 * 1024)
    pair = Pair()
    for _ in range(50):
        stream = pair.open()
        pair.server.finish(stream)
        pair.exchange()
        pair.client.send(stream, b"x" * 200_000)
        if end == "both-finish":
            pair.client.finish(stream)
        arrived = [event for event in pair.exchange()[1] if isinstance(event, hbone.TunnelData)]
        assert sum(len(event.data) for event in arrived) == 200_000
        if end == "client-resets":
            pair.client.reset(stream)
        elif end == "server-resets":
            pair.server.reset(stream)
        pair.exchange()
        pair.server.consumed(stream, 200_000)
        pair.exchange()


def test_a_request_that_is_withdrawn_at_once_can_be_answered_in_vain() -> None:
    pair = Pair()
    stream = pair.client.open("10.0.0.1:80", [])
    asked = pair.client.take()
    pair.client.reset(stream)
    events = pair.server.receive(asked + pair.client.take())
    assert events[-1] == hbone.TunnelReset(stream, untouched=False)
    pair.server.accept(stream)
    pair.server.refuse(stream, 503)
    assert pair.open()


def test_a_request_that_is_taken_back_before_it_has_left_holds_no_place() -> None:
    pair = Pair(most_streams=1)
    stream = pair.client.open("10.0.0.1:80", [])
    pair.client.reset(stream)
    assert hbone.TunnelReset(stream, untouched=False) in pair.exchange()[1]
    assert pair.open()


def test_after_a_fault_of_the_peer_whatever_is_said_falls_on_the_floor() -> None:
    pair = Pair()
    stream = pair.open()
    unanswered = pair.client.open("10.0.0.1:80", [])
    pair.exchange()
    pair.server.receive(b"\xff" * 100)
    pair.server.accept(unanswered)
    pair.server.send(stream, b"late")
    pair.server.finish(stream)
    pair.server.reset(stream)
    pair.server.ping()
    pair.server.leave()
    pair.server.take()
    assert pair.server.wants_nothing


def test_a_peer_that_never_spoke_http2_gets_no_farewell() -> None:
    server = Hbone(Role.SERVER)
    server.take()
    with pytest.raises(PeerError):
        server.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert server.take() == b""


def test_a_stream_that_ends_with_no_room_in_the_middle_of_a_frame_of_the_peer() -> None:
    pair = Pair()
    pair.client._say(pair.client._connection.update_settings, {Setting.INITIAL_WINDOW_SIZE: 0})
    pair.exchange()
    stream = pair.open()
    pair.client.ping()
    ping = pair.client.take()
    pair.server.receive(ping[:12])
    pair.server.finish(stream)
    early = pair.server.take()
    assert pair.server.receive(ping[12:]) == []
    client = pair.client.receive(early + pair.server.take())
    assert sorted(client, key=repr) == [hbone.Ponged(), hbone.TunnelFinished(stream)]


def test_streams_that_had_no_turn_in_one_portion_have_it_in_the_next() -> None:
    pair = Pair()
    streams = [pair.open() for _ in range(8)]
    for stream in streams:
        pair.client.send(stream, bytes(hbone.FIRST_WINDOW))
    heard: list[int] = []
    for _ in range(2):
        events = pair.server.receive(b"".join(pair.client.gather()))
        heard += [event.stream for event in events if isinstance(event, hbone.TunnelData)]
    assert sorted(heard) == streams


def test_what_came_of_one_stream_in_many_frames_is_told_at_once_and_in_order() -> None:
    pair = Pair()
    first, second = pair.open(), pair.open()
    for stream, letters in ((first, b"abc"), (second, b"d"), (first, b"ef")):
        for letter in letters:
            pair.client.send(stream, bytes([letter]) * 5)
    frames_of_each = pair.client.take()
    pair.client.send(second, b"g")
    assert pair.server.receive(frames_of_each + pair.client.take()) == [
        hbone.TunnelData(first, b"aaaaabbbbbccccceeeeefffff"),
        hbone.TunnelData(second, b"dddddg"),
    ]
