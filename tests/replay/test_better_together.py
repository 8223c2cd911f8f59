"""BetterTogether finds the program of stock DSPy, with its rows and scores, and each fine-tune is paid for once."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case
from support.sampling import sample

ROWS: dict[str, Any] = {"min_traces": 10, "min_examples": 20}
MIPRO = {"miprov2": {"num_candidates": 2, "num_trials": 2, "minibatch": False, "max_labeled_demos": 2}}
GEPA = {"gepa": {"max_metric_calls": 50}}
SEARCH = {"bootstrapFewShotWithRandomSearch": {"num_candidate_programs": 1, "max_labeled_demos": 2}}
OPTUNA = {"bootstrapFewShotWithOptuna": {"max_demos": 3, "num_candidate_programs": 2}}


def case(name: str, p: dict[str, Any], strategy: str = "p -> w -> p", **more: Any) -> Case:
    """Returns a case of BetterTogether. `own` has parameters of it besides strategy and p."""
    own: dict[str, Any] = more.pop("own", {})
    given = {"strategy": strategy, "p": p, "w": ROWS, **own}
    return Case(name, "betterTogether", given, **{"train": 40, "teacher": True, **more})


def jobs_of(provider: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = provider.tuning()["jobs"]
    return found


CASES = [
    (1, case("miprov2", MIPRO, prompt=True)),
    (2, case("gepa", GEPA, metric="fed_back", prompt=True)),
    (4, case("random search", SEARCH)),
    (5, case("miprov2, two predictors, the student teaches itself", MIPRO, program="Two", teacher=False, train=60)),
    (6, case("gepa, two predictors", GEPA, program="Two", metric="fed_back", prompt=True)),
    (7, case("bootstrap, without a validation set", {"bootstrapFewShot": {}}, validation=None, train=60)),
    (
        8,
        case(
            "miprov2, two predictors with a model each, unshuffled",
            MIPRO,
            "w -> p",
            program="Two",
            own={"w": {**ROWS, "multitask": False}, "shuffle_trainset_between_steps": False, "seed": 3},
        ),
    ),
    (
        9,
        case(
            "gepa, with demonstrations",
            GEPA,
            "w -> p -> w",
            metric="fed_back",
            own={"w": {**ROWS, "exclude_demos": False}},
        ),
    ),
    (10, case("labels", {"labeledFewShot": {"k": 3}}, "w -> w -> p", program="Guide")),
    (11, case("simba", {"simba": {"bsize": 8, "num_candidates": 2, "max_steps": 1, "max_demos": 2}})),
    (12, case("copro, two predictors", {"copro": {"breadth": 2, "depth": 1}}, program="Two")),
    (13, case("optuna", OPTUNA)),
    (14, case("miprov2, without scores", MIPRO, validation=None, own={"valset_ratio": 0}, prompt=True)),
]


@pytest.mark.parametrize(
    ("seed", "case"), sample(CASES, 6), ids=lambda value: value.name if isinstance(value, Case) else None
)
def test_program_rows_and_scores_are_those_of_stock(providers: Any, tmp_path: Path, seed: int, case: Case) -> None:
    provider = providers(seed)
    before = len(jobs_of(provider))
    ours = case.swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    jobs = jobs_of(provider)[before:]
    strategy, w = case.parameters["strategy"], case.parameters["w"]
    assert len(jobs) == strategy.count("w") * (2 if w.get("multitask") is False else 1)
    if w.get("multitask") is not False:
        assert [job["model"] for job in jobs] == ["small", *(job["fine_tuned_model"] for job in jobs[:-1])]
    stock = case.stock(provider)
    assert stock.error is None
    assert (ours.program, ours.scores, ours.ranking) == (stock.program, stock.scores, stock.ranking)
    steps = strategy.split(" -> ")
    names = {"the student", *(" -> ".join(steps[: count + 1]) for count in range(len(steps)))}
    is_scored = case.parameters.get("valset_ratio") != 0
    assert {each["name"] for each in ours.report["candidates"]} == (names if is_scored else set())
    listed = [*ours.report["tuned"], *ours.report["unused"]]
    assert {model["model"] for model in listed} == {f"openai/{job['fine_tuned_model']}" for job in jobs}
    assert {model["model"] for model in ours.report["tuned"]} == {
        state["lm"]["model"] for state in ours.program.values() if state["lm"]["model"] != "openai/small"
    }
    assert ours.calls == ours.requests
    # The report also scores the teacher. A script of stock's users does not. A wrong guess may waste calls.
    teacher = ours.report["costs"].get("teacher")
    arm = round(teacher["calls"] * teacher["examples"]) if teacher else 0
    assert stock.requests <= ours.requests <= 1.08 * stock.requests + arm


def test_a_prompt_optimizer_that_forgets_models_improves_prompts_for_the_tuned_model(
    providers: Any, tmp_path: Path
) -> None:
    provider = providers(15)
    ours = case("", SEARCH, "w -> p").swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    calls = provider.stats()["by_model"]
    [tuned] = {name for name in calls if name.startswith("ft:")}
    assert calls["small"] == 16, "only the baseline"
    assert calls["large"] == 40 + 16, "the rows' teacher, and its score for the report"
    assert calls[tuned] > 16


def test_a_failing_step_ends_the_run_and_is_named(providers: Any, tmp_path: Path) -> None:
    provider = providers(16)
    before = len(jobs_of(provider))
    failing = case("", {"bootstrapFewShot": {"max_errors": 1}}, "w -> p", program="Slipping")
    ours = failing.swarm(provider, tmp_path)
    assert ours.status != 0
    assert "CompileFailed" in ours.output
    assert "betterTogether: step 2 of 'w -> p' (p, bootstrapFewShot): IndexError" in " ".join(ours.output.split())
    assert not (ours.journal / "artifact" / "program.json").exists()
    assert len(jobs_of(provider)) == before + 1


@pytest.mark.parametrize(
    ("rows", "reason", "jobs"),
    [
        ({"min_examples": 41}, "TooFewExamples", 0),
        ({"min_traces": 40, "min_examples": 20, "min_score": 2}, "TooFewTraces", 0),
    ],
)
def test_a_gate_of_a_fine_tune_ends_the_run_as_it_does_alone(
    providers: Any, tmp_path: Path, rows: dict[str, Any], reason: str, jobs: int
) -> None:
    provider = providers(17)
    ours = case("", {"labeledFewShot": {"k": 1}}, own={"w": rows}).swarm(provider, tmp_path)
    assert ours.status != 0
    assert reason in ours.output
    assert len(jobs_of(provider)) == jobs
