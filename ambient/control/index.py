"""The sole writer of the mesh: objects of configuration and registrations of nodes in, snapshots and deltas out.

Objects meet here. What two of them cannot both have (an address, a name) stays with the one that had it; the other is
refused with a sentence until it is free. Then the namespaces that a change touches are rendered anew, and what
differs from before is the delta.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from immutables import Map

from ambient.control.claims import REGISTERED, Claims, claims_of, unusable
from ambient.control.member import (
    DEPLOYMENT_LABEL,
    PORT_LABEL,
    Member,
    labels_of,
    of_endpoint,
    of_entry,
    of_pod,
    of_registered,
    registered_uid,
    uid_of,
)
from ambient.control.objects import (
    AuthorizationPolicy,
    BackendPolicy,
    Deployment,
    DestinationRule,
    EndpointSlice,
    Gateway,
    Key,
    L7Object,
    Mesh,
    MeshConfig,
    Namespace,
    Object,
    PeerAuthentication,
    Pod,
    RateLimitPolicy,
    RequestAuthentication,
    RequestPolicy,
    Route,
    SelectingService,
    Selector,
    ServiceAccount,
    ServiceEntry,
    ServiceProfile,
    Telemetry,
    VirtualService,
    WaypointName,
    WorkloadEntry,
)
from ambient.control.peer_authentication import PeerPolicies, Peers, static_strict
from ambient.control.problem import Problem
from ambient.control.requests.compose import Subject
from ambient.control.requests.rulebook import Rulebook
from ambient.control.routes.book import Book
from ambient.control.schema.shape import is_dns_name
from ambient.control.selection import Selection
from ambient.control.slices import Slices, Told, parts, ports_of, unserved
from ambient.control.translate.kubernetes import dataplane_mode
from ambient.control.translate.kubernetes_workloads import SERVICE_NAME
from ambient.control.waypoints import Asker, Waypoints, asked_by, named, own_service
from ambient.core import delta
from ambient.core.delta import Delta, Resource
from ambient.core.model.address import GatewayAddress, IpAddress, NetworkAddress
from ambient.core.model.authorization import Authorization, Scope
from ambient.core.model.identity import SpiffeId
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Port, Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.workload import TunnelProtocol, Workload
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.rpc.registration import Accepted, LocalWorkload, Order, Refused

_Name: TypeAlias = tuple[type[Resource], str]

_FRESH: Final = ""
"""In place of a reason: an object that was not judged yet."""

_OF_SERVICES: Final = frozenset({"Service", "ServiceEntry"})
"""Kinds whose addresses are nobody's who serves."""
NO_NODE: Final = ""
"""In place of a node's name: of workloads that no node of the mesh runs, registered by the API."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the mesh is called."""

    trust_domain: str = "cluster.local"
    cluster: str = "local"
    root_namespaces: tuple[str, ...] = ("ambient-system", "istio-system")
    """Where policies count for the whole mesh; the first one holds what ambient makes itself."""


@dataclass(slots=True)
class _Touched:
    """What has to be rendered anew."""

    namespaces: set[str] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    """Namespace and uid, where the rest of the namespace is as it was."""
    said: dict[Key, L7Object | None] = field(default_factory=dict)
    """Objects that become part of routes; None: gone."""
    policies: dict[Key, RequestPolicy | None] = field(default_factory=dict)
    """Objects that become part of what waypoints enforce; None: gone."""


class Index:
    """What is configured and registered, and the mesh that comes of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.snapshot: Snapshot = EMPTY
        self._wanted: Mapping[Key, Object] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._accounts: dict[tuple[str, str], ServiceAccount] = {}
        self._services = defaultdict[str, Selection[SelectingService]](Selection)
        self._peers = PeerPolicies(settings.root_namespaces)
        self._policies = defaultdict[str, Selection[AuthorizationPolicy]](Selection)
        self._members: dict[str, dict[str, Member]] = {}
        """Accepted ones, by namespace and uid."""
        self._registered: dict[str, dict[str, LocalWorkload]] = {}
        """As nodes reported them, by node and uid, in the order of their coming."""
        self._node_of: dict[str, str] = {}
        """Which node an accepted uid belongs to."""
        self._waiting: set[tuple[str, str]] = set()
        """Registered and not accepted, by node and uid."""
        self._came: dict[tuple[str, str], int] = {}
        """In which order workloads came, by node and uid."""
        self._numbers = itertools.count()
        self._mesh_config: MeshConfig | None = None
        self._claims = Claims()
        self._entries: dict[Key, ServiceEntry] = {}
        """As they stand."""
        self._refused: dict[Key, str] = {}
        """Objects that another one stands in the way of."""
        self._orders: dict[str, dict[str, Order]] = {}
        self._reordered: set[str] = set()
        """Nodes that have other orders than when they were asked for last."""
        self._rendered: dict[str, dict[_Name, Resource]] = {}
        self._slices = Slices()
        self._book = Book(settings.root_namespaces)
        self._rulebook = Rulebook(settings.root_namespaces)
        self.waypoints = Waypoints()
        """Kept here; others only look."""
        self._problems: Mapping[Key, tuple[Problem, ...]] | None = None
        """As they were asked for since the last change."""
        self._warnings: dict[tuple[str, str], tuple[str, ...]] = {}
        """By namespace, and uid where one workload is the cause."""

    @property
    def errors(self) -> tuple[str, ...]:
        """Why objects of the configuration are not in the mesh though each is right by itself."""
        return tuple(f"{key}: {why}" for key, why in sorted(self._refused.items()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has no effect."""
        found = [warning for _, warnings in sorted(self._warnings.items()) for warning in warnings]
        found += [f"{key}: {problem}" for key, problems in self.problems.items() for problem in problems]
        return tuple(found)

    @property
    def refusals(self) -> Mapping[Key, str]:
        """Objects that another one stands in the way of, and why."""
        return self._refused

    @property
    def problems(self) -> Mapping[Key, tuple[Problem, ...]]:
        """What objects refer to in vain, and what others stand in the way of."""
        if self._problems is None:
            found: dict[Key, tuple[Problem, ...]] = dict(self._book.problems(self.snapshot.endpoints_of))
            told = itertools.chain(self.waypoints.problems(self.snapshot.services), self._rulebook.problems())
            for key, problem in told:
                found[key] = (*found.get(key, ()), problem)
            self._problems = dict(sorted(found.items()))
        return self._problems

    def orders(self, node: str) -> Mapping[str, Order]:
        """The word on each workload of a node, by uid."""
        return self._orders.get(node, {})

    def take_reordered(self) -> set[str]:
        """The nodes with a workload on which there is another word than when this was asked last."""
        nodes, self._reordered = self._reordered, set()
        return nodes

    def reported(self, uid: str) -> LocalWorkload | None:
        """An accepted workload as its node reported it."""
        node = self._node_of.get(uid)
        return None if node is None else self._registered[node][uid]

    def labels(self, workload: Workload) -> Mapping[str, str]:
        """All labels of a workload of the mesh."""
        member = self._members.get(workload.namespace, {}).get(workload.uid)
        return {} if member is None else member.labels

    def plaintext_refused_by(self, workload: Workload) -> PeerAuthentication | None:
        """The policy by which a workload of the mesh takes no plaintext; None: it takes it."""
        return self._peers.seen_from(workload.namespace).refused_by(self.labels(workload))

    def refusal(self, namespace: str, name: str) -> str | None:
        """Why a workload that a node reports under a name is not in the mesh."""
        for node, uid in sorted(self._waiting):
            order = self._orders.get(node, {}).get(uid)
            reported = self._registered[node][uid]
            if isinstance(order, Refused) and (reported.namespace, reported.name) == (namespace, name):
                return order.why
        return None

    def registered(self, node: str) -> Mapping[str, LocalWorkload]:
        """What a node has reported, by uid."""
        return self._registered.get(node, {})

    @property
    def nodes(self) -> tuple[str, ...]:
        """Whoever has workloads here; one of them may be NO_NODE."""
        return tuple(self._registered)

    def taken(self, objects: Mapping[Key, Object]) -> Mapping[Key, str]:
        """Which of these objects could not be in the mesh as another one has what they want, and why."""
        return self._claims.disputed(objects)

    def configure(self, objects: Mapping[Key, Object], may_differ: Iterable[Key] | None = None) -> Delta:
        """Take the whole configuration, of which only the objects that ``may_differ`` are looked at; None: all."""
        before, self._wanted = self._wanted, objects
        named = {*before, *objects} if may_differ is None else set(may_differ)
        changed = {key for key in named if key in objects and before.get(key) != objects[key]}
        gone = {key for key in named if key in before and key not in objects}
        touched = _Touched()
        for key in changed | gone:
            match objects.get(key, before.get(key)):
                case (
                    Route()
                    | BackendPolicy()
                    | VirtualService()
                    | DestinationRule()
                    | ServiceProfile() as said
                ):
                    touched.said[key] = said if key in objects else None
                case RateLimitPolicy() | RequestAuthentication() | Telemetry() as said:
                    touched.policies[key] = said if key in objects else None
                case AuthorizationPolicy() as said:
                    touched.policies[key] = said if key in objects else None
                    self._touch(key, touched)
                case Mesh() | MeshConfig():
                    pass
                case Gateway():
                    self._touch(key, touched)
                    for asker in self.waypoints.askers(WaypointName(key.namespace, key.name)):
                        self._touch(asker, touched)
                case _:
                    self._touch(key, touched)
            for one in _slices_of(before.get(key)):
                touched.members |= self._named_elsewhere(one)
        for key in gone:
            self._withdraw(key)
        self._place(changed)
        self._judge(touched)
        if any(
            key.namespace in self.settings.root_namespaces
            and key.kind in {"PeerAuthentication", "AuthorizationPolicy"}
            for key in changed | gone
        ):
            touched.namespaces |= self._rendered.keys()
        # What ambient makes itself is there, and may depend on any namespace.
        touched.namespaces.add(self.settings.root_namespaces[0])
        return self._render(touched)

    def register(
        self, node: str, upserted: Iterable[LocalWorkload], removed: Iterable[str], *, full: bool
    ) -> Delta:
        """Take what a node reports; ``full``: what is not in ``upserted`` is gone."""
        held = self._registered.setdefault(node, {})
        reported = {workload.uid: workload for workload in upserted}
        touched = _Touched()
        for uid in [*removed, *(held.keys() - reported.keys() if full else ())]:
            if uid in held and uid not in reported:
                self._forget(node, held.pop(uid), touched)
                del self._came[node, uid]
        for workload in reported.values():
            known = held.get(workload.uid)
            if known is not None and _identity(known) != _identity(workload):
                self._forget(node, known, touched)
            held[workload.uid] = workload
            if (node, workload.uid) not in self._came:
                self._came[node, workload.uid] = next(self._numbers)
            if not self._is_accepted(node, workload.uid):
                self._waiting.add((node, workload.uid))
            touched.members.add((workload.namespace, workload.uid))
        if not held:
            del self._registered[node]
        self._judge(touched)
        return self._render(touched)

    def forget_node(self, node: str) -> Delta:
        """A node is gone for good."""
        return self.register(node, (), (), full=True)

    # Objects

    def _touch(self, key: Key, touched: _Touched) -> None:
        if key.kind in {"WorkloadEntry", "Pod", REGISTERED}:
            touched.members.add((key.namespace, self._uid(key)))
            if key.kind == "Pod":
                touched.members.add((key.namespace, self._uid(key._replace(kind=REGISTERED))))
        else:
            touched.namespaces.add(key.namespace or key.name)

    def _withdraw(self, key: Key) -> None:
        self._claims.release(key)
        self._refused.pop(key, None)
        self.waypoints.ask(key, None)
        match key.kind:
            case "Namespace":
                self._namespaces.pop(key.name, None)
            case "ServiceAccount":
                self._accounts.pop((key.namespace, key.name), None)
            case "Service":
                self._services[key.namespace].drop(key.name)
            case "WorkloadEntry" | "Pod":
                self._members.get(key.namespace, {}).pop(self._uid(key), None)
            case "ServiceEntry":
                self._drop_entry(key)
            case "EndpointSlice":
                self._slices.drop(key.namespace, key.name)
            case "Gateway":
                self.waypoints.drop(key.namespace, key.name)
                self._services[key.namespace].drop(str(key))
            case "MeshConfig":
                self._mesh_config = None
            case "PeerAuthentication":
                self._peers.drop(key.namespace, key.name)
            case "AuthorizationPolicy":
                self._policies[key.namespace].drop(key.name)
            case _:
                pass

    def _place(self, changed: set[Key]) -> None:
        for key in sorted(changed):
            match self._wanted[key]:
                case Namespace() as namespace:
                    self._namespaces[key.name] = namespace
                    self.waypoints.ask(key, namespace.waypoint)
                case ServiceAccount() as account:
                    self._accounts[key.namespace, key.name] = account
                case PeerAuthentication() as policy:
                    self._peers.hold(policy)
                case AuthorizationPolicy() as policy:
                    self._policies[key.namespace].hold(key.name, policy, _selector(policy))
                case EndpointSlice() as one:
                    self._slices.hold(one)
                case SelectingService() | ServiceEntry() | WorkloadEntry() | Pod():
                    self._refused[key] = _FRESH
                case Deployment():
                    pass
                case Route() | BackendPolicy() | VirtualService() | DestinationRule() | ServiceProfile():
                    pass
                case Gateway() as gateway:
                    self.waypoints.hold(gateway)
                case MeshConfig() as config:
                    self._mesh_config = config
                case Mesh() | RateLimitPolicy() | RequestAuthentication() | Telemetry():
                    pass

    def _settle_claims(self, touched: _Touched) -> None:
        """Give addresses to the objects that wait for theirs.

        Objects that change at once may swap their addresses, so what they had is free to each of them.
        """
        waiting = sorted(self._refused)
        had = {key: self._claims.release(key) for key in waiting if self._refused[key] == _FRESH}
        for key in waiting:
            wanted = self._wanted[key]
            if key.kind == "Pod" and self._uid(key._replace(kind=REGISTERED)) in self._node_of:
                self._hide(key, touched)
                continue
            why = self._claims.claim(key, tuple(claims_of(wanted)))
            if why is not None:
                self._refused[key] = why
                continue
            del self._refused[key]
            self._touch(key, touched)
            if isinstance(wanted, SelectingService):
                self._services[key.namespace].hold(key.name, wanted, wanted.selector)
                self.waypoints.ask(key, wanted.waypoint)
            elif isinstance(wanted, ServiceEntry):
                self._hold_entry(wanted)
                self.waypoints.ask(key, next((one.waypoint for one in wanted.services), None))
            elif isinstance(wanted, WorkloadEntry):
                self._join(of_entry(wanted, self.settings.cluster))
                self.waypoints.ask(key, asked_by(wanted.labels, wanted.namespace))
            elif isinstance(wanted, Pod):
                self._join(of_pod(wanted, self.settings.cluster))
                self.waypoints.ask(key, asked_by(wanted.labels, wanted.namespace))
        for key, why in tuple(self._refused.items()):
            if had.get(key) and self._claims.claim(key, had[key]) is not None:
                # What its last good version had was taken by an object that changed with it.
                self._withdraw(key)
                self._refused[key] = why
                self._touch(key, touched)

    def _hold_entry(self, entry: ServiceEntry) -> None:
        self._drop_entry(entry.key)
        self._entries[entry.key] = entry
        for name, service, slices in parts(entry):
            self._services[entry.namespace].hold(name, service, service.selector)
            for one in slices:
                self._slices.hold(one)

    def _drop_entry(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for name, _, slices in parts(entry):
            self._services[key.namespace].drop(name)
            for one in slices:
                self._slices.drop(one.namespace, one.name)

    def _join(self, member: Member) -> None:
        members = self._members.setdefault(member.namespace, {})
        if member.addresses:
            members[member.uid] = member
        else:
            members.pop(member.uid, None)

    def _hide(self, pod: Key, touched: _Touched) -> None:
        """A pod that its node's daemon tells of as well is not there twice."""
        if pod.name and (self._claims.has_any(pod) or pod in self._refused):
            self._withdraw(pod)
            self._touch(pod, touched)

    # Registrations

    def _forget(self, node: str, workload: LocalWorkload, touched: _Touched) -> None:
        self._orders.get(node, {}).pop(workload.uid, None)
        self._waiting.discard((node, workload.uid))
        if self._is_accepted(node, workload.uid):
            self._expel(workload, touched)

    def _expel(self, workload: LocalWorkload, touched: _Touched) -> None:
        del self._node_of[workload.uid]
        self._claims.release(_claimant(workload))
        self.waypoints.ask(_claimant(workload), None)
        self._members[workload.namespace].pop(workload.uid, None)
        if self._pod(workload) is not None:
            self._refused[_pod_of(workload)] = _FRESH
        touched.members.add((workload.namespace, workload.uid))

    def _judge(self, touched: _Touched) -> None:
        """Decide on the workloads that are touched, and on all that were refused."""
        self._settle_claims(touched)
        concerned = sorted(self._concerned(touched), key=self._turn)
        for node, uid in concerned:
            workload = self._registered[node][uid]
            order = self._order(node, workload)
            orders = self._orders.setdefault(node, {})
            if orders.get(uid) != order:
                self._reordered.add(node)
            orders[uid] = order
            match order:
                case Refused():
                    self._waiting.add((node, uid))
                    if self._is_accepted(node, uid):
                        self._expel(workload, touched)
                case Accepted(_, _, enrolled):
                    self._waiting.discard((node, uid))
                    self._node_of[workload.uid] = node
                    member = of_registered(
                        workload, node, self._template(workload), self._pod(workload), is_enrolled=enrolled
                    )
                    self._hide(_pod_of(workload), touched)
                    self._members.setdefault(workload.namespace, {})[workload.uid] = member
                    self.waypoints.ask(_claimant(workload), asked_by(member.labels, member.namespace))
                    touched.members.add((workload.namespace, workload.uid))
        self._settle_claims(touched)

    def _concerned(self, touched: _Touched) -> set[tuple[str, str]]:
        """By node and uid: the accepted workloads that are touched, and all that are not accepted."""
        uids = {uid for _, uid in touched.members}
        uids.update(*(self._members.get(namespace, ()) for namespace in touched.namespaces))
        return self._waiting | {(self._node_of[uid], uid) for uid in uids if uid in self._node_of}

    def _turn(self, concerned: tuple[str, str]) -> tuple[bool, int]:
        """Those that stand come first, so that nobody takes an address or a name from them; then the oldest."""
        return not self._is_accepted(*concerned), self._came[concerned]

    def _is_accepted(self, node: str, uid: str) -> bool:
        return self._node_of.get(uid) == node

    def _order(self, node: str, workload: LocalWorkload) -> Order:
        why = self._why_refused(node, workload)
        if why is not None:
            return Refused(workload.uid, f"workload {workload.namespace}/{workload.name}: {why}")
        identity = SpiffeId(self.settings.trust_domain, workload.namespace, workload.service_account)
        return Accepted(workload.uid, identity, node != NO_NODE and self._is_enrolled(workload))

    def _why_refused(self, node: str, workload: LocalWorkload) -> str | None:
        namespace, account = workload.namespace, workload.service_account
        uid = registered_uid(self.settings.cluster, namespace, workload.name)
        if not is_dns_name(workload.name):
            return "its name is not a DNS name; use a-z, 0-9, - and ."
        if workload.uid != uid:
            return f"its uid is {workload.uid!r}; it must be {uid!r}"
        if namespace not in self._namespaces:
            return f"namespace {namespace!r} is not configured; add a v1 Namespace of that name"
        allowed = self._accounts.get((namespace, account))
        if allowed is None:
            return (
                f"service account {account!r} is not configured; add a v1 ServiceAccount of that name "
                f"to namespace {namespace}"
            )
        if allowed.nodes is not None and node not in allowed.nodes:
            where = f"on node {node}; add the node to" if node else "where no node of the mesh is; remove"
            return (
                f"service account {namespace}/{account} may not run {where} its annotation ambient.dev/nodes"
            )
        other = self._node_of.get(workload.uid, node)
        if other != node and other == NO_NODE:
            return (
                "a workload of that name was registered with the API; take another name, or withdraw that one"
            )
        if other != node:
            return (
                f"node {other} has a workload of that name; take another name, or if that node is gone for good "
                f"run `ambient node forget {other}`"
            )
        if not workload.addresses:
            return "it has no address; give its network namespace an interface that is up and has one"
        addresses = tuple(NetworkAddress("", ip) for ip in workload.addresses)
        return self._claims.claim(_claimant(workload), addresses)

    def _is_enrolled(self, workload: LocalWorkload) -> bool:
        own = dataplane_mode(labels_of(workload, self._template(workload)))
        return (own or self._namespaces[workload.namespace].dataplane_mode) == "ambient"

    def _template(self, workload: LocalWorkload) -> Deployment | None:
        name = workload.labels.get(DEPLOYMENT_LABEL)
        found = None if name is None else self._wanted.get(Key("Deployment", workload.namespace, name))
        return found if isinstance(found, Deployment) else None

    def _pod(self, workload: LocalWorkload) -> Pod | None:
        """What a cluster says of it."""
        found = self._wanted.get(_pod_of(workload))
        return found if isinstance(found, Pod) else None

    def _uid(self, key: Key) -> str:
        cluster = self.settings.cluster
        if key.kind == REGISTERED:
            return registered_uid(cluster, key.namespace, key.name)
        return uid_of(cluster, key)

    # What comes of it

    def _widen(self, touched: _Touched) -> None:
        """Slices and those whom they name are rendered together."""
        for namespace in touched.namespaces:
            for one in self._slices.of(namespace):
                touched.members |= self._named_elsewhere(one)
        for namespace, uid in touched.members:
            now = self._members.get(namespace, {}).get(uid)
            was = self._rendered.get(namespace, {}).get((Workload, uid))
            addresses = (
                *(now.addresses if now else ()),
                *(was.addresses if isinstance(was, Workload) else ()),
            )
            name = uid.rpartition("/")[2]
            touched.namespaces |= {
                told.slice.namespace for told in self._slices.naming(namespace, name, addresses)
            }

    def _named_elsewhere(self, one: EndpointSlice) -> set[tuple[str, str]]:
        """Members of other namespaces that a slice names."""
        holders = [
            self._claims.holder(NetworkAddress("", ip))
            for endpoint in one.endpoints
            for ip in endpoint.addresses
        ]
        return {
            (holder.namespace, self._uid(holder))
            for holder in holders
            if holder is not None and holder.kind not in _OF_SERVICES and holder.namespace != one.namespace
        }

    def _stand_in(self, namespace: str) -> None:
        """A waypoint has a service; if nobody tells of one, its own."""
        for gateway in self.waypoints.of(namespace):
            service, name = own_service(gateway), str(gateway.key)
            if self._claims.holder(service.service.key) is None:
                self._services[namespace].hold(name, service, service.selector)
            else:
                self._services[namespace].drop(name)

    def _render(self, touched: _Touched) -> Delta:
        self._problems = None
        self._widen(touched)
        for namespace in touched.namespaces:
            self._stand_in(namespace)
        told = self._book.change(
            touched.said,
            {namespace: tuple(self._services[namespace].values()) for namespace in touched.namespaces},
        )
        if told.labels:
            touched.members |= {
                (namespace, uid)
                for namespace, members in self._members.items()
                for uid, member in members.items()
                if not told.labels.isdisjoint(member.labels)
            }
        enforced = self._rulebook.change(
            touched.policies,
            {namespace: tuple(self._subjects(namespace)) for namespace in touched.namespaces},
        )
        upserted: list[Resource] = [*told.upserted, *enforced.upserted]
        removed: list[_Name] = []
        for namespace in sorted(touched.namespaces):
            before = self._rendered.get(namespace, {})
            for kind, name in before:
                if kind is Workload:
                    self._warnings.pop((namespace, name), None)
            after = {_name(resource): resource for resource in self._resources(namespace)}
            upserted += [resource for name, resource in after.items() if before.get(name) != resource]
            removed += [name for name in before if name not in after]
            self._rendered[namespace] = after
            if not after:
                del self._rendered[namespace]
        peers: dict[str, Peers] = {}
        for namespace, uid in sorted(touched.members):
            if namespace in touched.namespaces:
                continue
            rendered = self._rendered.setdefault(namespace, {})
            member = self._members.get(namespace, {}).get(uid)
            self._warnings.pop((namespace, uid), None)
            if member is not None:
                if namespace not in peers:
                    peers[namespace] = self._peers.seen_from(namespace)
                workload = self._workload(member, peers[namespace])
                if rendered.get((Workload, uid)) != workload:
                    upserted.append(workload)
                    rendered[Workload, uid] = workload
            elif rendered.pop((Workload, uid), None) is not None:
                removed.append((Workload, uid))
        change = Delta(
            tuple(upserted),
            tuple(name for kind, name in removed if kind in {Workload, Service}),
            tuple(name for kind, name in removed if kind is Authorization),
            told.removed,
            enforced.removed,
            settings_removed=any(kind is MeshSettings for kind, _ in removed),
        )
        if change != Delta():
            before_it, self.snapshot = self.snapshot, delta.apply(self.snapshot, change)
            self._book.stir(_stirred(before_it, change))
        return change

    def _resources(self, namespace: str) -> Iterator[Resource]:
        """Everything that belongs to a namespace."""
        if namespace == self.settings.root_namespaces[0]:
            if self._peers.has_strict:
                yield static_strict(namespace)
            if self._mesh_config is not None:
                yield self._mesh_config.settings
        for policy in self._policies[namespace].values():
            if policy.authorization is not None:
                yield policy.authorization
        peers = self._peers.seen_from(namespace)
        yield from peers.port_level.values()
        for service in self._services[namespace].values():
            yield self._behind(service)
        for member in self._members.get(namespace, {}).values():
            yield self._workload(member, peers)
        warnings = list(peers.warnings)
        for address, told in self._loose(namespace, warnings).items():
            member = of_endpoint(
                namespace, address, tuple(one.endpoint for one in told), self.settings.cluster
            )
            yield self._workload(member, peers, told)
        self._warnings[namespace, ""] = tuple(warnings)

    def _subjects(self, namespace: str) -> Iterator[Subject]:
        """The services of a namespace, as policies see them."""
        for one in self._services[namespace].values():
            service = self._behind(one)
            name = WaypointName(service.namespace, service.name)
            if self.waypoints.get(name) is not None:
                yield Subject(service, name, is_waypoint=True)
            else:
                yield Subject(service, None if service.waypoint is None else named(service.waypoint))

    def _behind(self, one: SelectingService) -> Service:
        """A service as its callers see it; a waypoint is behind none."""
        service = one.service
        if self.waypoints.get(WaypointName(service.namespace, service.name)) is not None:
            return service
        waypoint = self.waypoints.before(Asker.SERVICE, one.waypoint, self._inherited(service.namespace))
        if waypoint is None or waypoint.destination == service.key:
            return service
        return replace(service, waypoint=waypoint)

    def _inherited(self, namespace: str) -> WaypointName | None:
        configured = self._namespaces.get(namespace)
        return None if configured is None else configured.waypoint

    def _loose(self, namespace: str, warnings: list[str]) -> Mapping[IpAddress, list[Told]]:
        """What the slices of a namespace name that is no workload of the mesh, by address."""
        found: dict[IpAddress, list[Told]] = {}
        for one in self._slices.of(namespace):
            service = self._services[namespace].get(one.service)
            if service is None:
                warnings.append(
                    f"{one.key}: Service {one.service} is not configured; add it, or correct the label {SERVICE_NAME}"
                )
                continue
            warnings += unserved(service, one)
            for endpoint in one.endpoints:
                if endpoint.pod and self._has_pod(namespace, endpoint.pod):
                    continue
                for ip in endpoint.addresses:
                    holder = self._claims.holder(NetworkAddress("", ip))
                    why = unusable(ip)
                    if holder is not None and holder.kind == "Service":
                        why = f"is {holder}'s; list the endpoints of that service"
                    if why is not None:
                        warnings.append(f"{one.key}: address {ip} {why}")
                    elif holder is None or holder.kind in _OF_SERVICES:
                        # What an entry calls its own address is where it goes as well, if it lists that.
                        found.setdefault(ip, []).append(Told(one, endpoint))
        return found

    def _has_pod(self, namespace: str, name: str) -> bool:
        members = self._members.get(namespace, {})
        return any(self._uid(Key(kind, namespace, name)) in members for kind in ("Pod", REGISTERED))

    def _listed(self, member: Member) -> Iterator[Told]:
        """What slices say of a member; of services that select, they say nothing that counts."""
        addresses = () if member.network or member.host_network else member.addresses
        for told in self._slices.naming(member.namespace, member.pod, addresses):
            service = self._services[told.slice.namespace].get(told.slice.service)
            if service is not None and service.selector is None:
                yield told

    def _served(self, told: Iterable[Told]) -> Mapping[str, tuple[Port, ...]]:
        """Services and ports, as slices say; several slices of a service say more together."""
        found: dict[str, tuple[Port, ...]] = {}
        for one in told:
            service = self._services[one.slice.namespace].get(one.slice.service)
            if service is not None and (one.endpoint.is_ready or service.service.allow_unhealthy):
                had = found.get(service.service.key, ())
                found[service.service.key] = tuple(dict.fromkeys((*had, *ports_of(service, one.slice))))
        return found

    def _workload(self, member: Member, peers: Peers, told: Iterable[Told] | None = None) -> Workload:
        labels = member.labels
        warnings = list(member.warnings)
        services = {
            service.service.key: _resolved(service, member, warnings)
            for service in self._services[member.namespace].of(labels)
            if self._may_serve(service, member, warnings)
        }
        services |= self._served(self._listed(member) if told is None else told)
        if warnings:
            self._warnings[member.namespace, member.uid] = tuple(warnings)
        return Workload(
            uid=member.uid,
            name=member.name,
            namespace=member.namespace,
            service_account=member.service_account,
            trust_domain=self.settings.trust_domain,
            addresses=member.addresses,
            network=member.network,
            tunnel=TunnelProtocol.HBONE if member.speaks_hbone else TunnelProtocol.NONE,
            status=member.status,
            node=member.node,
            cluster=self.settings.cluster,
            canonical_name=_first(labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
            or member.owner
            or member.name,
            canonical_revision=_first(
                labels, "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"
            )
            or "latest",
            workload_name=member.owner or member.name,
            services=Map(services),
            policies=tuple(sorted(self._selected(member, peers))),
            waypoint=self._waypoint_of(member),
            locality=member.locality,
            capacity=member.capacity,
            host_network=member.host_network,
            labels=Map({key: value for key, value in labels.items() if key in self._book.labels}),
        )

    def _may_serve(self, one: SelectingService, member: Member, warnings: list[str]) -> bool:
        """Whoever carries a label serves a service; a waypoint, whose word counts at other ends, by its account too."""
        name = WaypointName(one.service.namespace, one.service.name)
        gateway = self.waypoints.get(name)
        if gateway is None or member.service_account == gateway.service_account:
            return True
        warnings.append(
            f"workload {member.namespace}/{member.name}: it is labelled as a replica of waypoint {gateway.name} and is none, "
            f"as it runs as service account {member.service_account}; run it as {gateway.service_account}, or name that one "
            "in the Gateway's annotation ambient.dev/service-account"
        )
        return False

    def _waypoint_of(self, member: Member) -> GatewayAddress | None:
        if member.host_network or self.waypoints.is_replica(member.namespace, member.labels):
            return None
        own = asked_by(member.labels, member.namespace)
        return self.waypoints.before(Asker.WORKLOAD, own, self._inherited(member.namespace))

    def _selected(self, member: Member, peers: Peers) -> Iterator[str]:
        for namespace in dict.fromkeys((*self.settings.root_namespaces, member.namespace)):
            for policy in self._policies[namespace].of(member.labels):
                yield f"{policy.namespace}/{policy.name}"
        if not member.is_enrolled:
            return
        refusing = peers.refusing(member.labels)
        if refusing is not None:
            yield refusing


def _resolved(service: SelectingService, member: Member, warnings: list[str]) -> tuple[Port, ...]:
    """A service's ports as the workload's own; a name that it does not have is no port of it."""
    ports: list[Port] = []
    for port in service.ports:
        match port.target:
            case int() as number if service.kind == "ServiceEntry":
                # Source: a WorkloadEntry's ports are named as those of the ServiceEntry.
                ports.append(Port(port.service_port, member.ports.get(port.name, number)))
            case int() as number:
                ports.append(Port(port.service_port, number))
            case str() as name if name in member.ports:
                ports.append(Port(port.service_port, member.ports[name]))
            case str() as name:
                warnings.append(
                    f"{service.key}: port {port.service_port} has no endpoint in workload "
                    f"{member.namespace}/{member.name}, which has no port named {name!r}; "
                    f"label it {PORT_LABEL}{name}=NUMBER, or name it in the WorkloadEntry's ports"
                )
    return tuple(ports)


def _selector(policy: AuthorizationPolicy) -> Selector | None:
    authorization = policy.authorization
    return policy.selector if authorization and authorization.scope is Scope.WORKLOAD_SELECTOR else None


def _slices_of(was: Object | None) -> Iterator[EndpointSlice]:
    match was:
        case EndpointSlice():
            yield was
        case ServiceEntry():
            for _, _, slices in parts(was):
                yield from slices
        case _:
            return


def _claimant(workload: LocalWorkload) -> Key:
    return Key(REGISTERED, workload.namespace, workload.name)


def _pod_of(workload: LocalWorkload) -> Key:
    return Key("Pod", workload.namespace, workload.name)


def _identity(workload: LocalWorkload) -> tuple[object, ...]:
    """What makes it another workload when it changes."""
    return (workload.name, workload.namespace, workload.service_account, workload.addresses)


def _name(resource: Resource) -> _Name:
    match resource:
        case Workload():
            return Workload, resource.uid
        case Service():
            return Service, resource.key
        case Authorization():
            return Authorization, resource.key
        case ServiceRoutes() | ServicePolicies():
            return type(resource), resource.service
        case MeshSettings():
            return MeshSettings, ""


def _stirred(before: Snapshot, change: Delta) -> Iterator[str]:
    """Services whose endpoints a change is about."""
    for uid in change.removed_addresses:
        if (gone := before.workloads.get(uid)) is not None:
            yield from gone.services
    for resource in change.upserted:
        if isinstance(resource, Workload):
            yield from resource.services
            if (was := before.workloads.get(resource.uid)) is not None:
                yield from was.services


def _first(labels: Mapping[str, str], *keys: str) -> str:
    return next((value for key in keys if (value := labels.get(key))), "")
