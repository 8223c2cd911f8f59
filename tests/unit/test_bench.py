"""These tests check the bench's arithmetic and measure one compile. They never judge seconds."""

from pathlib import Path

import pytest

from bench import local, page
from bench.cases import BenchCase
from bench.measurements import Machine, Measurement, Stock, append, read
from bench.reference import Reference, divided, reference
from support.compiles import Case


def test_a_request_counts_for_the_evaluation_that_makes_it() -> None:
    waves = [(10.0, 11.0), (11.5, 11.6), (12.0, 13.0)]
    times = [9.0, 10.0, 10.5, 11.2, 11.3, 12.0, 12.9, 13.5]

    assert divided(times, waves) == ([2, 2], 4), "two waves had requests, four requests were between them"


@pytest.mark.parametrize(
    ("threads", "expected"), [(1, 2 * 215), (8, 2 * (5 + 13 + 13 + 2)), (100, 2 * 8), (500, 2 * 8)]
)
def test_the_computed_time_of_stock_shrinks_until_each_call_has_its_own_thread(threads: int, expected: float) -> None:
    assert Reference({}, 300, [100, 100, 10], 5).seconds(threads, latency=2) == expected


def test_the_tables_show_the_newest_measurements(tmp_path: Path) -> None:
    machine = Machine(2, 24, "6.1", {"dspy": "3.4.1"})
    old, new = (Stock(5164, 5400, serial, 1859, 616, 100, True, True) for serial in (1.0, 14872.0))
    for stock in (old, new):
        append(Measurement("headline", 2.88, stock, None, "2026-11-21 10:00", "0123abcd", machine), tmp_path / "file")

    row = page.wall(list(read(tmp_path / "file"))).splitlines()[-1]

    assert row == "| headline | 2.88 s | 4.1 h * | 31 min * | 10 min * (100) |  |  |  |"


def test_a_measured_compile_has_the_program_and_requests_of_stock() -> None:
    bench = BenchCase(Case("tiny", "bootstrapFewShot", train=6, validation=10), latency=0)

    known = reference(bench)
    found = local.measure(bench, known.program, speculation=0)

    assert found.same
    assert (found.widths, found.wasted_calls) == ([11], 0)
    assert found.calls == found.requests == known.requests
