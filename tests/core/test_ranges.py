from ipaddress import ip_address, ip_network

from hypothesis import given, strategies as st

from ambient.core.model.address import NetworkRange
from ambient.core.ranges import Ranges

_v4 = st.integers(0, 32).flatmap(
    lambda length: st.integers(0, 2**32 - 1).map(
        lambda bits: ip_network((bits >> (32 - length) << (32 - length), length))
    )
)
_near_v4 = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25", "0.0.0.0/0", "11.0.0.0/8"]).map(
    ip_network
)  # fmt: skip
_v6 = st.sampled_from(["fd00::/16", "fd00:1::/32", "::/0", "fd00:1:2::/48", "fd00:1:2::4/126"]).map(
    ip_network
)
_held = st.builds(NetworkRange, st.sampled_from(["", "other"]), st.one_of(_v4, _near_v4, _v6))
_changes = st.lists(st.tuples(st.booleans(), _held, st.sampled_from("abc")), max_size=20)
_asked = st.one_of(
    st.ip_addresses(v=4),
    st.sampled_from(["10.1.2.200", "10.1.2.3", "10.9.9.9", "11.1.1.1", "fd00:1:2::5", "fd00::1", "::1"]).map(
        ip_address
    ),
)


@given(_changes, _asked, st.sampled_from(["", "other"]))
def test_the_longest_range_that_holds_an_address_is_found(changes, ip, network):
    ranges, plain = Ranges(), {}
    for is_added, held, name in changes:
        ranges = ranges.add(held, name) if is_added else ranges.discard(held, name)
        names = plain.setdefault(held, set())
        (names.add if is_added else names.discard)(name)
    fitting = [
        held for held, names in plain.items() if names and held.network == network and ip in held.range
    ]
    best = max(fitting, key=lambda held: held.range.prefixlen, default=None)
    assert ranges.find(ip, network) == (frozenset() if best is None else plain[best])


@given(_changes)
def test_what_is_added_and_discarded_leaves_nothing(changes):
    ranges = Ranges()
    for _, held, name in changes:
        ranges = ranges.add(held, name)
    for _, held, name in reversed(changes):
        ranges = ranges.discard(held, name)
    assert ranges == Ranges()


@given(_changes, _held)
def test_the_order_of_changes_does_not_matter(changes, extra):
    one = two = Ranges()
    for _, held, name in changes:
        one = one.add(held, name)
    for _, held, name in reversed(changes):
        two = two.add(held, name)
    assert one == two
    one.add(extra, "x")
    assert one == two
