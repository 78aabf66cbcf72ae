"""Whether a connection may reach a workload.

Policies considered: GLOBAL ones, those of the workload's namespace, and those that select it. Order: any DENY that
matches denies; without any ALLOW, allow; any ALLOW that matches allows; else deny. Dry-run policies are only noted.
Within each group policies are asked in key order, so that every node names the same one. A connection without an
identity (plaintext) matches no namespace, principal or service account, and every ``not_*`` of them; STRICT arrives
as a DENY of connections whose principal is not present. Source: reference of ztunnel's rbac, section 3.1.

Policies are compiled and indexed (``matching``), once for each policy object. That memo is the only state here, and
changes no answer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.matching import Compiled, Facts, Index
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action
from ambient.core.model.identity import SpiffeId
from ambient.core.snapshot import EMPTY

if TYPE_CHECKING:
    from immutables import Map

    from ambient.core.model.authorization import Authorization
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot

_MOST_SELECTIONS: Final = 256
"""Sets of policies that select workloads, each indexed; a node has one for each kind of workload it runs."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Who calls whom."""

    source_identity: SpiffeId | None
    """None: it came as plaintext, so nobody has proved anything."""
    source: SocketAddress
    destination: SocketAddress
    """Address and port of the workload, never of a service."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The connection may pass."""

    policy: str | None
    """``namespace/name`` of the ALLOW policy that matched; None: no ALLOW policy is in force."""
    would_deny: str | None = None
    """The first dry-run DENY policy that matches."""
    would_allow: str | None = None
    """The first dry-run ALLOW policy that matches."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The connection must not pass."""

    policy: str | None
    """``namespace/name`` of the DENY policy that matched; None: ALLOW policies exist and none did."""
    why: str
    would_deny: str | None = None
    would_allow: str | None = None


def authorize(snapshot: Snapshot, workload: Workload, connection: Connection) -> Allowed | Denied:
    """Whether ``connection`` may reach ``workload``, and which policy says so."""
    concerning = _memo.concerning(snapshot, workload)
    if not concerning:
        return Allowed(None)
    facts = Facts(connection.source_identity, connection.source, connection.destination)

    def first(action: Action, *, dry_run: bool) -> str | None:
        found = [group.of[action, dry_run].first(facts) for group in concerning]
        return min((key for key in found if key is not None), default=None)

    would_deny = first(Action.DENY, dry_run=True)
    denying = first(Action.DENY, dry_run=False)
    if denying is not None:
        return Denied(denying, f"explicitly denied by: {denying}", would_deny)
    would_allow = first(Action.ALLOW, dry_run=True)
    if not any(group.of[Action.ALLOW, False] for group in concerning):
        return Allowed(None, would_deny, would_allow)
    allowing = first(Action.ALLOW, dry_run=False)
    if allowing is not None:
        return Allowed(allowing, would_deny, would_allow)
    return Denied(None, "allow policies exist, but none allowed", would_deny, would_allow)


class _Group:
    """Policies that concern the same workloads, by what they do and whether they are dry runs."""

    __slots__ = ("held", "of")

    def __init__(self) -> None:
        self.held: tuple[Map[str, Authorization], Collection[str]] | None = None
        self.of = {(action, dry_run): Index() for action in Action for dry_run in (False, True)}


class _Memo:
    """Policies under the snapshot that was asked last. The next one costs what it changed."""

    def __init__(self) -> None:
        self._of: dict[str | tuple[str, ...], _Group] = {}
        """By namespace ("": the mesh), and by the policies that select a workload."""
        self._compiled: dict[str, Compiled] = {}
        self._authorizations = EMPTY.authorizations

    def concerning(self, snapshot: Snapshot, workload: Workload) -> list[_Group]:
        """All policies that concern a workload, each at least once."""
        if snapshot.authorizations is not self._authorizations:
            self._authorizations = snapshot.authorizations
            self._forget()
        reach = snapshot.authorizations_for
        groups = [self._group(of, snapshot, reach[of]) for of in ("", workload.namespace) if of in reach]
        if workload.policies:
            groups.append(self._group(workload.policies, snapshot, workload.policies))
        return groups

    def _group(self, of: str | tuple[str, ...], snapshot: Snapshot, keys: Collection[str]) -> _Group:
        group = self._of.get(of)
        if group is None:
            group = self._of[of] = _Group()
        held = group.held
        if held is None or held[0] is not snapshot.authorizations or held[1] is not keys:
            self._fill(group, snapshot, keys)
            group.held = snapshot.authorizations, keys
        return group

    def _fill(self, group: _Group, snapshot: Snapshot, keys: Collection[str]) -> None:
        wanted: dict[tuple[Action, bool], dict[str, Compiled]] = {kind: {} for kind in group.of}
        for key in keys:
            policy = snapshot.authorizations.get(key)
            if policy is not None:
                wanted[policy.action, policy.dry_run][key] = self._compiled_form(policy)
        for kind, index in group.of.items():
            index.hold(wanted[kind])

    def _compiled_form(self, policy: Authorization) -> Compiled:
        known = self._compiled.get(policy.key)
        if known is None or known.policy is not policy:
            known = self._compiled[policy.key] = Compiled(policy)
        return known

    def _forget(self) -> None:
        authorizations = self._authorizations
        if len(self._compiled) > 2 * len(authorizations) + 16:
            self._compiled = {key: one for key, one in self._compiled.items() if key in authorizations}
        if len(self._of) > _MOST_SELECTIONS:
            self._of.clear()


_memo = _Memo()
