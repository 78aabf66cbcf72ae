"""kill -9 at any moment: the store is never corrupt, nothing is half done, and nothing that was acknowledged is lost."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from control.test_cli import free_port

from ambient.core.errors import Unavailable
from ambient.rpc import configuration, operator
from ambient.rpc.configuration import Deletion, Manifest, ObjectName, Wanted

HERE = Path(__file__).parent


def kept(state):
    """The number that each object has, out of a database that must be whole."""
    database = sqlite3.connect(state / "control.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            name: int(json.loads(document)["metadata"]["labels"]["number"])
            for name, document in database.execute("SELECT name, document FROM object")
        }
    finally:
        database.close()


# At each write


@pytest.fixture(scope="module")
def die_at_write(tmp_path_factory):
    library = tmp_path_factory.mktemp("die") / "die.so"
    command = ["gcc", "-shared", "-fPIC", "-o", library, HERE / "die_at_write.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def deaths(points, short):
    marks = {True: (), False: (pytest.mark.long,)}
    return [pytest.param(point, marks=marks[point in short], id=f"write-{point}") for point in points]


@pytest.mark.parametrize("point", deaths(range(1, 71), short={2, 40, 47, 55, 60}))
def test_a_death_in_the_middle_of_a_write_loses_nothing_that_was_acknowledged(tmp_path, die_at_write, point):
    """Half of a write, or a sync, is the last thing that a process does: from the first table to the tenth request."""
    writer = [sys.executable, HERE / "writer.py", tmp_path]
    died = subprocess.run(
        [*writer, "1"],
        env={**WRITER, "LD_PRELOAD": str(die_at_write), "DIE_AT": str(point)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    acknowledged = int((died.stdout.split() or ["0"])[-1])
    with subprocess.Popen([*writer, "1000"], env=WRITER, stdout=subprocess.PIPE, text=True) as again:
        # The writer has told what it found before it goes on.
        found = json.loads(again.stdout.readline())
        assert again.stdout.readline() == "1000\n"
        again.kill()
    assert found in ([] if number == 0 else [number, number] for number in (acknowledged, acknowledged + 1))
    assert kept(tmp_path)["a"] >= 1000


WRITER = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}


# At any moment


class Running:
    """A control plane without a folder, that is killed and started again."""

    def __init__(self, state):
        self.state = state
        self.socket = state / operator.SOCKET
        self._ports = free_port(), free_port()
        self._process = None

    async def start(self):
        words = ["control", "--state-dir", self.state, "--listen", f"127.0.0.1:{self._ports[0]}"]
        words += ["--bootstrap-listen", f"127.0.0.1:{self._ports[1]}"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ambient.cli.main", *map(str, words), stderr=asyncio.subprocess.PIPE
        )
        async for line in self._process.stderr:
            if b"control plane ready" in line:
                break
        self._drain = asyncio.create_task(self._process.stderr.read())

    async def kill(self):
        self._process.kill()
        await self._process.wait()
        await self._drain


def manifest(group, number):
    def text(name):
        metadata = {"name": f"{group}-{name}", "labels": {"number": str(number)}}
        return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    return (Manifest("test", "\n---\n".join(map(text, "ab")).encode()),)


async def change(channel, group, acknowledged, asked):
    """Set the two objects of a group to one number after another; every fifth time take them away."""
    number = asked.get(group, 0)
    while True:
        number += 1
        asked[group] = number
        try:
            if number % 5 == 0:
                names = [ObjectName("Namespace", "", f"{group}-{name}") for name in "ab"]
                answer = await configuration.delete(channel, tuple(map(Deletion, names)))
            else:
                answer = await configuration.apply(channel, manifest(group, number))
        except Unavailable:
            return
        assert answer.applied
        acknowledged[group] = number


async def standing(channel):
    found = {}
    for stored in await configuration.list_all(channel, Wanted("Namespace")):
        labels = json.loads(stored.content)["metadata"]["labels"]
        found.setdefault(stored.name.name.split("-")[0], []).append(int(labels["number"]))
    return found


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
async def test_a_control_plane_that_is_killed_under_load_has_all_that_it_acknowledged(tmp_path, kills):
    chance = random.Random(7)
    running = Running(tmp_path)
    acknowledged, asked = {}, {}
    for _ in range(kills):
        await running.start()
        async with operator.door(running.socket) as channel:
            found = await standing(channel)
            for group, number in acknowledged.items():
                possible = {tuple([one, one] if one % 5 else []) for one in range(number, asked[group] + 1)}
                assert tuple(found.get(group, [])) in possible, group
            before = dict(acknowledged)
            working = [
                asyncio.create_task(change(channel, group, acknowledged, asked)) for group in ("x", "y", "z")
            ]
            while acknowledged == before:
                await asyncio.sleep(0.001)
            await asyncio.sleep(chance.uniform(0, 0.1))
            await running.kill()
            await asyncio.gather(*working)
        assert kept(tmp_path) is not None
    assert sum(acknowledged.values()) > kills
