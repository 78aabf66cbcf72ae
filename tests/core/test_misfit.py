from ipaddress import ip_network

import pytest
from core.worlds import PRESENT, at, authorizations, exactly, identities, policy, socket_addresses
from hypothesis import given

from ambient.core.authorize import Connection
from ambient.core.matching import Compiled, Facts
from ambient.core.misfit import misfits
from ambient.core.model.authorization import Action, Match, ServiceAccountMatch
from ambient.core.model.identity import SpiffeId

CART = SpiffeId("cluster.local", "shop", "cart")


@pytest.mark.parametrize(
    ("rules", "identity", "expected"),
    [
        pytest.param((), CART, ("it has no rules, so it fits nobody",), id="no-rules"),
        pytest.param((Match(principals=exactly("a", "b")),), CART, ("rules[0] asks for principal a or b (it is cluster.local/ns/shop/sa/cart)",), id="principal"),
        pytest.param((Match(principals=PRESENT),), None, ("rules[0] asks for principal any (it is unknown, as nobody vouches for plain TCP)",), id="plaintext"),
        pytest.param((Match(not_namespaces=exactly("shop")),), CART, ("rules[0] asks for another namespace than shop (it is shop)",), id="not-namespace"),
        pytest.param((Match(namespaces=exactly("shop"), destination_ports=(81, 82)),), CART, ("rules[0] asks for port 81 or 82 (it is 80)",), id="what-holds-is-not-told"),
        pytest.param((Match(source_ips=(ip_network("10.1.0.0/16"),)),), CART, ("rules[0] asks for source address 10.1.0.0/16 (it is 10.0.0.1)",), id="source-address"),
        pytest.param((((Match(namespaces=exactly("x"), destination_ports=(81,)), Match(destination_ports=(82,))),),), CART, ("rules[0] asks for port 82 (it is 80)",), id="nearest-match"),
        pytest.param((((Match(namespaces=exactly("x")),), (Match(service_accounts=(ServiceAccountMatch("shop", "web"),)),)),), CART, ("rules[0] asks for namespace x (it is shop) and service account shop/web (it is shop/cart)",), id="two-clauses"),
        pytest.param((Match(destination_ports=(80,)), Match(destination_ports=(81,))), CART, ("rules[1] asks for port 81 (it is 80)",), id="rules-that-fit-are-not-told"),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_told_beside_what_is_there(rules, identity, expected):
    connection = Connection(identity, at("10.0.0.1:4000"), at("10.0.0.2:80"))
    assert misfits(policy("p", Action.ALLOW, *rules), connection) == expected


@given(authorizations, identities, socket_addresses, socket_addresses)
def test_a_policy_that_fits_nothing_says_so_of_every_rule(authorization, identity, source, destination):
    said = misfits(authorization, Connection(identity, source, destination))
    if not Compiled(authorization).fits(Facts(identity, source, destination)):
        assert len(said) == max(1, len(authorization.rules))
