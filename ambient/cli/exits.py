"""How a verb ends: 0 ok, 1 a finding or a refusal, 2 typed wrongly, 3 nobody answers; and one line of error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from ambient.core.errors import AmbientError, Unavailable
from ambient.telemetry import log
from ambient.telemetry.line import Format, Level

FINDING: Final = 1
"""What was asked is refused, or what was looked at is not as it should be."""
USAGE: Final = 2
"""Typer's own: what was typed makes no sense."""
UNREACHABLE: Final = 3
"""The program that has the answer does not answer."""


@contextmanager
def on_errors(log_format: str = "text", log_level: str = "info") -> Iterator[None]:
    """Set up the log, and turn what its user must mend into one line on standard error and an exit code."""
    try:
        log.configure(style=Format(log_format), level=Level.of(log_level))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        yield
    except Unavailable as error:
        raise _failed(error, UNREACHABLE) from error
    except AmbientError as error:
        raise _failed(error, FINDING) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error


def host_and_port(option: str, text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise typer.BadParameter(f"{option} {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _failed(error: AmbientError, code: int) -> typer.Exit:
    sys.stderr.write(f"error: {error}\n")
    return typer.Exit(code)
