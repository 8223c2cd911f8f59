"""Runs stock DSPy on a case, to get its winner, its requests, and its seconds with each number of threads."""

import json
import math
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.cases import BenchCase
from bench.measurements import Stock
from simulated_provider.testing import running_provider
from support.compiles import ROOT, environment

PATIENCE = 180
"""Longest time of a measurement, in seconds. If a case would take longer, its seconds are computed."""

KNOWLEDGE, SEED = ROOT / "examples" / "triage" / "knowledge.jsonl", 1
PROVIDER = {"knowledge": KNOWLEDGE, "varied": True, "seed": SEED}


@dataclass(frozen=True)
class Reference:
    """What stock DSPy does with one thread.

    Attributes:
        program: the winner's state.
        waves: number of requests of each evaluation, without those that the cache answered.
        alone: number of requests that the optimizer sends between evaluations, one after the other.
    """

    program: dict[str, Any]
    calls: int
    waves: list[int]
    alone: int

    @property
    def requests(self) -> int:
        return sum(self.waves) + self.alone

    def seconds(self, threads: int, latency: float) -> float:
        """Returns the shortest possible time in seconds. It counts only the time that the provider takes."""
        return latency * (self.alone + sum(math.ceil(wave / threads) for wave in self.waves))


def reference(bench: BenchCase) -> Reference:
    """Runs stock DSPy with one thread and a provider that answers at once. Neither changes the winner."""
    with running_provider(**PROVIDER) as provider:
        found = run(bench, provider.url, threads=1)
        times = sorted(request["time"] for request in provider.requests())
    return Reference(found["program"], found["calls"], *divided(times, found["waves"]))


def divided(times: Sequence[float], waves: Sequence[Sequence[float]]) -> tuple[list[int], int]:
    """Counts the requests that start in each wave (begin, end), and the requests that start in no wave."""
    # The provider rounds its times to milliseconds, so a request may seem to start before its wave.
    sizes = [bisect_left(times, end) - bisect_left(times, begin - 0.0006) for begin, end in waves]
    return [size for size in sizes if size], len(times) - sum(sizes)


def stock(bench: BenchCase, known: Reference) -> Stock:
    """Measures the runs that take at most `PATIENCE` seconds, and computes the others."""
    threads = max(known.waves, default=1)
    eight, eight_computed = timed(bench, known, 8)
    best, best_computed = timed(bench, known, threads)
    serial = known.seconds(1, bench.latency)
    return Stock(known.requests, known.calls, serial, eight, best, threads, eight_computed, best_computed)


def timed(bench: BenchCase, known: Reference, threads: int) -> tuple[float, bool]:
    """Returns the seconds of a run with this many threads, and whether they are computed."""
    computed = known.seconds(threads, bench.latency)
    if computed > PATIENCE:
        return computed, True
    with running_provider(**PROVIDER, latency=f"constant:{bench.latency}") as provider:
        return float(run(bench, provider.url, threads)["seconds"]), False


def run(bench: BenchCase, url: str, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.stock", json.dumps({**asdict(bench.case), "url": url}), str(threads)]
    done = subprocess.run(command, env=_environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"stock DSPy did not end {bench.name} with {threads} threads:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if error := found.get("error"):
        raise RuntimeError(f"stock DSPy ended {bench.name} with {error}")
    return found


def _environment() -> dict[str, str]:
    found = environment()
    return {**found, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{found['PYTHONPATH']}"}
