"""A second machine joins the first one, by two commands; an operator comes in from it by two others."""

import pytest
from local.test_up import Machine
from topology import until

from ambient.core.join import JoinToken


class Joining(Machine):
    """A machine that joins another's mesh under a name of its own."""

    def __init__(self, topology, name):
        super().__init__(topology, name)
        self.profile = topology.folder / name / "operator.json"

    def join(self, *token):
        return self.ambient(
            "node", "join", *token, "--detach", "--run-dir", self.run_dir, "--state-dir", self.state_dir
        )


@pytest.fixture
def machines(topology):
    return Machine(topology), Joining(topology, "two")


def token(first, *whom):
    made = first.ambient("token", "create", *whom, "--state-dir", first.state_dir / "control")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def add(machine, name):
    pod = machine.node.pod(name)
    added = machine.ambient(
        "workload", "add", name, "--namespace", "shop", "--service-account", name,
        "--netns", pod.netns, "--cgroup", pod.cgroup, "--run-dir", machine.run_dir,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    return pod


def test_a_second_machine_joins_by_two_commands(machines):
    first, second = machines
    assert first.up("--advertise", str(first.node.v4)).returncode == 0
    printed = token(first, "--node", second.name)
    joined = second.join(printed)
    assert (joined.returncode, joined.stderr) == (0, "")
    assert f"node {second.name} is up" in joined.stdout
    web, api = add(first, "web"), add(second, "api")
    until(lambda: (first.captured(), second.captured()) == (["web"], ["api"]), 30, "both to be captured")
    api.serve("echo", 8080)
    until(lambda: web.call(api.v4, 8080).get("peername"), 20, "one to reach the other")
    assert web.call(api.v4, 8080)["peername"][0] == str(api.v4)
    metrics = second.node.run("curl", "-s", "http://127.0.0.1:15000/metrics").stdout
    assert 'connection_security_policy="mutual_tls"' in metrics

    # The token is used up: that is said at once.
    assert second.down().returncode == 0
    again = second.join(printed)
    assert again.stderr == (
        f"error: the bootstrap token of node {second.name} was used already; make a new one with "
        f"`ambient token create --node {second.name}`\n"
    )
    assert second.left() == []

    # An operator on the second machine, with two commands.
    admin = token(first, "--name", "ann", "--role", "admin")
    logged_in = second.ambient("login", admin, "--profile", second.profile)
    assert (logged_in.returncode, logged_in.stderr) == (0, "")
    assert logged_in.stdout == f"operator ann may call {first.node.v4}:15012 as admin\n"
    mistaken = second.ambient("login", printed, "--profile", second.profile)
    assert (
        f"error: this token is of node {second.name}; use it there with `ambient node join`"
        in mistaken.stderr
    )


def test_a_join_that_cannot_be_says_why_and_leaves_nothing(machines):
    first, second = machines
    unknown = second.join()
    assert unknown.stderr == (
        "error: this machine has not joined a mesh yet; give the token that `ambient token create --node NAME` prints\n"
    )
    cut = second.join("ambient1.e30")
    assert cut.stderr.startswith("error: this is not a whole join token")
    assert first.up("--advertise", str(first.node.v4)).returncode == 0
    good = JoinToken.parse(token(first, "--node", second.name))
    other = JoinToken(
        good.name, good.role, good.control, good.bootstrap, good.trust_domain, "00" * 32, good.secret
    )
    wrong = second.join(str(other))
    assert wrong.returncode == 1
    assert "is not the control plane that made the token, or its root has changed since" in wrong.stderr
    assert second.left() == []
