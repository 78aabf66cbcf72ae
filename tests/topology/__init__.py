"""Nodes and pods as network namespaces and cgroups, for tests and for the demo. Needs root."""

from topology.leftovers import leftovers, reap
from topology.mesh import Mesh, MeshNode, Workload
from topology.nodes import Host, Node, Pod, Topology
from topology.process import Process, until
from topology.wire import Flow, Wire

__all__ = [
    "Flow",
    "Host",
    "Mesh",
    "MeshNode",
    "Node",
    "Pod",
    "Process",
    "Topology",
    "Wire",
    "Workload",
    "leftovers",
    "reap",
    "until",
]
