"""Programs are started, found, started again and ended, each in a cgroup of its own."""

import asyncio
import os
import signal
import sys

import pytest

from ambient.core.errors import ConfigError, Unavailable
from ambient.kernel import cgroup
from ambient.local import supervisor as supervisor_module
from ambient.local.child import Child, Program
from ambient.local.supervisor import Supervisor

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes cgroups")

STEADY = """
import signal, sys
from ambient.aio import notify
print("here", *sys.argv[1:], flush=True)
notify.tell(notify.READY)
signal.pause()
"""
PARENT = (
    """
import subprocess
subprocess.Popen(["sleep", "600"])
"""
    + STEADY
)
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STEADY


def program(name, script=STEADY, *words):
    return Program(name, (sys.executable, "-c", script, *words))


@pytest.fixture
def group():
    name = f"ambient-test-{os.getpid()}"
    yield name
    cgroup.remove(cgroup.make(name))


@pytest.fixture
def supervised(group, tmp_path):
    """Runs a scenario with supervisors of one run folder."""

    def run(scenario):
        async def whole():
            made = []

            def supervisor():
                made.append(Supervisor(group, tmp_path, tmp_path))
                return made[-1]

            try:
                async with asyncio.timeout(30):
                    await scenario(supervisor)
            finally:
                for one in made:
                    await one.close()

        asyncio.run(whole())

    return run


async def nothing(name):
    del name


async def another(supervisor, name, before):
    while supervisor.pid(name) in (0, before):
        await asyncio.sleep(0.01)
    return supervisor.pid(name)


def test_each_program_is_born_in_its_cgroup_and_ended_with_what_it_started(supervised, group):
    async def scenario(supervisor):
        one = supervisor()
        await one.start((program("a", PARENT), program("b", DEAF)), nothing)
        folders = [cgroup.make(f"{group}/{name}") for name in "ab"]
        assert [len(cgroup.members(folder)) for folder in folders] == [2, 1]
        await one.end("a", 5)
        await one.end("b", 0.2)
        assert not any(folder.exists() for folder in folders)

    supervised(scenario)


def test_one_that_is_killed_is_started_again_after_it_was_prepared_again(supervised, tmp_path):
    async def scenario(supervisor):
        prepared = []

        async def prepare(name):
            prepared.append(name)
            if prepared.count(name) == 2:
                raise Unavailable("not yet")

        one = supervisor()
        await one.start((program("a"),), prepare)
        before = one.pid("a")
        os.kill(before, signal.SIGKILL)
        await another(one, "a", before)
        assert prepared == ["a"] * 3
        while (tmp_path / "a.log").read_text() != "here\nhere\n":
            await asyncio.sleep(0.01)

    supervised(scenario)


def test_one_that_ends_before_it_is_ready_is_the_reason(supervised):
    async def scenario(supervisor):
        broken = program("b", "import sys; sys.exit('error: port 15012 is in use')")
        with pytest.raises(ConfigError, match=r"b ended with 1: port 15012 is in use \(see .*b.log\)"):
            await supervisor().start((program("a"), broken), nothing)

    supervised(scenario)


def test_one_that_is_not_ready_for_long_is_named_with_what_it_said(supervised, monkeypatch, capfd):
    monkeypatch.setattr(supervisor_module, "PATIENCE_SECONDS", 0.5)

    async def scenario(supervisor):
        silent = program("b", "import signal; print('waiting for a token', flush=True); signal.pause()")
        starting = asyncio.create_task(supervisor().start((program("a"), silent), nothing))
        heard = ""
        while 'WARNING "program is not ready yet" program=b said="waiting for a token"' not in heard:
            await asyncio.sleep(0.01)
            heard += capfd.readouterr().err
        starting.cancel()
        await asyncio.wait((starting,))

    supervised(scenario)


def test_the_next_supervisor_finds_what_the_last_one_left(supervised):
    async def scenario(supervisor):
        first = supervisor()
        await first.start((program("a"), program("b")), nothing)
        pids = first.pid("a"), first.pid("b")
        await first.close()
        second = supervisor()
        await second.start((program("a"), program("b", STEADY, "changed")), nothing)
        assert second.pid("a") == pids[0]
        assert second.pid("b") != pids[1]
        os.kill(pids[0], signal.SIGKILL)
        assert await another(second, "a", pids[0])

    supervised(scenario)


def test_what_a_dead_program_left_in_its_cgroup_is_not_taken_for_it(supervised, group):
    async def scenario(supervisor):
        one = supervisor()
        await one.start((program("a", PARENT),), nothing)
        folder, before = cgroup.make(f"{group}/a"), one.pid("a")
        await one.close()
        os.kill(before, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, before, 0)
        assert Child.find(folder) is None
        assert len(cgroup.members(folder)) == 1

    supervised(scenario)
