"""One redirector and one pair of namespaces for the whole run: compiling takes a second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel.pods import World, folder_of_cgroup, joined, namespace, unique
from topology.namespace import Namespace

from ambient.kernel.redirector import Redirector, uninstall


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if {"redirector", "node_name", "needs_root"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason="needs root: it loads BPF programs"))


@pytest.fixture
def needs_root() -> None:
    """Named by tests that meet the kernel without the redirector."""


@pytest.fixture
def node_name() -> Iterator[str]:
    """A node of its own, uninstalled after the test."""
    name = unique("node")
    yield name
    uninstall(name)


@pytest.fixture(scope="session")
def prober_group() -> Iterator[Path]:
    with folder_of_cgroup("prober") as folder:
        yield folder


@pytest.fixture(scope="session")
def proxy_group() -> Iterator[Path]:
    with folder_of_cgroup("proxy") as folder:
        yield folder


@pytest.fixture(scope="session")
def redirector(prober_group: Path, proxy_group: Path) -> Iterator[Redirector]:
    name = unique("node")
    opened = Redirector.open(name, prober_cgroup=str(prober_group), proxy_cgroup=str(proxy_group))
    yield opened
    opened.close()
    uninstall(name)


@pytest.fixture(scope="session")
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with namespace("pod") as pod, namespace("outside") as outside, joined(pod, outside):
        yield pod, outside


@pytest.fixture(params=["pod-cgroup", "root"])
def world(
    request: pytest.FixtureRequest,
    redirector: Redirector,
    namespaces: tuple[Namespace, Namespace],
    proxy_group: Path,
) -> Iterator[World]:
    """The pod, not captured yet, with its hooks to be on its own cgroup or at the root of the hierarchy."""
    made = World(redirector, *namespaces, proxy_group, root=request.param == "root")
    try:
        yield made
    finally:
        made.close()
