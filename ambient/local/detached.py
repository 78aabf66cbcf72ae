"""A supervisor that stays when whoever started it goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

from ambient.aio import notify
from ambient.core.errors import ConfigError
from ambient.local.child import Child, last_words
from ambient.local.layout import Settings
from ambient.local.supervisor import PATIENCE_SECONDS

_LISTEN_SECONDS: Final = PATIENCE_SECONDS + 5
"""The supervisor, which began a little later, has said what it waits for by then."""


def up(settings: Settings, waits: Callable[[str], None]) -> None:
    """Start one, and return when all is ready. Raises ConfigError with its last word if that does not happen.

    ``waits`` is told now and then what it says meanwhile.
    """
    for folder in (settings.run_dir, settings.log_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(_up(settings, waits))


async def _up(settings: Settings, waits: Callable[[str], None]) -> None:
    program = settings.supervisor()
    said = settings.log_dir / f"{program.name}.log"
    heard = notify.Listener(settings.run_dir / f"{program.name}.ready")
    child = Child.start(program, None, said, {notify.VARIABLE: str(heard.path)})
    is_up = asyncio.create_task(heard.ready())
    ended = asyncio.create_task(child.ended())
    try:
        while not (is_up.done() or ended.done()):
            await asyncio.wait((is_up, ended), timeout=_LISTEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not (is_up.done() or ended.done()):
                waits(last_words(said))
        if not is_up.done():
            raise ConfigError(last_words(said) or f"the supervisor {ended.result()}; see {said}")
    except asyncio.CancelledError:
        child.send(signal.SIGTERM)
        raise
    finally:
        ended.cancel()
        is_up.cancel()
        await asyncio.wait((ended, is_up))
        child.let_go()
        heard.close()
