"""Connections whose requests nobody sees: what guards requests is not passed by as bytes of another kind."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_network

import pytest
from core.routes import of
from core.test_authorize_request import CONNECTION, match, policy, prefix
from core.worlds import PRESENT, exactly
from hypothesis import given, strategies as st

from ambient.core.authorize import Allowed, Denied
from ambient.core.authorize_request import RequestFacts, authorize_connection, authorize_request
from ambient.core.http.paths import Path
from ambient.core.model.authorization import Action, Match
from ambient.core.model.request_authorization import HeaderTest, RequestAuthorization, RequestMatch

ALLOWED = Allowed(None)
FROM_SHOP = Match(namespaces=exactly("shop"))
FROM_ELSEWHERE = Match(namespaces=exactly("elsewhere"))
NONE_DID = Denied(None, "allow policies exist, but none allowed")


def denied(name: str) -> Denied:
    return Denied(f"shop/{name}", f"explicitly denied by: shop/{name}")


CASES = {
    "no-policy": ([], ALLOWED),
    "deny-of-a-path": ([policy("p", Action.DENY, match(paths=prefix("/admin")))], denied("p")),
    "deny-of-all-but-a-path": ([policy("p", Action.DENY, match(not_paths=prefix("/open")))], denied("p")),
    "deny-of-a-header": (
        [policy("p", Action.DENY, match(headers=(HeaderTest("x-a", PRESENT),)))],
        denied("p"),
    ),
    "deny-of-who-has-no-token": (
        [policy("p", Action.DENY, match(not_request_principals=PRESENT))],
        denied("p"),
    ),
    "deny-of-a-path-from-us": (
        [policy("p", Action.DENY, match(connection=FROM_SHOP, paths=prefix("/")))],
        denied("p"),
    ),
    "deny-of-a-path-from-others": (
        [policy("p", Action.DENY, match(connection=FROM_ELSEWHERE, paths=prefix("/")))],
        ALLOWED,
    ),
    "deny-of-others": ([policy("p", Action.DENY, match(connection=FROM_ELSEWHERE))], ALLOWED),
    "deny-of-us": ([policy("p", Action.DENY, match(connection=FROM_SHOP))], denied("p")),
    "deny-of-nothing": ([policy("p", Action.DENY, match())], ALLOWED),
    "deny-by-two-clauses": (
        [
            policy(
                "p",
                Action.DENY,
                ((RequestMatch(connection=FROM_ELSEWHERE),), (RequestMatch(paths=prefix("/")),)),
            )
        ],
        ALLOWED,
    ),
    "deny-as-a-dry-run": (
        [policy("p", Action.DENY, match(paths=prefix("/")), dry_run=True)],
        Allowed(None, would_deny="shop/p"),
    ),
    "allow-of-a-path": ([policy("p", Action.ALLOW, match(paths=prefix("/")))], NONE_DID),
    "allow-of-all-but-a-path": ([policy("p", Action.ALLOW, match(not_paths=prefix("/admin")))], NONE_DID),
    "allow-of-all-but-a-method": ([policy("p", Action.ALLOW, match(not_methods=exactly("PUT")))], NONE_DID),
    "allow-of-us": ([policy("p", Action.ALLOW, match(connection=FROM_SHOP))], Allowed("shop/p")),
    "allow-of-a-path-from-us": (
        [policy("p", Action.ALLOW, match(connection=FROM_SHOP, paths=prefix("/")))],
        NONE_DID,
    ),
    "allow-of-an-address": (
        [policy("p", Action.ALLOW, match(remote_ips=(ip_network("10.0.0.0/8"),)))],
        Allowed("shop/p"),
    ),
    "allow-of-a-server-name": (
        [policy("p", Action.ALLOW, match(server_names=exactly("a.shop")))],
        Allowed("shop/p"),
    ),
    "allow-of-another-server-name": (
        [policy("p", Action.ALLOW, match(server_names=exactly("b.shop")))],
        NONE_DID,
    ),
}


@pytest.mark.parametrize(("policies", "wanted"), CASES.values(), ids=CASES)
def test_what_is_known_of_a_connection_decides(
    policies: list[RequestAuthorization], wanted: Allowed | Denied
) -> None:
    assert authorize_connection(policies, CONNECTION, "a.shop") == wanted


METHODS, PATHS = st.sampled_from(["a", "b", "shop", "GET"]), st.sampled_from(["/", "/a", "/shop"])


@given(st.lists(of(RequestAuthorization), max_size=3), METHODS, PATHS, st.sampled_from(["", "a", "shop"]))
def test_no_request_gets_further_as_bytes_that_nobody_reads(
    policies: list[RequestAuthorization], method: str, path: str, authority: str
) -> None:
    request = RequestFacts(CONNECTION, method, Path(path), authority)
    if isinstance(authorize_request(policies, request), Denied):
        assert isinstance(authorize_connection(policies, CONNECTION), Denied)


@given(st.lists(of(RequestAuthorization), max_size=3))
def test_where_no_policy_speaks_of_requests_both_say_the_same(policies: list[RequestAuthorization]) -> None:
    of_connections = ("connection", "remote_ips", "not_remote_ips", "server_names", "not_server_names")
    nothing = {field.name: () for field in fields(RequestMatch) if field.name not in of_connections}
    bare = [
        replace(
            one,
            rules=tuple(
                tuple(tuple(replace(each, **nothing) for each in clause) for clause in rule)
                for rule in one.rules
            ),
        )
        for one in policies
    ]
    request = RequestFacts(CONNECTION, "GET", Path("/"))
    assert authorize_connection(bare, CONNECTION) == authorize_request(bare, request)
