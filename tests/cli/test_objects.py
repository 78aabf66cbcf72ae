"""apply, get, delete and describe, against a real control plane."""

import json
import re
import signal
import subprocess
import sys

import pytest
import yaml

from ambient.cli.apply import differences

SHOP = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: api, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {app: api}}
spec:
  clusterIP: 10.88.0.10
  selector: {app: api}
  ports: [{port: 80, targetPort: 8080}]
"""
BAD = """\
apiVersion: v1
kind: Service
metadata: {name: good, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: shop}
spec:
  ports:
  - port: 80
    name: http
  - port: 70000
    name: other
  prots: []
"""
AGE = re.compile(r"(?<= )\d+s\s*(?=\S)")


@pytest.fixture
def shop(running, tmp_path):
    """The shop stands; what else tests have applied is gone."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    for stored in json.loads(running.ambient("get", "all", "-o", "json").stdout)["items"]:
        metadata = stored["metadata"]
        if metadata["name"] != "infra":
            running.ambient("delete", stored["kind"], metadata["name"], "-n", metadata.get("namespace", ""))
    assert running.ambient("apply", "-f", file).exit_code == 0
    return file


def test_what_is_applied_is_said_object_by_object_and_is_there(running, tmp_path, golden):
    (tmp_path / "shop.yaml").write_text(SHOP)
    (tmp_path / "notes.txt").write_text("not YAML at all: [")
    said = running.ambient("apply", "-f", tmp_path)
    assert (said.exit_code, said.stderr) == (0, "")
    again = running.ambient("apply", "-f", "-", stdin=SHOP)
    changed = running.ambient("apply", "-f", "-", stdin=SHOP.replace("port: 80,", "port: 81,"))
    listed = running.ambient("get", "all")
    golden(
        "cli/apply.txt",
        "\n".join([said.stdout, again.stdout, changed.stdout, AGE.sub("2s  ", listed.stdout)]),
    )


def test_what_is_refused_is_named_by_file_line_object_and_field_and_changes_nothing(shop, running, golden):
    file = shop.with_name("bad.yaml")
    file.write_text(BAD)
    refused = running.ambient("apply", "-f", file)
    assert refused.exit_code == 1
    golden("cli/apply-refused.txt", (refused.stderr + refused.stdout).replace(str(file), "bad.yaml"))
    assert running.ambient("get", "service", "good").exit_code == 1
    programs = json.loads(running.ambient("apply", "-f", file, "-o", "json").stdout)
    assert [(one["name"], one["outcome"]) for one in programs][1] == ("bad", "refused")
    assert {"spec.ports[1].port", "spec.prots"} <= {one["field"] for one in programs[1]["violations"]}


def test_a_dry_run_and_a_difference_change_nothing(shop, running, golden):
    changed = shop.read_text().replace("port: 80,", "port: 81,").replace("name: api, namespace: shop}\n---", "name: new, namespace: shop}\n---")  # fmt: skip
    dry = running.ambient("apply", "--dry-run", "-f", "-", stdin=changed)
    different = running.ambient("apply", "--diff", "-f", "-", stdin=changed)
    assert (dry.exit_code, different.exit_code) == (0, 1)
    golden("cli/apply-diff.txt", f"{dry.stdout}\n{different.stdout}")
    same = running.ambient("apply", "--diff", "-f", shop)
    assert (same.exit_code, same.stdout, same.stderr) == (0, "", "")
    assert running.ambient("get", "sa", "new").exit_code == 1


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_is_got_can_be_applied_again(shop, running, form):
    got = running.ambient("get", "all", "-n", "shop", "-o", form)
    assert got.exit_code == 0
    read = (json.loads if form == "json" else yaml.safe_load)(got.stdout)
    assert [one["kind"] for one in read["items"]] == ["Service", "ServiceAccount"]
    again = running.ambient("apply", "-f", "-", stdin=got.stdout)
    assert again.exit_code == 0
    assert again.stdout.count("unchanged") == 2


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("svc",), ["api"]),
        (("services", "shop/api"), ["api"]),
        (("Service", "api", "-n", "shop"), ["api"]),
        (("namespaces",), ["infra", "shop"]),
        (("all", "-l", "app=api"), ["api"]),
        (("all", "shop/api"), ["api", "api"]),
        (("all", "shop"), ["shop"]),
        (("all", "-l", "app=other"), []),
        (("svc", "-n", "infra"), []),
    ],
)
def test_objects_are_found_by_kind_name_namespace_and_label(shop, running, words, names):
    got = running.ambient("get", *words, "-o", "json")
    read = json.loads(got.stdout)
    assert [one["metadata"]["name"] for one in read.get("items", [read])] == names


def test_a_watch_shows_what_stands_and_then_what_changes(shop, running):
    command = [sys.executable, "-um", "ambient.cli.main", "get", "svc", "-w", "-o", "json"]
    with subprocess.Popen(
        [*command, "--state-dir", running.state_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores it, and so does what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # Nothing of ours holds a lock here.
    ) as watching:
        seen = [json.loads(watching.stdout.readline())]
        running.ambient("apply", "-f", "-", stdin=SHOP.replace("port: 80,", "port: 82,"))
        seen.append(json.loads(watching.stdout.readline()))
        running.ambient("delete", "svc", "shop/api")
        seen.append(json.loads(watching.stdout.readline()))
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
        assert watching.stderr.read() == ""
    assert [one["event"] for one in seen] == ["put", "put", "gone"]
    assert [one["object"].get("spec", {}).get("ports", [{}])[0].get("port") for one in seen] == [80, 82, None]


def test_what_is_deleted_is_gone_and_all_of_a_request_or_none(shop, running):
    refused = running.ambient("delete", "ns", "shop", "infra")
    assert refused.exit_code == 1
    assert "Namespace infra refused: is from the folder, in infra.yaml; change it there" in refused.stderr
    assert "nothing was changed" in refused.stdout
    assert running.ambient("get", "ns", "shop").exit_code == 0
    dry = running.ambient("delete", "--dry-run", "-f", shop)
    assert (dry.exit_code, dry.stdout.count("deleted (dry run)")) == (0, 3)
    gone = running.ambient("delete", "-f", shop)
    assert (gone.exit_code, gone.stdout.count("deleted\n")) == (0, 3)
    again = running.ambient("delete", "-f", shop)
    assert (again.exit_code, again.stdout.count("not found\n")) == (1, 3)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("get", "nonsense"), 2, "is no kind that ambient knows"),
        (("get", "svc", "-l", "app"), 2, "is not KEY=VALUE"),
        (("get", "svc", "shop/api", "-n", "infra"), 2, "is not in namespace"),
        (("get", "svc", "ghost"), 1, "there is no Service ghost in any namespace"),
        (("get", "ns", "ghost"), 1, "there is no Namespace ghost"),
        (("apply", "-f", "/nonexistent"), 1, "--file /nonexistent: No such file or directory"),
        (("apply",), 2, "--file"),
        (("delete",), 2, "give KIND and NAME, or --file"),
        (("delete", "svc", "api", "-f", "x"), 2, "give KIND and NAME, or --file"),
    ],
)
def test_what_cannot_be_ends_with_a_sentence(running, words, code, said):
    ended = running.ambient(*words)
    assert (ended.exit_code, said in " ".join(re.sub("[│\n]", " ", ended.stderr).split())) == (code, True), (
        ended.stderr
    )


@pytest.mark.parametrize(
    "words", [("get", "all"), ("get", "svc", "-w"), ("apply", "-f", "-"), ("delete", "ns", "a")]
)
def test_nobody_there_is_code_3(nobody, words):
    ended = nobody.ambient(*words, stdin="")
    assert (ended.exit_code, ended.stderr[:36]) == (3, "error: no control plane answers on /")


def test_a_difference_of_what_terminals_obey_is_shown_harmlessly(shop, running):
    evil = SHOP.replace("app: api}\n", 'app: "\\e[31m"}\n')
    shown = running.ambient("apply", "--diff", "-f", "-", stdin=evil).stdout
    assert "\x1b" not in shown


def test_lines_that_are_the_same_are_no_difference():
    one = {"kind": "A", "metadata": {"name": "a", "resourceVersion": "3"}, "spec": {"b": 1, "a": [2]}}
    other = {"spec": {"a": [2], "b": 1}, "metadata": {"name": "a"}, "kind": "A"}
    assert differences("A a", one, other) == []
