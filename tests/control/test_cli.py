"""The verbs as a person types them, against a control plane in a process of its own."""

import signal
import socket
import subprocess
import sys
import time

import pytest

SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def ambient(*words):
    return subprocess.run(
        [sys.executable, "-m", "ambient.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def running(tmp_path):
    """A control plane, ready."""
    config, state = tmp_path / "config", tmp_path / "state"
    config.mkdir()
    (config / "shop.yaml").write_text(SHOP)
    words = ["control", "--config", config, "--state-dir", state, "--log-format", "json"]
    words += ["--listen", f"127.0.0.1:{free_port()}", "--bootstrap-listen", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ambient.cli.main", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if "control plane ready" in line:
                break
        yield config, state, process
    finally:
        process.kill()
        process.communicate()


def test_an_operators_first_minutes(running):
    config, state, process = running
    token = ambient("token", "create", "--node", "n1", "--state-dir", state)
    assert (token.returncode, token.stderr, token.stdout[:9]) == (0, "", "ambient1.")
    plain = ambient("token", "create", "--node", "n1", "--plain", "--state-dir", state)
    assert (plain.returncode, len(plain.stdout.strip())) == (0, 64)
    good = ambient("status", "--state-dir", state)
    assert (good.returncode, good.stderr) == (0, "")
    assert "namespaces      1\n" in good.stdout
    (config / "bad.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n"
    )
    deadline = time.monotonic() + 5
    while (bad := ambient("status", "--state-dir", state)).returncode == 0:
        assert time.monotonic() < deadline
    assert bad.returncode == 1
    assert (
        "error    bad.yaml: line 4: Service default/a: spec.prots is unknown; did you mean ports?\n"
        in bad.stdout
    )
    nobody = ambient("node", "forget", "n9", "--state-dir", state)
    assert (nobody.returncode, nobody.stderr) == (1, "error: node n9 has no workloads here\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("control", "--config", "/nonexistent", "--state-dir", "STATE"), 1, "error: --config /nonexistent cannot be read as a folder"),
        (("status", "--state-dir", "STATE"), 3, "error: no control plane answers on"),
        (("token", "create", "--state-dir", "STATE"), 2, "--node"),
        (("token", "create", "--node", "n", "--ttl", "0", "--state-dir", "STATE"), 2, "--ttl"),
        (("nonsense",), 2, "nonsense"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_ends_with_a_sentence(tmp_path, words, code, said):
    ended = ambient(*(tmp_path / "state" if word == "STATE" else word for word in words))
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_verb_and_loads_none_of_what_they_run():
    ended = ambient("--help")
    assert all(verb in ended.stdout for verb in ("control", "node", "proxy", "workload", "token"))
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ambient.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert not [name for name in ("grpc", "cryptography", "pydantic") if f" {name}\n" in loaded]
