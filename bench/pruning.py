"""`python -m bench.pruning`: what pruning saves against the score of the best candidate, for docs/pruning.md.

Each line is a compile by the local driver, with a model that is more or less capable. What is saved are cells of the
candidates' evaluations. The first two candidates need no bootstrap: they are evaluated in the first round, whole.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.local import widths
from bench.reference import KNOWLEDGE
from simulated_provider.testing import running_provider
from support.compiles import Case, LocalRun, counted, run_local
from swarm_wire.shards import read_folder

CANDIDATES, EXAMPLES = 16, 100
"""Of random search, besides the three that are always there; of the validation set."""


@dataclass(frozen=True)
class Row:
    """One compile: how capable its model is (0 .. 1), and by which metric."""

    capability: float
    metric: str
    seed: int = 1


ROWS = [
    Row(0.9, "department"),
    Row(1.0, "department", 3),
    Row(0.3, "department", 2),
    Row(0.9, "exact"),
    Row(0.3, "exact", 2),
    Row(0.0, "exact", 3),
    Row(0.9, "partial", 4),
]


def measure(row: Row) -> str:
    """A line of the table."""
    case = Case(
        "", parameters={"num_candidate_programs": CANDIDATES}, metric=row.metric, train=100, validation=EXAMPLES
    )
    with running_provider(knowledge=KNOWLEDGE, varied=True, seed=row.seed, model={"small": row.capability}) as provider:
        runs, requests = [], []
        for how in ("off", "exact"):
            with tempfile.TemporaryDirectory() as scratch, counted(provider) as asked:
                ran = run_local(case.manifest(provider.url, pruning=how, threadsPerPod=32), Path(scratch))
                if ran.status:
                    raise RuntimeError(ran.output)
                runs.append(_Figures.of(ran))
            requests.append(asked[0])
    off, exact = runs
    pruned, cells = exact.pruned
    return (
        f"| {exact.best:.1f} | {row.metric} | {requests[0]} → {requests[1]} | {pruned} of {CANDIDATES + 1} "
        f"| {cells / (EXAMPLES * max(1, pruned)):.0%} | {cells / (EXAMPLES * (CANDIDATES + 1)):.0%} "
        f"| {off.widths} → {exact.widths} | {'yes' if off.program == exact.program else 'NO'} |"
    )


@dataclass(frozen=True)
class _Figures:
    best: float
    program: str
    pruned: tuple[int, int]
    widths: list[int]

    @classmethod
    def of(cls, ran: LocalRun) -> "_Figures":
        pruned = ran.report["pruned"]
        return cls(
            best=ran.scores["best"],
            program=str(ran.program),
            pruned=(pruned["candidates"], pruned["cells"]),
            widths=widths(read_folder(ran.journal / "journal")),
        )


def main() -> int:
    print(
        "| best | metric | requests | candidates pruned | of their cells saved | of all saved | rounds | same winner |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        print(measure(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
