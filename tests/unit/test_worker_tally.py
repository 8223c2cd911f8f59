"""The report shows failed examples, grouped by exception and location, up to a limit."""

import json
from typing import Any

import dspy
import pytest

from support.wire import digest
from swarm_wire.messages import Outcome, Result
from swarm_worker.exceptions import TEXT, TRACEBACK, Raised
from swarm_worker.replay.execute import portable
from swarm_worker.replay.tally import EXAMPLE, GROUPS, Tally, told_of


def example(number: int) -> Any:
    return dspy.Example(number=number, answer="a").with_inputs("number")


def raised(kind: str = "ValueError", text: str = "no", place: str = "program.py, line 3") -> Raised:
    return Raised(kind, text, place)


def tally(*failed: tuple[Raised, Any], examples: int = 100) -> Tally:
    found = Tally()
    found.evaluated([Result(key=digest(0), outcome=Outcome.OK)] * examples)
    for each in failed:
        found.failed(*each)
    return found


def test_a_run_without_failed_examples_reports_no_failures() -> None:
    assert tally().told(str) is None


@pytest.mark.parametrize(
    ("failed", "groups"),
    [
        ([raised(), raised()], [2]),
        ([raised(text="a"), raised(text="b")], [2]),  # the texts differ, but they count as one group
        ([raised(), raised("KeyError")], [1, 1]),
        ([raised(), raised(place="program.py, line 4")], [1, 1]),
        ([raised(), raised("KeyError"), raised("KeyError")], [2, 1]),
    ],
)
def test_failures_are_grouped_by_exception_and_location(failed: list[Raised], groups: list[int]) -> None:
    found = tally(*((each, example(1)) for each in failed)).told(str)
    assert found is not None
    assert [group.examples for group in found.groups] == groups
    assert (found.failed, found.examples) == (len(failed), 100)


def test_the_report_of_failures_is_bounded() -> None:
    many = [(raised(f"Error{number}"), example(number)) for number in range(GROUPS + 3)]
    found = tally(*many).told(str)
    assert found is not None
    assert (len(found.groups), found.others) == (GROUPS, 3)
    assert found.lines[-1] == "3 × something else"
    long = Raised.of(portable(ValueError("x" * 10_000)))
    assert (len(long.text), len(long.traceback) <= TRACEBACK) == (TEXT, True)
    assert len(told_of(dspy.Example(text="x" * 10_000), str, str)) <= EXAMPLE + 3


def test_failed_examples_of_bootstraps_are_reported_apart_from_those_of_evaluations() -> None:
    found = tally((raised(), example(1)), examples=2)
    found.bootstrapped([example(1), example(2)], {1: raised()})
    told = found.told(lambda example: f"training example {example.number}: ")
    assert told is not None
    assert str(told) == (
        "1 of 2 examples failed in evaluations and count as 0; 1 of 2 failed in bootstraps and give no demonstration "
        "(an example counts each time that it runs)"
    )
    assert told.lines == ["2 × ValueError: no (program.py, line 3); first: training example 1: {'number': 1}"]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (example(1), "the first: {'number': 1}"),
        (dspy.Example(number=1), "the first: {'number': 1}"),  # the example names no inputs
        ((print, example(2)), "the first: {'number': 2}"),  # SIMBA passes pairs of a function and an example
        ("a text", "'a text'"),
    ],
)
def test_a_failed_example_is_shown_by_its_inputs(item: Any, text: str) -> None:
    assert told_of(item, lambda example: "the first: ", str) == text


@pytest.mark.parametrize("is_users", [True, False])
def test_the_location_of_a_failure_is_a_line_of_the_user_or_empty(is_users: bool) -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    error, trace = caught.value, caught.value.__traceback__
    assert trace is not None
    place = Raised.of(error if is_users else error.with_traceback(trace.tb_next)).place
    assert place.startswith("test_worker_tally.py, line ") if is_users else place == "", "no line of a library's"


def test_a_secret_in_an_exception_is_redacted() -> None:
    error = portable(ValueError("key sk-1"), lambda text: text.replace("sk-1", "(a key)"))
    told = Raised.of(error)
    assert "sk-1" not in f"{told} {told.traceback}"
