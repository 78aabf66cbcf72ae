"""How a verb ends: 0, or one line of error and 1; what was typed wrongly is 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ambient.core.errors import AmbientError
from ambient.telemetry import log
from ambient.telemetry.line import Format, Level


@contextmanager
def on_errors(log_format: str = "text", log_level: str = "info") -> Iterator[None]:
    """Set up the log, and turn what its user must mend into one line on standard error and exit code 1."""
    try:
        log.configure(style=Format(log_format), level=Level.of(log_level))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        yield
    except AmbientError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error


def host_and_port(option: str, text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise typer.BadParameter(f"{option} {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
