import asyncio

import pytest

from ambient.control.ads import Publisher
from ambient.core.model.identity import NodeId
from ambient.rpc.discovery import Request
from ambient.rpc.errors import InvalidRequest, PermissionDenied
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, RawResource, Update

NODE = NodeId("cluster.local", "n1")


def raw(name, version="1", type_url=ADDRESS):
    return RawResource(type_url, name, version, b"")


def ask(type_url=ADDRESS, nonce="", subscribe=(), unsubscribe=(), held=(), error=""):
    return Request(type_url, nonce, error, tuple(subscribe), tuple(unsubscribe), dict(held))


def told(subscriber):
    """The next response, or None if there is nothing to tell."""
    response = subscriber._take()
    return response and (
        response.type_url,
        [one.name + one.version for one in response.upserted],
        list(response.removed),
    )


@pytest.fixture
def publisher():
    made = Publisher("cluster.local")
    made.publish(Update((raw("a"), raw("b"), raw("p", type_url=AUTHORIZATION))))
    return made


def test_a_wildcard_hears_everything_and_an_empty_type_is_answered_too():
    publisher = Publisher("cluster.local")
    publisher.publish(Update((raw("a"), raw("b"))))
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
        publisher.publish(Update((raw("a", version),)))
    publisher.publish(Update((raw("c"),)))
    publisher.publish(Update((), ((ADDRESS, "c"), (ADDRESS, "b"))))
    assert told(subscriber) is None
    subscriber.receive(ask(nonce="0"))  # Not the nonce that is under way.
    assert told(subscriber) is None
    subscriber.receive(ask(nonce="1"))
    assert told(subscriber) == (ADDRESS, ["a6"], ["b"])  # It never heard of c.
    subscriber.receive(ask(nonce="2", error="a: bad"))
    assert told(subscriber) is None


def test_policies_come_before_the_workloads_that_name_them(publisher):
    subscriber = publisher.connect(NODE)
    for type_url, nonce in ((ADDRESS, "1"), (AUTHORIZATION, "2")):
        subscriber.receive(ask(type_url))
        told(subscriber)
        subscriber.receive(ask(type_url, nonce=nonce))
    publisher.publish(Update((raw("a", "2"), raw("q", type_url=AUTHORIZATION))))
    assert told(subscriber) == (AUTHORIZATION, ["q1"], [])
    assert told(subscriber) == (ADDRESS, ["a2"], [])


def test_what_a_subscriber_holds_is_not_sent_again_and_what_is_gone_is_named(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(held={"a": "1", "b": "0", "gone": "1"}))
    assert told(subscriber) == (ADDRESS, ["b1"], ["gone"])


def test_names_instead_of_everything(publisher):
    subscriber = publisher.connect(NODE)
    subscriber.receive(ask(subscribe=["a", "none"]))
    assert told(subscriber) == (ADDRESS, ["a1"], ["none"])
    subscriber.receive(ask(nonce="1", subscribe=["b"], unsubscribe=["a"]))
    assert told(subscriber) == (ADDRESS, ["b1"], [])
    subscriber.receive(ask(nonce="2"))
    publisher.publish(Update((raw("a", "2"), raw("c"))))
    assert told(subscriber) is None
    subscriber.receive(ask(subscribe=["*"]))
    assert told(subscriber) == (ADDRESS, ["a2", "b1", "c1"], [])


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
