"""Stock DSPy makes as many LM calls as the cost formulas of docs/optimizers.md say. The provider counts the calls."""

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from replay_programs import One, Two
from simulated_provider.testing import RunningProvider, running_provider
from support.provider import TRIAGE, tickets
from swarm_wire.spec.optimizers import Optimizer
from swarm_worker.user.data import Data
from swarm_worker.user.models import Models
from swarm_worker.user.optimizer import prepare

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text(encoding="utf-8")
TRAIN, VALIDATION = 12, 8
MODELS = {"student": "small", "teacher": "large", "prompt": "prompt"}
PREDICTORS = {One: 1, Two: 2}
FIRST = {"maxBootstrappedDemos": 1, "maxLabeledDemos": 2}
"""With at most one bootstrapped demonstration, the optimizer draws no number of demonstrations at random."""


def formula(name: str, given: Optimizer, **known: Any) -> dict[str, float]:
    """Returns the calls of each model role by the formula of docs/optimizers.md."""
    section = re.search(rf"^## {name}\n.*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section is not None, name
    words: dict[str, Any] = {"maxRounds": 1, **getattr(given, given.which).model_dump(by_alias=True), **known}
    words |= {name: getattr(math, name) for name in ("ceil", "log2")}
    words["bootstrap"] = lambda d: words["k"] * min(words["t"] * words["maxRounds"], d / words["p"])
    exec(section[1], words)
    return {role: words.get(role, 0) for role in MODELS}


def every_time(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Accepts every demonstration, so the formula's p, the share of accepted demonstrations, is 1."""
    return True


def now_and_then(*given: Any, **more: Any) -> bool:
    """Rejects a third of the predictions whatever the model is, so the optimizer has something to learn."""
    return hashlib.sha256(str(given[:2]).encode()).digest()[0] % 3 > 0


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    with running_provider(knowledge=TRIAGE / "knowledge.jsonl", model={"prompt": 0.9}, varied=True) as running:
        yield running


def counted(provider: RunningProvider, name: str, given: dict[str, Any], program: Any, metric: Any) -> Any:
    """Returns the counted calls of each model role and those by the page's formula. DSPy's cache is off."""
    provider.reset()

    def examples(split: str, count: int) -> list[Any]:
        return [dspy.Example(**ticket).with_inputs("ticket") for ticket in tickets(split)[:count]]

    def client(model: str) -> dspy.LM:
        return dspy.LM(f"openai/{model}", api_base=provider.url, api_key="none", cache=False)

    models = Models(*map(client, MODELS.values()))
    optimizer = Optimizer.model_validate({name: given})
    data = Data(examples("train", TRAIN), examples("validation", VALIDATION), [])
    with dspy.context(lm=models.student, disable_history=True):
        prepare(optimizer, metric, data, models)(program())
    calls = provider.stats()["by_model"]
    found = {role: calls.get(model, 0) for role, model in MODELS.items()}
    size = PREDICTORS[program]
    return found, formula(name, optimizer, n=VALIDATION, t=TRAIN, P=size, k=size, p=1)


@pytest.mark.parametrize("program", [One, Two], ids=["one predictor", "two predictors"])
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("labeledFewShot", {}),
        ("bootstrapFewShot", {"maxBootstrappedDemos": 3}),
        ("bootstrapFewShot", {"maxBootstrappedDemos": 30, "maxRounds": 1}),
        ("bootstrapFewShotWithRandomSearch", {**FIRST, "numCandidatePrograms": 2}),
        ("bootstrapFewShotWithOptuna", {"maxDemos": 3, "numCandidatePrograms": 3}),
        ("inferRules", {**FIRST, "numCandidates": 2}),
        ("copro", {"breadth": 3, "depth": 2}),
        ("copro", {"breadth": 2, "depth": 1}),
        ("miprov2", {**FIRST, "auto": "light"}),
        ("miprov2", {**FIRST, "numCandidates": 5, "numTrials": 5, "minibatchSize": 4, "minibatchFullEvalSteps": 2}),
        ("miprov2", {**FIRST, "numCandidates": 2, "numTrials": 4, "minibatchSize": 4, "minibatchFullEvalSteps": 2}),
        ("miprov2", {**FIRST, "maxLabeledDemos": 0, "numCandidates": 4, "numTrials": 2, "minibatch": False}),
        ("miprov2", {**FIRST, "numCandidates": 4, "numTrials": 1, "minibatch": False, "programAwareProposer": False}),
        ("miprov2", {**FIRST, "numCandidates": 3, "numTrials": 1, "minibatch": False, "dataAwareProposer": False}),
        ("miprov2", {**FIRST, "numCandidates": 3, "numTrials": 1, "minibatch": False, "viewDataBatchSize": 1}),
    ],
)
def test_stock_dspy_makes_as_many_calls_as_the_formula_says(
    provider: RunningProvider, name: str, given: dict[str, Any], program: Any
) -> None:
    found, expected = counted(provider, name, given, program, every_time)
    assert found == expected


@pytest.mark.parametrize(
    ("name", "given", "program"),
    [
        ("simba", {"bsize": 8, "numCandidates": 3, "maxSteps": 2}, One),
        ("simba", {"bsize": 8, "numCandidates": 3, "maxSteps": 2}, Two),
        ("gepa", {"maxMetricCalls": 60}, One),
        ("gepa", {"maxMetricCalls": 60}, Two),
        ("gepa", {"maxFullEvals": 3, "componentSelector": "all"}, Two),
        ("gepa", {"auto": "light"}, One),
    ],
)
def test_stock_dspy_makes_hardly_more_calls_than_the_upper_bound_of_the_formula(
    provider: RunningProvider, name: str, given: dict[str, Any], program: Any
) -> None:
    found, limit = counted(provider, name, given, program, now_and_then)
    last_iteration = (VALIDATION + 6) * PREDICTORS[program] if name == "gepa" else 0
    assert 0.9 * limit["student"] <= found["student"] <= limit["student"] + last_iteration
    assert found["teacher"] == limit["teacher"]
    assert 0 < found["prompt"] <= limit["prompt"]
