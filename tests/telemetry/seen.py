"""Requests as a waypoint saw them."""

from core.worlds import at, service, workload

from ambient.core.forwarding.plan import Notes
from ambient.core.forwarding.reason import Reason
from ambient.core.model.route import Origin
from ambient.core.request_observation import Attempt, RequestObservation, Version

CLIENT = workload("client", "10.0.0.1", cluster="local", workload_name="client", canonical_name="client")
ONE = workload("web-1", "10.0.1.1", cluster="local", workload_name="web", canonical_name="web")
TWO = workload("web-2", "10.0.1.2", cluster="local", workload_name="web", canonical_name="web")
WEB = service("web", "10.96.0.1")


def attempt(endpoint=ONE, began=10.0, ended=10.0123, **fields) -> Attempt:
    address = at(f"{endpoint.addresses[0]}:8080")
    return Attempt(address, endpoint, began, ended, **({"status": 200} | fields))


def seen(**fields) -> RequestObservation:
    plain = {
        "source": at("10.0.0.1:40000"),
        "target": at("10.96.0.1:80"),
        "identity": CLIENT.identity,
        "caller": CLIENT,
        "service": WEB,
        "version": Version.HTTP1,
        "method": "GET",
        "authority": "web",
        "path": "/cart?token=secret",
        "headers": (("user-agent", "curl/8.5.0"), ("accept", "*/*")),
        "notes": Notes(request_id="6f1c"),
        "status": 200,
        "grpc_status": None,
        "reason": None,
        "detail": "",
        "attempts": (attempt(),),
        "received": 0,
        "sent": 5,
        "began": 10.0,
        "answered": 10.0111,
        "ended": 10.0124,
    }
    return RequestObservation(**(plain | fields))


def refused(reason=Reason.DENIED, **fields) -> RequestObservation:
    plain = {"attempts": (), "status": reason.status, "reason": reason, "answered": None, "sent": 20}
    return seen(**(plain | {"detail": "RBAC: access denied"} | fields))


RETRIED = seen(
    attempts=(attempt(TWO, status=None, reason=Reason.RESET, ended=10.005), attempt(ONE, began=10.006)),
    notes=Notes(
        is_grpc=True,
        request_id="7a",
        policy="shop/allow",
        would_deny="shop/try",
        would_allow="shop/open",
        over=("shop/slow/0", "shop/slow/1"),
        origin=Origin("HTTPRoute", "shop", "web", "spec.rules[1]"),
        rule="cart",
        profile_route="GET /cart",
    ),
    version=Version.HTTP2,
    method="POST",
    grpc_status=14,
)
HOSTILE = refused(
    method="X" * 40,
    authority='evil\n2026 INFO "request complete"\x1b[2J',
    path="/" + "\x1b]0;p\x07" * 2 + "a" * 2000,
    headers=(("user-agent", "\u202e" + "z" * 300),),
    caller=None,
    service=None,
    notes=Notes(request_id="x y", policy="shop/no"),
)
