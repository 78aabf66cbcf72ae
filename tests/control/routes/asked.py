"""The fixture of the Gateway API's mesh cases, and objects of any dialect beside it, ready to be asked."""

from ambient.control.documents import Document, documents
from ambient.control.index import Index, Settings
from ambient.control.translate.kinds import key_of, translate
from ambient.core.model.route import Forward
from ambient.core.routing import Caller, Connection, NotFound, Request, choose, policy_of

NAMESPACE, CONSUMER = "gateway-conformance-mesh", "gateway-conformance-mesh-consumer"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: gateway-conformance-mesh}
spec:
  clusterIP: %s
  ports: [{port: 80, name: http}, {port: 8080, name: http-alt}, {port: 443}, {port: 9090}, {port: 7070, appProtocol: grpc}]
---
"""
FIXTURE = "".join(
    SERVICE % (name, f"10.0.0.{i + 1}") for i, name in enumerate(("echo", "echo-v1", "echo-v2"))
)


class Mesh:
    """The fixture's services with some routes."""

    def __init__(self, *routes: str) -> None:
        index = Index(Settings())
        objects = {}
        for document in documents((FIXTURE + "".join(routes)).encode()):
            assert isinstance(document, Document), document
            translated = translate(document.content, index.settings.root_namespaces)
            objects[key_of(document.content)] = translated.object
        index.configure(objects)
        self.problems = index.warnings
        self._routes = index.snapshot.routes

    def policy(self, of="echo", port=80):
        """The traffic policy of a port."""
        routes = self._routes[f"{NAMESPACE}/{of}.{NAMESPACE}.svc.cluster.local"]
        return policy_of(routes.traffic, "", port)

    def opaque_ports(self, of="echo"):
        """Ports that nobody looks into."""
        return self._routes[f"{NAMESPACE}/{of}.{NAMESPACE}.svc.cluster.local"].traffic.opaque_ports

    def ask(self, path="/", **more):
        """What a rule does with a request; None: none is for it, and it goes where it was sent."""
        chosen = self.choose(path, **more)
        return chosen if isinstance(chosen, NotFound) or chosen is None or chosen.rule is not None else None

    def choose(
        self, path="/", *, of="echo", caller=NAMESPACE, port=80, method="GET", authority=None, **headers
    ):
        """What is done with a request; None: nothing is said of its service."""
        routes = self._routes.get(f"{NAMESPACE}/{of}.{NAMESPACE}.svc.cluster.local")
        if routes is None:
            return None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = Connection(port, Caller(caller))
        return choose(routes, Request(connection, method, path, authority or of, headers=named))

    def backends(self, path="/", **more):
        """Names and weights of where it may go."""
        chosen = self.ask(path, **more)
        if chosen is None:
            return "where it was sent"
        if isinstance(chosen, NotFound):
            return "404"
        assert isinstance(chosen.action, Forward)
        assert not any(backend.trouble for backend in chosen.action.backends)
        return [
            (backend.service.partition("/")[2].partition(".")[0], backend.weight)
            for backend in chosen.action.backends
        ]
