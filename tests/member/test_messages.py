import pytest

from ambient.core.errors import PeerError
from ambient.member import messages

SAMPLES = [
    messages.Hello(1, 4242, retired=False, pods={"local/a": 3}),
    messages.Company(2),
    messages.Welcome("node-1", ["original_destinations", "clients"]),
    messages.PodAdded("local/a", 2**63 + 1),
    messages.PodRemoved("local/a", now=True),
    messages.LedgerShared(2),
    messages.Listening(),
    messages.KeysChanged("https://issuer.test/keys"),
    messages.RequestsCounted(),
    messages.CredentialsChanged("spiffe://cluster.local/ns/a/sa/b"),
    messages.CredentialsForgotten("spiffe://cluster.local/ns/a/sa/b"),
    messages.RevocationsChanged(),
    messages.MeshChanged(more=True),
    messages.Cut("local/a", "why\nnot"),
    messages.Scrape(7),
    messages.Scraped(7, lines_lost=0, holding={"tasks": 4}),
    messages.SpansEnded(3),
    messages.Synced(),
    messages.PodConnections("local/a", 0),
    messages.Part(),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_what_is_packed_is_unpacked(message: messages.Message) -> None:
    assert messages.unpack(messages.pack(message, b"\0\n payload")) == (message, b"\0\n payload")


def test_every_kind_of_message_has_a_sample() -> None:
    assert {type(sample) for sample in SAMPLES} == set(messages.Message.__args__)


@pytest.mark.parametrize(
    "packet",
    [b"", b"12", b"x\n[]", b'9\n["Nope"]', b'14\n["Scrape",{}]', b"2\n{}", b'20\n["Scrape",{"no":1}]'],
)
def test_garbage_is_the_peers_fault(packet: bytes) -> None:
    with pytest.raises(PeerError):
        messages.unpack(packet)
