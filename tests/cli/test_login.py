"""An operator on another machine: a token, a certificate, and the verbs that it opens."""

import json

import pytest
from cli.conftest import typed


@pytest.fixture
def elsewhere(running, tmp_path, monkeypatch):
    """The verbs of a machine that is not the control plane's, after a login with this role."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def logged_in(role):
        made = running.ambient(
            "token", "create", "--name", f"ann-{role}", "--role", role, "--address", "127.0.0.1"
        )
        assert made.exit_code == 0, made.stderr
        said = typed("login", "-", stdin=made.stdout)
        assert (said.exit_code, said.stdout.split(" may call")[0]) == (0, f"operator ann-{role}"), said.stderr
        return lambda *words, **more: typed(*words, "--state-dir", tmp_path / "nothing", **more)

    return logged_in


def test_a_reader_reads_and_changes_nothing(elsewhere):
    ambient = elsewhere("reader")
    read = ambient("get", "all", "-o", "json")
    assert read.exit_code == 0, read.stderr
    assert [one["metadata"]["name"] for one in json.loads(read.stdout)["items"]] == ["infra"]
    for words in (("status",), ("node", "ls"), ("proxy-status",), ("certs", "list"), ("version",)):
        assert ambient(*words).exit_code == 0, words
    namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: new}}"
    for words in (("apply", "-f", "-"), ("token", "create", "--node", "n"), ("node", "forget", "n")):
        refused = ambient(*words, stdin=namespace)
        assert (refused.exit_code, "error: " in refused.stderr) == (1, True), words
        assert "reader" in refused.stderr


def test_an_admin_does_what_root_does(elsewhere):
    ambient = elsewhere("admin")
    namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: new}}"
    assert ambient("apply", "-f", "-", stdin=namespace).stdout == "Namespace new created\n"
    assert ambient("describe", "ns", "new").exit_code == 0
    assert ambient("delete", "ns", "new").stdout == "Namespace new deleted\n"
    assert ambient("token", "operators").stdout.count("ann-") == 2


def test_a_token_is_used_once_and_for_what_it_is(running, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    of_node = running.ambient("token", "create", "--node", "n9", "--address", "127.0.0.1").stdout
    refused = typed("login", "-", stdin=of_node)
    assert (refused.exit_code, "is of node n9; use it there with `ambient node join`" in refused.stderr) == (
        1,
        True,
    )
    listed = json.loads(running.ambient("token", "list", "-o", "json").stdout)
    (number,) = [one["id"] for one in listed if one["name"] == "n9"]
    assert running.ambient("token", "revoke", number).stdout == f"token {number} revoked\n"
    assert running.ambient("token", "revoke", number).exit_code == 1
