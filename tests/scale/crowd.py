"""Many nodes in one process, each with both of its streams: as light as can be, so that the control plane is what is measured.

They hold names and versions, acknowledge at once, and note when they first saw a resource that carries ``rev-NUMBER``.
Commands come line by line on standard input, answers go as JSON to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from ambient.core.pki.issue import SERVER_NAME
from ambient.rpc.pb.ambient.registry.v1 import registry_pb2

TYPES: Final = (
    "type.googleapis.com/istio.security.Authorization",
    "type.googleapis.com/istio.workload.Address",
)
_DISCOVERY: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_REGISTRY: Final = "/ambient.registry.v1.Registry/Report"
_REVISION: Final = re.compile(rb"rev-(\d+)")


def channel(folder: Path, node: str, port: int) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        (folder / "roots").read_bytes(),
        (folder / f"{node}.key").read_bytes(),
        (folder / f"{node}.chain").read_bytes(),
    )
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.max_receive_message_length", 200 << 20),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
    ]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


class Report:
    """A node's stream to the registry."""

    def __init__(self, to: grpc.aio.Channel) -> None:
        self._call = to.stream_stream(
            _REGISTRY,
            request_serializer=registry_pb2.NodeReport.SerializeToString,
            response_deserializer=registry_pb2.NodeOrders.FromString,
        )()

    async def say(self, *workloads: registry_pb2.LocalWorkload, full: bool = False) -> None:
        await self._call.write(registry_pb2.NodeReport(full=full, upserted=workloads))

    async def orders(self) -> registry_pb2.NodeOrders:
        orders: registry_pb2.NodeOrders = await self._call.read()
        return orders


def workload(number: int, namespaces: int, services: int, revision: int = 0) -> registry_pb2.LocalWorkload:
    """One of the mesh's; each serves one service of its namespace."""
    namespace = f"ns{number % namespaces}"
    serves = (number + number // namespaces * namespaces) % services
    return registry_pb2.LocalWorkload(
        uid=f"local/ambient.dev/Workload/{namespace}/w{number}",
        name=f"w{number}",
        namespace=namespace,
        service_account="app",
        labels={"app": f"s{serves}", "version": f"rev-{revision}"},
        addresses=[(((10 << 24) | (128 << 16)) + number + 1).to_bytes(4, "big")],
        captured=True,
    )


class Crowd:
    """All nodes of a process."""

    def __init__(self) -> None:
        self.held: list[dict[str, dict[str, str]]] = []
        self.reset()

    def reset(self) -> None:
        self.seen: dict[int, list[float]] = {}
        """By revision: how many nodes have acknowledged it, and when the last of them did."""
        self.bytes = self.responses = self.resources = self.removed = 0

    async def stay(self, to: grpc.aio.Channel, mine: list[registry_pb2.LocalWorkload]) -> None:
        held: dict[str, dict[str, str]] = {type_url: {} for type_url in TYPES}
        self.held.append(held)
        await asyncio.gather(
            self._again(lambda: self._report(to, mine)), self._again(lambda: self._discover(to, held))
        )

    async def _again(self, stream: Any) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
                await stream()
            await asyncio.sleep(0.3)

    async def _report(self, to: grpc.aio.Channel, mine: list[registry_pb2.LocalWorkload]) -> None:
        report = Report(to)
        await report.say(*mine, full=True)
        while await report.orders() is not grpc.aio.EOF:
            pass

    async def _discover(self, to: grpc.aio.Channel, held: dict[str, dict[str, str]]) -> None:
        call = to.stream_stream(_DISCOVERY)()
        seen: set[int] = set()
        for type_url in TYPES:
            request = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url, initial_resource_versions=held[type_url]
            )
            await call.write(request.SerializeToString())
        while (message := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
            answer = discovery_pb2.DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce
            )
            await call.write(answer.SerializeToString())
            now = time.monotonic()
            self.bytes += len(message)
            self.responses += 1
            self.resources += len(response.resources)
            self.removed += len(response.removed_resources)
            holds = held[response.type_url]
            for name in response.removed_resources:
                holds.pop(name, None)
            for one in response.resources:
                holds[sys.intern(one.name)] = sys.intern(one.version)
            if len(response.resources) < 500:
                for found in set(map(int, _REVISION.findall(message))) - seen:
                    seen.add(found)
                    count, last = self.seen.get(found, (0, 0.0))
                    self.seen[found] = [count + 1, max(last, now)]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for number in ("port", "first", "count", "each", "namespaces", "services"):
        parser.add_argument(number, type=int)
    asked = parser.parse_args()
    crowd = Crowd()
    tasks = []
    for node in range(asked.first, asked.first + asked.count):
        mine = [
            workload(number, asked.namespaces, asked.services)
            for number in range(node * asked.each, (node + 1) * asked.each)
        ]
        tasks.append(asyncio.create_task(crowd.stay(channel(asked.folder, f"node{node}", asked.port), mine)))
    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        held = [sum(map(len, one.values())) for one in crowd.held]
        newest = max(crowd.seen, default=0)
        answer: dict[str, Any] = {
            "least": min(held, default=0),
            "most": max(held, default=0),
            "newest": [newest, crowd.seen.get(newest, [0])[0]],
        }
        if command == "take":
            answer |= {name: value for name, value in vars(crowd).items() if name != "held"}
            crowd.reset()
        print(json.dumps(answer), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
