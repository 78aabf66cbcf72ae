"""Any interleaving of changes, answers, refusals, losses and reconnects ends with what is published at every subscriber.

Nodes are our own subscriptions, with the bytes of the wire between; the one on demand is written out here.
"""

from collections import deque

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from ambient.control.ads import Publisher
from ambient.control.published import About
from ambient.core.model.identity import NodeId
from ambient.rpc import discovery
from ambient.rpc.discovery import Request
from ambient.rpc.holdings import Holdings
from ambient.rpc.subscription import Subscription
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, RawResource, Update, accepted

NODES = ("n1", "n2")
NAMES = tuple("abcde")
SERVICES = ("s1", "s2")
POLICIES = tuple("pqr")
CONCERNS = ("ns1", "ns2", "ns3")
BAD = b"bad"
bodies = st.sampled_from([b"1", b"2", b"3", BAD])
workloads = st.builds(
    About,
    aliases=st.lists(st.sampled_from(["/1", "/2"]), max_size=1).map(tuple),
    part_of=st.lists(st.sampled_from(SERVICES), unique=True).map(tuple),
    node=st.sampled_from(["", *NODES]),
    concerns=st.lists(st.sampled_from(CONCERNS), unique=True).map(tuple),
)
services = st.builds(About, aliases=st.lists(st.sampled_from(["/1", "/3"]), max_size=1).map(tuple))
policies = st.builds(About, reach=st.sampled_from(["", *CONCERNS]))
changes = st.lists(
    st.one_of(
        st.tuples(st.just(ADDRESS), st.sampled_from(NAMES), st.none() | st.tuples(bodies, workloads)),
        st.tuples(
            st.just(ADDRESS), st.sampled_from(SERVICES), st.none() | st.tuples(bodies, st.just(About()))
        ),
        st.tuples(st.just(AUTHORIZATION), st.sampled_from(POLICIES), st.none() | st.tuples(bodies, policies)),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda change: change[:2],
)


class Stream:
    """What one stream of a subscriber has under way in both directions."""

    def __init__(self, publisher, node):
        self.session = publisher.connect(NodeId("cluster.local", node))
        self.coming = deque()
        self.answers = deque()


class Node:
    """A node's proxy, that cannot use what is bad."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.holdings = Holdings()
        self.subscription = Subscription(None, name, self.holdings)
        self.connect()

    def connect(self):
        if hasattr(self, "stream"):
            self.stream.session.close()
        self.stream = Stream(self.world.publisher, self.name)
        self.subscription._refused.clear()
        for type_url in (AUTHORIZATION, ADDRESS):
            request = self.subscription._subscribe(type_url)
            self.stream.session.receive(discovery._request(request))

    def take(self):
        response = self.stream.session._take()
        if response is not None:
            needed = {
                policy
                for entry in response.upserted
                if response.type_url == ADDRESS and self.world.about(entry.name).node == self.name
                for policy in self.world.reaching(self.world.about(entry.name).concerns)
            }
            self.stream.coming.append((discovery.response_bytes(response), needed))
        return response is not None

    def hear(self):
        content, needed = self.stream.coming.popleft()
        response = DeltaDiscoveryResponse.FromString(content)
        answer = self.subscription._take(response, self.deliver)
        self.subscription._compare(response)
        self.stream.answers.append(answer)
        assert needed <= self.held(AUTHORIZATION).keys() | self.refused(AUTHORIZATION)

    def answer(self):
        self.stream.session.receive(discovery._request(self.stream.answers.popleft()))

    def deliver(self, update):
        errors = {raw.name: "is bad" for raw in update.upserted if raw.body == BAD}
        self.holdings.apply(accepted(update, errors))
        return errors

    def held(self, type_url):
        return {raw.name: raw.body for raw in self.holdings if raw.type_url == type_url}

    def refused(self, type_url):
        return {name for of, name in self.subscription._refused if of == type_url}

    def check(self):
        published = self.world.published
        for type_url in (AUTHORIZATION, ADDRESS):
            for name, body in self.held(type_url).items():
                there = published[type_url, name][0]
                assert there == (BAD if name in self.refused(type_url) else body)
        mine = {
            concern for of, _ in self.world.of(ADDRESS) if of.node == self.name for concern in of.concerns
        }
        needed = {(AUTHORIZATION, name) for name in self.world.reaching(mine)}
        needed |= {name for name in published if name[0] == ADDRESS}
        for type_url, name in needed:
            assert name in self.held(type_url) or name in self.refused(type_url)
        shown = {sentence for sentence in self.world.publisher.refusals if f"node {self.name} " in sentence}
        assert shown == {
            f"node {self.name} refuses {type_url.rpartition('.')[2]} {name}: is bad"
            for type_url, name in self.subscription._refused
        }


class OnDemand:
    """A ztunnel that asks for single names; it lets go of what it unsubscribes and what came with that."""

    name = "n1"

    def __init__(self, world):
        self.world = world
        self.asked, self.held, self.gone = set(), {}, set()
        self.connect()

    def connect(self):
        if hasattr(self, "stream"):
            self.stream.session.close()
        self.stream = Stream(self.world.publisher, self.name)
        versions = {name: body.hex() for name, body in self.held.items()}
        self.say(Request(ADDRESS, "", "", tuple(self.asked), ("*",), versions))

    def say(self, request):
        self.stream.session.receive(request)

    def ask(self, name):
        self.asked.add(name)
        self.say(Request(ADDRESS, "", "", (name,), (), {}))

    def take(self):
        response = self.stream.session._take()
        if response is not None:
            self.stream.coming.append(response)
        return response is not None

    def hear(self):
        response = self.stream.coming.popleft()
        read = DeltaDiscoveryResponse.FromString(discovery.response_bytes(response))
        for name in read.removed_resources:
            self.held.pop(name, None)
        self.held |= {one.name: one.resource.value for one in read.resources}
        self.stream.answers.append(response.nonce)

    def answer(self):
        self.say(Request(ADDRESS, self.stream.answers.popleft(), "", (), (), {}))

    def check(self):
        published = {name: (body, of) for (type_url, name), (body, of) in self.world.published.items() if type_url == ADDRESS}  # fmt: skip
        for name, body in self.held.items():
            assert published[name][0] == body
        wanted = {
            name
            for name, (_, of) in published.items()
            if {name, *of.aliases} & self.asked or of.node == self.name
        }
        wanted |= {name for name, (_, of) in published.items() if wanted.intersection(of.part_of)}
        assert wanted <= self.held.keys()


class Discovery(RuleBasedStateMachine):
    subscribers = Bundle("subscribers")

    @initialize(target=subscribers)
    def begin(self):
        self.publisher = Publisher("cluster.local")
        self.published = {}
        self.on_demand = OnDemand(self)
        self.nodes = [Node(self, name) for name in NODES]
        self.all = (*self.nodes, self.on_demand)
        return multiple(*self.all)

    def of(self, type_url):
        return [(of, body) for (kind, _), (body, of) in self.published.items() if kind == type_url]

    def about(self, name):
        return self.published[ADDRESS, name][1]

    def reaching(self, concerns):
        return {
            name
            for (kind, name), (_, of) in self.published.items()
            if kind == AUTHORIZATION and of.reach in {"", *concerns}
        }

    @rule(changes=changes)
    def publish(self, changes):
        upserted, removed, about = [], [], {}
        for type_url, name, change in changes:
            if change is None:
                removed.append((type_url, name))
                self.published.pop((type_url, name), None)
            else:
                body, about[type_url, name] = change
                upserted.append(RawResource(type_url, name, body.hex(), body))
                self.published[type_url, name] = change
        self.publisher.publish(Update(tuple(upserted), tuple(removed)), about)

    @rule(name=st.sampled_from([*NAMES, *SERVICES, "/1", "/2", "/3", "none"]))
    def ask(self, name):
        self.on_demand.ask(name)

    @rule(one=subscribers)
    def take(self, one):
        one.take()

    @rule(one=subscribers)
    def hear(self, one):
        if one.stream.coming:
            one.hear()

    @rule(one=subscribers)
    def answer(self, one):
        if one.stream.answers:
            one.answer()

    @rule(one=subscribers)
    def lose_the_stream(self, one):
        one.connect()

    @rule()
    def remind(self):
        self.publisher.state_checksums()

    @rule()
    def settle(self):
        for one in self.all:
            while one.take() or one.stream.coming or one.stream.answers:
                while one.stream.coming:
                    one.hear()
                while one.stream.answers:
                    one.answer()
            one.check()

    @invariant()
    def at_most_one_response_of_a_type_is_under_way(self):
        for one in getattr(self, "all", ()):
            assert len(one.stream.coming) + len(one.stream.answers) <= 2

    def teardown(self):
        if hasattr(self, "all"):
            self.settle()


TestDiscovery = Discovery.TestCase
TestDiscovery.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
