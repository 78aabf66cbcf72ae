"""What is said of the services behind the waypoint that hostile requests are sent to."""

from __future__ import annotations

import json
from typing import Any

from joserfc.jwk import RSAKey
from topology import objects

ISSUER = "https://issuer.example"
KEY = RSAKey.generate_key(2048, {"kid": "one"}, private=True)


def istio(kind: str, target: str, **spec: Any) -> objects.Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": target, "namespace": "shop"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": target}], **spec},
    }


def when(key: str, **values: list[str]) -> dict[str, Any]:
    return {"when": [{"key": key, **values}]}


POLICIES = (
    istio(
        "AuthorizationPolicy",
        "guarded",
        action="DENY",
        rules=[{"to": [{"operation": {"paths": ["/admin", "/admin/*"]}}]}],
    ),
    istio(
        "AuthorizationPolicy",
        "undeclared",
        action="DENY",
        rules=[{"to": [{"operation": {"paths": ["/admin", "/admin/*"]}}]}],
    ),
    istio(
        "AuthorizationPolicy",
        "hosts",
        action="DENY",
        rules=[{"to": [{"operation": {"hosts": ["secret.example", "secret.example:*"]}}]}],
    ),
    istio(
        "AuthorizationPolicy",
        "roles",
        action="ALLOW",
        rules=[when("request.headers[x-role]", values=["admin"])],
    ),
    istio(
        "AuthorizationPolicy",
        "negative",
        action="DENY",
        rules=[when("request.headers[x-role]", notValues=["user"])],
    ),
    istio(
        "RequestAuthentication",
        "tokens",
        jwtRules=[{"issuer": ISSUER, "jwks": json.dumps({"keys": [KEY.as_dict(private=False)]})}],
    ),
    istio(
        "AuthorizationPolicy",
        "tokens",
        action="ALLOW",
        rules=[{"from": [{"source": {"requestPrincipals": [f"{ISSUER}/*"]}}]}],
    ),
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "patterns", "namespace": "shop"},
        "spec": {
            "hosts": ["patterns"],
            "http": [
                {
                    "match": [{"uri": {"regex": "/(a+)+b"}}],
                    "directResponse": {"status": 418},
                },
                {"route": [{"destination": {"host": "patterns"}}]},
            ],
        },
    },
)
