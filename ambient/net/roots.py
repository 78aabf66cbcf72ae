"""A control plane's root certificate, fetched from itself and known by its hash."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from ambient.core.errors import PeerError, Unavailable
from ambient.core.pki import verify

_SECONDS: Final = 10.0


class WrongRoot(PeerError):
    """Whoever answers does not hold the root that was named."""

    reason = "wrong_root"


async def fetch_root(place: str, fingerprint: str) -> bytes:
    """The certificate (PEM) of that SHA-256, in hexadecimal, which the server at ``place`` (HOST:PORT) shows.

    Nothing that the server says is believed but this. Raises WrongRoot, or Unavailable.
    """
    host, _, port = place.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except TimeoutError as error:
        raise Unavailable(f"no control plane answers on {place} within {_SECONDS:.0f} s") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"no control plane answers on {place}: {error}") from error
    shown = _chain(writer)
    writer.transport.abort()
    for certificate in shown:
        if verify.fingerprint(certificate) == fingerprint:
            return ssl.DER_cert_to_PEM_cert(certificate).encode()
    raise WrongRoot(
        f"what answers on {place} is not the control plane that made the token, or its root has changed since: make "
        "another token"
    )


def _chain(writer: asyncio.StreamWriter) -> list[bytes]:
    """What the other side has shown, DER each. Public since Python 3.13."""
    tls = writer.get_extra_info("ssl_object")
    certificates = tls._sslobj.get_unverified_chain() or ()  # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in certificates]
