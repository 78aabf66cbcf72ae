from hypothesis import given, strategies as st

from ambient.rpc.holdings import Holdings
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, RawResource, Update

names = st.tuples(st.sampled_from([ADDRESS, AUTHORIZATION]), st.sampled_from("abc"))
updates = st.builds(
    Update,
    st.lists(
        st.builds(lambda name, body: RawResource(*name, body.hex(), body), names, st.binary(max_size=1)),
        unique_by=lambda raw: (raw.type_url, raw.name),
    ).map(tuple),
    st.lists(names).map(tuple),
)


@given(st.lists(updates))
def test_what_is_counted_from_change_to_change_is_what_is_there(changes):
    holdings, state = Holdings(), {}
    for update in changes:
        holdings.apply(update)
        for name in update.removed:
            state.pop(name, None)
        state |= {(raw.type_url, raw.name): raw for raw in update.upserted}
    assert {(raw.type_url, raw.name): raw for raw in holdings} == state
    assert len(holdings) == len(state)
    for type_url in (ADDRESS, AUTHORIZATION):
        counted = holdings.checksum(type_url)
        assert holdings.recount(type_url) == counted
        assert [name for name in "abc" if (type_url, name) in holdings] == [
            name for name in "abc" if (type_url, name) in state
        ]
        assert holdings.versions(type_url) == {
            name: raw.version for (of, name), raw in state.items() if of == type_url
        }
