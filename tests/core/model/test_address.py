from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from ambient.core.model.address import SocketAddress, unmapped

PARSED = {
    "v4": ("10.0.0.1:80", "10.0.0.1", 80),
    "v6": ("[fd00::1]:80", "fd00::1", 80),
    "v4-mapped": ("[::ffff:10.0.0.1]:80", "10.0.0.1", 80),
    "port-0": ("10.0.0.1:0", "10.0.0.1", 0),
    "last-port": ("10.0.0.1:65535", "10.0.0.1", 65535),
}


@pytest.mark.parametrize(("text", "ip", "port"), list(PARSED.values()), ids=PARSED)
def test_an_address_is_read(text, ip, port):
    assert SocketAddress.parse(text) == SocketAddress(ip_address(ip), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:+1",
        "10.0.0.1: 1",
        "10.0.0:1",
        "fd00::1:80",
        "[fd00::1]",
        "[10.0.0.1]:80",
        "[[fd00::1]]:80",
        "10.0.0.1:\u0661",
        "10.0.0.1:1\n",
        "010.0.0.1:1",
    ],
)
def test_anything_else_is_not_an_address(text):
    with pytest.raises(ValueError):
        SocketAddress.parse(text)


@given(
    st.builds(lambda ip, port: SocketAddress(unmapped(ip), port), st.ip_addresses(), st.integers(0, 65535))
)
def test_an_address_survives_its_text(address):
    assert SocketAddress.parse(str(address)) == address


def test_what_the_kernel_says_is_read():
    assert str(SocketAddress.of(("::ffff:10.0.0.1", 80, 0, 0))) == "10.0.0.1:80"
    assert str(SocketAddress.of(("fe80::1%eth0", 80, 0, 2))) == "[fe80::1]:80"
