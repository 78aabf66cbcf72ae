"""What a peer says of itself, in logs, tables and metrics: it stays a value, and there are only so many."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from net.harness import CLIENT
from proxy.test_inbound import Scene, until

from ambient.cli import tables
from ambient.core.baggage import parse_baggage
from ambient.core.hbone import Hbone, Role
from ambient.core.model.address import SocketAddress
from ambient.core.observation import LABELS, Observation, Party, Reporter
from ambient.telemetry.line import Format, Level, render
from ambient.telemetry.metrics import OVERFLOW, Totals, Traffic

RED, CLEAR, TITLE, BELL, RIGHT_TO_LEFT = "\x1b[31m", "\x1b[2J", "\x1b]0;owned\x07", "\x07", "\u202e"
EVIL = [
    "\x1b[31m",
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "a\rb",
    "a\nb",
    "\x00",
    "\x7f",
    "\u2028",
]


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_a_table_shows_a_terminal_nothing_to_act_upon(evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(("NAME", "WHY"), [(evil, f"no such {evil}")])
    printed = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in printed), printed
    assert len(printed.splitlines()) == 2


@given(st.text())
def test_what_can_be_printed_is_left_as_it_is(text: str) -> None:
    assert tables.printable(tables.printable(text)) == tables.printable(text)
    if text.isprintable():
        assert tables.printable(text) == text


@given(st.text(), st.dictionaries(st.text(), st.text() | st.binary()), st.sampled_from(list(Format)))
def test_a_line_of_a_log_is_one_line_of_ascii(
    event: str, fields: dict[str, str | bytes], style: Format
) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    line = render(style, datetime.now(UTC), Level.INFO, event, fields)
    assert line.endswith(b"\n")
    assert all(32 <= byte < 127 for byte in line[:-1])


def test_a_peer_that_claims_ever_new_names_fills_no_metric(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        scene.traffic = scene.live._traffic = Traffic(most=50)
        scene.dialer.fails = True
        caller, machine = await scene.caller(), Hbone(Role.CLIENT)
        for number in range(400):
            claims = f"k8s.pod.name=pod-{number},service.name={'x' * 250}{number},cloud.region=r{number}"
            headers = [("baggage", claims), ("forwarded", f'for="127.0.0.1:5";host=host-{number}')]
            machine.open("127.0.0.1:80", headers)
            if number % 50 == 49:
                await asyncio.to_thread(caller.sendall, machine.take())
                await until(lambda number=number: len(scene.lines()) > number)
                for stream in list(machine._streams):
                    machine.reset(stream)
        totals = Totals()
        totals.update(1, scene.traffic.report())
        table = totals.table()
        assert len(table) <= 51
        assert sum(row[2] for row in table.values()) == 400
        assert any(OVERFLOW in labels for labels in table)
        assert len(totals.refused()) == 1
        caller.close()
        await until(lambda: len(scene.tunnels) == 0)

    asyncio.run(scenario())


def test_a_hostname_or_identity_that_a_peer_asks_for_is_no_label() -> None:
    """Only a service of the snapshot, the proven identity and decent baggage are."""
    here = SocketAddress.parse("127.0.0.1:80")
    seen = Observation(
        Reporter.DESTINATION,
        Party.claiming(parse_baggage("service.name=\x1b[31m"), CLIENT),
        Party(),
        here,
        here,
    )
    assert dict(zip(LABELS, seen.labels(), strict=True))["source_app"] == "unknown"
