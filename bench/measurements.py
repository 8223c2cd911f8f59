"""Measurements, and the file that collects them as JSON lines. This file is outside the work tree."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from support.compiles import ROOT
from testbed import cache

RESULTS = cache.root() / "bench" / "results.jsonl"


@dataclass(frozen=True)
class Stock:
    """Requests, calls and seconds that stock DSPy takes for a case.

    Attributes:
        requests: number of requests to the provider, with DSPy's LM cache and one thread.
        calls: number of LM calls, including those that the cache answered.
        serial: seconds with one thread, computed as requests x latency.
        eight: seconds with 8 threads.
        best: seconds with as many threads as the widest evaluation has calls.
        threads: number of threads of `best`.
        eight_computed: whether `eight` is computed from the sizes of evaluations, and not measured.
        best_computed: whether `best` is computed in the same way.
    """

    requests: int
    calls: int
    serial: float
    eight: float
    best: float
    threads: int
    eight_computed: bool
    best_computed: bool


@dataclass(frozen=True)
class Swarm:
    """Rounds, calls and seconds that dspy-swarm takes for a case.

    Attributes:
        on: "local" or "cluster".
        speculation: largest number of guesses per round.
        seconds: seconds from the command to the artifact.
        widths: number of cells of each scattered round.
        requests: number of requests to the provider.
        calls: number of LM calls in the journal.
        wasted_calls: number of those calls whose results the optimizer did not use.
        same: whether the winner is the same as stock DSPy's.
        load: load average of the machine in the minute before the run.
    """

    on: str
    speculation: int
    seconds: float
    widths: list[int]
    requests: int
    calls: int
    wasted_calls: int
    same: bool
    load: float


@dataclass(frozen=True)
class Machine:
    cores: int
    memory_gib: int
    kernel: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Self:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        names = ("dspy", "optuna", "gepa")
        versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
        return cls(os.cpu_count() or 1, round(memory), platform.release(), versions)


@dataclass(frozen=True)
class Measurement:
    """A run of one case by stock DSPy, by dspy-swarm, or by both."""

    case: str
    latency: float
    stock: Stock | None = None
    swarm: Swarm | None = None
    at: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M", time.gmtime()))
    commit: str = field(default_factory=lambda: commit())
    machine: Machine = field(default_factory=Machine.here)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        stock = Stock(**found["stock"]) if found["stock"] else None
        swarm = Swarm(**found["swarm"]) if found["swarm"] else None
        return cls(**{**found, "stock": stock, "swarm": swarm, "machine": Machine(**found["machine"])})


def commit() -> str:
    """Returns the commit of the checkout, followed by a plus if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def append(measurement: Measurement, file: Path = RESULTS) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as results:
        results.write(json.dumps(asdict(measurement)) + "\n")


def read(file: Path = RESULTS) -> Iterator[Measurement]:
    """Yields the measurements in the file, oldest first."""
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            yield Measurement.of(json.loads(line))
