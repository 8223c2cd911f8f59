"""A compile that starts from a compiled program finds the winner of stock DSPy, which loads the same program."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, run_local

FIRST = Case("", "labeledFewShot", {"k": 3}, program="Two", validation=12)
NEXT = {
    "bootstrapFewShotWithRandomSearch": {"num_candidate_programs": 2, "max_labeled_demos": 4},
    "copro": {"breadth": 2, "depth": 1},
}


@pytest.mark.parametrize("optimizer", NEXT)
def test_a_compile_goes_on_from_a_compiled_program_as_in_stock(providers: Any, tmp_path: Path, optimizer: str) -> None:
    first = FIRST.swarm(providers(3), tmp_path / "first")
    state = str(first.journal / "artifact" / "program.json")
    case = Case("", optimizer, NEXT[optimizer], program="Two", validation=12, state=state)
    stock, ours = case.stock(providers(3)), case.swarm(providers(3), tmp_path / "next")

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.scores["baseline"] == first.scores["best"], "the baseline is the program that the compile starts from"
    if optimizer == "copro":
        assert ours.report["prompts"][0]["demonstrations"], "copro keeps the demonstrations"


def test_another_compiled_program_begins_a_new_run(providers: Any, tmp_path: Path) -> None:
    """The state is a part of the program, so results of another state would belong to another program."""
    first = FIRST.swarm(providers(3), tmp_path / "first")
    state = tmp_path / "state.json"
    state.write_bytes((first.journal / "artifact" / "program.json").read_bytes())
    case = Case("", "labeledFewShot", {"k": 1}, program="Two", validation=12, state=str(state))
    before = case.swarm(providers(3), tmp_path / "next").report["origin"]
    state.write_bytes(state.read_bytes() + b"\n")
    after = case.swarm(providers(3), tmp_path / "next").report["origin"]
    assert before["program"] != after["program"]
    assert before["data"] == after["data"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "KeyError"),
        ("not JSON", "JSONDecodeError"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_state_that_does_not_load_ends_the_run_before_the_first_call(
    providers: Any, tmp_path: Path, text: str | None, says: str
) -> None:
    state, provider = tmp_path / "state.json", providers(3)
    if text is not None:
        state.write_text(text)
    case = Case("", "labeledFewShot", {"k": 1}, program="Two", validation=4, state=str(state))
    run = run_local(case.manifest(provider.url), tmp_path / "run")
    assert run.status == 1
    assert "ProgramLoadFailed" in run.output
    assert "spec.program.state: state.json cannot be loaded" in run.output
    assert says in run.output
    assert provider.stats()["requests"] == 0
