"""An optimizer may collect DSPy's evidence of decisions. Workers send this evidence with the results of a wave."""

import threading
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.utils.parallelizer import ParallelExecutor

from support.models import CODEC
from support.plans import plan
from swarm_wire.messages import Task
from swarm_wire.records import Record, RecordKind
from swarm_worker.errors import BadInput
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects.registry import make_work


def decides(predict: Any) -> Callable[[int], int]:
    """Returns a function that records evidence, as a predictor of DSPy does when it decides."""

    def decide(item: int) -> int:
        recorder = dspy.settings.get("_decision_evidence")
        if recorder is not None:
            log, lock = recorder
            with lock:
                log.append((predict, "urgent", {"noul": item / 100}))
        if item < 0:
            raise ValueError(f"{item} is negative")
        return item

    return decide


def collecting(items: list[int], max_errors: int = 1, collects: bool = True) -> Callable[[], Any]:
    """Returns a script whose value is the results, the evidence, and the predictor to which the evidence belongs."""

    def script() -> Any:
        predict, log = dspy.Predict("text -> urgent"), list[Any]()
        setting = {"_decision_evidence": (log, threading.Lock())} if collects else {}
        with dspy.context(**setting):
            executor = ParallelExecutor(num_threads=1, max_errors=max_errors, disable_progress_bar=True)
            return executor.execute(decides(predict), items), log, predict

    return script


def worked(records: list[Record]) -> list[Record]:
    blobs = {record.header["key"]: record.body for record in records if record.kind is RecordKind.BLOB}
    tasks = [Task.model_validate(record.header) for record in records if record.kind is RecordKind.TASK]
    answers = Answers(CODEC, lambda key: None, print)
    return [
        work.run(position, answers)
        for work in (make_work(task, blobs, CODEC) for task in tasks)
        for position in range(len(work.task.cells))
    ]


@pytest.mark.parametrize("count", [3, 20], ids=["in the plan", "in a worker"])
def test_evidence_of_decisions_is_listed_in_the_order_of_the_examples(count: int) -> None:
    items = [count - number // 2 for number in range(count)]  # each number occurs twice
    first = plan(collecting(items))
    last = plan(collecting(items), [*first.records, *worked(first.records)])
    assert (last.left, last.error) == (False, None)
    values, log, predict = last.value
    assert values == items
    assert [(name, evidence) for _, name, evidence in log] == [("urgent", {"noul": item / 100}) for item in items]
    assert all(caller is predict for caller, *_ in log), "the optimizer's own predictor"


def test_a_wave_that_collects_evidence_of_decisions_has_its_own_digest() -> None:
    recorded, bare = (plan(collecting([1, 2], collects=collects)) for collects in (True, False))
    assert {result.key for result in recorded.results}.isdisjoint(result.key for result in bare.results)
    assert bare.value[:2] == ([1, 2], [])


@pytest.mark.parametrize(
    ("max_errors", "raised", "says"),
    [
        (1, Exception, "Execution cancelled due to errors or interruption."),
        (9, BadInput, "the optimizer collects evidence of decisions, and goes on without that of examples that fail: "
         "ValueError: -2 is negative"),
    ],
)  # fmt: skip
def test_an_example_that_fails_ends_a_compile_that_collects_evidence(
    max_errors: int, raised: type[Exception], says: str
) -> None:
    with pytest.raises(raised) as ended:
        plan(collecting([1, -2], max_errors))
    assert type(ended.value) is raised
    assert str(ended.value).startswith(says)
