import pytest

from ambient.core.errors import InvalidIdentity
from ambient.core.model.identity import NodeId, SpiffeId


def test_identities_survive_their_text():
    workload, node = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/node/one"
    assert str(SpiffeId.parse(workload)) == workload
    assert str(NodeId.parse(node)) == node


NOT_WORKLOADS = {
    "empty": "",
    "no-scheme": "cluster.local/ns/shop/sa/web",
    "other-scheme": "https://cluster.local/ns/shop/sa/web",
    "scheme-in-capitals": "SPIFFE://cluster.local/ns/shop/sa/web",
    "a-node": "spiffe://cluster.local/node/one",
    "no-trust-domain": "spiffe:///ns/shop/sa/web",
    "trust-domain-in-capitals": "spiffe://Cluster.local/ns/shop/sa/web",
    "port": "spiffe://cluster.local:80/ns/shop/sa/web",
    "empty-namespace": "spiffe://cluster.local/ns//sa/web",
    "dots": "spiffe://cluster.local/ns/../sa/web",
    "more-segments": "spiffe://cluster.local/ns/shop/sa/web/x",
    "trailing-slash": "spiffe://cluster.local/ns/shop/sa/web/",
    "query": "spiffe://cluster.local/ns/shop/sa/web?x",
    "percent": "spiffe://cluster.local/ns/shop/sa/w%65b",
    "line-break": "spiffe://cluster.local/ns/shop/sa/web\n",
    "zero-byte": "spiffe://cluster.local/ns/shop/sa/web\0",
}


@pytest.mark.parametrize("uri", list(NOT_WORKLOADS.values()), ids=NOT_WORKLOADS)
def test_what_is_no_workload_s_identity(uri):
    with pytest.raises(InvalidIdentity, match="is not spiffe://"):
        SpiffeId.parse(uri)


def test_a_workload_is_no_node():
    with pytest.raises(InvalidIdentity):
        NodeId.parse("spiffe://cluster.local/ns/shop/sa/web")
