"""A program's worker processes: started, told everything, counted, and started again when they die.

A worker connects to the channel's path and says who it is. Workers of an earlier parent come too: they are retired,
get no pods, and are told of policies until the last of their connections ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeAlias

from ambient.aio import packets
from ambient.aio.backoff import Backoff
from ambient.aio.packets import PacketSocket
from ambient.aio.tasks import Tasks
from ambient.core.errors import AmbientError, Unavailable
from ambient.member import messages
from ambient.member.shares import Shares
from ambient.telemetry import log
from ambient.telemetry.metrics import Totals
from ambient.telemetry.request_metrics import RequestTotals

SCRAPE_SECONDS: Final = 1.0
_STARTED_WELL_SECONDS: Final = 5.0
_END_SECONDS: Final = 1.0
"""How long a worker whose channel has ended may take to end as well, if it is dying."""
MOST_SILENT: Final = 10
"""Scrapes that a worker may leave unanswered, one each 2 s then: 20 s, after which its peers give its tunnels up too.
One that hears no policies must not carry traffic, and what it has not read piles up. They are counted, and not
seconds, so that a parent that was itself stopped for a while does not blame its workers."""
_ACCEPT_PAUSE_SECONDS: Final = 1.0

Post: TypeAlias = Callable[[messages.Message, bytes, Sequence[int]], None]
"""Sends a message, its payload and descriptors (which stay the caller's) to one worker."""


class State(Protocol):
    """What a worker that joins is told, by whoever holds it."""

    def welcome(self, post: Post, *, retired: bool) -> None:
        """Post everything, in order."""
        ...

    def heard(self, message: messages.Message, payload: bytes) -> None:
        """What a worker tells that its program's parent alone takes. Raises PeerError for a bad payload."""
        ...


@dataclass(eq=False)
class _Member:
    """One connected worker."""

    hello: messages.Hello
    channel: PacketSocket
    outbox: asyncio.Queue[tuple[bytes, list[int]]] = field(default_factory=asyncio.Queue)
    sent: int = 0
    synced: int = 0
    scraped: int = 0
    lines_lost: int = 0
    holding: dict[str, int] = field(default_factory=dict)
    silent: int = 0
    """Scrapes since its last answer."""
    counts: dict[str, int] = field(default_factory=dict)


class Workers:
    """The sole owner of worker processes and their channels."""

    def __init__(
        self,
        path: str,
        command: Callable[[int], list[str]],
        state: State,
        tasks: Tasks,
        backoff: Callable[[], Backoff],
        counts_changed: Callable[[str], None],
    ) -> None:
        self._path, self._command, self._state = path, command, state
        self._tasks, self._backoff = tasks, backoff
        self._counts_changed = counts_changed
        self._members: set[_Member] = set()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._lost_channel: dict[int, asyncio.Event] = {}
        """By pid of a process of ours."""
        self._changed = asyncio.Event()
        self._scrapes = 0
        self._stopping = False
        self.totals = Totals()
        self.request_totals = RequestTotals()
        self.deaths = 0
        """Workers that ended without being asked to."""
        self.lines_lost = 0
        """Lines of the access log that could not be written."""

    def start(self, count: int) -> None:
        """Listen, and run ``count`` workers for ever. Raises OSError if the path cannot be had."""
        listener = packets.listen(self._path)
        self._count = count
        self._shares, self._shares_memory = Shares.make(count)
        self._tasks.start(self._accept(listener), "workers' channel")
        for index in range(count):
            self._tasks.start(self._keep(index), f"worker {index}")
        self._tasks.start(self._scrape_for_ever(), "scrape")

    @property
    def serving(self) -> int:
        """How many connected workers accept connections."""
        return sum(not member.hello.retired for member in self._members)

    @property
    def retired(self) -> int:
        """How many workers of earlier parents still carry connections."""
        return sum(member.hello.retired for member in self._members)

    def holding(self) -> Counter[str]:
        """What all workers together had at the last scrape, by kind."""
        held: Counter[str] = Counter()
        for member in self._members:
            held.update(member.holding)
        return held

    def connections(self, uid: str) -> int:
        """About how many connections of a pod live, a tenth of a second ago; none of one that left are overlooked."""
        return sum(member.counts.get(uid, 0) for member in self._members)

    def tell(
        self,
        message: messages.Message,
        payload: bytes = b"",
        descriptors: Sequence[int] = (),
        *,
        retired: bool = True,
    ) -> None:
        """Send something to every worker; ``retired``: to those of earlier parents too.

        Raises Unavailable, with nothing sent to anyone, if there are no descriptors to send with it.
        """
        members = [member for member in self._members if retired or not member.hello.retired]
        duplicates = _duplicated(descriptors, len(members))
        for member, theirs in zip(members, duplicates, strict=True):
            self._enqueue(member, message, payload, theirs)

    async def settled(self) -> None:
        """Wait until a worker serves, and all that was said so far is in force in every serving one."""
        while not (
            self.serving
            and all(member.synced >= member.sent for member in self._members if not member.hello.retired)
        ):
            await self._changed.wait()

    async def ended(self, uid: str) -> None:
        """Wait until no connection of a pod lives."""
        while self.connections(uid):
            await self._changed.wait()

    async def scrape(self) -> None:
        """Bring ``totals`` up to now; a worker that does not answer within a second is left out."""
        self._scrapes += 1
        number = self._scrapes
        self.tell(messages.Scrape(number))
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                while any(member.scraped < number for member in self._members):
                    await self._changed.wait()
        except TimeoutError:
            log.debug("a worker was slow to tell its counters")

    async def stop(self, drain_seconds: float) -> None:
        """Have every worker retire, wait for their connections to end, then end what is left."""
        self._stopping = True
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        ends = [process.wait() for process in self._processes.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends), drain_seconds)
        for process in self._processes.values():
            if process.returncode is None:
                log.warning("worker did not drain in time", pid=process.pid, seconds=drain_seconds)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    # --- processes

    async def _keep(self, index: int) -> None:
        backoff = self._backoff()
        while not self._stopping:
            began = time.monotonic()
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command(index), stdin=asyncio.subprocess.DEVNULL
                )
            except OSError as error:
                log.error("worker cannot be started", worker=index, why=error.strerror)
                await asyncio.sleep(backoff.next_delay())
                continue
            self._processes[index] = process
            status = await self._end_of(process)
            self._shares.leave(index)
            if self._stopping:
                return
            if status is None:
                # It retires by itself, as if its parent had died.
                log.error("worker lost its channel; another takes its place", worker=index, pid=process.pid)
                await asyncio.sleep(backoff.next_delay())
                continue
            self.deaths += 1
            log.error("worker died", worker=index, pid=process.pid, status=status)
            if time.monotonic() - began > _STARTED_WELL_SECONDS:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_delay())

    async def _end_of(self, process: asyncio.subprocess.Process) -> int | None:
        """Its status when it has ended; None when it lives and has lost its channel."""
        lost = self._lost_channel[process.pid] = asyncio.Event()
        ended = asyncio.create_task(process.wait())
        losing = asyncio.create_task(lost.wait())
        try:
            await asyncio.wait((ended, losing), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((ended,), timeout=None if self._stopping else _END_SECONDS)
            return ended.result() if ended.done() else None
        finally:
            ended.cancel()
            losing.cancel()
            del self._lost_channel[process.pid]

    # --- channels

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listener)
                except OSError as error:  # No descriptors are left, most likely: spinning would not make any.
                    log.error("a worker cannot be met", why=error.strerror)
                    await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                    continue
                self._tasks.start(self._converse(PacketSocket(accepted)), "worker's channel")
        finally:
            listener.close()

    async def _converse(self, channel: PacketSocket) -> None:
        member: _Member | None = None
        sending: asyncio.Task[None] | None = None
        try:
            packet, _ = await channel.receive()
            if not packet:
                return  # It died before it could speak; whoever started it knows.
            hello, _ = messages.unpack(packet)
            if not isinstance(hello, messages.Hello):
                raise Unavailable("a worker did not say hello")
            member = _Member(hello, channel, counts=dict(hello.pods))
            if not hello.retired:
                self._post(member, messages.Company(self._count), b"", [self._shares_memory])
            self._state.welcome(partial(self._post, member), retired=hello.retired)
            self._members.add(member)
            sending = asyncio.create_task(self._send(member))
            self._note_change()
            assembly = messages.Assembly()
            while packet := (await channel.receive())[0]:
                whole = assembly.take(packet)
                if whole is not None:
                    self._heard(member, *whole)
        except ConnectionError as error:
            log.debug("worker's channel ended", why=str(error))
        except (OSError, AmbientError) as error:
            log.warning("worker's channel is cut", pid=channel.peer.pid, why=str(error))
        finally:
            channel.close()
            if sending is not None:
                sending.cancel()
            if member is not None:
                self._left(member)

    async def _send(self, member: _Member) -> None:
        while True:
            packet, descriptors = await member.outbox.get()
            try:
                await member.channel.send(packet, descriptors)
            except OSError:
                return  # The reader of the same socket sees its end.
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _post(
        self, member: _Member, message: messages.Message, payload: bytes, descriptors: Sequence[int]
    ) -> None:
        (theirs,) = _duplicated(descriptors, 1)
        self._enqueue(member, message, payload, theirs)

    def _enqueue(self, member: _Member, message: messages.Message, payload: bytes, theirs: list[int]) -> None:
        """Put a message in line, with descriptors that are closed when it has left."""
        *parts, last = messages.packets(message, payload)
        for part in parts:
            member.outbox.put_nowait((part, []))
        member.outbox.put_nowait((last, theirs))
        if not isinstance(message, messages.Scrape):
            member.sent += 1

    def _heard(self, member: _Member, message: messages.Message, payload: bytes) -> None:
        match message:
            case messages.Synced():
                member.synced += 1
                self._note_change()
            case messages.RequestsCounted():
                self.request_totals.update(member.hello.pid, payload)
            case messages.Scraped(number, lines_lost, holding):
                member.holding = holding
                self.totals.update(member.hello.pid, payload)
                self.lines_lost += lines_lost - member.lines_lost
                member.lines_lost = lines_lost
                member.scraped = max(member.scraped, number)
                self._note_change()
            case messages.PodConnections(uid, count):
                member.counts[uid] = count
                self._counts_changed(uid)
                self._note_change()
            case _:
                self._state.heard(message, payload)

    def _left(self, member: _Member) -> None:
        self._members.discard(member)
        if (lost_channel := self._lost_channel.get(member.channel.peer.pid)) is not None:
            lost_channel.set()
        while not member.outbox.empty():
            for descriptor in member.outbox.get_nowait()[1]:
                os.close(descriptor)
        self.request_totals.ended(member.hello.pid)
        lost = self.totals.ended(member.hello.pid)
        if lost:
            log.warning("connections lost with a worker", pid=member.hello.pid, connections=lost)
        for uid in member.counts:
            self._counts_changed(uid)
        self._note_change()

    async def _scrape_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SCRAPE_SECONDS)
            await self.scrape()
            for member in tuple(self._members):
                self._judge(member)

    def _judge(self, member: _Member) -> None:
        member.silent = member.silent + 1 if member.scraped < self._scrapes else 0
        if member.silent >= MOST_SILENT:
            log.error("worker is stuck, and is killed", pid=member.channel.peer.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.channel.peer.pid, signal.SIGKILL)

    def _note_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _duplicated(descriptors: Sequence[int], times: int) -> list[list[int]]:
    """Of each descriptor so many duplicates, because what is sent later may have been closed by its owner meanwhile.

    Raises Unavailable, with none of them open, if they cannot all be had.
    """
    made: list[list[int]] = []
    try:
        for _ in range(times):
            made.append([])
            for descriptor in descriptors:
                made[-1].append(os.dup(descriptor))
    except OSError as error:
        for duplicate in itertools.chain.from_iterable(made):
            os.close(duplicate)
        raise Unavailable(f"workers cannot be told: {error.strerror}") from error
    return made
