"""What a new machine is given to find its control plane and to know it, in one word."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self

from ambient.core.errors import ConfigError

_PREFIX: Final = "ambient1."
"""What follows is of the first format."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """Carries a secret: whoever has it first is let in."""

    name: str
    """The node, or the operator."""
    role: str
    """``node``, ``admin`` or ``reader``."""
    control: str
    """HOST:PORT where certificates are asked for."""
    bootstrap: str
    """HOST:PORT where tokens are taken."""
    trust_domain: str
    root: str
    """SHA-256 of the root certificate (DER), in hexadecimal: what the control plane must prove to hold."""
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` has made. Raises ConfigError."""
        encoded = text.strip().removeprefix(_PREFIX)
        try:
            read = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        except (ValueError, binascii.Error):
            read = None
        names = {one.name for one in fields(cls)}
        if (
            not text.strip().startswith(_PREFIX)
            or not isinstance(read, dict)
            or read.keys() != names
            or not all(isinstance(value, str) and value for value in read.values())
        ):
            raise ConfigError(
                f"this is not a whole join token; it is one word that begins with {_PREFIX}: copy it again, or make "
                "another with `ambient token create`"
            )
        return cls(**read)

    def __str__(self) -> str:
        content = json.dumps(asdict(self), separators=(",", ":")).encode()
        return _PREFIX + base64.urlsafe_b64encode(content).decode().rstrip("=")
