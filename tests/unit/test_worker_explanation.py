"""A report pairs the scores of baseline and winner example by example, and says where demonstrations come from."""

from typing import Any

import dspy
import pytest

from swarm_wire.report import TEST_SET, VALIDATION_SET
from swarm_worker.pod import explanation, script
from swarm_worker.user.data import Data


class Right(dspy.Module):
    """Answers right from a certain number on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, number: int) -> dspy.Prediction:
        if number == 0:
            raise ValueError("no answer to this one")
        return dspy.Prediction(right=number >= self.first)


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(prediction.right)


def numbers(*found: int) -> list[dspy.Example]:
    return [dspy.Example(number=number).with_inputs("number") for number in found]


def compiled(scored: list[dspy.Example], test: list[dspy.Example]) -> script.Progress:
    """Runs the script with an optimizer that reverses its examples in place, as MIPROv2 shuffles them."""

    def compile_program(student: dspy.Module) -> dspy.Module:
        scored.reverse()
        return Right(1)

    progress = script.Progress()
    script.run(compile_program, Right(3), right, scored, test, progress)
    return progress


def test_scores_stay_with_their_examples_though_the_optimizer_shuffles_the_list() -> None:
    progress = compiled(numbers(0, 1, 2, 3, 4), numbers(2, 3))
    validation, test = explanation.by_example(progress, VALIDATION_SET)
    assert (validation.name, validation.baseline, validation.winner) == (
        VALIDATION_SET,
        [0, 0, 0, 100, 100],
        [0, 100, 100, 100, 100],
    )
    assert (test.name, test.baseline, test.winner) == (TEST_SET, [0, 100], [100, 100])


@pytest.mark.parametrize(("test", "examples"), [([1, 2, 3], 3), ([], 5)])
def test_programs_are_compared_on_the_test_set_if_there_is_one(test: list[int], examples: int) -> None:
    found = explanation.comparison(compiled(numbers(0, 1, 2, 3, 4), numbers(*test)), seed="run")
    assert found is not None
    assert (found.examples, found.improved, found.worsened) == (examples, 2, 0)


@pytest.mark.parametrize(("test", "scores"), [([1, 2, 3], [0, 100, 100]), ([], [0, 0, 100, 100, 100])])
def test_the_published_program_is_scored_last_and_on_the_examples_of_the_comparison(
    test: list[int], scores: list[float]
) -> None:
    order = []

    class Told(Right):
        def forward(self, number: int) -> dspy.Prediction:
            order.append(self.first)
            return super().forward(number)

    progress, scored = script.Progress(), numbers(0, 1, 2, 3, 4)
    script.run(lambda _: Told(1), Told(3), right, scored, numbers(*test), progress, script.Rival(Told(2)))
    assert order[-len(scores) :] == [2] * len(scores)
    assert order.count(2) == len(scores)
    assert progress.published == pytest.approx(sum(scores) / len(scores), abs=0.01)
    found = explanation.by_example(progress, VALIDATION_SET)
    assert [each.published for each in found] == ([[], scores] if test else [scores])
    verdict = explanation.comparison(progress, seed="run")
    assert verdict is not None
    assert (verdict.examples, verdict.improved, verdict.worsened) == (len(scores), 1, 0)


def test_an_optimizer_that_replaces_examples_leaves_the_report_without_a_comparison() -> None:
    scored = numbers(1, 2, 3)

    def compile_program(student: dspy.Module) -> dspy.Module:
        scored[:] = [example.copy() for example in scored[:2]]
        return Right(1)

    progress = script.Progress()
    script.run(compile_program, Right(3), right, scored, [], progress)
    assert explanation.comparison(progress, seed="run") is None
    assert progress.best == 100


@pytest.mark.parametrize(("for_teacher", "best"), [(False, 80.0), (True, None)])
def test_the_scores_of_the_teachers_model_are_no_progress_of_the_student(
    monkeypatch: pytest.MonkeyPatch, for_teacher: bool, best: float | None
) -> None:
    progress = script.Progress(compiling=True, is_for_teacher=for_teacher, validation=numbers(0, 1, 2, 3, 4))
    monkeypatch.setattr(dspy.Evaluate, "callbacks", [progress], raising=False)
    dspy.Evaluate(devset=progress.validation, metric=right)(Right(1))
    assert progress.best == best


def test_a_run_without_a_winner_has_no_comparison() -> None:
    progress = script.Progress()
    progress.by_example[script.Arm(script.Which.BASELINE, on_test=False)] = [100.0]
    assert explanation.comparison(progress, seed="run") is None
    [found] = explanation.by_example(progress, VALIDATION_SET)
    assert (found.baseline, found.winner) == ([100.0], [])


def test_demonstrations_name_the_examples_that_they_come_from() -> None:
    first, second = (dspy.Example(question=text, answer=text.upper()).with_inputs("question") for text in ("a", "b"))
    winner = dspy.Predict("question -> answer")
    winner.demos = [
        dspy.Example(augmented=True, question="b", answer="made up"),
        first,
        dspy.Example(augmented=True, topic="of an inner predictor"),
        dspy.Example(question="c", answer="C"),
    ]
    before = explanation.instructions(winner)
    winner.signature = winner.signature.with_instructions("Answer loudly.")
    [prompt] = explanation.prompts(before, winner, Data([first, second], None, []))
    assert (prompt.predictor, prompt.after) == ("self", "Answer loudly.")
    assert prompt.before != prompt.after
    assert [(demo.bootstrapped, demo.example) for demo in prompt.demonstrations] == [
        (True, "training example 2"),
        (False, "training example 1"),
        (True, ""),
        (False, ""),
    ]


PASSAGE = "send the refund of the customer to the card that paid for the order within ten days of the request"


@pytest.mark.parametrize(
    ("before", "after", "tokens"),
    [
        ("Answer.", "Answer.", None),
        ("Answer.", f"Answer. For example: {PASSAGE}.", 20),
        ("Read the ticket of a customer and name the team.", f"Read the ticket. {PASSAGE.upper()}!", 20),
        (f"Answer. {PASSAGE}", f"Answer well. {PASSAGE}", None),
        ("Answer.", "Quite another text", None),
    ],
    ids=["unchanged", "a copy", "a copy in capitals, with words of the old text", "an old copy", "no copy"],
)
def test_the_longest_copied_passage_is_found(before: str, after: str, tokens: int | None) -> None:
    winner = dspy.Predict(dspy.Signature("ticket -> team", after))
    example = dspy.Example(ticket=f"Please {PASSAGE}, thank you", team="billing", score=3).with_inputs("ticket")
    found = explanation.copied({"self": before}, winner, Data([example], None, []))
    assert (found and found.tokens) == tokens
    if found:
        assert (found.predictor, found.example, found.text) == ("self", "training example 1", PASSAGE)


class Incomparable:
    """A value such as an array of numpy, which cannot say whether it equals another."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_values_that_cannot_be_compared_leave_demonstrations_without_a_name() -> None:
    example = dspy.Example(table=Incomparable(), answer="A").with_inputs("table")
    winner = dspy.Predict("table -> answer")
    winner.demos = [
        dspy.Example(augmented=True, table="0 1", answer="B"),
        dspy.Example(table=Incomparable(), answer="C"),
    ]
    [prompt] = explanation.prompts({}, winner, Data([example], None, []))
    assert [demo.example for demo in prompt.demonstrations] == ["", ""]
