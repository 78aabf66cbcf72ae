"""Waypoints as a person makes, sees and removes them."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from cli.conftest import typed
from cli.test_nodes import ambient
from control.test_control import WORKLOAD, Node, bootstrap, control_plane
from immutables import Map

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.88.0.10, ports: [{port: 80}]}
"""
IN_SHOP = ("--namespace", "shop")


@pytest.fixture
def shop(running):
    for name in ("waypoint", "other"):
        running.ambient("waypoint", "delete", name, *IN_SHOP)
        running.ambient("delete", "sa", name, *IN_SHOP)
    assert running.ambient("apply", "-f", "-", stdin=SHOP).exit_code == 0
    return running


def test_a_waypoint_is_made_seen_and_removed(shop, golden):
    said = [
        shop.ambient("waypoint", *words)
        for words in (
            ("apply", *IN_SHOP, "--enroll-namespace", "--dry-run"),
            ("apply", *IN_SHOP, "--enroll-namespace"),
            ("apply", *IN_SHOP),
            ("apply", "other", *IN_SHOP, "--for", "all"),
            ("list", *IN_SHOP),
            ("list", "-A"),
            ("list",),
            ("status", *IN_SHOP),
            ("delete", *IN_SHOP),
            ("status", *IN_SHOP),
            ("delete", "other", *IN_SHOP),
            ("delete", "other", *IN_SHOP),
            ("status", "other", *IN_SHOP),
        )
    ]
    golden(
        "cli/waypoint.txt",
        "\n".join(f"{one.stdout}{one.stderr}exit code {one.exit_code}\n" for one in said).replace(
            str(shop.state_dir), "STATE"
        ),
    )
    namespace = json.loads(shop.ambient("get", "ns", "shop", "-o", "json").stdout)
    assert namespace["metadata"]["labels"] == {"team": "a", "ambient.dev/use-waypoint": "waypoint"}
    # That there is no such waypoint any more is said of whoever asks for it.
    assert " 1 warning" in shop.ambient("get", "ns", "shop").stdout


def test_who_makes_one_is_told_what_is_to_be_done_next(shop):
    at = shop.state_dir
    made = shop.ambient("waypoint", "apply", *IN_SHOP)
    assert made.stdout.splitlines()[2:] == [
        "next",
        f"  ambient waypoint run waypoint --namespace shop --control-dir {at}   a replica, on this machine",
        (
            f"  ambient token create --node waypoint-shop-waypoint-1 --state-dir {at}   and one on another: "
            "`ambient waypoint run waypoint --namespace shop --join WORD` there, with what it prints"
        ),
        f"  ambient waypoint status waypoint --namespace shop --wait --state-dir {at}",
        (
            "nothing is behind it yet: label a Namespace or a Service ambient.dev/use-waypoint=waypoint, or apply it with "
            "--enroll-namespace"
        ),
    ]
    assert "next" not in shop.ambient("waypoint", "apply", *IN_SHOP, "--dry-run").stdout


def test_a_replica_with_no_word_asks_the_control_plane_of_its_machine_for_one(nobody):
    said = typed(
        "waypoint", "run", *IN_SHOP, "--node", "one", "--control-dir", nobody.state_dir,
        "--run-dir", nobody.state_dir / "run", "--state-dir", nobody.state_dir / "own",
    )  # fmt: skip
    assert said.exit_code == 3
    assert f"no control plane answers on {nobody.state_dir}/control.sock" in said.stderr
    assert "give --join with what `ambient token create --node one` prints" in said.stderr


def test_a_replica_with_a_word_needs_nothing_of_the_control_planes_folder(nobody, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    said = typed("waypoint", "run", *IN_SHOP, "--join", "no-word", "--control-dir", nobody.state_dir)
    assert (said.exit_code, "this is not a whole join token" in said.stderr) == (1, True), said.stderr


def test_programs_read_it_too(shop):
    shop.ambient("waypoint", "apply", *IN_SHOP, "--for", "workload")
    (listed,) = json.loads(shop.ambient("waypoint", "list", "-A", "-o", "json").stdout)
    shown = shop.ambient("waypoint", "status", *IN_SHOP, "-o", "json")
    assert json.loads(shown.stdout) == listed
    assert listed == {
        "namespace": "shop",
        "name": "waypoint",
        "for": "workload",
        "replicas": [],
        "services": [],
        "workloads": [],
        "problems": [
            (
                "it has no replica that is ready: nothing is behind it; "
                "start one with `ambient waypoint run waypoint --namespace shop`"
            )
        ],
    }


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("apply", "--namespace", "nowhere", "--enroll-namespace"), 1, "error: there is no Namespace nowhere; apply a v1 Namespace of that name first\n"),
        (("apply", "No", *IN_SHOP), 1, "waypoint shop/No:1: Gateway shop/No:"),
        (("apply", "--namespace", "infra", "--enroll-namespace"), 1, "Namespace infra: is from the folder, in infra.yaml; change it there, or take it out of there first"),
        (("status", "ghost", *IN_SHOP), 1, "error: there is no waypoint shop/ghost; make it with `ambient waypoint apply ghost --namespace shop`\n"),
        (("status", "other", *IN_SHOP, "--wait", "--timeout", "0"), 3, "error: waypoint shop/other has no replica that is ready after 0 s\n"),
        (("apply",), 2, "--namespace"),
    ],
    ids=["no-namespace", "bad-name", "not-ours", "unknown", "not-ready", "nowhere"],
)  # fmt: skip
def test_what_cannot_be_is_said(shop, words, code, why):
    shop.ambient("waypoint", "apply", "other", *IN_SHOP)
    before = shop.ambient("get", "all", "-o", "json").stdout
    said = shop.ambient("waypoint", *words)
    assert said.exit_code == code
    assert why in said.stderr
    assert shop.ambient("get", "all", "-o", "json").stdout == before


def test_nobody_there_is_code_3(nobody):
    for words in (("apply", *IN_SHOP), ("list",), ("status", *IN_SHOP), ("delete", *IN_SHOP)):
        assert nobody.ambient("waypoint", *words).exit_code == 3


def test_its_replicas_are_those_that_callers_are_sent_to_and_those_that_are_refused(tmp_path):
    labels = Map({"gateway.networking.k8s.io/gateway-name": "way"})
    replica = replace(WORKLOAD, labels=labels, service_account="way")
    refused = replace(
        WORKLOAD,
        uid="local/ambient.dev/Workload/shop/odd",
        name="odd",
        service_account="ghost",
        labels=labels,
    )

    async def scenario():
        async with control_plane(tmp_path) as control:
            assert (await ambient(tmp_path, "waypoint", "apply", "way", *IN_SHOP))[0] == 0
            waiting = asyncio.create_task(ambient(tmp_path, "waypoint", "status", "way", *IN_SHOP, "--wait"))
            async with Node(control, await bootstrap(control)) as one:
                one.registration.set(replica)
                code, _, error = await waiting
                assert (code, error) == (0, "")
                one.registration.set(refused)
                while True:
                    code, out, _ = await ambient(
                        tmp_path, "waypoint", "status", "way", *IN_SHOP, "-o", "json"
                    )
                    read = json.loads(out)
                    if len(read["replicas"]) == 2:
                        break
                first, second = read["replicas"]
                assert first == {
                    "name": "web", "node": "n1", "addresses": ["10.0.0.1"], "ready": True, "refused": None,
                }  # fmt: skip
                assert (second["name"], second["ready"]) == ("odd", False)
                assert "service account 'ghost' is not configured" in second["refused"]
                assert (code, read["problems"]) == (1, [second["refused"]])

    asyncio.run(scenario())
