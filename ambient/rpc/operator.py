"""The way to a control plane's API: its unix socket, on its own machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import grpc.aio

from ambient.core.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from ambient.rpc.channel import Channel

SOCKET: Final = "control.sock"
"""In the control plane's state folder."""
_LARGEST: Final = 200 << 20

_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
)


class Unreachable(Unavailable):
    """No control plane answers where one was looked for."""

    reason = "unreachable"


@asynccontextmanager
async def door(socket: Path) -> AsyncIterator[Channel]:
    """A channel to the control plane behind ``socket``, for the calls of configuration, mesh, access, explanation.

    Raises Unreachable when nobody answers.
    """
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS) as channel:
        try:
            yield channel
        except Unavailable as error:
            if error.reason != Unavailable.reason:
                raise
            raise Unreachable(
                f"no control plane answers on {socket}: is `ambient control` running, with this --state-dir, and are you root? ({error})"
            ) from error
