"""A whole mesh on one machine, by `ambient up` and `ambient down` alone."""

import json
import os
import signal
import time

import pytest
from topology import cgroup, objects, until
from topology.leftovers import PINS
from topology.mesh import AMBIENT

OBJECTS = objects.as_yaml(
    objects.namespace("shop"), objects.service_account("shop", "web"), objects.service_account("shop", "api")
)
HOLDER = "import signal, socket; s = socket.create_server(('', 15012)); print('{}'); signal.pause()"


class Machine:
    """A machine of one node, with two pods."""

    def __init__(self, topology, name="one"):
        self.node = topology.node(name)
        self.name = self.node.mesh_name
        own = topology.folder / name
        self.run_dir, self.state_dir = own / "run", own / "state"
        folder = own / "config"
        folder.mkdir(parents=True)
        (folder / "shop.yaml").write_text(OBJECTS)
        self.config = ("--config", folder)
        self.group = cgroup.mount() / f"ambient-{self.name}"
        topology.at_exit(self.leave)

    def ambient(self, *words, timeout=60):
        return self.node.run(AMBIENT, *map(str, words), timeout=timeout)

    def up(self, *more):
        return self.ambient(
            "up", "--detach", "--name", self.name, *self.config,
            "--run-dir", self.run_dir, "--state-dir", self.state_dir, *more,
        )  # fmt: skip

    def down(self, *more):
        return self.ambient("down", "--run-dir", self.run_dir, *more)

    def leave(self):
        assert self.down("--purge").returncode == 0
        assert self.left() == []

    def left(self):
        """What there is of the mesh besides its state."""
        files = [self.group, PINS / self.name.replace(".", "%2E"), self.run_dir]
        return [str(file) for file in files if file.exists()]

    def leaders(self):
        """The three programs."""
        found = {}
        for name in ("control", "node", "proxy"):
            for pid in cgroup.members(self.group / name):
                if os.getsid(pid) == pid:
                    found[name] = pid
        return found

    def supervisor(self):
        return json.loads((self.run_dir / "up.json").read_text())["pid"]

    def workloads(self):
        listed = self.ambient("workload", "list", "--run-dir", self.run_dir, "-o", "json")
        return {one["name"]: one for one in json.loads(listed.stdout)} if listed.returncode == 0 else {}

    def captured(self):
        return sorted(name for name, one in self.workloads().items() if one["capture"] == "on")

    def proxied(self):
        return sorted(name for name, one in self.workloads().items() if one["proxied"])


@pytest.fixture
def machine(topology):
    return Machine(topology)


def test_a_mesh_is_up_survives_its_supervisor_and_is_down(machine):
    started = machine.up()
    assert (started.returncode, started.stderr) == (0, "")
    assert f"node {machine.name} is up" in started.stdout
    pods = {name: machine.node.pod(name) for name in ("web", "api")}
    for name, pod in pods.items():
        added = machine.ambient(
            "workload", "add", name, "--namespace", "shop", "--service-account", name,
            "--netns", pod.netns, "--cgroup", pod.cgroup, "--run-dir", machine.run_dir,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
    until(lambda: machine.captured() == ["api", "web"], 20, "both to be captured")
    looked_at = machine.ambient(
        "check", "--run-dir", machine.run_dir, "--state-dir", machine.state_dir / "control", "-o", "json"
    )
    findings = json.loads(looked_at.stdout)
    assert [one for one in findings if one["level"] != "ok" and one["code"] != "clock"] == []
    assert looked_at.returncode == 0
    assert {"node", "proxy", "proxy-connected", "workload", "certificate", "address-translation"} <= {
        one["code"] for one in findings
    }
    pods["api"].serve("echo", 8080)
    steady = pods["web"].start("steady", pods["api"].v4, 8080, "--every", 0.02)
    steady.wait_for_line(event="request", kind="held", ok=True)

    refused = machine.up()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ambient is up there already; end it with `ambient down`" in refused.stderr

    before, first = machine.leaders(), machine.supervisor()
    os.kill(first, signal.SIGKILL)
    killed_at = time.time()
    steady.wait_for_line(event="request", kind="new", ok=True)
    assert machine.leaders() == before
    again = machine.up()
    assert (again.returncode, again.stderr) == (0, "")
    assert machine.leaders() == before
    assert machine.supervisor() != first

    for name in ("control", "node", "proxy"):
        os.kill(machine.leaders()[name], signal.SIGKILL)
        until(
            lambda name=name: machine.leaders().get(name, before[name]) != before[name], 20, f"{name} again"
        )
        # Of two that are dead at once neither could give the other back what it knew.
        until(lambda: machine.proxied() == ["api", "web"], 20, "daemon and proxy to know all of each other")

    lines = [line for line in steady.lines() if line.get("event") == "request" and line["at"] > killed_at]
    assert lines
    assert [line for line in lines if not line["ok"]] == [], lines
    steady.stop()

    ended = machine.down()
    assert (ended.returncode, ended.stdout) == (0, f"node {machine.name} is down\n")
    assert machine.left() == []
    assert pods["web"].call(pods["api"].v4, 8080)["peername"] is not None
    nothing = machine.down()
    assert (nothing.returncode, nothing.stdout) == (0, "nothing is up\n")

    assert machine.up().returncode == 0
    until(lambda: machine.captured() == ["api", "web"], 20, "the workloads of before")


def test_a_waypoint_runs_on_the_machine_by_its_name_alone(machine):
    assert machine.up().returncode == 0
    control = machine.state_dir / "control"
    pods = {name: machine.node.pod(name) for name in ("web", "api")}
    service = objects.service("shop", "api", ["10.88.0.10"], {80: 8080}, {"app": "api"})
    service["spec"]["ports"][0]["appProtocol"] = "http"
    (machine.config[1] / "shop.yaml").write_text(
        OBJECTS + "---\n" + objects.as_yaml(objects.behind(service, "waypoint"))
    )
    for name, pod in pods.items():
        added = machine.ambient(
            "workload", "add", name, "--namespace", "shop", "--service-account", name, "--label", f"app={name}",
            "--netns", pod.netns, "--cgroup", pod.cgroup, "--run-dir", machine.run_dir,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
    until(lambda: machine.captured() == ["api", "web"], 20, "both to be captured")
    made = machine.ambient("waypoint", "apply", "--namespace", "shop", "--state-dir", control)
    assert made.returncode == 0, made.stderr
    assert f"ambient waypoint run waypoint --namespace shop --control-dir {control} " in made.stdout
    own = machine.state_dir.parent / "waypoint"
    replica = machine.node.popen(
        "waypoint", AMBIENT, "waypoint", "run", "--namespace", "shop", "--control-dir", control,
        "--run-dir", own / "run", "--state-dir", own / "state", "--workers", "1",
    )  # fmt: skip
    ready = machine.ambient(
        "waypoint", "status", "--namespace", "shop", "--wait", "--state-dir", control, timeout=90
    )
    assert ready.returncode == 0, ready.stderr + replica.tail()
    pods["api"].serve("web", 8080, "--name", "v1")
    asked = pods["web"].start("ask", "10.88.0.10", 80, "--path", "/status/418").finished(30)[-1]
    assert asked["statuses"] == {"418": 1}, asked
    until(lambda: "status=418" in replica.text(), 20, "the waypoint's access log")
    replica.signal(signal.SIGTERM)
    assert replica.wait(60) == 0, replica.tail()


def test_what_hinders_it_is_said_and_nothing_is_left(machine):
    holder = machine.node.popen("holder", "python3", "-uc", HOLDER)
    until(holder.text, 10, "the port to be held")
    hindered = machine.up()
    assert hindered.returncode == 1
    assert hindered.stderr.count("\n") == 1
    assert "error: control ended with 1: " in hindered.stderr
    assert "15012" in hindered.stderr
    assert machine.left() == []


def test_a_supervisor_in_the_foreground_ends_all_when_it_is_interrupted(machine):
    foreground = machine.node.popen(
        "up", AMBIENT, "up", "--name", machine.name,
        "--run-dir", machine.run_dir, "--state-dir", machine.state_dir,
    )  # fmt: skip
    until(lambda: "is up" in foreground.text(), 60, "it to be up")
    foreground.signal(signal.SIGINT)
    assert foreground.wait(60) == 0, foreground.tail()
    assert machine.left() == []
