"""All of the API from plain grpcio, with nothing of ours: the contract is what the server says of itself.

Descriptors come by reflection; messages are made of dicts.
"""

import asyncio
import json
from base64 import b64encode

import grpc
import pytest
from control.test_control import UID, WORKLOAD, Node, bootstrap, control_plane
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ambient.rpc.gate import METHODS

PACKAGE = "ambient.control.v1"


class Client:
    """Calls methods by their names."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = descriptor_pool.DescriptorPool(self._database)
        self.called = set()

    def close(self):
        self._channel.close()

    @property
    def services(self):
        return sorted(self._database.get_services())

    def methods(self, service):
        return {method.name for method in self._pool.FindServiceByName(service).methods}

    def call(self, name, /, **fields):
        """``Service.Method``, and the fields of its request; the answer is a dict, or a list of dicts."""
        service, method = name.split(".")
        found = self._pool.FindServiceByName(f"{PACKAGE}.{service}").FindMethodByName(method)
        request, answer = map(message_factory.GetMessageClass, (found.input_type, found.output_type))
        path = f"/{PACKAGE}.{service}/{method}"
        self.called.add(f"{PACKAGE}.{service}/{method}")
        message = json_format.ParseDict(fields, request(), descriptor_pool=self._pool)
        shapes = {"request_serializer": request.SerializeToString, "response_deserializer": answer.FromString}
        if found.server_streaming:
            return (
                self._dict(one) for one in self._channel.unary_stream(path, **shapes)(message, timeout=20)
            )
        return self._dict(self._channel.unary_unary(path, **shapes)(message, timeout=20))

    def _dict(self, message):
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, descriptor_pool=self._pool
        )

    def refused(self, name, /, **fields):
        with pytest.raises(grpc.RpcError) as refused:
            self.call(name, **fields)
        return refused.value.code().name, refused.value.details()


def base64(text):
    return b64encode(text.encode()).decode()


def a_namespace(name, **metadata):
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}})


def manifests(*texts):
    return [{"origin": "client", "content": base64("\n---\n".join(texts))}]


async def test_everything_can_be_done_by_a_client_that_knows_nothing_of_ours(tmp_path):
    async with control_plane(tmp_path, config=None, advertise=("192.0.2.1",)) as control:
        client = Client(f"unix:{tmp_path / 'state' / 'control.sock'}")
        try:
            await asyncio.to_thread(configure, client)
            async with Node(control, await bootstrap(control)) as node:
                node.registration.set(WORKLOAD)
                await node.until(lambda: UID in node.snapshot.workloads)
                await asyncio.to_thread(look, client)
            await asyncio.to_thread(access, client)
            await asyncio.to_thread(certificates, client)
            while control._registry.nodes:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(forget, client)
            await asyncio.to_thread(everything_was_called, client)
        finally:
            client.close()


def configure(client):
    account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}"
    labels = {"ambient.dev/dataplane-mode": "ambient"}
    dry = client.call(
        "Configuration.Validate", manifests=manifests(a_namespace("shop", labels=labels), account)
    )
    assert [one["outcome"] for one in dry["results"]] == ["OUTCOME_CREATED"] * 2
    assert "applied" not in dry
    done = client.call(
        "Configuration.Apply", manifests=manifests(a_namespace("shop", labels=labels), account)
    )
    assert done["applied"]
    assert done["revision"] == "1"
    bad = client.call("Configuration.Apply", manifests=manifests(a_namespace("Shop_1"), a_namespace("good")))
    assert "applied" not in bad
    (violation,) = bad["results"][0]["violations"]
    assert violation["field"] == "metadata.name"
    assert violation["reason"] == "REASON_VALUE"
    assert violation["message"] == 'is "Shop_1"'
    assert violation["remedy"].startswith("a name is 1-63 of a-z")
    assert client.refused("Configuration.Get", object={"kind": "Namespace", "name": "good"})[0] == "NOT_FOUND"
    shop = client.call("Configuration.Get", object={"kind": "Namespace", "name": "shop"})
    assert (shop["source"], shop["resource_version"]) == ("api", "1")
    stale = client.call("Configuration.Apply", manifests=manifests(a_namespace("shop", resourceVersion="9")))
    assert stale["results"][0]["violations"][0]["reason"] == "REASON_STALE"
    listed = client.call("Configuration.List", page_size=1)
    assert [one["object"]["name"] for one in listed["objects"]] == ["shop"]
    rest = client.call("Configuration.List", page_token=listed["next_page_token"])
    assert [one["object"]["name"] for one in rest["objects"]] == ["web"]
    events = client.call("Configuration.Watch", revision=1)
    client.call("Configuration.Apply", manifests=manifests(a_namespace("other")))
    assert next(events) == {"bookmark": {}, "revision": "1"}
    assert next(events)["put"]["object"] == {"kind": "Namespace", "name": "other"}
    gone = client.call("Configuration.Delete", objects=[{"object": {"kind": "Namespace", "name": "other"}}])
    assert gone["results"][0]["outcome"] == "OUTCOME_DELETED"
    assert next(events) == {"gone": {"kind": "Namespace", "name": "other"}, "revision": "3"}
    with pytest.raises(grpc.RpcError) as relist:
        next(client.call("Configuration.Watch", revision=77))
    assert relist.value.code() is grpc.StatusCode.OUT_OF_RANGE


def look(client):
    status = client.call("Mesh.Status")
    assert (status["connected_nodes"], status["workloads"]) == (["n1"], 1)
    (node,) = client.call("Mesh.ListNodes")["nodes"]
    assert (node["name"], node["connected"], node["workloads"]) == ("n1", True, 1)
    registered = {"namespace": "shop", "name": "vm", "service_account": "web", "addresses": ["10.0.0.9"]}
    made = client.call("Mesh.RegisterWorkload", **registered, lease_seconds=60)
    assert made["workload"]["origin"] == "WORKLOAD_ORIGIN_API"
    names = [one["name"] for one in client.call("Mesh.ListWorkloads", namespace="shop")["workloads"]]
    assert client.call("Mesh.ListWaypoints", namespace="shop") == {}
    assert names == ["vm", "web"]
    code, why = client.refused(
        "Mesh.RegisterWorkload", **registered | {"addresses": ["10.0.0.1"], "name": "x"}
    )
    assert (code, why) == (
        "INVALID_ARGUMENT",
        "workload shop/x: address 10.0.0.1 is workload shop/web's already; give it another, or remove that one",
    )
    steps = client.call("Explanation.Explain", source="shop/web", destination="10.0.0.9", port=80)["steps"]
    assert all(step["topic"] for step in steps)
    client.call("Mesh.WithdrawWorkload", namespace="shop", name="vm")
    assert client.refused("Mesh.ForgetNode", node="n1") == (
        "INVALID_ARGUMENT",
        "node n1 is connected: stop its proxy first",
    )


def access(client):
    made = client.call("Access.CreateToken", name="ann", role="ROLE_READER", ttl_seconds=60)
    assert made["join_token"].startswith("ambient1.")
    listed = client.call("Access.ListTokens")["tokens"]
    assert [(one["name"], one["role"]) for one in listed if one["id"] == made["id"]] == [
        ("ann", "ROLE_READER")
    ]
    client.call("Access.RevokeToken", id=made["id"])
    assert client.call("Access.ListOperators") == {}
    assert client.refused("Access.RemoveOperator", name="ann")[0] == "NOT_FOUND"


def certificates(client):
    (certificate,) = client.call("Certificates.ListCertificates")["certificates"]
    assert certificate["identity"] == "spiffe://cluster.local/node/n1"
    client.call("Certificates.RevokeCertificate", name=certificate["serial"])
    assert client.call("Certificates.ListCertificates")["certificates"][0]["revoked"]
    assert client.call("Certificates.GetStanding")["phase"] == "steady"
    assert client.refused("Certificates.RecoverRoot")[0] == "INVALID_ARGUMENT"
    assert client.call("Certificates.RotateRoot")["phase"] == "spreading"


def forget(client):
    assert client.call("Mesh.ForgetNode", node="n1") == {"workloads": 1}


def everything_was_called(client):
    ours = [service for service in client.services if service.startswith(PACKAGE)]
    published = {f"{service}/{method}" for service in ours for method in client.methods(service)}
    assert published - client.called == set(), "a method that no test of this file calls"


async def test_a_door_says_that_it_serves(tmp_path):
    def check():
        with grpc.insecure_channel(f"unix:{tmp_path / 'state' / 'control.sock'}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status

    async with control_plane(tmp_path):
        assert await asyncio.to_thread(check) == health_pb2.HealthCheckResponse.SERVING


async def test_every_published_method_has_its_rule(tmp_path):
    def published():
        client = Client(f"unix:{tmp_path / 'state' / 'control.sock'}")
        try:
            return {
                f"{service}/{method}" for service in client.services for method in client.methods(service)
            }
        finally:
            client.close()

    async with control_plane(tmp_path):
        assert await asyncio.to_thread(published) <= METHODS.keys()
