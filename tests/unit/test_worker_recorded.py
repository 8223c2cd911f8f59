"""In DSPy's history and trace, the code that runs for an example finds that example's own entries.

Reading the entries of other examples ends the run.
"""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.clients import base_lm
from dspy.dsp.utils.settings import Settings
from dspy.primitives.prediction import Prediction
from dspy.utils.callback import BaseCallback
from dspy.utils.usage_tracker import UsageTracker

from support.models import CODEC, Provider, take_over
from support.wire import digest
from swarm_wire.messages import Result
from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput
from swarm_worker.replay import calls, recorded, settings
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.execute import run_cell

ASK = dspy.Predict("text -> label")


@pytest.fixture
def lm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yields the student model of a process that notices reads of DSPy's history, as plans and workers do."""
    take_over(monkeypatch)
    monkeypatch.setattr(base_lm, "GLOBAL_HISTORY", [])
    monkeypatch.setattr(Prediction, "get_lm_usage", Prediction.get_lm_usage)
    monkeypatch.setattr(UsageTracker, "get_total_tokens", UsageTracker.get_total_tokens)
    monkeypatch.setattr(Settings, "configure", Settings.configure)
    monkeypatch.setattr(dspy, "configure", dspy.configure)
    recorded.install()
    settings.watch()
    calls.install()
    student = Provider(request.node.name).lm()
    yield student
    del dspy.BaseLM.history
    del dspy.Module.history


def cell(lm: Any, function: Callable[[], Any], **given: Any) -> Any:
    """Runs a cell with this function and returns its value. Raises an error that would end the run."""
    answers = Answers(CODEC, lambda key: None, lambda record: None)
    record = run_cell(digest(1), function, (), answers, lm=lm, **given)
    result = Result.model_validate(record.header)
    return CODEC.loads(record.body[: result.calls_at])[1]


def ask() -> Any:
    return ASK(text="a")


OWN: dict[str, tuple[Callable[[], Any], Any]] = {
    "the last entry": (lambda: dspy.settings.lm.history[-1]["outputs"], ["[[ ## label ## ]]\nlabel of a"]),
    "the last entries": (lambda: len(dspy.settings.lm.history[-1:]), 1),
    "whether there is one": (lambda: bool(dspy.settings.lm.history), True),
    "the module's": (lambda: ASK.history[-1]["model"], "openai/model"),
    "the messages": (lambda: len(dspy.settings.lm.history[-1]["messages"]), 2),
    "what it cost": (lambda: dspy.settings.lm.history[-1]["cost"], None),
    "DSPy's": (lambda: base_lm.GLOBAL_HISTORY[-1]["model"], "openai/model"),
    "the trace": (lambda: dspy.settings.trace[-1][2].label, "label of a"),
    "the trace of its own context": (lambda: len(in_context(lambda: dspy.settings.trace)), 1),
    "what is printed": (lambda: dspy.inspect_history(n=5), None),
    "a history that it began": (lambda: begun(), 1),
    "a copy's history": (lambda: copied(), 1),
}


def in_context(read: Callable[[], Any]) -> Any:
    with dspy.context(trace=[]):
        ask()
        return read()


def begun() -> int:
    dspy.settings.lm.history = []
    dspy.settings.lm("b")
    return len(dspy.settings.lm.history)


def copied() -> int:
    lm = dspy.settings.lm.copy(temperature=1.0, rollout_id=1)
    lm("b")
    return len(lm.history)


@pytest.mark.parametrize("name", OWN)
def test_an_example_finds_its_own_history_and_trace(lm: Any, name: str) -> None:
    read, expected = OWN[name]

    def program() -> Any:
        ask()
        return read()

    for _ in range(2):  # the second example runs after the first
        assert cell(lm, program) == expected


OTHERS: dict[str, Callable[[], Any]] = {
    "how many": lambda: len(dspy.settings.lm.history),
    "the first": lambda: dspy.settings.lm.history[0],
    "further back than its own": lambda: dspy.settings.lm.history[-2],
    "further back than its own, as a part": lambda: dspy.settings.lm.history[-2:],
    "all": lambda: [entry["model"] for entry in dspy.settings.lm.history],
    "a copy": lambda: dspy.settings.lm.history.copy(),
    "the oldest, taken out": lambda: dspy.settings.lm.history.pop(0),
    "whether one is equal": lambda: dspy.settings.lm.history == [],
    "the module's": lambda: len(ASK.history),
    "DSPy's": lambda: len(base_lm.GLOBAL_HISTORY),
    "what is written into a text": lambda: dspy.inspect_history(n=5, file=io.StringIO()),
    "the trace": lambda: len(dspy.settings.trace),
    "the tokens of an entry": lambda: dspy.settings.lm.history[-1]["usage"],
    "the raw response": lambda: dspy.settings.lm.history[-1].get("response"),
    "all of an entry": lambda: dict(dspy.settings.lm.history[-1].items()),
    "a prediction's usage": lambda: ask().get_lm_usage(),
    "a tracker's sum": lambda: tracked(),
}


def tracked() -> Any:
    with dspy.track_usage() as tracker:
        ask()
    return tracker.get_total_tokens()


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_code_that_reads_history_entries_of_other_examples_ends_the_run(lm: Any, name: str, swallows: bool) -> None:
    def program() -> Any:
        ask()
        try:
            return OTHERS[name]()
        except Exception:
            if not swallows:
                raise

    with pytest.raises(BadInput, match=r"test_worker_recorded\.py, line \d+ reads ") as raised:
        cell(lm, program)
    assert raised.value.reason == WorkerReason.ORDER_DEPENDENT


def test_before_the_first_lm_call_no_entries_of_other_examples_exist(lm: Any) -> None:
    with pytest.raises(BadInput, match=r"reads what others left in lm\.history"):
        cell(lm, lambda: bool(dspy.settings.lm.history))


def test_concurrent_examples_find_their_own_history_entries(lm: Any) -> None:
    both = threading.Barrier(2)

    def program() -> Any:
        dspy.settings.lm(threading.current_thread().name)
        both.wait(10)
        return dspy.settings.lm.history[-1]["prompt"]

    found: dict[str, Any] = {}

    def run(name: str) -> None:
        found[name] = cell(lm, program)

    threads = [threading.Thread(target=run, args=(name,), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": "one", "two": "two"}


def test_an_optimizer_finds_its_own_calls_in_the_history_until_examples_run_elsewhere(lm: Any) -> None:
    lm("of the optimizer")
    assert lm.history[-1]["prompt"] == "of the optimizer"
    recorded.leave()
    with pytest.raises(BadInput, match="reads what others left"):
        _ = lm.history[-1]
    lm("once more")
    assert lm.history[-1]["prompt"] == "once more"


def test_an_optimizer_that_collects_the_trace_of_an_evaluation_ends_the_run(lm: Any) -> None:
    with dspy.context(trace=[]), pytest.raises(BadInput, match=r"collects dspy\.settings\.trace") as raised:
        recorded.leave()
    assert raised.value.reason == WorkerReason.ORDER_DEPENDENT


def test_a_history_entry_that_an_example_returns_keeps_its_type(lm: Any) -> None:
    def program() -> Any:
        ask()
        return dspy.settings.lm.history[-1]

    entry = cell(lm, program)
    assert entry["model"] == "openai/model"
    with pytest.raises(BadInput):
        _ = entry["usage"]


def test_a_history_in_a_result_is_sent_as_a_list(lm: Any) -> None:
    copied = CODEC.loads(CODEC.dumps({"entries": recorded.Recorded("it", [1, 2])}))
    assert copied == {"entries": [1, 2]}


class Counts(BaseCallback):
    def __init__(self) -> None:
        self.calls = 0

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.calls += 1


class Says(BaseCallback):
    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        SAID.append(instance.model)


SAID: list[str] = []


def test_a_callback_without_state_is_called(lm: Any) -> None:
    SAID.clear()
    cell(lm, ask, callbacks=[Says()])
    assert SAID == ["openai/model"]


def test_a_callback_that_collects_what_it_sees_ends_the_run(lm: Any) -> None:
    with pytest.raises(BadInput, match=r"a callback collects what it sees .* \(Counts\)") as raised:
        cell(lm, ask, callbacks=[Counts()])
    assert raised.value.reason == WorkerReason.SIDE_EFFECT


def test_an_example_that_calls_dspy_configure_ends_the_run(lm: Any) -> None:
    with pytest.raises(BadInput, match=r"test_worker_recorded\.py, line \d+ calls dspy.configure") as raised:
        cell(lm, lambda: dspy.configure(num_threads=3))
    assert raised.value.reason == WorkerReason.SIDE_EFFECT
