"""A metric may return any finite value that stock DSPy accepts as a score."""

import decimal
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest

from swarm_worker.errors import BadInput
from swarm_worker.imaginary.mode import Imagination, _process
from swarm_worker.replay.score import check, check_all, defined_at


def metric(example: Any, prediction: Any, trace: Any = None) -> Any: ...


async def late(example: Any, prediction: Any) -> float:
    return 1.0


class Judge:
    def __call__(self, example: Any, prediction: Any) -> Any: ...


def stock(score: Any) -> float:
    """Returns the score that dspy.Evaluate computes if the metric returns this value for two examples."""
    evaluate = dspy.Evaluate(devset=[dspy.Example(a=1).with_inputs("a")] * 2, metric=lambda *_: score, num_threads=1)
    return float(evaluate(lambda a: dspy.Prediction()).score)


SCORES = [
    True,
    0,
    0.5,
    100 * 0.5,
    np.bool_(True),
    np.float32(0.5),
    np.int64(1),
    decimal.Decimal("0.5"),
    dspy.Prediction(score=0.5, feedback="so so"),
    dspy.Prediction(score=np.float32(0.5)),
]


@pytest.mark.parametrize("score", SCORES, ids=repr)
def test_a_value_that_stock_dspy_can_add_up_is_a_score(score: Any) -> None:
    check(score, metric)
    stock(score)


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (None, "returns None"),
        ("yes", "returns a str ('yes')"),
        ({"score": 1.0}, "returns a dict ({'score': 1.0})"),
        ([1.0], "returns a list ([1.0])"),
        (dspy.Prediction(score=None), "returns a Prediction (Prediction(\n    score=None\n))"),
        (dspy.Prediction(answer="a"), "returns a Prediction (Prediction(\n    answer='a'\n))"),
        ("x" * 500, f"returns a str ('{'x' * 99}...)"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_value_that_stock_dspy_cannot_add_up_is_no_score(score: Any, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        check(score, metric)
    assert refused.value.reason == "EvaluationFailed"
    line = metric.__code__.co_firstlineno
    assert f"the metric (test_worker_score.py, line {line}) {told}, which is no score. " in str(refused.value)
    with pytest.raises((TypeError, ValueError, AttributeError, KeyError)):
        stock(score)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), np.float64("nan")], ids=repr)
def test_no_score_is_infinite_or_not_a_number(score: Any) -> None:
    for checked in (check, check_all):
        with pytest.raises(BadInput, match="which is no score"):
            checked(score, metric)


def test_a_coroutine_that_a_metric_returns_is_no_score_and_is_closed() -> None:
    found = late(None, None)
    with pytest.raises(BadInput, match="returns a coroutine \\(it is an async function"):
        check(found, late)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        found.send(None)


@pytest.mark.parametrize(
    ("function", "name"),
    [(metric, "metric"), (functools.partial(metric, trace=1), "metric"), (Judge(), "__call__"), (len, None)],
    ids=["function", "partial", "object", "builtin"],
)
def test_an_error_about_a_score_names_the_metric_by_file_and_line(function: Any, name: str | None) -> None:
    lines: dict[str, int] = {
        "metric": metric.__code__.co_firstlineno,
        "__call__": vars(Judge)["__call__"].__code__.co_firstlineno,
    }
    assert defined_at(function) == (f"test_worker_score.py, line {lines[name]}" if name else repr(len))


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda: True, None),
        (lambda: None, "returns None, which is no score"),
        (lambda: float("nan"), "returns nan, which is no score"),
        (lambda: dict[str, Any]()["key"], "raises KeyError: 'key'"),
    ],
)
def test_an_estimate_reports_an_invalid_score_of_the_metric_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: Callable[[], Any], told: str | None
) -> None:
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(_process, "told", set())
    monkeypatch.setattr(_process, "tell", lambda kind, text: lines.append((kind, text)))
    assumed = Imagination(1.0, 1, tmp_path / "log").assumed(lambda *_: returned())
    for number in range(3):
        assert assumed(dspy.Example(number=number), dspy.Prediction()), "the score is assumed all the same"
    assert json.dumps(lines).count("the metric") == len(lines) == (told is not None)
    assert told is None or told in lines[0][1]
