"""Identities, written as SPIFFE URIs.

Source: SPIFFE-ID, section 2; the ``/ns/<ns>/sa/<sa>`` path is Istio's convention. The identities of nodes and operators
have other shapes, so that no workload can ever be taken for one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self, TypeAlias

from ambient.core.errors import InvalidIdentity

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,253}")


def _is_segment(text: str) -> bool:
    return _SEGMENT.fullmatch(text) is not None and text not in {".", ".."}


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """Who a workload is: its trust domain, namespace and service account."""

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read ``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``.

        Raises InvalidIdentity for anything else.
        """
        match uri.removeprefix("spiffe://").split("/"):
            case [domain, "ns", namespace, "sa", account] if (
                uri.startswith("spiffe://")
                and _TRUST_DOMAIN.fullmatch(domain)
                and _is_segment(namespace)
                and _is_segment(account)
            ):
                return cls(domain, namespace, account)
            case _:
                raise InvalidIdentity(f"{uri!r} is not spiffe://<trust domain>/ns/<namespace>/sa/<account>")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class NodeId:
    """Which node a control-plane client is."""

    trust_domain: str
    node: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read ``spiffe://<trust domain>/node/<name>``. Raises InvalidIdentity for anything else."""
        match uri.removeprefix("spiffe://").split("/"):
            case [domain, "node", node] if (
                uri.startswith("spiffe://") and _TRUST_DOMAIN.fullmatch(domain) and _is_segment(node)
            ):
                return cls(domain, node)
            case _:
                raise InvalidIdentity(f"{uri!r} is not spiffe://<trust domain>/node/<name>")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/node/{self.node}"


@dataclass(frozen=True, slots=True)
class OperatorId:
    """Which operator a control-plane client is. What they may do is the control plane's to know."""

    trust_domain: str
    operator: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read ``spiffe://<trust domain>/operator/<name>``. Raises InvalidIdentity for anything else."""
        match uri.removeprefix("spiffe://").split("/"):
            case [domain, "operator", name] if (
                uri.startswith("spiffe://") and _TRUST_DOMAIN.fullmatch(domain) and _is_segment(name)
            ):
                return cls(domain, name)
            case _:
                raise InvalidIdentity(f"{uri!r} is not spiffe://<trust domain>/operator/<name>")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/operator/{self.operator}"


ClientId: TypeAlias = NodeId | OperatorId
"""Who calls a control plane."""


def parse_client(uri: str) -> ClientId:
    """Read a node's identity or an operator's. Raises InvalidIdentity for anything else."""
    try:
        return NodeId.parse(uri)
    except InvalidIdentity:
        return OperatorId.parse(uri)
