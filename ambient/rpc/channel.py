"""gRPC channels to a control plane: always TLS, always to the name that its certificate must carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import grpc
import grpc.aio

from ambient.core.pki.issue import SERVER_NAME

if TYPE_CHECKING:
    from ambient.aio.watch import Watch
    from ambient.core.pki.bundle import Credentials

Channel: TypeAlias = grpc.aio.Channel

LARGEST_RESPONSE: Final = 200 << 20
"""Source: ztunnel decodes up to 200 MB."""

_OPTIONS: Final = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.default_authority", SERVER_NAME),
    ("grpc.max_receive_message_length", LARGEST_RESPONSE),
    ("grpc.max_send_message_length", LARGEST_RESPONSE),
    # Callers have their own backoff: the channel's must not add to it.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(target: str, credentials: Credentials) -> Channel:
    """Mutual TLS to ``HOST:PORT``."""
    return _open(
        target,
        grpc.ssl_channel_credentials(
            root_certificates=credentials.roots_pem,
            private_key=credentials.key_pem,
            certificate_chain=credentials.chain_pem,
        ),
    )


def open_bootstrap_channel(target: str, roots_pem: bytes) -> Channel:
    """TLS that proves the control plane only: for a node that has a token and no certificate yet."""
    return _open(target, grpc.ssl_channel_credentials(root_certificates=roots_pem))


class Dialer:
    """A node's way to its control plane: one channel, made anew when the node's credentials change.

    The streams on the channel before end then, and their owners ask here again.
    """

    def __init__(self, target: str, credentials: Watch[Credentials | None]) -> None:
        self._target = target
        self._credentials = credentials
        self._used: Credentials | None = None
        self._channel: Channel | None = None

    async def channel(self) -> Channel:
        """The channel with the newest credentials; waits for the first ones."""
        async for credentials in self._credentials.changes():
            if credentials is None:
                continue
            if self._channel is None or credentials != self._used:
                outdated, self._used = self._channel, credentials
                self._channel = open_channel(self._target, credentials)
                if outdated is not None:
                    await outdated.close()
            return self._channel
        raise AssertionError("a watch never ends")

    async def close(self) -> None:
        """End every stream."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()


def _open(target: str, credentials: grpc.ChannelCredentials) -> Channel:
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
