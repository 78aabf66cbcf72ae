"""What workers remember together, each a process of its own; some are killed, or stand still."""

import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from ambient.core.model.limit import RateLimit
from ambient.core.resilience import bucket
from ambient.core.resilience.gauge import Kind
from ambient.core.resilience.state import LARGEST
from ambient.waypoint import records
from ambient.waypoint.ledger import Ledger

NEVER = float("inf")


@pytest.fixture
def made() -> Iterator[tuple[Ledger, int]]:
    ledger, memory = Ledger.make(3)
    yield ledger, memory
    ledger.close()
    os.close(memory)


@contextmanager
def worker(memory: int, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``code`` with a ``ledger``; it says what it prints, and goes on when it is told a line."""
    head = f"""
import sys, time
from ambient.waypoint.ledger import Ledger
from ambient.core.resilience.gauge import Kind
ledger = Ledger.join({memory}, 3)
def say(*words): print(*words, flush=True)
def counted(state): return (float("inf"), (state[1] if state else 0.0) + 1), None
"""
    process = subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        pass_fds=[memory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def counted(state):
    count = (state[1] if state else 0.0) + 1
    return (NEVER, count), count


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_steps_of_all_workers_follow_one_another(made):
    ledger, memory = made
    code = "for _ in range(3000): ledger.step('k', counted, 1.0)\nsay(ledger.homeless)"
    with worker(memory, code) as one, worker(memory, code) as other:
        apart = int(heard(one)) + int(heard(other))
    # Who did not get the lock in time did without, and that is counted.
    assert ledger.look("k", 1.0) == (NEVER, 6000.0 - apart)
    assert apart < 6000


def test_a_limit_holds_for_all_workers_together(made):
    _, memory = made
    code = """
        sys.stdin.readline()
        say(sum(ledger.gauges.of("s").take(Kind.REQUEST, 100) for _ in range(100)), ledger.missed_locks)
        sys.stdin.readline()
    """
    with worker(memory, code) as one, worker(memory, code) as other, worker(memory, code) as third:
        for process in (one, other, third):
            tell(process)
        answers = [heard(process).split() for process in (one, other, third)]
        assert sum(int(taken) for taken, _ in answers) - 100 <= sum(int(missed) for _, missed in answers)
        assert sum(int(taken) for taken, _ in answers) >= 100


def test_what_a_killed_worker_held_is_returned(made):
    ledger, memory = made
    mine = Ledger.join(memory, 3)
    gauge = mine.gauges.of("s")
    code = (
        "g = ledger.gauges.of('s')\nsay(*(g.take(Kind.REQUEST, 5) for _ in range(7)))\nsys.stdin.readline()"
    )
    with worker(memory, code) as process:
        assert heard(process).split() == ["True"] * 5 + ["False"] * 2
        assert not gauge.take(Kind.REQUEST, 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not gauge.take(Kind.REQUEST, 5), "until its parent has seen it die"
    ledger.sweep()
    assert gauge.total(Kind.REQUEST) == 0
    assert gauge.take(Kind.REQUEST, 5)
    ledger.sweep()
    assert gauge.total(Kind.REQUEST) == 1, "of who lives nothing is taken"
    mine.close()


def test_who_joins_takes_the_place_of_who_is_gone(made):
    _, memory = made
    workers = [Ledger.join(memory, 3) for _ in range(7)]
    assert sorted(one.gauges.own for one in workers) == list(range(7))
    eighth = Ledger.join(memory, 3)
    apart = eighth.gauges.of("s")
    assert [apart.take(Kind.REQUEST, 7) for _ in range(3)] == [True, True, False], "its third of the limit"
    eighth.gauges.keep([])
    eighth.close()
    for one in workers:
        one.gauges.of("s").add(Kind.REQUEST)
    workers[4].close()
    assert workers[0].gauges.of("s").total(Kind.REQUEST) == 7
    again = Ledger.join(memory, 3)
    assert again.gauges.own == 4
    assert again.gauges.of("s").total(Kind.REQUEST) == 6
    for one in (*workers[:4], *workers[5:], again):
        one.close()


HOLD = """
    def held(state):
        say("held")
        time.sleep(600)
        return state, None
    ledger.step("k", held, 1.0)
"""


def test_a_lock_of_a_killed_worker_is_let_go(made):
    ledger, memory = made
    ledger.step("k", counted, 1.0)
    with worker(memory, HOLD) as process:
        assert heard(process) == "held"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert ledger.step("k", counted, 1.0) == 2
    assert ledger.missed_locks == 0


def test_nobody_waits_long_for_a_worker_that_stands_still(made):
    ledger, memory = made
    ledger.step("k", counted, 1.0)
    with worker(memory, HOLD) as process:
        assert heard(process) == "held"
        os.kill(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert [ledger.step("k", counted, 1.0) for _ in range(200)] == [n + 2.0 for n in range(200)]
        assert time.monotonic() - began < 30
        assert ledger.missed_locks == ledger.homeless == 200
        assert ledger.look("k", 1.0) == (NEVER, 1.0), "what was kept apart is not the others'"
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: ledger.step("k", counted, 1.0) == 2.0)


def test_a_worker_that_is_killed_at_any_moment_leaves_a_state_that_was(made):
    """Each state is so many times the same number: none is ever seen half written."""
    ledger, memory = made
    code = f"""
        def grown(state):
            count = (state[1] if state else 0.0) + 1
            return (float("inf"), *(count,) * {LARGEST - 1}), None
        while True:
            for key in ("a", "b", "c"):
                ledger.step(key, grown, 1.0)
                say(key)
    """
    for number in range(8):
        with worker(memory, code) as process:
            for _ in range(7 * number):
                key = heard(process)
                assert len(set(ledger.look(key, 1.0)[1:])) <= 1
            process.send_signal(signal.SIGKILL)
            process.wait()
        for key in ("a", "b", "c"):
            state = ledger.step(key, lambda state: (state, state), 1.0)
            assert len(set(state[1:])) == (1 if number or state else 0)


class Stopped(Exception):
    """The worker goes no further."""


def test_a_state_that_was_not_written_to_its_end_does_not_count(made, monkeypatch):
    ledger, memory = made
    other = Ledger.join(memory, 3)
    for count in range(1, 4):
        ledger.step("k", counted, 1.0)
        with monkeypatch.context() as patch:
            patch.setattr(records, "_STATES", tuple(map(HalfStruct, range(LARGEST + 1))))
            with pytest.raises(Stopped):
                ledger.step("k", lambda _: ((NEVER, 99.0), None), 1.0)
        assert ledger.look("k", 1.0) == other.look("k", 1.0) == (NEVER, count)
        assert other.step("k", lambda state: (state, state), 1.0) == (NEVER, count)
    other.close()


class HalfStruct(struct.Struct):
    """Writes all of a state, and then comes the end."""

    def __init__(self, length: int) -> None:
        super().__init__(f"<{length}d")

    def pack_into(self, *arguments) -> None:
        super().pack_into(*arguments)
        raise Stopped


def test_all_workers_hear_who_is_left_out(made):
    ledger, memory = made
    code = """
        scope = ledger.board.scope("s")
        for _ in range(2):
            sys.stdin.readline()
            say(sorted((uid, one.until) for uid, one in ledger.board.out(scope).items()))
    """
    board = ledger.board
    scope = board.scope("s")
    with worker(memory, code) as process:
        board.add(scope, "a", 1.0, lambda: (30.0, 30.0))
        board.add(scope, "b", 1.0, lambda: (40.0, 600.0))
        board.add(board.scope("t"), "c", 1.0, lambda: (40.0, 600.0))
        tell(process)
        assert heard(process) == "[('a', 30.0), ('b', 40.0)]"
        board.remove(scope, "a", 2.0)
        tell(process)
        assert heard(process) == "[('b', 40.0)]"


def test_a_state_is_kept_until_it_says_nothing(made):
    ledger, _ = made
    ledger.step("k", lambda state: ((5.0, 1.0), state), 1.0)
    assert ledger.look("k", 4.9) == (5.0, 1.0)
    assert ledger.look("k", 5.0) == ()
    assert ledger.step("k", lambda state: ((9.0,), state), 5.0) == ()
    assert ledger.look("k", 6.0) == (9.0,)
    ledger.step("k", lambda _: ((), None), 6.0)
    assert ledger.look("k", 6.0) == ()
    assert ledger.step("k", lambda state: (state, state), 6.0) == ()


def test_states_of_any_length_are_kept(made):
    ledger, _ = made
    for length in [*range(1, LARGEST + 1), 1, LARGEST]:
        state = (NEVER, *(float(n) for n in range(length - 1)))
        ledger.step("k", lambda _, state=state: (state, None), 1.0)
        assert ledger.look("k", 1.0) == state
        assert ledger.step("k", lambda state: (state, state), 1.0) == state


def test_what_another_has_changed_is_seen_at_the_next_glance(made):
    ledger, memory = made
    other = Ledger.join(memory, 3)
    keys = [f"k{n}" for n in range(200)]
    for key in keys:
        assert ledger.look(key, 1.0) == ()
    for times in (1.0, 2.0):
        for key in keys:
            assert other.step(key, counted, 1.0) == times
            assert ledger.look(key, 1.0) == (NEVER, times)
    other.close()


def test_what_clients_make_up_has_room_of_its_own_and_shares_when_there_is_none(made):
    ledger, _ = made
    limit = RateLimit("l", 1, timedelta(seconds=1000), 5)

    def take(client: str):
        return ledger.step(client, lambda state: bucket.take(limit, state, now), now, spill="shared")

    now = 10.0
    ledger.step("mine", counted, now)
    room = records.RECORDS * 4096
    within = sum(isinstance(take(f"client-{number}"), bucket.Taken) for number in range(room))
    homeless = ledger.homeless
    assert homeless > room // 100
    assert within == room - homeless + 5, "those without a room share one bucket"
    assert ledger.look("mine", now) == (NEVER, 1.0)
    now += 6000
    assert isinstance(take("late"), bucket.Taken)
    assert all(isinstance(take(f"late-{number}"), bucket.Taken) for number in range(3000))
    assert ledger.homeless == homeless, "who is within the rate again makes room"


def test_without_room_a_state_is_the_workers_own(made, monkeypatch):
    ledger, _ = made
    keys = [f"k{n}" for n in range(records.RECORDS * 2048 * 2)]
    assert all(ledger.step(key, counted, 1.0) == 1 for key in keys)
    apart = ledger.homeless
    assert apart > 0
    # Of those that were kept apart, the youngest are still known.
    assert [ledger.step(key, counted, 1.0) for key in keys[-100:]] == [2.0] * 100
    assert all(ledger.look(key, 1.0) == (NEVER, 2.0) for key in keys[-100:])


@pytest.mark.parametrize("key", ["", "\0", "ü" * 5000, "\udc80"], ids=["empty", "nul", "long", "surrogate"])
def test_any_text_is_a_key(made, key):
    ledger, _ = made
    assert [ledger.step(key, counted, 1.0) for _ in range(3)] == [1, 2, 3]
