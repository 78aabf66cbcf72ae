from ipaddress import ip_network

import pytest
from hypothesis import given, strategies as st

from ambient.core.errors import PeerError
from ambient.core.model.pod import Exclusions
from ambient.rpc import exclusions
from ambient.rpc.pb.ambient.registry.v1 import registry_pb2
from ambient.rpc.pb.istio.zds import zds_pb2
from ambient.rpc.registration import read_workload

_ports = st.frozensets(st.integers(1, 65535), max_size=3)
_networks = st.ip_addresses().map(ip_network)


@given(
    st.builds(Exclusions, _ports, _ports, st.frozensets(_networks, max_size=3)),
    st.sampled_from([registry_pb2.Exclusions, zds_pb2.Exclusions]),
)
def test_what_is_written_is_read(excluded, kind):
    assert exclusions.read(exclusions.message(kind, excluded)) == excluded


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"outbound_ports": [0]}, "0 is excluded; a port is 1-65535"),
        ({"inbound_ports": [70000]}, "70000 is excluded; a port is 1-65535"),
        ({"outbound_networks": ["10.0.0.1/8"]}, "10.0.0.1/8 has host bits set"),
        ({"outbound_networks": ["oops"]}, "'oops' does not appear to be"),
    ],
    ids=["port-0", "port-70000", "host-bits", "no-network"],
)
def test_what_cannot_be_excluded_is_the_nodes_fault(fields, why):
    message = registry_pb2.LocalWorkload(uid="u", exclusions=registry_pb2.Exclusions(**fields))
    with pytest.raises(PeerError, match=f"workload 'u': {why}"):
        read_workload(message)
