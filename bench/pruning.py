"""`python -m bench.pruning`: what pruning saves, against the score of the best candidate.

Stock random search runs once for each line, with a model that is more or less capable. Then the scores of its cells are
handed out again as pruning asks for them: the winner must be stock's. The first two candidates need no bootstrap; a run
evaluates them in its first round, whole, and what is saved is counted without them.
"""

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

import replay_programs
import stock
from bench.reference import KNOWLEDGE
from simulated_provider.testing import running_provider
from swarm_worker.replay.pruning import Range, Standing, lost, wanted

METRICS = {"One": "department", "Two": "partial", "Agent": "graded"}
FIRST_ROUND = 2
LIMITS = Range(0, 1)


@dataclass(frozen=True)
class Pruned:
    """A search on known scores, as the engine would go through it.

    Attributes:
        shown: each candidate's score, or its bound.
        rounds: those of candidates, after the first two.
        paid: cells, of `whole`.
        unfinished: candidates, and `spared` their cells.
    """

    shown: list[float]
    rounds: int
    paid: int
    whole: int
    unfinished: int
    spared: int

    @classmethod
    def of(cls, matrix: Sequence[Sequence[float]]) -> "Pruned":
        size = len(matrix[0])
        known = [dict(enumerate(scores)) if number < FIRST_ROUND else {} for number, scores in enumerate(matrix)]
        rounds = paid = 0
        while asked := wanted(_standings(known, size), LIMITS):
            rounds += 1
            for number, positions in asked.items():
                paid += len(positions)
                known[number].update({position: matrix[number][position] for position in positions})
        losers = lost(_standings(known, size), LIMITS)
        return cls(
            shown=[round(standing.percentage(LIMITS.high), 2) for standing in _standings(known, size)],
            rounds=rounds,
            paid=paid,
            whole=size * (len(matrix) - FIRST_ROUND),
            unfinished=len(losers),
            spared=sum(size - len(known[number]) for number in losers),
        )


def _standings(known: Sequence[dict[int, float]], size: int) -> list[Standing]:
    return [Standing(tuple(map(str, range(size))), scores, max_errors=10) for scores in known]


def searched(program: str, seed: int, capability: float, candidates: int, examples: int) -> list[dict[str, Any]]:
    """Stock's candidates, in its order; the winner's number is in each."""
    case = {
        "optimizer": "bootstrapFewShotWithRandomSearch",
        "metric": METRICS[program],
        "train": examples,
        "validation": examples,
        "teacher": False,
        "prompt": False,
        "parameters": {"num_candidate_programs": candidates},
    }
    with running_provider(seed=seed, knowledge=KNOWLEDGE, varied=True, model={"small": capability}) as provider:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
        dspy.configure(lm=dspy.LM("openai/small", api_base=provider.url, api_key="none"), num_threads=4)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            winner = stock.compiled({**case, "url": provider.url}, getattr(replay_programs, program)())
    found = sorted(winner.candidate_programs, key=lambda candidate: candidate["seed"])
    return [{**candidate, "wins": candidate["program"] is winner} for candidate in found]


def line(program: str, seed: int, capability: float, candidates: int, examples: int) -> str:
    found = searched(program, seed, capability, candidates, examples)
    winner = next(number for number, candidate in enumerate(found) if candidate["wins"])
    pruned = Pruned.of([[float(score) for score in candidate["subscores"]] for candidate in found])
    same = pruned.shown.index(max(pruned.shown)) == winner and max(pruned.shown) == found[winner]["score"]
    of_theirs = pruned.spared / max(1, examples * pruned.unfinished)
    cells = [
        f"{max(pruned.shown):.1f}",
        program,
        str(seed),
        f"{capability:.1f}",
        f"{pruned.whole} → {pruned.paid}",
        f"{1 - pruned.paid / pruned.whole:.0%}",
        f"{pruned.unfinished} of {len(found) - FIRST_ROUND}",
        f"{of_theirs:.0%}",
        str(pruned.rounds),
        "yes" if same else "NO",
    ]
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pruning", description=__doc__)
    parser.add_argument("--programs", nargs="+", default=list(METRICS), choices=METRICS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--examples", type=int, default=100)
    given = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    print("| best | program | seed | model | cells | saved | pruned | of theirs | rounds | same winner |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for program in given.programs:
        for seed in range(1, given.seeds + 1):
            capability = (0.9, 0.3, 1.0, 0.6)[seed % 4]
            print(line(program, seed, capability, given.candidates, given.examples), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
