"""What requests go together by."""

from ipaddress import ip_address

import pytest

from ambient.core.model.traffic import HashCookie, HashHeader, HashQuery, HashSource
from ambient.core.resilience.balance.keys import text_of
from ambient.core.routing import Connection, Request

ASKED = Request(
    Connection(80),
    "GET",
    "/a?user=%41&user=b&empty=",
    "shop",
    headers={"x-user": "ann", "cookie": 'a=1; session="s 1"; session=2, b=3'},
)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param(HashHeader("X-User"), "ann", id="header"),
        pytest.param(HashHeader("host"), "shop", id="host"),
        pytest.param(HashHeader("x-none"), None, id="no-header"),
        pytest.param(HashQuery("user"), "A", id="query"),
        pytest.param(HashQuery("empty"), "", id="empty-query"),
        pytest.param(HashQuery("none"), None, id="no-query"),
        pytest.param(HashCookie("session"), "s 1", id="cookie"),
        pytest.param(HashCookie("b"), "3", id="joined-cookies"),
        pytest.param(HashCookie("c"), None, id="no-cookie"),
        pytest.param(HashSource(), "fd00::1", id="source"),
    ],
)
def test_the_text_of_a_request(key, text):
    assert text_of(key, ASKED, ip_address("fd00::1")) == text
