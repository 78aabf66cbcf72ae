"""Keeps programs running: starts them, starts them again when they end, and lets them live when it dies itself."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from ambient.aio import notify
from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.core.errors import ConfigError, Unavailable
from ambient.kernel import cgroup
from ambient.local.child import Child, Program, last_words
from ambient.telemetry import log

_WELL_SECONDS: Final = 10.0
"""After so long a program is taken to have started well."""

PATIENCE_SECONDS: Final = 10.0
"""After so long, and again, it is said what is not ready."""

Prepare = Callable[[str], Awaitable[None]]
"""Does what must be done each time before the program of this name is started. Raises Unavailable: try again."""


class Supervisor:
    """The sole owner of the programs in the cgroups below ``group``.

    A program that ends before all were ready once is not started again: what it said is why they are not.
    """

    def __init__(self, group: str, run_dir: Path, log_dir: Path) -> None:
        self._group, self._run_dir, self._log_dir = group, run_dir, log_dir
        self._children: dict[str, Child] = {}
        self._tasks = Tasks(self._crashed)
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, programs: Sequence[Program], prepare: Prepare) -> None:
        """Have all of them run; returns when each is ready. Raises ConfigError with the word of one that is not.

        One that runs already, from the same command, goes on as it is.
        """
        self._ready = {program.name: asyncio.Event() for program in programs}
        for program in programs:
            self._keepers[program.name] = self._tasks.start(self._keep(program, prepare), program.name)
        ready, complaining = (asyncio.create_task(work) for work in (self._all_ready(), self._complain()))
        try:
            await asyncio.wait((ready, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            complaining.cancel()
        if self._failed.done():
            self._failed.result()

    async def fail(self) -> None:
        """Wait until something crashes that must not; raises it."""
        await asyncio.shield(self._failed)

    async def until_ready(self, name: str) -> None:
        """Wait until this program is ready."""
        await self._ready[name].wait()

    def pid(self, name: str) -> int:
        """Of a running program; 0: it is being started again."""
        child = self._children.get(name)
        return 0 if child is None else child.pid

    def log_of(self, name: str) -> Path:
        """Where what a program says is kept."""
        return self._log_dir / f"{name}.log"

    async def end(self, name: str, seconds: float) -> None:
        """End one program, one that somebody before us has started too, and all that is left in its cgroup."""
        if (keeper := self._keepers.pop(name, None)) is not None:
            keeper.cancel()
            await asyncio.wait((keeper,))
        folder = cgroup.make(f"{self._group}/{name}")
        child = self._children.pop(name, None) or Child.find(folder)
        if child is not None:
            child.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.ended(), seconds)
            except TimeoutError:
                log.warning("program did not end in time", program=name, seconds=seconds)
                child.send(signal.SIGKILL)
                await child.ended()
            log.info("program ended", program=name)
        await asyncio.to_thread(cgroup.remove, folder)

    async def close(self) -> None:
        """Look after nothing any more: what was not ended goes on."""
        self._failed.cancel()
        await self._tasks.stop()
        for child in self._children.values():
            child.let_go()

    async def _all_ready(self) -> None:
        for event in self._ready.values():
            await event.wait()

    async def _complain(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE_SECONDS)
            for name, event in self._ready.items():
                if not event.is_set():
                    said = last_words(self.log_of(name))
                    log.warning("program is not ready yet", program=name, said=said)

    async def _keep(self, program: Program, prepare: Prepare) -> None:
        name, backoff = program.name, Backoff(0.1, 10.0, random.random)
        folder = cgroup.make(f"{self._group}/{name}")
        if (found := Child.find(folder)) is not None:
            self._children[name] = found
            if found.command == program.command:
                log.info("program found", program=name, pid=found.pid)
                self._ready[name].set()
                await self._until_ended(name, found, backoff)
            else:
                log.info("program is started anew, from another command", program=name)
                found.send(signal.SIGTERM)
                await found.ended()
        while True:
            try:
                await prepare(name)
            except Unavailable as error:
                log.warning("program waits", program=name, why=str(error))
                await asyncio.sleep(backoff.next_delay())
                continue
            heard = notify.Listener(self._run_dir / f"{name}.ready")
            readiness = self._tasks.start(self._hear(name, heard), f"readiness of {name}")
            try:
                child = self._children[name] = Child.start(
                    program, folder, self.log_of(name), {notify.VARIABLE: str(heard.path)}
                )
                log.info("program started", program=name, pid=child.pid)
                await self._until_ended(name, child, backoff)
            finally:
                readiness.cancel()
                heard.close()

    async def _until_ended(self, name: str, child: Child, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        how = await child.ended()
        del self._children[name]
        if not all(event.is_set() for event in self._ready.values()):
            why = last_words(self.log_of(name)) or "it said nothing"
            raise ConfigError(f"{name} {how}: {why} (see {self.log_of(name)})")
        log.error("program ended; it is started again", program=name, how=how)
        if loop.time() - began > _WELL_SECONDS:
            backoff.reset()
        await asyncio.sleep(backoff.next_delay())

    async def _hear(self, name: str, heard: notify.Listener) -> None:
        await heard.ready()
        log.info("program ready", program=name)
        self._ready[name].set()

    def _crashed(self, name: str, error: BaseException) -> None:
        log.error("a program is not looked after any more", program=name, error=str(error))
        if not self._failed.done():
            self._failed.set_exception(error)
