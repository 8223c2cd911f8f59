"""BetterTogether is checked before the first LM call, with the data as stock DSPy divides them."""

from typing import Any

import dspy
import pytest

from swarm_wire.spec import optimizers as api
from swarm_worker.errors import BadInput
from swarm_worker.user import better_together
from swarm_worker.user.data import Data
from swarm_worker.user.models import Models
from swarm_worker.user.optimizer import prepare

ROWS = {"minExamples": 10, "minTraces": 10}


def examples(count: int, first: int = 0) -> list[dspy.Example]:
    tickets = [f"ticket {number}" for number in range(first, first + count)]
    return [dspy.Example(ticket=each, category="billing").with_inputs("ticket") for each in tickets]


def given(**parameters: Any) -> api.BetterTogether:
    return api.BetterTogether.model_validate({"w": ROWS, **parameters})


class Pair(dspy.Module):
    def __init__(self, first: str = "openai/small", second: str = "openai/small", temperature: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict("ticket -> category"), dspy.Predict("ticket -> problem")
        self.first.lm, self.second.lm = dspy.LM(first, temperature=0.0), dspy.LM(second, temperature=temperature)


@pytest.mark.parametrize(
    ("validation", "ratio", "trained", "scored"),
    [
        (None, 0.1, 27, 3),
        (None, 0.25, 23, 7),
        (None, 0, 30, None),
        (None, 0.01, 30, None),
        (examples(5, 100), 0.5, 30, 5),
    ],
)
def test_without_a_validation_set_the_first_training_examples_score_the_steps(
    validation: list[Any] | None, ratio: float, trained: int, scored: int | None
) -> None:
    train = examples(30)
    options = given(valsetRatio=ratio)
    parts = better_together.divided(options, Data(train, validation, []))
    assert (len(parts.train), parts.validation and len(parts.validation)) == (trained, scored)
    stock = dspy.BetterTogether(metric=lambda *_: 1, p=dspy.LabeledFewShot())
    assert (parts.train, parts.validation or None) == _without_empty(
        stock._prepare_trainset_and_valset(train, validation, ratio)
    )
    if validation is None:
        assert options.scored_on(train) == (parts.validation or train)


def _without_empty(parts: Any) -> Any:
    return parts[0], parts[1] or None


@pytest.mark.parametrize(
    ("validation", "ratio", "says"),
    [
        (
            None,
            0.2,
            [
                "data.validation is not set, so the first 6 of 30 training examples score the steps of betterTogether, "
                "and the others train.",
                "6 validation examples choose among the steps of betterTogether: 50 or more are reliable.",
            ],
        ),
        (
            None,
            0,
            [
                "the tuned program is scored on examples on which it was trained: add spec.data.test.",
                "no step of betterTogether is scored, so the last program wins: add data.validation.",
            ],
        ),
        (
            examples(49, 100),
            0.1,
            ["49 validation examples choose among the steps of betterTogether: 50 or more are reliable."],
        ),
        (examples(50, 100), 0.1, []),
    ],
)
def test_a_note_says_which_examples_score_the_steps(
    validation: list[Any] | None, ratio: float, says: list[str]
) -> None:
    notes: list[str] = []
    better_together.check(given(valsetRatio=ratio), Data(examples(30), validation, []), None, notes.append)
    assert notes == says


def test_a_share_of_less_than_one_example_is_refused_before_a_fine_tune_is_paid() -> None:
    with pytest.raises(BadInput, match=r"valsetRatio: 0.02 of 30 training examples is less than one") as refused:
        better_together.check(given(valsetRatio=0.02), Data(examples(30), None, []), None, print)
    assert refused.value.reason == "OptimizerInvalid"
    assert "Write 0.0333 or more" in str(refused.value)


@pytest.mark.parametrize(
    ("p", "asks"), [({"labeledFewShot": {}}, "openai/usual"), ({"gepa": {"auto": "light"}}, "openai/tuned")]
)
def test_a_metric_asks_the_usual_model_while_a_step_has_another_default(p: dict[str, Any], asks: str) -> None:
    def metric(example: Any, prediction: Any, trace: Any = None) -> str:
        found: str = dspy.settings.lm.model
        return found

    judge = better_together.judge(given(p=p), metric, dspy.LM("openai/usual"))
    with dspy.context(lm=dspy.LM("openai/tuned")):
        assert judge(None, None) == asks


def test_examples_that_score_the_steps_are_no_training_examples() -> None:
    with pytest.raises(BadInput, match="there are 9 training examples") as refused:
        better_together.check(given(), Data(examples(10), None, []), None, print)
    assert refused.value.reason == "TooFewExamples"
    twice = [*examples(20), *examples(20)]
    with pytest.raises(BadInput, match=r"4 of 4 examples of the first 4 of spec\.data\.train have") as refused:
        better_together.check(given(), Data(twice, None, []), None, print)
    assert refused.value.reason == "TrainTestOverlap"


@pytest.mark.parametrize(
    ("program", "options", "is_refused"),
    [
        (Pair(), {}, False),
        (Pair(), {"w": {**ROWS, "multitask": False}}, True),
        (Pair(), {"w": {**ROWS, "multitask": False}, "strategy": "p -> w"}, False),
        (Pair(), {"w": {**ROWS, "multitask": False}, "p": {"miprov2": {}}}, False),
        (Pair("openai/small", "openai/other"), {"strategy": "p -> w"}, True),
        (Pair("openai/small", "openai/small", temperature=0.9), {"strategy": "p -> w"}, True),
        (Pair("openai/small", "openai/other"), {"strategy": "w"}, False),
        (Pair("openai/small", "openai/other"), {"p": {"gepa": {"auto": "light"}}}, False),
    ],
)
def test_an_optimizer_that_forgets_models_is_refused_for_several(
    program: dspy.Module, options: dict[str, Any], is_refused: bool
) -> None:
    if not is_refused:
        better_together._check_models(program, given(**options))
        return
    with pytest.raises(BadInput, match=r"forgets which has which\. Write miprov2, gepa, simba or copro") as refused:
        better_together._check_models(program, given(**options))
    assert refused.value.reason == "OptimizerInvalid"


def test_a_message_about_the_prompt_optimizer_names_its_field() -> None:
    p = {"miprov2": {"numCandidates": 2, "numTrials": 2, "minibatchSize": 35}}
    optimizer = api.Optimizer.model_validate({"betterTogether": {"w": ROWS, "p": p}})
    lm = dspy.LM("openai/small")
    with dspy.context(lm=lm), pytest.raises(BadInput) as refused:
        prepare(optimizer, lambda *_: 1, Data(examples(30), examples(5, 100), []), Models(lm, lm, lm))
    assert str(refused.value).startswith(
        "spec.optimizer.betterTogether.p.miprov2: minibatchSize is 35, but there are 5"
    )
