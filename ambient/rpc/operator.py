"""The way to a control plane's API: its unix socket on its own machine, or TLS with an operator's certificate."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc.aio

from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.identity import OperatorId
from ambient.core.pki import csr
from ambient.core.pki.bundle import Credentials
from ambient.rpc.certificates import sign
from ambient.rpc.channel import open_bootstrap_channel, open_channel

if TYPE_CHECKING:
    from ambient.core.join import JoinToken
    from ambient.rpc.channel import Channel

SOCKET: Final = "control.sock"
"""In the control plane's state folder."""
PROFILE: Final = Path("~/.config/ambient/operator.json")
"""Where an operator's certificate is kept, on a machine that is not the control plane's."""
_LARGEST: Final = 200 << 20

_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
)


class Unreachable(Unavailable):
    """No control plane answers where one was looked for."""

    reason = "unreachable"


@dataclass(frozen=True, slots=True)
class Profile:
    """An operator's certificate, and the control plane that it is for."""

    control: str
    """HOST:PORT."""
    credentials: Credentials


def find(state_dir: Path, profile: Path = PROFILE) -> Path:
    """The door of this machine's own control plane, or else the operator's profile if there is one."""
    socket, profile = state_dir / SOCKET, profile.expanduser()
    return profile if _is_there(profile) and not _is_there(socket) else socket


@asynccontextmanager
async def door(place: Path) -> AsyncIterator[Channel]:
    """A channel for the calls of configuration, mesh, access, explanation; ``place`` is a socket or a profile.

    A certificate that is half over is renewed on the way. Raises Unreachable when nobody answers.
    """
    if (made := _profile(place)) is not None:
        where, hint = made.control, f"is it running, and does it still have the root that {place} knows?"
        channel = open_channel(made.control, made.credentials)
    else:
        where = str(place)
        hint = "is `ambient control` running, with this --state-dir, and are you root?"
        channel = grpc.aio.insecure_channel(f"unix:{place}", options=_OPTIONS)
    async with channel:
        try:
            if made is not None:
                await _renew(channel, place, made)
            yield channel
        except Unavailable as error:
            if error.reason != Unavailable.reason:
                raise
            # gRPC nests reasons; the innermost is the system's.
            why = str(error).rpartition(" error: ")[2]
            raise Unreachable(f"no control plane answers on {where}: {why}; {hint}") from error


def _profile(place: Path) -> Profile | None:
    return load(place) if _is_there(place) and not stat.S_ISSOCK(place.stat().st_mode) else None


def _is_there(place: Path) -> bool:
    """Also false where this user may not look."""
    try:
        return place.exists()
    except PermissionError:
        return False


async def login(token: JoinToken, roots_pem: bytes, place: Path) -> None:
    """Turn an operator's token into a profile. ``roots_pem`` is what the token's hash has proved.

    Raises Unauthenticated if the token is not to be had, or Unavailable.
    """
    identity = OperatorId(token.trust_domain, token.name)
    request = csr.new_request(identity)
    async with open_bootstrap_channel(token.bootstrap, roots_pem) as channel:
        chain = await sign(channel, request.csr_pem, token=token.secret)
    credentials = Credentials.of(identity, request.key_pem, chain, roots_pem, datetime.now(UTC))
    _save(place, Profile(token.control, credentials))


def load(place: Path) -> Profile:
    """Read a profile. Raises ConfigError if it is none, or open to others."""
    try:
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            raise ConfigError(f"{place} holds a key and is open to others: chmod 600 {place}")
        fields = json.loads(place.read_text())
        control, credentials = fields["control"], Credentials.from_bytes(fields["credentials"].encode())
    except OSError as error:
        raise ConfigError(f"{place} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, PeerError) as error:
        raise ConfigError(f"{place} is no operator's profile; log in again with a new token") from error
    if credentials.is_expired(datetime.now(UTC)):
        raise ConfigError(
            f"the certificate in {place} ended at {credentials.not_after:%FT%TZ}; ask an admin for a token and log in again"
        )
    return Profile(str(control), credentials)


async def _renew(channel: Channel, place: Path, profile: Profile) -> None:
    old, now = profile.credentials, datetime.now(UTC)
    if now < old.not_before + (old.not_after - old.not_before) / 2:
        return
    request = csr.new_request(old.identity)
    chain = await sign(channel, request.csr_pem)
    _save(
        place,
        Profile(profile.control, Credentials.of(old.identity, request.key_pem, chain, old.roots_pem, now)),
    )


def _save(place: Path, profile: Profile) -> None:
    content = {"control": profile.control, "credentials": profile.credentials.to_bytes().decode()}
    unfinished = place.with_suffix(".new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished.unlink(missing_ok=True)
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "w") as stream:  # noqa: PTH123  # A descriptor.
            json.dump(content, stream)
        unfinished.rename(place)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error
