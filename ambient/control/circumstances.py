"""What an explanation has to know besides the snapshot, looked up in the parts of a control plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ambient.control.objects import AuthorizationPolicy, Key, Namespace, Object
from ambient.control.translate.kubernetes import MODE_LABELS, dataplane_mode
from ambient.core.authorize_request import concerns
from ambient.core.explain.answer import Certificate, Enrolment, NodeStanding
from ambient.core.model.route import Origin
from ambient.core.model.workload import TunnelProtocol

if TYPE_CHECKING:
    from ambient.control.index import Index
    from ambient.control.ledger import Issued
    from ambient.core.model.request_authorization import RequestAuthorization
    from ambient.core.model.service import Service
    from ambient.rpc.authority import Certificate as Signed
    from ambient.rpc.mesh import Node


class Circumstances:
    """Reads what is there at the time of asking.

    ``objects`` is the configuration that stands, ``problems`` what is wrong with the newest version of one of it,
    ``nodes`` every node, ``issued`` every certificate that has not ended.
    """

    def __init__(
        self,
        index: Index,
        objects: Callable[[], Mapping[Key, Object]],
        problems: Callable[[Key], tuple[str, ...]],
        nodes: Callable[[], Iterable[Node]],
        issued: Callable[[], Iterable[Issued | Signed]],
    ) -> None:
        self._index, self._objects, self._problems = index, objects, problems
        self._nodes, self._issued = nodes, issued

    def enrolment(self, uid: str) -> Enrolment | None:
        """By the workload's own label, or its namespace's."""
        reported = self._index.reported(uid)
        if reported is None:
            return None
        own = dataplane_mode(reported.labels)
        if own:
            origin = Origin("workload", reported.namespace, reported.name, _label(reported.labels))
            return Enrolment(own == "ambient", origin, reported.exclusions)
        namespace = self._objects().get(Key("Namespace", "", reported.namespace))
        mode = namespace.dataplane_mode if isinstance(namespace, Namespace) else ""
        origin = Origin("Namespace", "", reported.namespace, f'metadata.labels["{MODE_LABELS[0]}"]')
        return Enrolment(mode == "ambient", origin, reported.exclusions)

    def refused(self, namespace: str, name: str) -> str | None:
        """The order that its node was given."""
        return self._index.refusal(namespace, name)

    def strict(self, uid: str) -> Origin | None:
        """By mesh, namespace and workload."""
        workload = self._index.snapshot.workloads.get(uid)
        if workload is None:
            return None
        policy = self._index.plaintext_refused_by(workload)
        if policy is None:
            return None
        return Origin("PeerAuthentication", policy.namespace, policy.name, "spec.mtls.mode")

    def node(self, name: str) -> NodeStanding | None:
        """By the streams that it has open."""
        node = next((one for one in self._nodes() if one.name == name), None)
        if node is None:
            return None
        return NodeStanding(
            node.connected,
            tuple(kind.type for kind in node.types if not kind.in_sync),
            tuple(f"{name}: {why}" for kind in node.types for name, why in kind.refused.items()),
        )

    def certificate(self, uid: str) -> Certificate | None:
        """By what the authority has issued to its node; only those that have not ended are remembered."""
        workload = self._index.snapshot.workloads.get(uid)
        if workload is None or workload.tunnel is TunnelProtocol.NONE or self._index.reported(uid) is None:
            return None
        identity = str(workload.identity)
        ends = [
            one.not_after for one in self._issued() if (one.node, one.identity) == (workload.node, identity)
        ]
        return Certificate(max(ends, default=None))

    def request_policies(self, service: Service) -> tuple[RequestAuthorization, ...]:
        """Those whose targets are the service or its waypoint."""
        root = self._index.settings.root_namespaces
        found = [
            policy.requests
            for policy in self._objects().values()
            if isinstance(policy, AuthorizationPolicy) and policy.requests is not None
        ]
        return tuple(one for one in found if concerns(one, service, root))

    def standing_problems(self, kind: str, namespace: str, name: str) -> tuple[str, ...]:
        """As the catalogue has them."""
        return self._problems(Key(kind, namespace, name))


def _label(labels: Mapping[str, str]) -> str:
    return next(f'labels["{label}"]' for label in MODE_LABELS if label in labels)
