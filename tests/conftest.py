"""A run of tests leaves nothing behind, and removes what a killed run left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from topology import Topology, leftovers, reap

IS_ROOT = os.geteuid() == 0
GOLDEN = Path(__file__).parent / "golden"
REWRITE = "REWRITE_GOLDEN"


def pytest_configure(config: pytest.Config) -> None:
    """Properties are asked of the same examples in every run, and of new ones where long tests run too.

    No example has a deadline: how long one takes says how busy the machine is.
    """
    common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("repeated", common, derandomize=True)
    settings.register_profile("searching", common)
    settings.load_profile("repeated" if config.getoption("markexpr") == "not long" else "searching")


def pytest_sessionstart(session: pytest.Session) -> None:
    """What a killed run left is removed once, by the process that hands out the tests."""
    if IS_ROOT and not hasattr(session.config, "workerinput"):
        reap()


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    if IS_ROOT:
        left = leftovers(os.getpid())
        assert not left, "left behind: " + ", ".join(left)


@pytest.fixture
def topology() -> Iterator[Topology]:
    """An empty fabric, gone after the test."""
    with Topology() as made:
        yield made


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file of ``tests/golden``; with REWRITE_GOLDEN=1 in the environment, write it instead."""

    def compare(name: str, content: str) -> None:
        file = GOLDEN / name
        if os.environ.get(REWRITE):
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
        assert file.is_file(), f"{file} is missing; to write it: {REWRITE}=1 pytest"
        assert content == file.read_text(), f"{file} differs; if that is meant: {REWRITE}=1 pytest"

    return compare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What makes namespaces is skipped without root."""
    if IS_ROOT:
        return
    for item in items:
        if "topology" in getattr(item, "fixturenames", ()) or item.path.parts[-2] in (
            "netns",
            "demo",
            "interop",
        ):
            item.add_marker(pytest.mark.skip(reason="needs root: it makes network namespaces"))
