"""What only one object can have."""

from ipaddress import ip_address

import pytest

from ambient.control.claims import REGISTERED, Claims
from ambient.control.objects import Key
from ambient.core.model.address import NetworkAddress

API, WEB = Key("Service", "shop", "api"), Key("Service", "shop", "web")
POD, TOLD = Key("Pod", "shop", "a"), Key(REGISTERED, "shop", "a")


def at(ip: str, network: str = "") -> NetworkAddress:
    return NetworkAddress(network, ip_address(ip))


ONE, TWO = at("10.0.0.1"), at("10.0.0.2")


@pytest.mark.parametrize(
    ("held", "key", "claims", "why"),
    [
        pytest.param({}, API, (ONE, "shop/api"), None, id="free"),
        pytest.param({API: (ONE,)}, API, (ONE, TWO), None, id="its-own"),
        pytest.param({API: (ONE,)}, WEB, (at("10.0.0.1", "other"),), None, id="in-another-network"),
        pytest.param({API: (ONE,)}, WEB, (TWO, ONE), "address 10.0.0.1 is Service shop/api's already; give it another, or remove that one", id="anothers"),
        pytest.param({API: ("shop/x.org",)}, WEB, ("shop/x.org",), "host x.org is Service shop/api's already; name another, or remove that one", id="anothers-name"),
        pytest.param({POD: (ONE,)}, TOLD, (ONE,), None, id="one-pod-told-of-twice"),
        pytest.param({}, API, (at("127.0.0.1"),), "address 127.0.0.1 is loopback and cannot be reached from other nodes; give it another", id="nobodys"),
    ],
)  # fmt: skip
def test_a_claim(held, key, claims, why):
    made = Claims()
    for holder, some in held.items():
        assert made.claim(holder, some) is None
    assert made.claim(key, claims) == why
    for claim in claims:
        assert (made.holder(claim) == key) is (why is None)


def test_what_is_refused_keeps_what_it_had():
    claims = Claims()
    claims.claim(API, (ONE,))
    claims.claim(WEB, (TWO,))
    assert claims.claim(WEB, (ONE,)) is not None
    assert (claims.holder(TWO), claims.has_any(WEB)) == (WEB, True)
    assert claims.release(WEB) == (TWO,)
    assert (claims.holder(TWO), claims.has_any(WEB)) == (None, False)


def test_a_pod_that_was_told_of_twice_is_released_once():
    claims = Claims()
    claims.claim(POD, (ONE,))
    claims.claim(TOLD, (ONE,))
    claims.release(POD)
    assert claims.holder(ONE) == TOLD
