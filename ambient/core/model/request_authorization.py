"""Who may send which requests: a policy as the waypoint of its targets enforces it.

Rules, clauses and matches nest as in ``authorization``, and an empty match matches nothing. Source: Istio's
AuthorizationPolicy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from ambient.core.model.authorization import Action, IpNetwork, Match, StringMatch

WAYPOINT_CLASSES: Final = ("ambient-waypoint", "istio-waypoint")
"""Names of GatewayClasses; the first is ours."""


class PathTemplate(NamedTuple):
    """A path with ``{*}`` for one segment, and ``{**}`` for all that are there, even none."""

    text: str


PathPattern: TypeAlias = StringMatch | PathTemplate


class HeaderTest(NamedTuple):
    """A header has one of the values, or none of the others; one that is missing has no value."""

    name: str
    """In lower case."""
    values: tuple[StringMatch, ...] = ()
    not_values: tuple[StringMatch, ...] = ()


class ClaimTest(NamedTuple):
    """The same of a claim of the request's token, and of each value where it has several."""

    path: tuple[str, ...]
    """From the token inwards: ``realm``, ``roles``."""
    values: tuple[StringMatch, ...] = ()
    not_values: tuple[StringMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """Fields that must all hold; within a field, any value. ``not_*``: none of the values."""

    connection: Match = Match()  # noqa: RUF009
    """What L4 sees; empty: nothing is asked of it."""
    remote_ips: tuple[IpNetwork, ...] = ()
    """Of the client, before any proxies that are trusted to say who it was."""
    not_remote_ips: tuple[IpNetwork, ...] = ()
    request_principals: tuple[StringMatch, ...] = ()
    """Compared with ``issuer/subject`` of the token."""
    not_request_principals: tuple[StringMatch, ...] = ()
    audiences: tuple[StringMatch, ...] = ()
    not_audiences: tuple[StringMatch, ...] = ()
    presenters: tuple[StringMatch, ...] = ()
    not_presenters: tuple[StringMatch, ...] = ()
    server_names: tuple[StringMatch, ...] = ()
    """SNI."""
    not_server_names: tuple[StringMatch, ...] = ()
    hosts: tuple[StringMatch, ...] = ()
    """In lower case; compared with the authority, its port included."""
    not_hosts: tuple[StringMatch, ...] = ()
    methods: tuple[StringMatch, ...] = ()
    not_methods: tuple[StringMatch, ...] = ()
    paths: tuple[PathPattern, ...] = ()
    """Compared with the path without its query, once it is normal."""
    not_paths: tuple[PathPattern, ...] = ()
    headers: tuple[HeaderTest, ...] = ()
    """All of them must hold."""
    claims: tuple[ClaimTest, ...] = ()
    """All of them must hold."""


class Target(NamedTuple):
    """What a waypoint enforces an object for, in the object's namespace."""

    kind: str
    """Service, ServiceEntry, Gateway, or GatewayClass: every waypoint of that class."""
    name: str


@dataclass(frozen=True, slots=True)
class RequestAuthorization:
    """One policy."""

    name: str
    namespace: str
    targets: tuple[Target, ...]
    action: Action
    rules: tuple[tuple[tuple[RequestMatch, ...], ...], ...]
    dry_run: bool = False

    @property
    def key(self) -> str:
        """``namespace/name``, its name in the mesh."""
        return f"{self.namespace}/{self.name}"
