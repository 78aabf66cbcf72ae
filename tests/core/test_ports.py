import pytest
from core.worlds import service, workload

from ambient.core.ports import target_port

WEB = "shop/web.shop.svc.cluster.local"
TABLE = {
    "resolved-by-the-workload": (((80, 8080),), {WEB: ((80, 9090),)}, 9090),
    "numeric-in-the-service": (((80, 8080),), {WEB: ()}, 8080),
    "workload-says-the-same": (((80, 8080),), {WEB: ((80, 0),)}, 80),
    "same-port": (((80, 0),), {}, 80),
    "name-that-the-workload-lacks": (((80, 0), (81, 0)), {WEB: ((81, 8081),)}, None),
    "name-that-an-endpoint-without-any-lacks": (((80, 0),), {WEB: ()}, None),
    "service-has-no-such-port": (((443, 8443),), {}, None),
}


@pytest.mark.parametrize(("ports", "services", "port"), list(TABLE.values()), ids=TABLE)
def test_target_port(ports, services, port):
    assert target_port(service("web", ports=ports), workload("w", services=services), 80) == port
