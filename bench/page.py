"""Writes the tables of docs/benchmarks.md from the newest measurements of each case."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from bench.cases import CASES
from bench.measurements import Measurement, Stock, Swarm
from support.compiles import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"

WALL = (
    "| case | latency | stock, 1 thread | 8 threads | best (threads) | local | cluster | same winner |\n"
    "|---|---|---|---|---|---|---|---|"
)
CALLS = (
    "| case | speculation | rounds | cells per round | calls | at the provider | stock, cached | stock, uncached "
    "| wasted | same winner |\n|---|---|---|---|---|---|---|---|---|---|"
)
RUNS = "| case | on | date (UTC) | commit | load | machine |\n|---|---|---|---|---|---|"


def write(measurements: Sequence[Measurement]) -> None:
    """Replaces the tables between the marks in docs/benchmarks.md."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (
        ("wall", wall(measurements)),
        ("calls", calls(measurements)),
        ("runs", runs(measurements)),
    ):
        pattern = rf"<!-- {name} -->\n.*?<!-- end -->"
        before, after = re.split(pattern, text, maxsplit=1, flags=re.DOTALL)
        text = f"{before}<!-- {name} -->\n{table}\n<!-- end -->{after}"
    PAGE.write_text(text, encoding="utf-8")


def wall(measurements: Sequence[Measurement]) -> str:
    """Returns the table with the seconds of each case, on this machine and on a cluster."""
    lines = [WALL]
    for name in CASES:
        stock = _stock(measurements, name)
        ran = {place: _swarm(measurements, name, place) for place in ("local", "cluster")}
        if not any(ran.values()) and stock is None:
            continue
        times = [seconds(swarm.seconds) if swarm else "" for swarm in ran.values()]
        same = {swarm.same for swarm in ran.values() if swarm}
        lines.append(_line(name, f"{CASES[name].latency:g} s", *_stock_times(stock), *times, _yes(same)))
    return "\n".join(lines)


def calls(measurements: Sequence[Measurement]) -> str:
    """Returns the table with each case's rounds, calls and wasted calls on the local driver, by number of guesses."""
    lines = [CALLS]
    for name in CASES:
        stock = _stock(measurements, name)
        of_case = sorted(
            (found.swarm for found in measurements if found.case == name and found.swarm and found.swarm.on == "local"),
            key=lambda swarm: swarm.speculation,
        )
        for speculation, group in groupby(of_case, key=lambda swarm: swarm.speculation):
            newest = list(group)[-1]
            wasted = f"{newest.wasted_calls} ({100 * newest.wasted_calls / max(1, newest.calls):.1f} %)"
            against = (stock.requests, stock.calls) if stock else ("", "")
            lines.append(
                _line(
                    *(name, speculation, len(newest.widths), _widths(newest.widths), newest.calls, newest.requests),
                    *(*against, wasted, _yes({newest.same})),
                )
            )
    return "\n".join(lines)


def runs(measurements: Sequence[Measurement]) -> str:
    """Returns the table that says when, where and from which commit the figures of the first table were measured."""
    lines = [RUNS]
    for name in CASES:
        for place in ("local", "cluster"):
            found = _newest(measurements, name, place)
            if found is None or found.swarm is None:
                continue
            machine = found.machine
            versions = ", ".join(f"{package} {version}" for package, version in machine.versions.items())
            told = f"{machine.cores} cores, {machine.memory_gib} GiB, {machine.kernel}; {versions}"
            lines.append(_line(name, place, found.at, found.commit, found.swarm.load, told))
    return "\n".join(lines)


def seconds(value: float) -> str:
    """Returns seconds as a text for people."""
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _stock_times(stock: Stock | None) -> tuple[str, str, str]:
    if stock is None:
        return "", "", ""
    eight = seconds(stock.eight) + " *" * stock.eight_computed
    best = f"{seconds(stock.best)}{' *' * stock.best_computed} ({stock.threads})"
    return f"{seconds(stock.serial)} *", eight, best


def _stock(measurements: Sequence[Measurement], case: str) -> Stock | None:
    return next((found.stock for found in reversed(measurements) if found.case == case and found.stock), None)


def _swarm(measurements: Sequence[Measurement], case: str, place: str) -> Swarm | None:
    found = _newest(measurements, case, place)
    return found.swarm if found else None


def _newest(measurements: Sequence[Measurement], case: str, place: str) -> Measurement | None:
    """Returns the newest of the measurements that allow the most guesses per round, as the default does."""
    of_place = [found for found in measurements if found.case == case and found.swarm and found.swarm.on == place]
    most = max((found.swarm.speculation for found in of_place if found.swarm), default=0)
    return next((found for found in reversed(of_place) if found.swarm and found.swarm.speculation == most), None)


def _widths(widths: Sequence[int]) -> str:
    """Returns the numbers as a text that counts equal neighbours, such as "100, 3 x 7"."""
    groups = [(width, len(list(group))) for width, group in groupby(widths)]
    return ", ".join(str(width) if count == 1 else f"{count} x {width}" for width, count in groups)


def _yes(same: Iterable[bool]) -> str:
    found = set(same)
    return "" if not found else "yes" if found == {True} else "no"


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
