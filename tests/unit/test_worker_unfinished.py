"""If a limit or signal cuts a round short, the run continues with the rest of the round, not with the next plan."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from support.effects import Step
from support.models import Provider, take_over
from support.plans import Desk, Left, plan
from support.wire import digest, plan_end, result, task
from swarm_wire.messages import PlanEnd, PlanOutcome
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import UNLIMITED
from swarm_worker.client.installed import client
from swarm_worker.errors import AllowanceSpent, NoMoreCalls, Stopping, causes
from swarm_worker.journal.store import Store
from swarm_worker.provider.budget import Budget
from swarm_worker.replay.unfinished import leftover

ASKED = task(1, cells=3)
KEYS = [cell.key for cell in ASKED.cells]
ROUND = [Record(RecordKind.BLOB, {"key": digest(0)}, b"payload"), Record(RecordKind.TASK, ASKED.to_header())]


@pytest.fixture
def provider(request: Any) -> Provider:
    return Provider(request.node.name)


def partial_end(round_: int, stream: str) -> Record:
    """Returns the record of a plan that found the best program so far."""
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=round_, binding="b")
    return Record(RecordKind.PLAN, end.to_header(), stream.encode())


def done(*positions: int) -> list[Record]:
    """Returns results of the cells of the round at these positions."""
    return [result(1_000_000 + position) for position in positions]


def test_a_plan_need_not_repeat_the_effects_of_a_plan_for_the_best_program() -> None:
    """A plan for the best program skips evaluations, so its optimizer may choose another winner."""
    first, other = (f'["wave","{digest(number)}"]' for number in (1, 9))
    journal = [result(1), plan_end(0, f"[{first}]"), partial_end(1, f"[{first},{other}]")]
    assert Desk(journal).left(Step(1), Step(2)) is None
    store = Store.of(journal)
    assert len(store.plans) == 2
    assert store.last is not None
    assert (store.last.round, store.stream) == (0, [("wave", digest(1))])


@pytest.mark.parametrize(
    ("case", "journal", "records", "left"),
    [
        ("all of it", [], ROUND, [0, 1, 2]),
        ("what has no result", done(1), ROUND, [0, 2]),
        ("nothing", done(0, 1, 2), ROUND, []),
        ("after a plan for the best program, too", [*done(1), partial_end(1, "[]")], ROUND, [0, 2]),
        ("nothing where a blob is gone", done(1), ROUND[1:], []),
        ("nothing where a task is gone", done(1), ROUND[:1], []),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_the_rest_of_a_round_consists_of_its_cells_without_a_result(
    case: str, journal: list[Record], records: list[Record], left: list[int]
) -> None:
    store = Store.of([plan_end(0, tasks=[ASKED.digest]), *journal])
    found = leftover(store, records)
    assert [cell.key for tasks in found for cell in tasks.task.cells] == [KEYS[position] for position in left]
    assert all(tasks.blobs == {digest(0): b"payload"} for tasks in found)


def test_before_the_first_round_there_is_no_rest_of_a_round() -> None:
    assert leftover(Store.of([]), ROUND) == []


def test_the_rest_of_a_round_is_requested_unchanged() -> None:
    stream = f'[["wave","{digest(1)}"]]'
    desk = Desk([plan_end(0, stream, tasks=[ASKED.digest]), *done(1)])
    with pytest.raises(Left) as left:
        desk.engine.go_on(leftover(desk.store, ROUND))
    assert left.value.error is None
    assert [record.kind for record in desk.emitted] == [RecordKind.BLOB, RecordKind.TASK]
    assert desk.engine.course.stream == [("wave", digest(1))]
    assert not desk.engine.asked.guesses


# --- a plan that may make no more calls --------------------------------------------------------------------------


def metric(example: Any, prediction: Any, trace: Any = None) -> float:
    return len(prediction.answer) / 100


def evaluation(provider: Provider, size: int, program: Any = None) -> Callable[[], Any]:
    evaluated = program or dspy.Predict("question -> answer")
    devset = [dspy.Example(question=f"{number}").with_inputs("question") for number in range(size)]

    def script() -> Any:
        with dspy.context(lm=provider.lm()):
            return dspy.Evaluate(devset=devset, metric=metric, display_progress=False)(evaluated).score

    return script


def until(provider: Provider, most: int) -> Callable[[str], str]:
    """Returns a function that answers so many requests, and refuses the others."""
    usual, lock = provider.answer, threading.Lock()
    given = [0]

    def answer(prompt: str) -> str:
        with lock:
            given[0] += 1
            if given[0] > most:
                raise AllowanceSpent
        return usual(prompt)

    return answer


@pytest.mark.parametrize("most", [0, 1, 5])
def test_cells_of_a_small_wave_that_the_plan_may_not_pay_for_form_a_round(provider: Provider, most: int) -> None:
    whole = plan(evaluation(provider, 6), small=8)
    provider.answer = until(provider, most)
    cut = plan(evaluation(provider, 6), small=8, threads=2)

    assert (cut.left, cut.error) == (True, None)
    assert len(cut.results) == most
    [asked] = cut.tasks
    assert {cell.key for cell in asked.cells} == {found.key for found in whole.results} - {
        found.key for found in cut.results
    }
    assert cut.engine.course.stream == whole.engine.course.stream


def test_calls_in_flight_are_kept_when_the_next_call_is_not_allowed(provider: Provider) -> None:
    """Calls of a plan that are in flight are already paid for, so the plan waits for their answers."""
    refused = threading.Event()
    usual = provider.answer

    def answer(prompt: str) -> str:
        if "another" in prompt:
            refused.set()
            raise AllowanceSpent
        assert refused.wait(30)
        return usual(prompt)

    provider.seconds, provider.answer = 0.2, answer

    def script() -> None:
        with dspy.context(lm=provider.lm()):
            for topic in ("one", "another", "third"):
                dspy.Predict("topic -> idea")(topic=topic)

    found = plan(script)
    assert isinstance(found.error, NoMoreCalls)
    assert len(found.calls) == provider.paid == 2


class Swallows(dspy.Module):
    """A program that continues without an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        with contextlib.suppress(Exception):
            return self.ask(question="a long one")
        return self.ask(question="a short one")


def test_a_cell_that_catches_the_refusal_of_a_call_makes_no_other_call(provider: Provider) -> None:
    """The rest of a limit may be too small for one request, but enough for another."""
    usual = provider.answer

    def answer(prompt: str) -> str:
        if "a long one" in prompt:
            raise AllowanceSpent
        return usual(prompt)

    provider.answer = answer
    found = plan(evaluation(provider, 1, Swallows()))
    assert (len(found.tasks), found.results) == (1, [])
    assert (len(provider.asked), provider.paid) == (1, 0)


# --- a plan that is asked to end ---------------------------------------------------------------------------------


def test_a_process_that_is_about_to_end_waits_for_calls_in_flight_and_starts_none(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over(monkeypatch)
    budget = Budget(UNLIMITED, None, lambda booked: None)
    client().intercept_requests(budget.around)
    began, goes_on = threading.Event(), threading.Event()

    def answer(prompt: str) -> str:
        began.set()
        assert goes_on.wait(30)
        return "an answer"

    provider.answer = answer
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.extend(provider.lm()("one")))
    asking.start()
    assert began.wait(30)
    assert budget.stop(), "one is under way"
    goes_on.set()
    asking.join(30)
    assert answers == ["an answer"]
    assert not budget.stop()
    with pytest.raises(Exception, match="asked to end") as refused:
        provider.lm()("two")
    assert any(isinstance(cause, Stopping) for cause in causes(refused.value))
    assert provider.asked == ["one"]
