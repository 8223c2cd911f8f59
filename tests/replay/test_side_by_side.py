"""Optimizers that start threads or coroutines find stock's program, whichever thread is first."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case
from support.sampling import sample

OPTIMIZERS = (
    "pooled",
    "nested",
    "asking",
    "bootstrapping",
    "failing",
    "with_main",
    "before_main",
    "in_parallel",
    "awaiting",
    "left_running",
)
TIMES = int(os.environ.get("TIMES", "1"))


@pytest.mark.parametrize("optimizer", sample(OPTIMIZERS, 2))
def test_an_optimizer_that_starts_threads_finds_the_program_of_stock(
    providers: Any, tmp_path: Path, optimizer: str
) -> None:
    case = Case(optimizer, "custom", {"entrypoint": f"side_by_side:{optimizer}"}, train=12, validation=12)
    expected = case.stock(providers(1))
    if "tqdm" in (expected.error or ""):  # stock DSPy shows progress in threads, in which tqdm rarely loses a bar
        expected = case.stock(providers(1))
    assert expected.error is None
    for time in range(TIMES):
        # With these variables, workers run waves of more than 4 cells, and the first plan has a twin.
        ours = case.swarm(providers(1), tmp_path / f"{time}", SWARM_SMALL_WAVE="4", SWARM_TWIN="1")
        assert ours.status == 0, ours.output
        assert (ours.program, ours.ranking, ours.scores) == (expected.program, expected.ranking, expected.scores)
        assert ours.requests == ours.calls <= expected.requests
