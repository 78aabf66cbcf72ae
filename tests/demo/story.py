"""The demo's story. Whatever it does to the mesh it does with ``ambient …`` and files of the configuration folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from demo.account import Account
from topology import Flow, Mesh, MeshNode, Pod, Process, Topology, Workload, objects, until
from topology.mesh import AMBIENT

WEB, NIGHT, BATCH, LEGACY = b"order-from-web", b"order-from-night", b"order-from-batch", b"order-from-legacy"
MARKERS = (WEB, NIGHT, BATCH, LEGACY)
PORT = 8080
TICK = 0.05
QUIET_SECONDS = 1.0
"""How long each state of the mesh is watched."""
LONGEST_CONNECT_MS = 100.0
CONTROL_PORTS = {15012, 15013}


class Story:
    """``web`` (IPv4), ``night`` (IPv6) and ``batch`` of namespace shop, and ``legacy`` of an un-enrolled one, call ``api``."""

    def __init__(self, topology: Topology, account: Account) -> None:
        self.account = account
        self.topology = topology
        self.mesh = Mesh(topology)
        self.clients: dict[str, Process] = {}
        self.workloads: dict[str, Workload] = {}

    def tell(self) -> None:
        """All of it, in order."""
        self.start_mesh()
        self.start_traffic()
        self.before()
        self.enrol()
        self.strict()
        self.allow()
        self.deny()
        self.rotate()
        self.kill_worker()
        self.applications_were_left_alone()

    # ---- the acts

    def start_mesh(self) -> None:
        self.account.step(
            "two nodes with a wire between them, a control plane, five pods that know nothing of it"
        )
        self.mesh.apply("shop", objects.namespace("shop", enrolled=False))
        self.mesh.apply("legacy", objects.namespace("legacy", enrolled=False))
        accounts = [
            ("shop", "web"),
            ("shop", "night"),
            ("shop", "batch"),
            ("shop", "api"),
            ("legacy", "legacy"),
        ]
        self.mesh.apply("accounts", *(objects.service_account(*account) for account in accounts))
        self.wire = self.topology.wire(*MARKERS)
        self.mesh.start_control()
        self.one, self.two = self.mesh.node("one"), self.mesh.node("two")
        self.api = self.pod("api", self.two, "shop")
        for name in ("web", "night", "batch"):
            self.pod(name, self.one, "shop")
        self.pod("legacy", self.one, "legacy")
        self.account.note(
            "ambient control, and on each node ambient node and ambient proxy; ambient workload add …"
        )

    def start_traffic(self) -> None:
        self.account.step("traffic, from here to the end: a new connection every 50 ms, and one that is held")
        self.server = self.api.pod.serve("echo", PORT, "--name", "api")
        pod = self.api.pod
        for name, target in (("web", pod.v4), ("night", pod.v6), ("batch", pod.v4), ("legacy", pod.v4)):
            self.clients[name] = self.steady(self.workloads[name].pod, target, f"order-from-{name}")
        for client in self.clients.values():
            client.wait_for_line(event="request", kind="held", ok=True)
        self.pids = {process.pid for process in (self.server, *self.clients.values())}

    def before(self) -> None:
        self.account.step("before: nobody is enrolled")
        since = self.watch()
        leaks = self.wire.leaks(since)
        carried = {marker for flow in leaks for marker in flow.markers}
        self.account.claim(
            carried == set(MARKERS), f"plaintext on the wire: {len(leaks)} flows with orders anybody can read"
        )
        self.no_errors(since, self.clients)

    def enrol(self) -> None:
        self.account.step("enrol: namespace shop gets the label ambient.dev/dataplane-mode: ambient")
        began = time.time()
        self.mesh.apply("shop", objects.namespace("shop"))
        enrolled = [workload for workload in self.workloads.values() if workload.namespace == "shop"]
        self.mesh.settle(*enrolled)
        self.account.note(f"four pods captured and known everywhere after {time.time() - began:.2f} s")
        since = self.watch()
        new = [
            flow for flow in self.wire.leaks(since) if flow.first_seen >= since and LEGACY not in flow.markers
        ]
        old = [
            flow for flow in self.wire.leaks(since) if flow.first_seen < began and LEGACY not in flow.markers
        ]
        self.account.claim(not new, "no new connection of shop is in plaintext", shown(new))
        hbone = [flow for flow in self.wire.to_port(15008) if flow.last_seen >= since]
        self.account.claim(
            bool(hbone) and all(flow.is_tls for flow in hbone),
            f"they are TLS to port 15008, every byte of them: {len(hbone)} connections between the nodes",
            shown(hbone),
        )
        self.account.claim(len(old) >= 3, "older ones go on as they were, and are named:", shown(old))
        for flow in old:
            if flow.destination[1] == PORT:
                self.account.note(str(flow))
        self.account.claim(
            self.mutual() > 0, "and counted as istio_tcp_connections_opened_total{…mutual_tls…} on both nodes"
        )
        self.no_errors(began, self.clients)

    def strict(self) -> None:
        self.account.step("PeerAuthentication STRICT for shop")
        self.mesh.apply("strict", objects.peer_authentication("shop", "STRICT"))
        self.account.attempt(
            lambda: self.clients["legacy"].wait_for_line(event="request", kind="new", ok=False),
            "legacy, which has no identity, is refused",
        )
        self.account.attempt(
            lambda: [
                self.clients[name].wait_for_line(event="request", lost=True)
                for name in ("web", "night", "batch")
            ],
            "the connections older than the enrolment are cut, once each",
        )
        since = self.watch()
        leaks = self.wire.leaks(since)
        self.account.claim(not leaks, "no plaintext on the wire at all", shown(leaks))
        others = [flow for flow in self.wire.flows() if flow.last_payload >= since and not is_mesh(flow)]
        self.account.claim(not others, "every byte between the nodes is TLS to 15008", shown(others))
        self.no_errors(since, {name: self.clients[name] for name in ("web", "night", "batch")})

    def allow(self) -> None:
        self.account.step("AuthorizationPolicy: ALLOW web and night")
        principals = [f"cluster.local/ns/shop/sa/{name}" for name in ("web", "night")]
        self.mesh.apply(
            "allow", objects.authorization_policy("shop", "day-and-night", "ALLOW", principals=principals)
        )
        self.refused("batch", "batch is refused, and its live connection closed")
        line = self.two.wait_for_access(direction="inbound", response_flags="DENY", src__workload="batch")
        self.account.note(f"access log: {line['error']}")
        self.no_errors(time.time() - QUIET_SECONDS, {name: self.clients[name] for name in ("web", "night")})

    def deny(self) -> None:
        self.account.step("AuthorizationPolicy: DENY night")
        principal = "cluster.local/ns/shop/sa/night"
        self.mesh.apply(
            "deny", objects.authorization_policy("shop", "no-night", "DENY", principals=[principal])
        )
        self.refused("night", "night is refused although the other policy allows it")
        line = self.two.wait_for_access(direction="inbound", policy="shop/no-night")
        self.account.claim(
            line["src.identity"] == self.workloads["night"].identity,
            "the log names the policy and who was refused",
        )
        self.mesh.delete("deny")
        self.mesh.delete("allow")
        wall = time.time()
        self.account.attempt(
            lambda: self.answered(("night", "batch"), wall),
            "both policies removed: night and batch are served again",
        )

    def rotate(self) -> None:
        self.account.step("a new certificate for api: ambient certs renew")
        wall, identity = time.time(), self.api.identity
        before = self.serial(identity)
        ran = self.two.node.run(AMBIENT, "certs", "renew", identity)
        self.account.attempt(
            lambda: until(lambda: self.serial(identity) not in ("", before), 10, "another serial number"),
            "its serial number changed",
        )
        if ran.returncode:
            self.account.note(ran.stderr)
        self.watch()
        self.no_errors(wall, {name: self.clients[name] for name in ("web", "night", "batch")})

    def kill_worker(self) -> None:
        self.account.step("kill -9 of a proxy worker on node two")
        wall = time.time()
        victim = min(self.two.worker_pids())
        os.kill(victim, signal.SIGKILL)
        self.two.wait_for_metric(1, "ambient_worker_deaths_total")
        self.watch()
        mesh_clients = {name: self.clients[name] for name in ("web", "night", "batch")}
        lines = {name: requests(client, wall) for name, client in mesh_clients.items()}
        held = [line for found in lines.values() for line in found if line["lost"]]
        self.account.note(f"{len(held)} held connections were in it and are lost; it was started again")
        refused = [
            line
            for found in lines.values()
            for line in found
            if line["kind"] == "new" and line["connect_ms"] is None
        ]
        self.account.claim(not refused, "no connect was refused", str(refused[:3]))
        slowest = max(
            (line["connect_ms"] for found in lines.values() for line in found if line["connect_ms"]),
            default=0.0,
        )
        self.account.claim(
            slowest <= LONGEST_CONNECT_MS,
            f"the slowest connect took {slowest:.0f} ms",
            f"more than {LONGEST_CONNECT_MS:.0f} ms",
        )

    def applications_were_left_alone(self) -> None:
        self.account.step("the applications")
        alive = {process.pid for process in (self.server, *self.clients.values()) if process.running}
        self.account.claim(
            alive == self.pids, "all five are the processes that were started at the beginning"
        )
        calls = sum(len(requests(client, 0)) for client in self.clients.values())
        true_peers = {line["peername"][0] for line in self.server.lines() if line.get("event") == "accepted"}
        own = {f"::ffff:{w.pod.v4}" for w in self.workloads.values()} | {
            str(w.pod.v6) for w in self.workloads.values()
        }
        self.account.claim(
            true_peers <= own, f"of {calls} requests the server saw who really called", str(true_peers - own)
        )
        self.wire.close()
        self.account.claim(
            self.wire.dropped == 0, "the watcher of the wire missed nothing", f"{self.wire.dropped} packets"
        )

    def invite(self) -> None:
        """Say what can be tried while it runs."""
        enter = f"nsenter --net={self.one.node.netns}"
        print(
            f"""
It goes on. Try, in another shell:
  {AMBIENT} workload list --run-dir {self.one.run_dir}
  {enter} {AMBIENT} certs list --proxy
  {enter} curl -s http://127.0.0.1:15000/metrics | grep istio_tcp
  tail -f {self.one.access_log}
  $EDITOR {self.mesh.config}/strict.yaml
Ctrl-C ends it and removes everything.""",
            flush=True,
        )

    # ---- what the acts share

    def pod(self, name: str, node: MeshNode, namespace: str) -> Workload:
        workload = node.add(node.node.pod(name), namespace, name, labels={"app": name})
        self.workloads[name] = workload
        return workload

    def steady(self, pod: Pod, target: object, marker: str) -> Process:
        return pod.start("steady", target, PORT, "--every", TICK, "--marker", marker)

    def watch(self) -> float:
        """Let it run for a while; when that began."""
        since = time.time()
        time.sleep(QUIET_SECONDS)
        self.wire.drain()
        return since

    def no_errors(self, since: float, clients: dict[str, Process]) -> None:
        failed = {
            name: [line for line in requests(client, since) if not line["ok"] and not line["lost"]]
            for name, client in clients.items()
        }
        count = sum(len(requests(client, since)) for client in clients.values())
        self.account.claim(
            count > 0 and not any(failed.values()),
            f"no request of {', '.join(clients)} failed ({count} in this time)",
            str({name: lines[:2] for name, lines in failed.items() if lines}),
        )

    def refused(self, name: str, text: str) -> None:
        wall = time.time()

        def seen() -> bool:
            lines = requests(self.clients[name], wall)
            return any(line["lost"] for line in lines) and any(
                not line["ok"] and line["kind"] == "new" for line in lines
            )

        self.account.attempt(lambda: until(seen, 10, f"{name} to be refused"), text)

    def answered(self, names: Sequence[str], wall: float) -> None:
        for name in names:
            client = self.clients[name]
            until(
                lambda client=client: any(line["ok"] for line in requests(client, wall)),  # type: ignore[misc]
                10,
                f"{name} to be answered",
            )

    def mutual(self) -> float:
        name, security = "istio_tcp_connections_opened_total", "mutual_tls"
        source = self.one.metric(name, reporter="source", connection_security_policy=security)
        return min(source, self.two.metric(name, reporter="destination", connection_security_policy=security))

    def serial(self, identity: str) -> str:
        held = self.two.dump()["certificates"]
        return next((str(one.get("serialNumber", "")) for one in held if one["identity"] == identity), "")


def requests(client: Process, since: float) -> list[dict[str, Any]]:
    """Requests that ended after ``since``, of the wall clock."""
    return [line for line in client.lines() if line.get("event") == "request" and line["at"] >= since]


def is_mesh(flow: Flow) -> bool:
    """TLS to or from a proxy or the control plane."""
    ends = {flow.source[1], flow.destination[1]}
    return not flow.not_tls and bool(ends & ({15008} | CONTROL_PORTS))


def shown(flows: Sequence[Flow]) -> str:
    return "; ".join(str(flow) for flow in flows[:4])
