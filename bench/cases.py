"""The measured cases: a large random search, and each other optimizer with its defaults."""

from dataclasses import dataclass
from typing import Any

from support.compiles import Case

THREADS = 250
"""Number of calls that a pod, or a process of the local driver, makes at the same time."""


@dataclass(frozen=True)
class BenchCase:
    """A row of the tables.

    Attributes:
        latency: seconds that the provider takes for each call.
        pods: number of worker pods that run at the same time.
        pruning: the value of `spec.swarm.pruning`.
    """

    case: Case
    latency: float = 0.5
    pods: int = 2
    pruning: str = "exact"

    @property
    def name(self) -> str:
        return self.case.name


def _case(
    name: str, optimizer: str, latency: float = 0.5, pods: int = 2, pruning: str = "exact", **case: Any
) -> BenchCase:
    found = Case(name, optimizer, **{"train": 100, "validation": 100, "teacher": True, **case})
    return BenchCase(found, latency, pods, pruning)


CASES = {
    bench.name: bench
    for bench in (
        _case(
            "headline",
            "bootstrapFewShotWithRandomSearch",
            latency=2.88,
            pods=4,
            parameters={"num_candidate_programs": 47},
        ),
        _case(
            "headline-unpruned",
            "bootstrapFewShotWithRandomSearch",
            latency=2.88,
            pods=4,
            pruning="off",
            parameters={"num_candidate_programs": 47},
        ),
        _case("labeledFewShot", "labeledFewShot", teacher=False),
        _case("bootstrapFewShot", "bootstrapFewShot"),
        _case("bootstrapFewShotWithRandomSearch", "bootstrapFewShotWithRandomSearch"),
        _case("bootstrapFewShotWithOptuna", "bootstrapFewShotWithOptuna", parameters={"max_demos": 4}),
        _case("inferRules", "inferRules"),
        _case("copro", "copro", teacher=False, prompt=True),
        _case("miprov2", "miprov2", prompt=True),
        _case("miprov2-medium", "miprov2", prompt=True, parameters={"auto": "medium"}),
        _case("simba", "simba", prompt=True),
        _case("gepa", "gepa", teacher=False, prompt=True, metric="feedback", parameters={"auto": "light"}),
    )
}
