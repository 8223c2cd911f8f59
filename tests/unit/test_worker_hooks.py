"""User code within a cell sees stock DSPy, although our hooks replace parts of DSPy."""

from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.predict.predict import Predict

from support.models import CODEC, Provider, take_over
from support.plans import plan
from swarm_wire.records import RecordKind
from swarm_worker.content.digest import Walk


@pytest.fixture
def provider(request: Any) -> Provider:
    return Provider(request.node.name)


def inner(count: int = 20) -> list[Any]:
    """Returns more examples than a plan runs itself."""
    return [dspy.Example(question=f"{n}", answer=f"answer of {n}").with_inputs("question") for n in range(count)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def holding() -> Any:
    """Returns a function that holds a predictor's `forward`, as GEPA does when it collects traces."""
    forward = dspy.Predict("question -> answer").forward
    return lambda example: forward(**example.inputs())


def test_a_hooked_function_has_the_digest_of_the_original_and_is_sent_as_the_original(provider: Provider) -> None:
    def script() -> Any:
        held = holding()
        copy = CODEC.loads(CODEC.dumps(held))
        return Walk().digest(held), Walk().digest(copy), copy.__closure__[0].cell_contents.__func__ is Predict.forward

    digest = Walk().digest(holding())
    with pytest.MonkeyPatch.context() as patch:
        take_over(patch)
        assert plan(script).value == (digest, digest, True)


class Cell(dspy.Module):
    """A program whose `forward` calls `act` with its predictor."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        super().__init__()
        self.predict, self.act = dspy.Predict("question -> answer"), act

    def forward(self, question: str) -> Any:
        return dspy.Prediction(found=self.act(self.predict))


def evaluates(predict: Any) -> Any:
    result = dspy.Evaluate(devset=inner(), metric=right, num_threads=4, display_progress=False)(predict)
    return result.score, [score for _, _, score in result.results]


def evaluates_alone(predict: Any) -> Any:
    return dspy.Evaluate(devset=inner(), metric=right, num_threads=1, display_progress=False)(predict).score


def bootstraps(predict: Any) -> Any:
    student = dspy.ChainOfThought("question -> answer")
    compiled = dspy.BootstrapFewShot(metric=right, max_bootstrapped_demos=2, max_labeled_demos=3).compile(
        student, trainset=inner()
    )
    return [dict(demo) for demo in compiled.predictors()[0].demos]


def predicts(predict: Any) -> Any:
    return [predict(question="one").answer, dspy.Predict("topic -> idea")(topic="two").idea]


def runs_in_parallel(predict: Any) -> Any:
    return [found.answer for found in dspy.Parallel(disable_progress_bar=True)([(predict, it) for it in inner()])]


def fails_within(predict: Any) -> Any:
    def broken(example: Any, prediction: Any, trace: Any = None) -> bool:
        raise ValueError("a metric of the program's own")

    return dspy.Evaluate(devset=inner(2), metric=broken, max_errors=9, display_progress=False)(predict).score


ACTS = [evaluates, evaluates_alone, bootstraps, predicts, runs_in_parallel, fails_within]


@pytest.mark.parametrize("act", ACTS)
def test_a_cell_sees_stock_dspy(provider: Provider, act: Callable[[Any], Any]) -> None:
    found: list[Any] = []

    def script() -> None:
        with dspy.context(lm=provider.lm()):
            devset = [dspy.Example(question="outer").with_inputs("question")]
            evaluate = dspy.Evaluate(devset=devset, metric=lambda *_: 1.0, display_progress=False)
            [(_, prediction, _)] = evaluate(Cell(act)).results
            found.append(prediction.found)

    with pytest.MonkeyPatch.context() as patch:
        take_over(patch)
        script()
    stock = len(provider.asked)
    assert found[0] is not None, "in stock DSPy it comes to something"
    planned = plan(script)
    assert planned.error is None
    assert found[1] == found[0]
    assert [kind for kind, _ in planned.engine.course.stream] == ["wave"], "what happens within is not the plan's"
    assert planned.of(RecordKind.TASK) == []
    assert planned.engine.tally.told(str) is None
    assert planned.usage.calls == provider.paid - stock <= stock
    assert len(planned.results) == 1
    assert {made.cell for made in planned.calls} <= {planned.results[0].key}
