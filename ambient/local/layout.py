"""Which programs make a mesh, or a node of one, on this machine, and where each keeps what it has."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

from ambient.core.errors import ConfigError, InvalidIdentity
from ambient.core.model.identity import NodeId
from ambient.local.child import Program

DRAIN_SECONDS: Final = 10
"""How long connections may take to end."""
ROOT_CERT: Final = "root-cert.pem"
JOINED: Final = "joined.json"
"""Both in the state folder of a machine that has joined a mesh; the first also in that of a control plane."""
_AMBIENT: Final = (sys.executable, "-m", "ambient.cli.main")


@dataclass(frozen=True, slots=True)
class Joined:
    """A control plane on another machine."""

    node: str
    control: str
    """HOST:PORT."""
    bootstrap: str
    """HOST:PORT."""
    trust_domain: str

    @classmethod
    def read(cls, file: Path) -> Self:
        """What ``write`` has written. Raises ConfigError."""
        try:
            read = json.loads(file.read_bytes())
            return cls(**{one.name: str(read[one.name]) for one in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "this machine has not joined a mesh yet; give the token that `ambient token create --node NAME` prints"
            ) from error

    def write(self, file: Path) -> None:
        """Remember it."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is to be up."""

    node: str
    run_dir: Path
    state_dir: Path
    config: Path | None = None
    """A folder of objects, beside those that are applied."""
    advertise: tuple[str, ...] = ()
    trust_domain: str = "cluster.local"
    joined: Joined | None = None
    """None: the control plane is here too."""

    def __post_init__(self) -> None:
        try:
            NodeId.parse(f"spiffe://{self.trust_domain}/node/{self.node}")
        except InvalidIdentity as error:
            raise ConfigError(
                f"--name {self.node!r} is no name of a node: use letters, digits, - . and _"
            ) from error

    @property
    def control_dir(self) -> Path:
        """State of the control plane."""
        return self.state_dir / "control"

    @property
    def log_dir(self) -> Path:
        """What each program says."""
        return self.state_dir / "log"

    @property
    def joined_file(self) -> Path:
        """What is remembered of a mesh that this machine has joined."""
        return self.state_dir / JOINED

    def kept(self) -> tuple[Path, ...]:
        """All that outlives its programs."""
        folders = (self.control_dir, self.state_dir / "node", self.state_dir / "proxy", self.log_dir)
        return (*folders, self.joined_file, self.state_dir / ROOT_CERT)

    @property
    def root_cert(self) -> Path:
        """How the proxy knows its control plane."""
        return (self.control_dir if self.joined is None else self.state_dir) / ROOT_CERT

    @property
    def token_file(self) -> Path:
        """With which the proxy gets its first certificate."""
        return self.run_dir / "token"

    @property
    def group(self) -> str:
        """The cgroup above those of the programs."""
        return group_of(self.node)

    def programs(self) -> tuple[Program, ...]:
        """In the order in which they become ready."""
        here = (self._control(),) if self.joined is None else ()
        return (*here, self._node(), self._proxy())

    def supervisor(self) -> Program:
        """What runs the programs, as a program."""
        folders = ("--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir))
        if self.joined is not None:
            return Program("up", (*_AMBIENT, "node", "join", *folders))
        flags = [*folders, "--name", self.node, "--trust-domain", self.trust_domain]
        if self.config is not None:
            flags += ["--config", str(self.config)]
        for name in self.advertise:
            flags += ["--advertise", name]
        return Program("up", (*_AMBIENT, "up", *flags))

    def release(self) -> tuple[str, ...]:
        """The command that takes the node out of the kernel."""
        return (*self._node().command, "--release")

    def uninstall(self) -> tuple[str, ...]:
        """The command that takes all of the node away."""
        return (*self._node().command, "--uninstall")

    def _control(self) -> Program:
        command = [
            *_AMBIENT,
            "control",
            "--state-dir",
            str(self.control_dir),
            "--trust-domain",
            self.trust_domain,
        ]
        if self.config is not None:
            command += ["--config", str(self.config)]
        for name in self.advertise:
            command += ["--advertise", name]
        return Program("control", tuple(command))

    def _node(self) -> Program:
        folders = ("--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir / "node"))
        return Program("node", (*_AMBIENT, "node", "--name", self.node, *folders))

    def _proxy(self) -> Program:
        joined = self.joined
        at = ("127.0.0.1:15012", "127.0.0.1:15013") if joined is None else (joined.control, joined.bootstrap)
        command = (
            *_AMBIENT, "proxy", "--control", at[0], "--bootstrap", at[1],
            "--root-cert", str(self.root_cert), "--token-file", str(self.token_file),
            "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir / "proxy"),
            "--trust-domain", self.trust_domain, "--access-log", str(self.log_dir / "access.log"),
            "--drain-seconds", str(DRAIN_SECONDS),
        )  # fmt: skip
        return Program("proxy", command)


def group_of(node: str) -> str:
    """The cgroup of what is up under this name."""
    return f"ambient-{node}"


def write_secret(file: Path, content: str) -> None:
    """For its owner alone, in the place of what was there."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(content)
    unfinished.rename(file)
