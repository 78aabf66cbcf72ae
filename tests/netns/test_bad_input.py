"""Bad input through the commands that an operator has: one sentence, an exit code, and nothing half done."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from topology import Mesh, MeshNode, Pod, Process, Topology, Workload, objects, until
from topology.mesh import AMBIENT
from topology.namespace import entered
from topology.objects import Object

from ambient.core.redirection import Role
from ambient.kernel import loader, mounts

NOBODY = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    # Nobody may read this checkout wherever it lies; nothing else is left of root.
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
NOT_THERE = 4194303


@dataclass(frozen=True)
class World:
    mesh: Mesh
    one: MeshNode
    two: MeshNode
    """With a daemon, and no proxy."""
    client: Workload
    server: Workload
    spare: Pod
    """On node one, and not in the mesh."""
    expired: str
    """A token of node two."""
    used: str
    """Another, with which it was bootstrapped once."""

    def path(self, name: str) -> Path:
        return self.mesh.topology.folder / name


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply("shop", *SHOP)
        mesh.start_control()
        one = mesh.node("one")
        two = MeshNode(mesh, topology.node("two"))
        expired = token(mesh, two.name, "--ttl", "1")
        two.start_daemon()
        two.start_proxy().wait_for_line(message="certificate issued")
        forget_certificate(two)
        client = one.add(one.node.pod("client"), "shop", "client")
        pod = one.node.pod("server")
        pod.serve("echo", 8080)
        server = one.add(pod, "shop", "server")
        mesh.settle(client, server)
        one.wait_for_dump("policies", lambda policy: policy["name"] == "clients", "the policy")
        yield World(
            mesh, one, two, client, server, one.node.pod("spare"), expired, two.token_file.read_text()
        )


def forget_certificate(node: MeshNode) -> None:
    """Neither the proxy nor the daemon, which keeps it for the next proxy, outlives this."""
    assert node.proxy is not None
    assert node.daemon is not None
    node.proxy.stop()
    node.daemon.stop()
    node.start_daemon()


def token(mesh: Mesh, node: str, *flags: str) -> str:
    ran = mesh.host.run(AMBIENT, "token", "create", "--node", node, "--state-dir", mesh.state, *flags)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def written(world: World, name: str, content: str | None) -> Path:
    """A file with this content; None: no file."""
    path = world.path(name)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content, "latin-1")
    return path


def filled(world: World, message: str) -> str:
    """``message`` with names of nodes, and of files below the topology's folder, in their places."""

    def place(match: re.Match[str]) -> str:
        names = {
            "name": world.one.name,
            "two": world.two.name,
            "pins": str(loader.node_folder(world.one.name)),
        }
        return names.get(match[1]) or str(world.path(match[1]))

    return re.sub(r"\{([a-z./-]+)\}", place, message)


def says(ran: CompletedProcess[str], message: str) -> None:
    """It ended with this sentence alone, and exit code 1, or 3 if that is who does not answer."""
    said = [line for line in ran.stderr.splitlines() if " INFO " not in line]
    code = 3 if message.startswith(("no control plane answers", "no node daemon answers")) else 1
    assert (ran.returncode, ran.stdout, said) == (code, "", [f"error: {message}"])


def works(world: World) -> None:
    """Traffic goes on as before."""
    assert world.client.pod.call(world.server.pod.v4, 8080)["echoed"] == "hello"


# ---- objects

SHOP: list[Object] = [
    objects.namespace("shop"),
    objects.service_account("shop", "client"),
    objects.service_account("shop", "server"),
    objects.service("shop", "server", ["203.0.113.7"], {80: 8080}, {"app": "server"}),
    objects.peer_authentication("shop", "PERMISSIVE"),
    objects.authorization_policy("shop", "clients", "ALLOW", principals=["cluster.local/ns/shop/sa/client"]),
]
NAMESPACE, _, _, SERVICE, AUTHENTICATION, POLICY = range(len(SHOP))
STANDS = "; its last good version stands"


def altered(index: int, *path: str | int, value: object) -> bytes:
    """The good file with one field of one object set."""
    changed: list[Any] = json.loads(json.dumps(SHOP))
    within: Any = changed[index]
    for step in path[:-1]:
        within = within[step]
    within[path[-1]] = value
    return yaml.safe_dump_all(changed, sort_keys=False).encode()


BAD_FILES = {
    "not-yaml": (b"kind: [Namespace\n", "line 2: this is not YAML: did not find expected ',' or ']'"),
    "not-utf8": (b"# \xff\n", "line 1: byte 2 is not UTF-8; save the file as UTF-8"),
    "key-twice": (b"kind: Namespace\nkind: Service\n", "line 2: the key 'kind' comes twice; remove one of them"),
    "no-kind": (
        b"apiVersion: v1\nmetadata: {name: shop}\n",
        "line 1: kind is missing; every object has apiVersion, kind and metadata.name",
    ),
    "not-an-object": (b"- shop\n", "line 1: this is not an object; it has apiVersion, kind and metadata"),
    "unknown-mode": (
        altered(NAMESPACE, "metadata", "labels", "ambient.dev/dataplane-mode", value="on"),
        'line 6: Namespace shop: metadata.labels["ambient.dev/dataplane-mode"] is "on"; it is ambient or none' + STANDS,
    ),
    "unknown-field": (
        altered(POLICY, "spec", "acton", value="DENY"),
        "line 59: AuthorizationPolicy shop/clients: spec.acton is unknown; did you mean action?" + STANDS,
    ),
    "unknown-action": (
        altered(POLICY, "spec", "action", value="BLOCK"),
        'line 53: AuthorizationPolicy shop/clients: spec.action is "BLOCK"; it is ALLOW or DENY' + STANDS,
    ),
    "bad-cidr": (
        altered(POLICY, "spec", "rules", 0, "from", 0, "source", "ipBlocks", value=["10.0.0.0/99"]),
        'line 60: AuthorizationPolicy shop/clients: spec.rules[0].from[0].source.ipBlocks[0] is "10.0.0.0/99"; '
        "it is an IP address or a CIDR such as 10.0.0.0/8" + STANDS,
    ),
    "port-out-of-range": (
        altered(POLICY, "spec", "rules", 0, "to", value=[{"operation": {"ports": ["70000"]}}]),
        'line 62: AuthorizationPolicy shop/clients: spec.rules[0].to[0].operation.ports[0] is "70000"; a port is 1-65535'
        + STANDS,
    ),
    "unknown-mtls-mode": (
        altered(AUTHENTICATION, "spec", "mtls", "mode", value="STRIKT"),
        'line 45: PeerAuthentication shop/default: spec.mtls.mode is "STRIKT"; it is UNSET, STRICT, PERMISSIVE or DISABLE'
        + STANDS,
    ),
    "bad-target-port": (
        altered(SERVICE, "spec", "ports", 0, "targetPort", value=0),
        "line 36: Service shop/server: spec.ports[0].targetPort is 0; a port is 1-65535" + STANDS,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_object_is_named_and_the_last_good_version_stands(
    world: World, content: bytes, message: str
) -> None:
    control = world.mesh.control
    assert control is not None
    error = f"shop.yaml: {message}"
    before = configured(world)
    (world.mesh.config / "shop.yaml").write_bytes(content)
    control.wait_for_line(level="error", message="configuration refused", error=error)
    refused, status = ask_status(world.mesh)
    assert (refused, status["errors"]) == (1, [error])
    assert configured(world) == before
    works(world)
    world.mesh.apply("shop", *SHOP)
    until(lambda: ask_status(world.mesh)[0] == 0, 5, "no error to be left")
    assert configured(world) == before


def configured(world: World) -> list[Any]:
    """What the proxy decides by."""
    dump = world.one.dump()
    return [dump[part] for part in ("workloads", "services", "policies")]


def ask_status(mesh: Mesh) -> tuple[int, dict[str, Any]]:
    ran = mesh.host.run(AMBIENT, "status", "--state-dir", mesh.state, "--output", "json")
    status: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, status


# ---- workloads

ADD = {
    "unknown-namespace": (
        {"namespace": "nowhere"},
        "workload nowhere/spare: namespace 'nowhere' is not configured; add a v1 Namespace of that name",
    ),
    "unknown-service-account": (
        {"service-account": "nobody"},
        (
            "workload shop/spare: service account 'nobody' is not configured; "
            "add a v1 ServiceAccount of that name to namespace shop"
        ),
    ),
    "netns-gone": (
        {"netns": "/run/netns/amb-none"},
        "network namespace '/run/netns/amb-none': No such file or directory; give the path of one that exists",
    ),
    "not-a-netns": (
        {"netns": "/etc/passwd"},
        "/etc/passwd is not a network namespace; give the path of one, such as /run/netns/NAME",
    ),
    "another-kind-of-namespace": (
        {"netns": "/proc/self/ns/mnt"},
        "/proc/self/ns/mnt is not a network namespace; give the path of one, such as /run/netns/NAME",
    ),
    "pid-not-there": (
        {"netns": None, "pid": NOT_THERE},
        f"pid {NOT_THERE}: there is no such process; give the pid of one that runs",
    ),
    "cgroup-not-there": (
        {"cgroup": "/sys/fs/cgroup/amb-none"},
        "cgroup '/sys/fs/cgroup/amb-none': there is no such folder; give the workload's cgroup v2 folder",
    ),
    "neither-netns-nor-pid": (
        {"netns": None},
        (
            "netns and pid: give the path of the workload's network namespace or the pid of a process in it, "
            "one of the two"
        ),
    ),
}


@pytest.mark.parametrize(("changed", "message"), ADD.values(), ids=ADD.keys())
def test_a_workload_that_cannot_be_is_refused(world: World, changed: dict[str, Any], message: str) -> None:
    spare = world.spare
    flags = {"namespace": "shop", "service-account": "client", "netns": spare.netns, "cgroup": spare.cgroup}
    given = [(name, value) for name, value in {**flags, **changed}.items() if value is not None]
    before = world.one.listed()
    says(
        world.one.workload("add", "spare", *(word for name, value in given for word in (f"--{name}", value))),
        message,
    )
    untouched(world, before)


def test_a_port_of_the_mesh_that_is_in_use_is_named(world: World) -> None:
    spare, before = world.spare, world.one.listed()
    for role in Role:
        with entered(spare.netns):
            taken = socket.create_server(("", role.value))
        with taken:
            ran = world.one.workload(
                "add", "spare", "--namespace", "shop", "--service-account", "client",
                "--netns", spare.netns, "--cgroup", spare.cgroup,
            )  # fmt: skip
            says(
                ran,
                f"port {role.value} ({role.name.lower()}) is in use in the workload's network namespace; "
                "the mesh needs it: let the program that has it listen on another port",
            )
        untouched(world, before)


def untouched(world: World, listed: list[dict[str, Any]]) -> None:
    """The spare pod is as it was: no workload, no listener, no word of it in the mesh."""
    assert world.one.listed() == listed
    for role in Role:
        with entered(world.spare.netns), socket.create_server(("", role.value)):
            pass
    assert [workload["name"] for workload in world.one.dump()["workloads"]] == ["client", "server"]


# ---- programs

Command = Callable[[World], tuple[object, ...]]


def proxy_command(world: World, node: MeshNode, **changed: object) -> tuple[object, ...]:
    flags: dict[str, object] = {
        "run-dir": node.run_dir,
        "state-dir": node.proxy_state,
        "root-cert": world.mesh.state / "root-cert.pem",
        "token-file": node.token_file,
        "control": f"{world.mesh.host.v4}:15012",
        "log-format": "json",
        "workers": 1,
    }
    given = {**flags, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return (AMBIENT, "proxy", *(word for name, value in given.items() for word in (f"--{name}", value)))


def control_command(world: World, **changed: object) -> tuple[object, ...]:
    flags: dict[str, object] = {"config": world.mesh.config, "state-dir": world.path("other-state")}
    given = {**flags, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return (AMBIENT, "control", *(word for name, value in given.items() for word in (f"--{name}", value)))


def node_command(world: World, name: str, folder: str | None = None) -> tuple[object, ...]:
    run_dir = world.one.run_dir if folder is None else world.path(f"{folder}-run")
    state_dir = world.one.daemon_state if folder is None else world.path(f"{folder}-state")
    return (AMBIENT, "node", "--name", name, "--run-dir", run_dir, "--state-dir", state_dir)


ROOT_NEEDED = "needs root, to enter the network namespaces of workloads; run it as root"
NO_CONTROL = "Permission denied; is `ambient control` running, with this --state-dir, and are you root?"
WITHOUT_ROOT: dict[str, tuple[Command, str]] = {
    "node": (lambda world: node_command(world, "amb-none", "none"), f"ambient node {ROOT_NEEDED}"),
    "uninstall": (
        lambda world: (*node_command(world, "amb-none", "none"), "--uninstall"),
        f"ambient node {ROOT_NEEDED}",
    ),
    "proxy": (lambda world: proxy_command(world, world.two), f"ambient proxy {ROOT_NEEDED}"),
    "control": (
        control_command,
        "--state-dir {other-state} cannot be used: Permission denied; run as root, or name another folder",
    ),
    "workload": (
        lambda world: (AMBIENT, "workload", "list", "--run-dir", world.one.run_dir),
        "{one/run/node.sock} is root's; run this as root",
    ),
    "token": (
        lambda world: (AMBIENT, "token", "create", "--node", "x", "--state-dir", world.mesh.state),
        "no control plane answers on {control/state/control.sock}: " + NO_CONTROL,
    ),
    "status": (
        lambda world: (AMBIENT, "status", "--state-dir", world.mesh.state),
        "no control plane answers on {control/state/control.sock}: " + NO_CONTROL,
    ),
}


@pytest.mark.parametrize(("command", "message"), WITHOUT_ROOT.values(), ids=WITHOUT_ROOT.keys())
def test_without_root_each_program_says_so(world: World, command: Command, message: str) -> None:
    ran = world.one.node.run(*NOBODY, *map(str, command(world)))
    says(ran, filled(world, message))


REFUSED: dict[str, tuple[Command, str]] = {
    "second-daemon-in-the-same-folder": (
        lambda world: node_command(world, "amb-none"),
        "{one/run} belongs to a node daemon that is running; stop that one, or give another folder",
    ),
    "second-daemon-of-the-same-node": (
        lambda world: node_command(world, world.one.name, "none"),
        ("node '{name}' already has a daemon on this machine (it holds {pins}); "
        "stop that one, or give this one another node name"),
    ),
    "uninstall-while-the-daemon-runs": (
        lambda world: (*node_command(world, world.one.name), "--uninstall"),
        "{one/run} belongs to a node daemon that is running; stop that one, or give another folder",
    ),
    "second-proxy-of-the-same-node": (
        lambda world: proxy_command(world, world.one, admin="127.0.0.1:15099"),
        "--run-dir {one/run} belongs to a proxy that is running; stop that one, or give another folder",
    ),
    "proxys-admin-port-in-use": (
        lambda world: proxy_command(world, world.two, run_dir=world.path("none-run")),
        "--admin 127.0.0.1:15000: Address already in use; choose another port",
    ),
    "no-root-certificate": (
        lambda world: proxy_command(world, world.two, root_cert=world.path("none")),
        "--root-cert {none}: No such file or directory; it is root-cert.pem in the control plane's state folder",
    ),
    "garbage-for-a-root-certificate": (
        lambda world: proxy_command(world, world.two, root_cert=written(world, "garbage", "-----BEGIN CERTIFICATE-----\n")),
        "--root-cert {garbage}: the root certificates are not PEM: give root-cert.pem of the control plane",
    ),
    "no-node-daemon": (
        lambda world: (AMBIENT, "workload", "list", "--run-dir", world.path("none")),
        ("no node daemon answers at {none/node.sock}: No such file or directory; start `ambient node`, "
        "or give its --run-dir"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("command", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_node_has_one_daemon_and_one_proxy_with_what_they_need(
    world: World, command: Command, message: str
) -> None:
    pins = sorted(loader.PINS.glob("amb-none*"))
    ran = world.one.node.run(*map(str, command(world)))
    says(ran, filled(world, message))
    assert sorted(loader.PINS.glob("amb-none*")) == pins
    assert world.one.get("/healthz/ready")[0] == 200
    assert world.one.metric("ambient_control_connected") == 1
    works(world)


def test_without_cgroup_v2_the_daemon_does_not_start(world: World) -> None:
    hidden = 'umount "$0" && exec "$@"'
    ran = world.one.node.run(
        "unshare",
        "--mount",
        "sh",
        "-c",
        hidden,
        str(cgroup_mount()),
        *map(str, node_command(world, "amb-none", "none")),
    )
    says(ran, "cgroup v2 is not mounted; mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    assert not loader.node_folder("amb-none").exists()


def cgroup_mount() -> Path:
    mount = mounts.first_of("cgroup2")
    assert mount is not None
    return mount


CONTROL: dict[str, tuple[Command, str]] = {
    "second-control-plane": (
        lambda world: control_command(world, state_dir=world.mesh.state),
        "--state-dir {control/state} is in use by another control plane: stop it, or name another folder",
    ),
    "port-in-use": (
        control_command,
        "cannot listen on 0.0.0.0:15013: is it in use, or not an address of this machine?",
    ),
    "no-configuration": (
        lambda world: control_command(world, config=world.path("none")),
        "--config {none} cannot be read as a folder: No such file or directory",
    ),
    "not-an-address": (
        lambda world: control_command(world, listen="here"),
        "--listen 'here' is not ADDRESS:PORT, such as 0.0.0.0:15012",
    ),
}


@pytest.mark.parametrize(("command", "message"), CONTROL.values(), ids=CONTROL.keys())
def test_a_control_plane_that_cannot_serve_says_why(world: World, command: Command, message: str) -> None:
    ran = world.mesh.host.run(*map(str, command(world)))
    says(ran, filled(world, message))
    assert ask_status(world.mesh)[1]["connected_nodes"] == [world.one.name]


# ---- a node's first certificate

UNUSABLE: dict[str, tuple[Callable[[World], dict[str, object]], str, str]] = {
    "expired-token": (
        lambda world: {"token_file": written(world, "token", world.expired)},
        "the bootstrap token of node {two} expired at ",
        "; make a new one with `ambient token create --node {two}`",
    ),
    "used-token": (
        lambda world: {"token_file": written(world, "token", world.used)},
        "the bootstrap token of node {two} was used already",
        "; make a new one with `ambient token create --node {two}`",
    ),
    "token-of-another-node": (
        lambda world: {"token_file": written(world, "token", token(world.mesh, "three"))},
        "the bootstrap token is of node three, not of {two}",
        "; make one with `ambient token create --node {two}`",
    ),
    "garbage-token": (
        lambda world: {"token_file": written(world, "token", "garbage")},
        "the bootstrap token is unknown",
        "; make one with `ambient token create --node NAME`",
    ),
    "binary-token": (
        lambda world: {"token_file": written(world, "token", "h\u00e9llo\x00")},
        "--token-file {token}: it holds no token",
        "; make one with `ambient token create --node NAME`",
    ),
    "no-token-file": (
        lambda world: {"token_file": written(world, "token", None)},
        "--token-file {token}: No such file or directory",
        "; make one with `ambient token create --node NAME`",
    ),
    "root-of-another-control-plane": (
        lambda world: {
            "token_file": written(world, "token", token(world.mesh, world.two.name)),
            "root_cert": another_root(world),
        },
        "unavailable: failed to connect to all addresses; last error: ",
        "; is --bootstrap 192.0.2.1:15013 the control plane, and --root-cert {another/root-cert.pem} its root?",
    ),
    "wrong-control-address": (
        lambda world: {
            "token_file": written(world, "token", token(world.mesh, world.two.name)),
            "control": f"{world.one.node.v4}:15012",
        },
        "unavailable: failed to connect to all addresses; last error: ",
        "; is --bootstrap 192.0.2.2:15013 the control plane, and --root-cert {control/state/root-cert.pem} its root?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "message", "remedy"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_proxy_without_a_certificate_says_why_and_keeps_trying(
    world: World, changed: Callable[[World], dict[str, object]], message: str, remedy: str
) -> None:
    two, message = world.two, filled(world, message)
    with running(world, **changed(world)) as proxy:
        until(lambda: told(two).startswith(f"not ready: the node has no certificate: {message}"), 10, message)
        until(lambda: len(tries(proxy)) > 1, 10, "another try")
        assert all(line["why"].startswith(message) for line in tries(proxy))
        assert told(two).rstrip().endswith(filled(world, remedy))
    assert ask_status(world.mesh)[1]["connected_nodes"] == [world.one.name]


def test_a_good_token_in_its_place_is_taken_without_a_restart(world: World) -> None:
    two = world.two
    with running(world, token_file=written(world, "token", "garbage")) as proxy:
        proxy.wait_for_line(message="certificate not issued")
        written(world, "token", token(world.mesh, two.name))
        until(lambda: two.get("/healthz/ready")[0] == 200, 10, "the proxy to be ready")


def another_root(world: World) -> Path:
    folder = world.path("another")
    other = world.mesh.host.popen(
        "another",
        *map(
            str,
            control_command(
                world, state_dir=folder, listen="127.0.0.1:15022", bootstrap_listen="127.0.0.1:15023"
            ),
        ),
    )
    until((folder / "root-cert.pem").exists, 10, "another root")
    other.stop()
    return folder / "root-cert.pem"


@contextlib.contextmanager
def running(world: World, **changed: object) -> Iterator[Process]:
    """A proxy on node two, which ends well when it is told to."""
    proxy = world.two.node.popen("proxy", *map(str, proxy_command(world, world.two, **changed)))
    try:
        yield proxy
    finally:
        status = proxy.stop()
    assert status == 0, proxy.tail()


def tries(proxy: Process) -> list[dict[str, Any]]:
    return [line for line in proxy.lines() if line["message"] == "certificate not issued"]


def told(node: MeshNode) -> str:
    """What the readiness page says while it is not ready."""
    status, body = node.get("/healthz/ready")
    return body.decode() if status == 503 else ""
