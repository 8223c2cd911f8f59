"""An optimizer of our own: random search for demonstrations, and then SIMBA."""

from typing import Any

import dspy


def compile_in_two_stages(student: dspy.Module, trainset: list[Any], valset: list[Any], metric: Any) -> dspy.Module:
    """Returns the winner of a random search, improved by SIMBA."""
    search = dspy.BootstrapFewShotWithRandomSearch(metric=metric, num_candidate_programs=2, max_labeled_demos=8)
    first = search.compile(student, trainset=trainset, valset=valset)
    return dspy.SIMBA(metric=metric, bsize=8, num_candidates=2, max_steps=2).compile(first, trainset=trainset)
