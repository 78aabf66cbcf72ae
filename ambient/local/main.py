"""What is up on this machine, joined: the lock, the programs in their order, the token, and the way down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ambient.aio import notify
from ambient.core.errors import ConfigError
from ambient.kernel import cgroup, process
from ambient.local import lock
from ambient.local.layout import DRAIN_SECONDS, Settings, write_secret
from ambient.local.supervisor import Supervisor
from ambient.rpc import access, operator
from ambient.telemetry import log

CAPABILITIES: Final = ("NET_ADMIN", "SYS_ADMIN")
_TOKEN_SECONDS: Final = 600
_END_SECONDS: Final = 20.0
DOWN_SECONDS: Final = 3 * _END_SECONDS + DRAIN_SECONDS
"""More than it takes to end all of it in order."""


def up(settings: Settings, is_up: Callable[[Supervisor], None]) -> None:
    """Have everything run until SIGTERM or SIGINT, then end it in order. ``is_up`` is called when all is ready.

    Raises ConfigError if it cannot be, and leaves nothing then.
    """
    process.check_privileges("ambient up", *CAPABILITIES)
    for folder in (settings.state_dir, settings.log_dir, settings.control_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.held(settings.run_dir, settings.node, settings.state_dir):
        asyncio.run(_supervise(settings, is_up))


def down(run_dir: Path, *, purge: bool) -> str | None:
    """End what is up, also if its supervisor was killed; ``purge``: and remove its state. Which node; None: nothing.

    Raises Unavailable if its supervisor does not end.
    """
    process.check_privileges("ambient down", *CAPABILITIES)
    owner = lock.find(run_dir)
    if owner is None:
        return None
    if owner.lives:
        lock.end(owner, DOWN_SECONDS)
    settings = Settings(owner.node, run_dir, owner.state_dir)
    with lock.held(run_dir, owner.node, owner.state_dir):
        asyncio.run(_end(settings))
        if purge:
            _run(settings.uninstall())
            _purge(settings)
        lock.forget(run_dir)
    return owner.node


async def _supervise(settings: Settings, is_up: Callable[[Supervisor], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(settings.group, settings.run_dir, settings.log_dir)
    work = asyncio.create_task(_run_all(settings, supervisor, is_up))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    notify.tell(notify.STOPPING)
    stopped.cancel()
    work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        log.info("going down", node=settings.node)
    finally:
        await _end_all(settings, supervisor)
        lock.forget(settings.run_dir)


async def _run_all(settings: Settings, supervisor: Supervisor, is_up: Callable[[Supervisor], None]) -> None:
    async def prepare(name: str) -> None:
        if name == "proxy" and settings.joined is None:
            await supervisor.until_ready("control")
            async with operator.door(settings.control_dir / operator.SOCKET) as channel:
                made = await access.create_token(channel, settings.node, ttl_seconds=_TOKEN_SECONDS)
            write_secret(settings.token_file, made.token)

    await supervisor.start(settings.programs(), prepare)
    is_up(supervisor)
    notify.tell(notify.READY)
    await supervisor.fail()


async def _end(settings: Settings) -> None:
    await _end_all(settings, Supervisor(settings.group, settings.run_dir, settings.log_dir))


async def _end_all(settings: Settings, supervisor: Supervisor) -> None:
    # New connections pass the mesh by as soon as the kernel is released, and the proxy carries on those that it has.
    await supervisor.end("node", _END_SECONDS)
    await asyncio.to_thread(_run, settings.release())
    await supervisor.end("proxy", DRAIN_SECONDS + _END_SECONDS)
    await supervisor.end("control", _END_SECONDS)
    await supervisor.close()
    await asyncio.to_thread(cgroup.remove, cgroup.make(settings.group))
    settings.token_file.unlink(missing_ok=True)


def _purge(settings: Settings) -> None:
    for path in settings.kept():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Others may have files there.
        settings.state_dir.rmdir()


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # Our own program.
    if done.returncode != 0:
        raise ConfigError(done.stderr.strip().removeprefix("error: "))
