"""``ambient workload`` against a daemon: what a person types and reads."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from ambient.cli.workload import app


async def typed(world, *arguments):
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--run-dir", str(world.run_dir)])
    return result.exit_code, result.stdout, result.stderr


ADD = ("add", "a", "--namespace", "shop", "--service-account", "sa", "--netns", "/ns/a", "--cgroup", "/cg/a")


def test_add_list_remove(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        code, out, _ = await typed(world, *ADD, "--label", "app=a", "--exclude-cidr", "10.9.0.0/16")
        assert (code, out) == (0, "shop/a registered, and waiting: no proxy is connected\n")
        proxy = await world.proxy()
        await proxy.snapshot()
        await proxy.client.set_capture(world.uid(), world.Capture.ON)
        code, out, _ = await typed(world, "list")
        assert code == 0
        assert [" ".join(line.split()) for line in out.splitlines()] == [
            "NAME NAMESPACE SERVICE ACCOUNT ADDRESSES CAPTURE HEALTHY PROXIED",
            "a shop sa 10.0.0.1, fd00::1 on yes yes",
        ]
        health = ("health", "a", "unhealthy", "--namespace", "shop")
        assert await typed(world, *health) == (0, "shop/a is unhealthy\n", "")
        (listed,) = json.loads((await typed(world, "list", "-o", "json"))[1])
        assert (listed["labels"], listed["uid"]) == ({"app": "a"}, world.uid())
        assert await typed(world, "remove", "a", "--namespace", "shop", "--now") == (
            0,
            "shop/a removed\n",
            "",
        )
        assert proxy.orders[-1].now

    node(scenario)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*ADD[:-4], "--netns", "/ns/gone"), "error: network namespace '/ns/gone'"),
        ((*ADD, "--label", "app"), "error: --label 'app' is not of the form key=value"),
        ((*ADD, "--exclude-inbound-port", "0"), "error: exclude_inbound_ports.0: 0 is no port"),
        (
            ("remove", "a", "--namespace", "shop"),
            "error: workload 'local/ambient.dev/Workload/shop/a' is not registered",
        ),
    ],
    ids=["netns", "label", "port", "unknown"],
)
def test_an_error_is_one_line_and_code_1(node, arguments, sentence):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        code, out, err = await typed(world, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith(sentence)

    node(scenario)


def test_no_daemon_is_named(tmp_path):
    result = CliRunner().invoke(app, ["list", "--run-dir", str(tmp_path)])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: no node daemon answers at {tmp_path}/node.sock")
