"""What tests of the control plane share: coroutine tests, golden files, documents from text."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
REWRITE = "REWRITE_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file of ``tests/golden``; with REWRITE_GOLDEN=1 in the environment, write it instead."""

    def compare(name: str, content: str) -> None:
        file = GOLDEN / name
        if os.environ.get(REWRITE):
            file.write_text(content)
        assert content == file.read_text(), f"{file} differs; if that is meant: {REWRITE}=1 pytest"

    return compare


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True
