"""Tokens as issuers make them, and as attackers do."""

import functools
import json
from base64 import urlsafe_b64encode

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"


@functools.cache
def key(kid: str, kind: str = "EC", size: str | int = "P-256"):
    """The same one in the whole run."""
    match kind:
        case "EC":
            made = ECKey.generate_key(size)
        case "OKP":
            made = OKPKey.generate_key("Ed25519")
        case "oct":
            return OctKey.import_key({"kty": "oct", "k": SECRET, "kid": kid})
        case _:
            made = RSAKey.generate_key(size)
    return type(made).import_key({**made.as_dict(private=True), "kid": kid})


def public(*keys, **more) -> str:
    return json.dumps(
        {"keys": [{**one.as_dict(private=one.key_type == "oct"), "alg": None} | more for one in keys]}
    ).replace('"alg": null, ', "")


def b64(content: bytes | str | dict) -> str:
    if isinstance(content, dict):
        content = json.dumps(content)
    return urlsafe_b64encode(content.encode() if isinstance(content, str) else content).decode().rstrip("=")


def signed(
    signing=None, algorithm: str = "ES256", header: dict | None = None, payload: str | None = None, **claims
) -> str:
    """A token of ISSUER for alice, unless ``claims`` or a whole ``payload`` say otherwise; None is left out."""
    signing = signing or key("one")
    plain = {"iss": ISSUER, "sub": "alice", "exp": NOW + 3600}
    said = {name: value for name, value in (plain | claims).items() if value is not None}
    head = {"alg": algorithm, "typ": "JWT", "kid": signing.kid} | (header or {})
    text = f"{b64({name: value for name, value in head.items() if value is not None})}.{b64(payload or said)}"
    return f"{text}.{b64(JWSRegistry.algorithms[algorithm].sign(text.encode(), signing))}"
