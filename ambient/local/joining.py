"""A machine that joins the mesh of another: from the one word that it is given to what its programs need."""

from __future__ import annotations

from pathlib import Path

from ambient.core.errors import ConfigError
from ambient.core.join import JoinToken
from ambient.local.layout import JOINED, Joined, Settings, write_secret
from ambient.net.roots import fetch_root
from ambient.rpc import access
from ambient.rpc.channel import open_bootstrap_channel


async def join(token: JoinToken, run_dir: Path, state_dir: Path) -> Settings:
    """Fetch the root that the token names, and remember where the control plane is.

    Raises ConfigError; Unauthenticated if the token would not be taken.
    """
    if token.role != "node":
        raise ConfigError(f"this token is of operator {token.name}; use it with `ambient login`")
    joined = Joined(token.name, token.control, token.bootstrap, token.trust_domain)
    settings = _settings(joined, run_dir, state_dir)
    root = await fetch_root(token.bootstrap, token.root)
    async with open_bootstrap_channel(token.bootstrap, root) as channel:
        await access.check_token(channel, token.secret)
    try:
        for folder in (run_dir, state_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.root_cert.write_bytes(root)
        write_secret(settings.token_file, token.secret)
        joined.write(settings.joined_file)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; are you root?") from error
    return settings


def joined(run_dir: Path, state_dir: Path) -> Settings:
    """What this machine has joined before. Raises ConfigError if nothing."""
    return _settings(Joined.read(state_dir / JOINED), run_dir, state_dir)


def _settings(joined: Joined, run_dir: Path, state_dir: Path) -> Settings:
    return Settings(joined.node, run_dir, state_dir, trust_domain=joined.trust_domain, joined=joined)
