"""What subscribers are told, from one publisher, with no wire between."""

import asyncio

import pytest

from ambient.control.ads import Publisher
from ambient.control.published import About
from ambient.core.model.identity import NodeId
from ambient.rpc import subscription, trust
from ambient.rpc.discovery import Refusal, Request
from ambient.rpc.errors import InvalidRequest, PermissionDenied
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, ROUTES, RawResource, Update

NODE = NodeId("cluster.local", "n1")
VIP, IP = "/10.1.0.1", "/10.0.0.1"


def raw(name, version="1", type_url=ADDRESS):
    return RawResource(type_url, name, version, version.encode())


def ask(type_url=ADDRESS, nonce="", subscribe=(), unsubscribe=(), held=(), **more):
    return Request(
        type_url, nonce, more.pop("error", ""), tuple(subscribe), tuple(unsubscribe), dict(held), **more
    )


def put(publisher, *resources, remove=(), **about):
    """Publish ``("name", About)`` or names of addresses."""
    publisher.publish(
        Update(resources, tuple((ADDRESS, name) for name in remove)),
        {(one.type_url, one.name): about[one.name] for one in resources if one.name in about},
    )


def told(subscriber):
    """The next response, or None if there is nothing to tell."""
    response = subscriber._take()
    return response and (
        response.type_url,
        [one.name + one.version for one in response.upserted],
        list(response.removed),
    )


def answer(subscriber, type_url=ADDRESS, **more):
    """Acknowledge what is under way."""
    subscriber.receive(ask(type_url, subscriber._nonces[type_url], **more))


def everything(subscriber):
    """All that it is told until there is no more, acknowledged at once; in any order."""
    upserted, removed = [], []
    while (response := told(subscriber)) is not None:
        upserted += response[1]
        removed += response[2]
        answer(subscriber, response[0])
    return sorted(upserted), sorted(removed)


@pytest.fixture
def publisher():
    made = Publisher("cluster.local")
    put(made, raw("a"), raw("b"), raw("p", type_url=AUTHORIZATION))
    return made


def test_it_is_known_which_roots_a_node_trusts():
    said = []
    publisher = Publisher("cluster.local", lambda node, version: said.append((node, version)))
    put(publisher, raw(trust.NAME, "v1", trust.BUNDLE))
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(trust.BUNDLE))
    assert told(subscriber) == (trust.BUNDLE, ["defaultv1"], [])
    put(publisher, raw(trust.NAME, "v2", trust.BUNDLE))
    assert said == []
    # What it acknowledges is what it was told, not what is published meanwhile.
    answer(subscriber, trust.BUNDLE)
    assert said == [("n1", "v1")]
    assert told(subscriber) == (trust.BUNDLE, ["defaultv2"], [])
    answer(subscriber, trust.BUNDLE, error="cannot be read")
    assert said == [("n1", "v1")]
    # One that comes again says what it holds, and has nothing to hear.
    again = publisher.connect(NODE)
    again.receive(ask(trust.BUNDLE, held={trust.NAME: "v2"}))
    assert told(again) == (trust.BUNDLE, [], [])
    answer(again, trust.BUNDLE)
    assert said == [("n1", "v1"), ("n1", "v2")]


def test_a_wildcard_hears_everything_and_an_empty_type_is_answered_too():
    publisher = Publisher("cluster.local")
    put(publisher, raw("a"), raw("b"))
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask())
    subscriber.receive(ask(AUTHORIZATION))
    assert told(subscriber) == (AUTHORIZATION, [], [])
    assert told(subscriber) == (ADDRESS, ["a1", "b1"], [])
    assert told(subscriber) is None


def test_one_response_is_under_way_and_what_changes_meanwhile_is_merged(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask())
    assert told(subscriber) == (ADDRESS, ["a1", "b1"], [])
    for version in "23456":
        put(publisher, raw("a", version))
    put(publisher, raw("c"))
    put(publisher, remove=["c", "b"])
    assert told(subscriber) is None
    subscriber.receive(ask(nonce="0"))  # Not the nonce that is under way.
    assert told(subscriber) is None
    subscriber.receive(ask(nonce="1"))
    assert told(subscriber) == (ADDRESS, ["a6"], ["b"])  # It never heard of c.
    subscriber.receive(ask(nonce="2", error="a: bad"))
    assert told(subscriber) is None


def test_a_removed_resource_that_comes_again_is_told_as_what_it_is_then(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask())
    assert everything(subscriber) == (["a1", "b1"], [])
    put(publisher, remove=["a"])
    put(publisher, raw("a", "2"))
    assert everything(subscriber) == (["a2"], [])
    put(publisher, raw("b", "2"), remove=["b"])  # Removal comes first.
    assert everything(subscriber) == (["b2"], [])


def test_policies_come_before_the_workloads_that_name_them(publisher):
    subscriber = publisher.connect(NODE)
    for type_url, nonce in ((ADDRESS, "1"), (AUTHORIZATION, "2")):
        subscriber.receive(ask(type_url))
        told(subscriber)
        subscriber.receive(ask(type_url, nonce=nonce))
    put(publisher, raw("a", "2"), raw("q", type_url=AUTHORIZATION))
    assert told(subscriber) == (AUTHORIZATION, ["q1"], [])
    assert told(subscriber) == (ADDRESS, ["a2"], [])


def test_a_workload_waits_for_a_policy_that_waits_for_an_answer(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(AUTHORIZATION))
    subscriber.receive(ask())
    assert told(subscriber) == (AUTHORIZATION, ["p1"], [])
    assert told(subscriber) == (ADDRESS, ["a1", "b1"], [])
    answer(subscriber)
    put(publisher, raw("c"), raw("q", type_url=AUTHORIZATION))
    assert told(subscriber) is None
    answer(subscriber, AUTHORIZATION)
    assert told(subscriber) == (AUTHORIZATION, ["q1"], [])
    assert told(subscriber) == (ADDRESS, ["c1"], [])


def test_what_a_subscriber_holds_is_not_sent_again_and_what_is_gone_is_named(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(held={"a": "1", "b": "0", "gone": "1"}))
    assert told(subscriber) == (ADDRESS, ["b1"], ["gone"])


def test_strange_types_and_strange_trust_domains_are_refused(publisher):
    with pytest.raises(InvalidRequest, match="type 'x' is not served"):
        publisher.connect(NODE).receive(ask("x"))
    with pytest.raises(PermissionDenied, match=r"is not of trust domain cluster\.local"):
        publisher.connect(NodeId("elsewhere", "n1"))


async def test_a_subscriber_wakes_when_something_changes(publisher):
    subscriber = publisher.connect(NODE)
    waiting = asyncio.create_task(subscriber.next())
    await asyncio.sleep(0)
    assert publisher.nodes == {"n1"}
    subscriber.receive(ask())
    assert len((await asyncio.wait_for(waiting, 1)).upserted) == 2
    subscriber.close()
    assert publisher.nodes == frozenset()


# --- by name


def test_names_instead_of_everything(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(subscribe=["a", "none"]))
    assert told(subscriber) == (ADDRESS, ["a1"], ["none"])
    subscriber.receive(ask(nonce="1", subscribe=["b"], unsubscribe=["a"]))
    assert told(subscriber) == (ADDRESS, ["b1"], [])
    subscriber.receive(ask(nonce="2"))
    put(publisher, raw("a", "2"), raw("c"))
    assert told(subscriber) is None
    subscriber.receive(ask(subscribe=["*"]))
    assert everything(subscriber) == (["a2", "b1", "c1"], [])


@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"subscribe": ["*"], "unsubscribe": ["*"]}, id="both-at-once"),
        pytest.param({"unsubscribe": ["*"]}, id="only-taken-back"),
    ],
)
def test_a_ztunnel_on_demand_begins_with_nothing(publisher, first):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(**first))
    assert told(subscriber) == (ADDRESS, [], [])
    answer(subscriber)
    put(publisher, raw("c"))
    assert told(subscriber) is None
    answer(subscriber, subscribe=["c"])
    assert told(subscriber) == (ADDRESS, ["c1"], [])


def service_of_two(publisher):
    put(
        publisher,
        raw("shop/web"),
        raw("w1"),
        raw("w2"),
        raw("other"),
        **{
            "shop/web": About(aliases=(VIP,)),
            "w1": About(aliases=(IP,), part_of=("shop/web",), node="n2"),
            "w2": About(part_of=("shop/web",), node="n2"),
        },
    )
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(subscribe=["*"], unsubscribe=["*"]))
    assert everything(subscriber) == ([], [])
    return subscriber


@pytest.mark.parametrize(
    ("asked", "upserted", "removed"),
    [
        pytest.param("shop/web", ["shop/web1", "w11", "w21"], [], id="service-by-name"),
        pytest.param(VIP, ["shop/web1", "w11", "w21"], [], id="service-by-address"),
        pytest.param(IP, ["w11"], [], id="workload-by-address"),
        pytest.param("w2", ["w21"], [], id="workload-by-uid"),
        pytest.param("/10.9.9.9", [], ["/10.9.9.9"], id="address-of-nobody"),
        pytest.param("shop/none", [], ["shop/none"], id="name-of-nothing"),
    ],
)
def test_on_demand_what_is_asked_for_comes_with_its_parts(publisher, asked, upserted, removed):
    subscriber = service_of_two(publisher)
    subscriber.receive(ask(subscribe=[asked]))
    assert everything(subscriber) == (upserted, removed)
    subscriber.receive(ask(subscribe=[asked]))
    again, gone = everything(subscriber)
    # Asked for twice, answered twice; what merely came along is not.
    assert (len(again), gone) == (1 if upserted else 0, removed)


def test_on_demand_what_joins_a_service_comes_and_what_left_is_heard_of_to_its_end(publisher):
    subscriber = service_of_two(publisher)
    subscriber.receive(ask(subscribe=[VIP]))
    everything(subscriber)
    put(publisher, raw("w3"), w3=About(part_of=("shop/web",)))
    assert everything(subscriber) == (["w31"], [])
    put(publisher, raw("w1", "2"), w1=About(aliases=(IP,)))
    assert everything(subscriber) == (["w12"], [])
    put(publisher, remove=["w1", "w2", "other"])
    assert everything(subscriber) == ([], ["w1", "w2"])


def test_on_demand_what_is_asked_for_in_vain_comes_when_it_is_there(publisher):
    subscriber = service_of_two(publisher)
    subscriber.receive(ask(subscribe=["/10.9.9.9", "shop/late"]))
    assert everything(subscriber) == ([], ["/10.9.9.9", "shop/late"])
    put(publisher, raw("w9"), w9=About(aliases=("/10.9.9.9",)))
    put(publisher, raw("part"), part=About(part_of=("shop/late",)))
    assert everything(subscriber) == (["w91"], [])
    put(publisher, raw("shop/late"))
    assert everything(subscriber) == (["part1", "shop/late1"], [])


def test_on_demand_the_nodes_own_comes_unasked(publisher):
    put(publisher, raw("mine"), mine=About(node="n1"))
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(unsubscribe=["*"]))
    assert everything(subscriber) == (["mine1"], [])
    put(publisher, raw("mine2"), raw("theirs"), mine2=About(node="n1"), theirs=About(node="n2"))
    assert everything(subscriber) == (["mine21"], [])


def test_what_was_unsubscribed_is_not_heard_of_any_more_with_all_that_came_with_it(publisher):
    subscriber = service_of_two(publisher)
    subscriber.receive(ask(subscribe=["shop/web", "w1"]))
    everything(subscriber)
    put(publisher, raw("w2", "2"), w2=About(part_of=("shop/web",)))
    subscriber.receive(ask(unsubscribe=["shop/web"]))
    put(publisher, raw("shop/web", "2"), raw("w1", "2"))
    assert everything(subscriber) == (["w12"], [])


def test_on_demand_a_reconnect_goes_on_where_it_was(publisher):
    service_of_two(publisher)
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(unsubscribe=["*"], held={"shop/web": "1", "w1": "0", "gone": "1"}))
    # w2 was not there when the stream was lost.
    assert everything(subscriber) == (["w11", "w21"], ["gone"])
    put(publisher, raw("shop/web", "2"), raw("other", "2"))
    assert everything(subscriber) == (["shop/web2"], [])


# --- what a node needs


REACH = {"shop/n": "shop", "shop/s": "shop/s", "bank/n": "bank"}


def put_policies(publisher, *names, version="1"):
    """Those that are not in ``REACH`` concern all."""
    publisher.publish(
        Update(tuple(raw(name, version, AUTHORIZATION) for name in names)),
        {(AUTHORIZATION, name): About(reach=REACH[name]) for name in names if name in REACH},
    )


@pytest.fixture
def node():
    """A node that runs a workload of the namespace ``shop``, and has heard of everything that it needs."""
    publisher = Publisher("cluster.local")
    put_policies(publisher, "root/g", *REACH)
    put(publisher, raw("w1"), w1=About(node="n1", concerns=("shop",)))
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(AUTHORIZATION))
    subscriber.receive(ask())
    assert told(subscriber) == (AUTHORIZATION, ["root/g1", "shop/n1"], [])
    answer(subscriber, AUTHORIZATION)
    assert everything(subscriber) == (["w11"], [])
    return publisher, subscriber


def test_a_node_hears_nothing_of_policies_that_reach_none_of_its_workloads(node):
    publisher, subscriber = node
    put_policies(publisher, *REACH, version="2")
    assert everything(subscriber) == (["shop/n2"], [])
    put(publisher, raw("theirs"), theirs=About(node="n2", concerns=("bank",)))
    assert everything(subscriber) == (["theirs1"], [])
    publisher.publish(Update((), ((AUTHORIZATION, "bank/n"), (AUTHORIZATION, "shop/n"))))
    assert everything(subscriber) == ([], ["shop/n"])


def test_a_workload_brings_its_policies_and_they_come_first(node):
    publisher, subscriber = node
    put(publisher, raw("w2"), w2=About(node="n1", concerns=("bank", "shop/s")))
    assert told(subscriber) == (AUTHORIZATION, ["bank/n1", "shop/s1"], [])
    assert told(subscriber) == (ADDRESS, ["w21"], [])


def test_a_policy_is_heard_of_when_its_workload_has_left(node):
    publisher, subscriber = node
    put(publisher, remove=["w1"])
    put_policies(publisher, "shop/n", version="2")
    assert everything(subscriber) == (["shop/n2"], ["w1"])
    # The next stream has no use for it; but what the node has is kept true.
    again = publisher.connect(NODE)
    again.receive(ask(AUTHORIZATION, held={"root/g": "1", "shop/n": "1", "bank/n": "1"}))
    assert everything(again) == (["shop/n2"], [])
    other = publisher.connect(NODE)
    other.receive(ask(AUTHORIZATION))
    assert everything(other) == (["root/g1"], [])


def test_a_policy_that_turns_to_the_node_comes(node):
    publisher, subscriber = node
    publisher.publish(Update((raw("bank/n", "2", AUTHORIZATION),)))  # Of the whole mesh from now on.
    assert everything(subscriber) == (["bank/n2"], [])


def test_policies_asked_for_by_name_come_to_any_node(node):
    publisher, subscriber = node
    subscriber.receive(ask(AUTHORIZATION, subscribe=["bank/n"]))
    assert everything(subscriber) == (["bank/n1"], [])
    subscriber.receive(ask(AUTHORIZATION, unsubscribe=["bank/n"]))
    put_policies(publisher, "bank/n", "shop/n", version="2")
    assert everything(subscriber) == (["shop/n2"], [])


# --- what is refused


@pytest.mark.parametrize(
    ("said", "sentences"),
    [
        pytest.param(
            {"error": "a: bad", "refusals": (Refusal("a", "bad"),)},
            ("node n1 refuses Address a: bad",),
            id="one-by-one",
        ),
        pytest.param(
            {"error": 'rejected "b"'},
            ('node n1 refuses Address b: rejected "b"',),
            id="in-the-words-of-another",
        ),
        pytest.param({"error": "no"}, ("node n1 refuses Address of a response: no",), id="no-names"),
        pytest.param(
            {"error": "no", "refusals": (Refusal("else", "lie"),)},
            ("node n1 refuses Address of a response: no",),
            id="what-was-not-sent",
        ),
    ],
)
def test_who_refuses_what_and_why_is_known_until_it_takes_it(publisher, said, sentences):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask())
    told(subscriber)
    answer(subscriber, **said)
    assert publisher.refusals == sentences
    (sync,) = publisher.sync("n1")
    assert (sync.type, sync.in_sync, sync.pending, len(sync.refused)) == ("Address", True, 0, 1)
    assert told(subscriber) is None  # What stays the same is refused again.
    put(publisher, raw("a", "2"), raw("b", "2"))
    assert [(sync.in_sync, sync.pending) for sync in publisher.sync("n1")] == [(False, 2)]
    assert publisher.behind == {"n1"}
    assert told(subscriber) == (ADDRESS, ["a2", "b2"], [])
    assert publisher.refusals == sentences
    answer(subscriber)
    assert publisher.refusals == ()
    assert publisher.behind == frozenset()


def test_what_a_node_that_left_refused_is_forgotten(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask())
    told(subscriber)
    answer(subscriber, error="a: bad")
    subscriber.close()
    assert publisher.refusals == ()


# --- checksums


def test_who_asked_for_it_hears_the_checksum_with_the_last_of_a_burst_and_on_reminders(publisher):
    plain, careful = publisher.connect(NODE), publisher.connect(NODE)
    plain.receive(ask())
    careful.receive(ask(wants_checksums=True))
    assert plain._take().checksum is None
    first = careful._take().checksum
    assert first is not None
    put(publisher, raw("c"))
    answer(careful)
    second = careful._take().checksum
    assert second not in {None, first}
    for subscriber in (plain, careful):
        answer(subscriber)
    told(plain)
    answer(plain)
    publisher.state_checksums()
    assert told(plain) is None
    reminder = careful._take()
    assert (reminder.upserted, reminder.removed, reminder.checksum) == ((), (), second)
    answer(careful)
    assert told(careful) is None
    put(publisher, remove=["c"])
    assert careful._take().checksum == first


def test_routes_go_to_those_who_ask_for_them():
    publisher = Publisher("cluster.local")
    put(publisher, raw("a"), raw("shop/api", type_url=ROUTES))
    node, waypoint = publisher.connect(NODE), publisher.connect(NODE)
    for type_url in subscription.TYPES:
        node.receive(ask(type_url))
    waypoint.receive(ask(ROUTES))
    assert everything(node) == (["a1"], [])
    assert everything(waypoint) == (["shop/api1"], [])
    put(publisher, raw("shop/api", "2", ROUTES))
    assert told(node) is None
    assert told(waypoint) == (ROUTES, ["shop/api2"], [])
