"""How nodes stand, as a person asks."""

import asyncio
import json
import os
import re
import sys
from datetime import timedelta
from pathlib import Path

from control.test_control import WORKLOAD, Clock, Node, bootstrap, control_plane

AMBIENT = Path(sys.executable).with_name("ambient")


async def ambient(tmp_path, *words):
    """Code, output and errors of a verb, while the loop of the control plane goes on."""
    process = await asyncio.create_subprocess_exec(
        AMBIENT, *words, "--state-dir", tmp_path / "state",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), error.decode()


def test_each_node_is_told_with_what_it_has_and_refuses(tmp_path, golden):
    async def scenario():
        async with control_plane(tmp_path) as control:
            assert (await ambient(tmp_path, "proxy-status"))[::2] == (0, "no node is known\n")
            async with Node(control, await bootstrap(control)) as one:
                one.registration.set(WORKLOAD)
                await one.until(lambda: one.snapshot.workloads)
                await one.until_synced()
                code, out, error = await ambient(tmp_path, "proxy-status")
                assert (code, error) == (0, "")
                golden("cli/proxy-status.txt", re.sub(r"for \S+", "for 2s", out))
                read = json.loads((await ambient(tmp_path, "proxy-status", "n1", "-o", "json"))[1])
                assert [node["name"] for node in read] == ["n1"]
                assert all(kind["in_sync"] for kind in read[0]["types"])
                listed = await ambient(tmp_path, "node", "ls")
                header, row = listed[1].splitlines()
                assert re.split(" {2,}", header.strip()) == [
                    "NODE",
                    "CONNECTED",
                    "WORKLOADS",
                    "CERTIFICATE ENDS IN",
                ]
                assert re.fullmatch(r"n1 +yes, for \d+s +1 +23h 5\dm *", row)
            unknown = await ambient(tmp_path, "proxy-status", "ghost")
            assert unknown[::2] == (1, "error: no node ghost is known; see ambient node ls\n")

    asyncio.run(scenario())


def test_a_node_that_is_away_is_a_finding(tmp_path):
    async def scenario():
        async with control_plane(tmp_path) as control:
            async with Node(control, await bootstrap(control)) as one:
                one.registration.set(WORKLOAD)
                await one.until(lambda: one.snapshot.workloads)
            while True:
                code, out, _ = await ambient(tmp_path, "proxy-status", "-o", "json")
                if not json.loads(out)[0]["connected"]:
                    break
            assert code == 1
            said = "node n1 forgotten with its 1 workloads\n"
            assert await ambient(tmp_path, "node", "forget", "n1") == (0, said, "")
            assert (await ambient(tmp_path, "node", "ls"))[::2] == (0, "no node is known\n")

    asyncio.run(scenario())


def test_a_clock_that_is_far_ahead_is_found(tmp_path):
    async def scenario():
        clock = Clock()
        async with control_plane(tmp_path, clock):
            clock.ahead += timedelta(minutes=10)
            code, out, _ = await ambient(tmp_path, "check", "--run-dir", str(tmp_path), "-o", "json")
            (skew,) = [one for one in json.loads(out) if one["code"] == "clock-skew"]
            assert (code, skew["level"]) == (1, "fail")
            assert re.fullmatch(
                r"the control plane's clock is (599|600) s ahead of this one", skew["message"]
            )

    asyncio.run(scenario())


def test_how_it_stands_is_said_with_every_source_and_error(running):
    good = running.ambient("status")
    assert good.exit_code == 0
    assert re.search(r"(?m)^program         ambient 0\.1\.0, up \d+", good.stdout)
    assert re.search(r"(?m)^source          folder .*, 1 objects$", good.stdout)
    file = running.state_dir.parent / "config" / "bad.yaml"
    file.write_text("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prots: []}}")
    while (bad := running.ambient("status", "-o", "json")).exit_code == 0:
        pass
    file.unlink()
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["errors"] == [
        "bad.yaml: line 1: Service default/a: spec.prots is unknown; did you mean ports?"
    ]


def test_nobody_there_is_code_3(nobody):
    for words in (("status",), ("node", "ls"), ("node", "forget", "x"), ("proxy-status",), ("token", "list")):
        assert nobody.ambient(*words).exit_code == 3


def test_the_version_is_that_of_the_control_plane_too_if_there_is_one(running, nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    alone = json.loads(nobody.ambient("version", "-o", "json").stdout)
    both = json.loads(running.ambient("version", "-o", "json").stdout)
    assert list(alone) == ["ambient", "python", "kernel"]
    assert both == {**alone, "control plane": alone["ambient"]}
