"""`python -m bench.pruning` measures what pruning saves, by the score of the best candidate.

Stock DSPy and the local driver each run random search with DSPy's 16 candidates. They do so for 3 programs with 20
seeds. Each seed means another provider and another order of candidates. Both must have the same winner. The command
prints a row for each search, and then the table of docs/pruning.md.

Only cells of the later candidates count, since a run evaluates the first two candidates, the student and the winner on
all examples.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.reference import KNOWLEDGE
from simulated_provider.testing import running_provider
from support.compiles import Case, LocalRun, StockRun

METRICS = {"One": "department", "Two": "partial", "Agent": "graded"}
MODELS = (0.9, 1.0, 0.6, 0.95)
"""Capabilities of the simulated model `small`. One seed after the other uses the next of these."""
AT_ONCE = 2
BANDS = (0, 80, 85, 90, 92.5, 95, 100.1)
"""Bounds of the best score. Searches between two neighbouring bounds share a row of the table."""


@dataclass(frozen=True)
class Search:
    """One search, by stock DSPy and by the local driver.

    Attributes:
        cells: number of cells of the candidates that may be pruned.
        spared: number of `cells` that were not run.
        candidates: number of candidates that may be pruned.
        pruned: number of `candidates` that were pruned.
        same: whether stock DSPy has the same program, the same scores, and the same score of each candidate that was
            not pruned.
    """

    program: str
    seed: int
    best: float
    stock: int
    requests: int
    cells: int
    spared: int
    candidates: int
    pruned: int
    rounds: int
    same: bool

    def __str__(self) -> str:
        return _line(
            *(self.program, self.seed, f"{self.best:.1f}", f"{self.stock} → {self.requests}"),
            *(f"{self.cells} → {self.cells - self.spared}", f"{self.pruned} of {self.candidates}", self.rounds),
            "yes" if self.same else "NO",
        )


def search(program: str, seed: int, candidates: int, examples: int) -> Search:
    case = Case(
        "pruning",
        parameters={"num_candidate_programs": candidates},
        program=program,
        metric=METRICS[program],
        train=examples,
        validation=examples,
    )
    model = {"small": MODELS[seed % len(MODELS)]}
    with (
        running_provider(seed=seed, knowledge=KNOWLEDGE, varied=True, model=model) as provider,
        TemporaryDirectory() as folder,
    ):
        stock = case.stock(provider)
        ours = case.swarm(provider, Path(folder), speculation=0)
        if ours.status:
            raise RuntimeError(f"{program}, seed {seed}: {ours.output}")
        pruned, others = ours.report["pruned"], len(stock.ranking) - 2
        return Search(
            program=program,
            seed=seed,
            best=stock.scores["best"],
            stock=stock.requests,
            requests=ours.requests,
            cells=others * examples,
            spared=pruned["cells"],
            candidates=others,
            pruned=pruned["candidates"],
            rounds=ours.rounds,
            same=is_same(ours, stock),
        )


def is_same(ours: LocalRun, stock: StockRun) -> bool:
    known = [candidate["score"] for candidate in ours.report["candidates"] if not candidate["bound"]]
    return (ours.program, ours.scores) == (stock.program, stock.scores) and not set(known) - set(stock.ranking)


def table(searches: Sequence[Search]) -> list[str]:
    """Returns the rows of the table. A row is for searches of one program with similar best scores.

    The last row is for all best scores of 90 and more.
    """
    lines = ["| best score | program | searches | cells, all → asked for | saved | pruned | requests saved | rounds |"]
    lines.append("|---|---|---|---|---|---|---|---|")

    def band(found: Search) -> int:
        return sum(found.best >= limit for limit in BANDS)

    ordered = sorted(searches, key=lambda found: (list(METRICS).index(found.program), band(found), found.best))
    for (program, _), group in groupby(ordered, key=lambda found: (found.program, band(found))):
        alike = list(group)
        least, most = alike[0].best, alike[-1].best
        lines.append(_sum(f"{least:.1f}" if least == most else f"{least:.1f} .. {most:.1f}", program, alike))
    good = [found for found in searches if found.best >= 90]
    if good:
        lines.append(_sum("90 and more", "all", good))
    return lines


def _sum(best: str, program: str, found: Sequence[Search]) -> str:
    cells, spared = sum(each.cells for each in found), sum(each.spared for each in found)
    stock, requests = sum(each.stock for each in found), sum(each.requests for each in found)
    return _line(
        *(best, program, len(found), f"{cells:,} → {cells - spared:,}", f"{spared / cells:.0%}"),
        f"{sum(each.pruned for each in found)} of {sum(each.candidates for each in found)}",
        *(f"{1 - requests / stock:.0%}", f"{sum(each.rounds for each in found) / len(found):.1f}"),
    )


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pruning", description=__doc__)
    parser.add_argument("--programs", nargs="+", default=list(METRICS), choices=METRICS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--examples", type=int, default=100)
    given = parser.parse_args(arguments)
    cases = [(program, seed) for seed in range(1, given.seeds + 1) for program in given.programs]
    found = []
    print("| program | seed | best | requests, stock → ours | cells | pruned | rounds | same winner |", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in pool.map(lambda case: search(case[0], case[1], given.candidates, given.examples), cases):
            found.append(each)
            print(each, flush=True)
    print(*table(found), sep="\n")
    different = sum(not each.same for each in found)
    print(f"the winner is stock's in {len(found) - different} of {len(found)} searches")
    return min(1, different)


if __name__ == "__main__":
    sys.exit(main())
