"""The daemon as a process on the real kernel: captures, is killed, adopts, stops, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ambient.core.model.pod import Capture
from ambient.node import api

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAME = f"amb-node-{os.getpid()}"
DESTINATION = "10.77.0.9:8080"
CLIENT = """
import socket, sys
host, port = sys.argv[1].split(":")
sock = socket.socket()
sock.settimeout(5)
try:
    sock.connect((host, int(port)))
except OSError as error:
    sys.exit(f"refused: {error}")
print("%s:%d" % sock.getpeername(), flush=True)
sys.stdin.readline()
sock.sendall(b"still here")
print(sock.recv(100).decode(), flush=True)
"""


def cgroup_root():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            return Path(left.split()[4])
    pytest.skip("needs cgroup v2")
    return None


class Node:
    def __init__(self, folder):
        self.run_dir, self.state_dir, self.log = folder / "run", folder / "state", folder / "log"
        self.process = None

    def command(self, *more):
        program = "from ambient.cli.node import app; app()"
        folders = ["--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)]
        return [sys.executable, "-c", program, "--name", NAME, *folders, "--log-format", "json", *more]

    def start(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command(), stderr=log)
        deadline = time.monotonic() + 60
        while not any(event["message"] == "ready" for event in self.events()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def events(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def run(self, *more, **given):
        return subprocess.run(
            self.command(*more), capture_output=True, text=True, timeout=60, check=False, **given
        )

    def call(self, verb, **fields):
        return api.call(self.run_dir, {"verb": verb, **fields})


@pytest.fixture
def machine(tmp_path):
    """A node that does not run yet, and a pod: a network namespace and a cgroup."""
    cgroup = cgroup_root() / NAME
    node = Node(tmp_path)
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        cgroup.mkdir()
        for command in ("link set lo up", "addr add 10.77.0.1/32 dev lo"):
            subprocess.run(["ip", "-n", NAME, *command.split()], check=True)
        yield node, cgroup
    finally:
        if node.process is not None:
            node.end(signal.SIGKILL)
        node.run("--uninstall")
        subprocess.run(["ip", "netns", "del", NAME], check=False)
        for process in (cgroup / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        deadline = time.monotonic() + 5
        while (cgroup / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        cgroup.rmdir()


async def client(cgroup):
    """A program of the pod."""
    enter = f'echo $$ > {cgroup}/cgroup.procs; exec ip netns exec {NAME} "$@"'
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return await asyncio.create_subprocess_exec(
        "sh", "-c", enter, "sh", sys.executable, "-c", CLIENT, DESTINATION, **pipes
    )


async def accepted(proxy, uid):
    """What the proxy's outbound listener has."""
    listener = socket.socket(fileno=os.dup(proxy.held[uid][1]))
    try:
        sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), 10)
    finally:
        listener.close()
    sock.setblocking(False)
    return sock


@pytest.fixture
def proxy_cgroup():
    """This process, which plays the proxy, has a cgroup of its own."""
    root = cgroup_root()
    folder = root / f"{NAME}-proxy"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield folder
    finally:
        (root / "cgroup.procs").write_text(str(os.getpid()))
        for process in (folder / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(process)
        folder.rmdir()


@pytest.mark.usefixtures("proxy_cgroup")
@pytest.mark.parametrize("own_cgroup", [True, False], ids=["own-cgroup", "root-cgroup"])
def test_capture_outlives_the_daemon_and_removal_leaves_nothing(machine, fake_proxy, own_cgroup):
    node, cgroup = machine
    given = {"cgroup": str(cgroup)} if own_cgroup else {}
    cgroup = cgroup if own_cgroup else cgroup_root()
    uid = "local/ambient.dev/Workload/shop/a"
    added = {"name": "a", "namespace": "shop", "service_account": "sa", "netns": f"/run/netns/{NAME}"}

    async def scenario():
        loop = asyncio.get_running_loop()
        node.start()
        proxy = await fake_proxy(node.run_dir).connect()
        await proxy.snapshot()
        assert await asyncio.to_thread(node.call, "add", **added, **given) == {"note": ""}
        await proxy.client.set_capture(uid, Capture.ON)

        first = await client(cgroup)
        carried = await accepted(proxy, uid)
        assert await first.stdout.readline() == f"{DESTINATION}\n".encode()

        node.end(signal.SIGKILL)
        orphan = await client(cgroup)
        carried_meanwhile = await accepted(proxy, uid)
        await proxy.lose()

        await asyncio.to_thread(node.start)
        ready = next(event for event in node.events() if event["message"] == "ready")
        assert (ready["workloads"], ready["kernel_writes"]) == (1, 0)
        await proxy.connect()
        await proxy.snapshot(2)
        (listed,) = await asyncio.to_thread(node.call, "list")
        assert (listed["capture"], listed["proxied"]) == ("on", True)
        status = await asyncio.to_thread(node.call, "status")
        assert sum(status["counters"].values()) > 0

        for process, sock in ((first, carried), (orphan, carried_meanwhile)):
            process.stdin.write(b"\n")
            assert await asyncio.wait_for(loop.sock_recv(sock, 100), 5) == b"still here"
            await loop.sock_sendall(sock, b"and here")
            assert (await process.stdout.read()).endswith(b"and here\n")
            assert await process.wait() == 0
            sock.close()

        second = await client(cgroup)
        late = await accepted(proxy, uid)
        late.close()
        second.kill()
        await second.wait()

        await asyncio.to_thread(node.call, "remove", name="a", namespace="shop", now=True)
        direct = await client(cgroup)
        assert b"refused" in (await direct.communicate())[1]
        await proxy.die()
        assert await asyncio.to_thread(node.end) == 0

    asyncio.run(scenario())
    assert node.run("--uninstall").returncode == 0
    assert not Path(f"/sys/fs/bpf/ambient/{NAME}").exists()
    assert not node.run_dir.exists()
    assert not node.state_dir.exists()


def test_what_cannot_be_ends_with_one_line_and_code_1(machine):
    node, _ = machine
    node.start()
    for more, sentence in (
        ((), "belongs to a node daemon that is running; stop that one"),
        (("--uninstall",), "belongs to a node daemon that is running; stop that one"),
        (("--run-dir", f"{node.run_dir}-2", "--state-dir", f"{node.state_dir}-2"), "already has a daemon"),
        (("--exclude-outbound-port", "70000"), "70000 is no port; a port is 1-65535"),
        (("--exclude-cidr", "everywhere"), "'everywhere' is no CIDR"),
    ):
        ended = node.run(*more)
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: ")
        assert ended.stderr.count("\n") == 1
        assert sentence in ended.stderr
    assert node.call("status")["ready"]
    assert node.end() == 0
    assert not (node.run_dir / "node.sock").exists()


def test_a_port_in_use_is_named_and_nothing_is_left(machine):
    node, _ = machine
    node.start()
    held = subprocess.Popen(
        ["ip", "netns", "exec", NAME, sys.executable, "-c",
         "import socket; s = socket.create_server(('', 15006)); print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        held.stdout.readline()
        with pytest.raises(Exception, match=r"port 15006 .* is in use"):
            node.call("add", name="a", namespace="shop", service_account="sa", netns=f"/run/netns/{NAME}")
        assert node.call("list") == []
    finally:
        held.communicate(b"\n")
        held.stdin.close()
        held.stdout.close()
    assert node.end() == 0


def test_running_without_root_is_refused(tmp_path):
    code = "import os; from ambient.node import main; from pathlib import Path; os.setuid(65534)\n"
    code += "try: main.run(main.Settings('n', Path('/nowhere'), Path('/nowhere')))\nexcept Exception as e: print(e)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ambient node needs root" in ended.stdout
