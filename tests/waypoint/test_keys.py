"""Keys of issuers: who is asked, how often, and what counts when nobody answers."""

import asyncio
import json
from datetime import timedelta

import pytest
from core.signing import key, public

from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.jwt import JwtRule, KeysAt, KeysGiven, KeysOfIssuer
from ambient.core.model.policies import ServicePolicies
from ambient.waypoint.keys import MOST_PLACES, KeyRings, Keys, place_of

ONE, TWO = public(key("one")).encode(), public(key("two")).encode()
AT = JwtRule("https://issuer.test", KeysAt("https://issuer.test/keys"))
GIVEN = JwtRule("https://issuer.test", KeysGiven(ONE.decode()))
OF_ISSUER = JwtRule("https://issuer.test/", KeysOfIssuer())
CONFIGURATION = "https://issuer.test/.well-known/openid-configuration"


class Web:
    """What is at each address; each time it is asked, the first of what is left, and the last for ever."""

    def __init__(self, **pages):
        self.pages = {}
        self.asked = []
        self.heard = asyncio.Event()

    async def fetch(self, url, seconds):
        self.asked.append((url, seconds))
        self.heard.set()
        answers = self.pages.get(url, [Unavailable("nobody")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Parent:
    """Keys, and what they tell."""

    def __init__(self, web, refresh_seconds=1000.0):
        self.crashes = []
        self.tasks = Tasks(lambda name, error: self.crashes.append(error))
        self.told = []
        self.changed = asyncio.Event()
        self.keys = Keys(
            web.fetch, self._tell, self.tasks, lambda: Backoff(0.001, 0.002, lambda: 0.0), refresh_seconds
        )

    def _tell(self, place, document):
        self.told.append((place, document))
        self.changed.set()

    async def until(self, count):
        while len(self.told) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)


def policies(*rules):
    return [ServicePolicies("shop/web", tokens=rules)]


def run(body):
    async def bounded():
        parent = None
        try:
            async with asyncio.timeout(60):
                parent = await body()
        finally:
            if parent is not None:
                await parent.tasks.stop()
        assert parent.crashes == []

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("rule", "place"), [(AT, "https://issuer.test/keys"), (GIVEN, None), (OF_ISSUER, CONFIGURATION)]
)
def test_where_keys_are(rule, place):
    assert place_of(rule) == place


def test_a_place_is_asked_once_for_all_rules_and_told():
    async def body():
        web = Web()
        web.pages["https://issuer.test/keys"] = [ONE]
        parent = Parent(web)
        parent.keys.want(policies(AT, GIVEN) + policies(JwtRule("other", AT.keys)))
        await parent.until(1)
        assert parent.told == [("https://issuer.test/keys", ONE)]
        assert parent.keys.documents == dict(parent.told)
        assert web.asked == [("https://issuer.test/keys", 5.0)]
        return parent

    run(body)


def test_an_issuer_says_where_its_keys_are():
    async def body():
        web = Web()
        web.pages = {CONFIGURATION: [json.dumps({"jwks_uri": "https://x.test/k"}).encode()]}
        web.pages["https://x.test/k"] = [ONE]
        parent = Parent(web)
        parent.keys.want(policies(OF_ISSUER))
        await parent.until(1)
        assert parent.told == [(CONFIGURATION, ONE)]
        return parent

    run(body)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "no jwks_uri"),
        (b'{"jwks_uri":7}', "no jwks_uri"),
        (b'{"jwks_uri":"http://x.test/k"}', "not at an address of scheme https"),
    ],
    ids=["empty", "list", "number", "without-tls"],
)
def test_an_issuer_that_does_not_say_it_well(configuration, words):
    async def body():
        web = Web()
        web.pages = {CONFIGURATION: [configuration], "http://x.test/k": [ONE]}
        parent = Parent(web)
        parent.keys.want(policies(OF_ISSUER))
        while not parent.keys.troubles:
            await asyncio.sleep(0)
        assert words in parent.keys.troubles[CONFIGURATION]
        assert parent.told == []
        return parent

    run(body)


def test_after_failures_it_is_asked_again_and_the_last_good_keys_count():
    async def body():
        web = Web()
        url = "https://issuer.test/keys"
        web.pages[url] = [
            Unavailable("down"),
            PeerError("404"),
            b"rubbish",
            ONE,
            Unavailable("down again"),
            b"{}",
            ONE,
            TWO,
        ]
        parent = Parent(web, refresh_seconds=0.0)
        parent.keys.want(policies(AT))
        await parent.until(2)
        assert [document for _, document in parent.told] == [ONE, TWO]
        assert parent.keys.troubles == {}
        return parent

    run(body)


def test_while_there_are_none_the_reason_is_known():
    async def body():
        web = Web()
        web.pages["https://issuer.test/keys"] = [b"rubbish"]
        parent = Parent(web)
        parent.keys.want(policies(AT))
        while len(web.asked) < 3:
            await asyncio.sleep(0.001)
        assert parent.keys.documents == {}
        assert "not JSON" in parent.keys.troubles["https://issuer.test/keys"]
        return parent

    run(body)


def test_what_nobody_needs_is_forgotten_and_asked_no_more():
    async def body():
        web = Web()
        web.pages["https://issuer.test/keys"] = [ONE]
        parent = Parent(web)
        parent.keys.want(policies(AT))
        await parent.until(1)
        parent.keys.want(policies(AT))
        parent.keys.want([])
        assert parent.told[1:] == [("https://issuer.test/keys", b"")]
        assert parent.keys.documents == {}
        while len(parent.tasks):
            await asyncio.sleep(0)
        return parent

    run(body)


def test_a_rule_may_wait_less_but_not_longer():
    async def body():
        web = Web()
        web.pages["https://issuer.test/keys"] = [ONE]
        parent = Parent(web)
        waits = [JwtRule("i", AT.keys, fetch_timeout=timedelta(seconds=seconds)) for seconds in (1, 2, 60)]
        parent.keys.want(policies(*waits[:2]))
        await parent.until(1)
        parent.keys.want([])
        parent.keys.want(policies(*waits))
        await parent.until(3)
        assert [seconds for _, seconds in web.asked] == [2.0, 5.0]
        return parent

    run(body)


def test_there_are_only_so_many_places():
    async def body():
        web = Web()
        parent = Parent(web)
        parent.keys.want(
            policies(*(JwtRule("i", KeysAt(f"https://issuer.test/{n}")) for n in range(MOST_PLACES + 5)))
        )
        assert len(parent.tasks) == MOST_PLACES
        return parent

    run(body)


def test_a_workers_rings():
    rings = KeyRings()
    assert rings.of(AT) is None
    rings.changed("https://issuer.test/keys", ONE)
    first = rings.of(AT)
    assert [one.kid for one in first.keys] == ["one"]
    assert rings.of(AT) is first
    rings.changed("https://issuer.test/keys", TWO)
    assert [one.kid for one in rings.of(AT).keys] == ["two"]
    rings.changed("https://issuer.test/keys", b"")
    rings.changed("https://issuer.test/keys", b"")
    assert rings.of(AT) is None
    assert rings.of(GIVEN) is rings.of(GIVEN)
    assert rings.of(JwtRule("i", KeysGiven("rubbish"))) is None
