"""Ten thousand rows of counters on one page."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from scale.cost import Pulse, micro
from scale.figures import Figures

from ambient.core.observation import LABELS
from ambient.telemetry import exposition
from ambient.telemetry.admin import Request
from ambient.telemetry.exposition import Exposition
from ambient.telemetry.metrics import Totals

PART = "10,000 rows of counters"


@pytest.mark.parametrize(
    "rows", [pytest.param(1_000, id="smoke"), pytest.param(10_000, id="full", marks=pytest.mark.long)]
)
def test_a_page_is_made_beside_what_the_loop_does(rows: int, figures: Figures) -> None:
    totals = Totals()
    table = [
        [
            [f"{label}-{row % 100 if number % 2 else row}" for number, label in enumerate(LABELS)],
            [row, 1, 0, 5, 6],
        ]
        for row in range(rows)
    ]
    totals.update(1, json.dumps({"rows": table, "refused": []}).encode())
    pages = Exposition(exposition.traffic(totals))

    async def scenario() -> tuple[int, float, float]:
        await pages.page(Request("GET", "/metrics", {}, {}))
        async with Pulse() as pulse:
            began = time.process_time()
            answer = await pages.page(Request("GET", "/metrics", {}, {}))
            spent = time.process_time() - began
        return answer.body.count(b"\n"), pulse.longest, spent

    lines, longest, spent = asyncio.run(scenario())
    assert lines > 5 * rows
    assert longest < 1
    assert spent < 20
    if rows == 10_000:
        figures.note(PART, "a page of metrics: processor time, in a thread", micro(spent))
        figures.note(PART, "the same: the loop held up for", micro(longest))
