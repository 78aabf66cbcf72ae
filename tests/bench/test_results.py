"""What is made of rounds: percentiles, ratios, verdicts, pictures."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench import archive, cases
from bench.archive import Run
from bench.case import Failure, Round
from bench.histogram import percentile, pooled
from bench.plot import svg
from bench.report import number, show
from bench.results import Results
from bench.spread import shares
from bench.summary import markdown
from bench.targets import judged
from rich.console import Console

HUNDRED = [[n * 1_000_000, 1] for n in range(1, 101)]


def round_of(
    case: str, peer: str, number: int, each: dict[str, float] | None = None, **figures: float
) -> Round:
    return Round(case, peer, number, dict(figures), each or {}, {"latency": [[1_000_000, 10]]})


def both(case: str, ours: list[float], theirs: list[float], figure: str = "rate") -> list[Round]:
    return [
        round_of(case, peer, number, {"proxy": 1.0, "client program": 9.0}, **{figure: value})
        for peer, values in (("ambient", ours), ("envoy", theirs))
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(("share", "milliseconds"), [(50, 50), (90, 90), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_the_least_value_that_so_many_did_not_exceed(
    share: float, milliseconds: float
) -> None:
    assert percentile(HUNDRED, share) == milliseconds


def test_without_requests_there_is_no_percentile() -> None:
    assert percentile([], 50) is None


def test_histograms_of_rounds_add_up() -> None:
    assert pooled([[[1, 2], [5, 1]], [[5, 3]]]) == [(1, 2), (5, 4)]


def test_a_ratio_is_of_rounds_that_stood_side_by_side() -> None:
    # The machine was ten times slower in the second round, for both.
    results = Results(both("rps-32", [100, 10, 120], [200, 20, 200]))
    assert results.figure("rps-32", "ambient", "rate").over(results.figure("rps-32", "envoy", "rate")) == 0.5


def test_a_peer_without_a_round_has_no_ratio() -> None:
    results = Results(both("rps-32", [100], []))
    assert results.figure("rps-32", "ambient", "rate").over(results.figure("rps-32", "envoy", "rate")) is None
    assert judged(results) == []


def test_the_programs_at_the_ends_are_not_charged_to_the_mesh() -> None:
    assert Results(both("rps-32", [1], [1])).together("rps-32", "ambient").median == 1


@pytest.mark.parametrize(
    ("rounds", "reached"),
    [
        pytest.param(both("bulk-1-down", [8], [10]), True, id="bulk at the target"),
        pytest.param(both("bulk-1-down", [7.9], [10]), False, id="bulk below"),
        pytest.param(both("rps-1", [1.3], [1], "p50"), True, id="latency at the target"),
        pytest.param(both("rps-1", [1.4], [1], "p50"), False, id="latency above"),
        pytest.param(both("open-1000", [0, 2], [1, 1], "stalls"), True, id="as many stalls"),
        pytest.param(both("open-1000", [1, 2], [1, 1], "stalls"), False, id="one more stall"),
        pytest.param([round_of("spread", "ambient", 0, busiest=65)], True, id="spread at the target"),
        pytest.param([round_of("spread", "ambient", 0, busiest=66)], False, id="spread beyond"),
    ],
)
def test_a_target_is_reached_or_lost(rounds: list[Round], reached: bool) -> None:
    verdicts = [verdict for verdict in judged(Results(rounds)) if not verdict.target.what.startswith("CPU")]
    assert [verdict.reached for verdict in verdicts] == [reached]


def test_a_target_that_was_not_measured_is_not_judged() -> None:
    assert judged(Results([])) == []


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    run = Run(
        {"processor": "x"},
        {"ambient": "1"},
        {"rounds": 1},
        both("rps-32", [3, 4], [5, 6]),
        [Failure("new-1", "envoy", 0, "no")],
    )
    archive.write(run, tmp_path)
    assert archive.read(tmp_path) == run


def test_a_run_can_be_told_as_tables_and_as_a_picture() -> None:
    results = Results([*both("rps-32", [1000, 2000], [500, 1000]), round_of("rps-32", "none", 0, rate=9999)])
    output = io.StringIO()
    show(results, Console(file=output, width=160))
    assert "2.00" in output.getvalue()
    assert "| requests, 32 connections, 1/s | 9,999 | 1,500 | 750 | 2.00 |" in markdown(results)
    picture = ET.fromstring(svg(results, "a & b"))
    assert any("9,999" in (text.text or "") for text in picture.iter("{http://www.w3.org/2000/svg}text"))


def test_shares_of_workers_are_of_all_bytes() -> None:
    assert shares(Counter({1: 30, 2: 10}), [1, 2, 3]) == [75, 25, 0]
    assert shares(Counter(), [1, 2]) == [0, 0]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["rps"], ["rps-1", "rps-32", "rps-256"]),
        (["bulk-1"], ["bulk-1-down", "bulk-1-up"]),
        (["rps-1", "new-1"], ["rps-1", "new-1"]),
        ([], list(cases.CASES)),
    ],
)
def test_cases_are_chosen_by_the_beginning_of_their_names(names: list[str], found: list[str]) -> None:
    assert [case.name for case in cases.chosen(names)] == found


def test_a_name_that_is_no_case_is_told() -> None:
    with pytest.raises(KeyError, match="rp"):
        cases.chosen(["rp"])


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00012, "1.2e-04"), (1.2345, "1.23"), (12345.6, "12,346")]
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text
