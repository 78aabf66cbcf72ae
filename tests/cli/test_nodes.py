"""How nodes stand, as a person asks."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from control.test_control import WORKLOAD, Node, bootstrap, control_plane

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

    asyncio.run(scenario())
