"""A plan takes effects from the journal, runs them itself, or requests them as tasks and ends."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMRateLimitError

from support.effects import Step
from support.models import CODEC, Provider, take_over
from support.plans import Desk, Left, plan
from support.wire import NONCE, digest, plan_end, result
from support.worker import run_python
from swarm_wire.messages import Outcome, Result
from swarm_wire.pod_output import parse_commit, read
from swarm_wire.records import Record, RecordKind
from swarm_worker.errors import BadInput, Drift, InfrastructureFailed, OutputFull, ProviderFailed
from swarm_worker.journal.run_journal import Stream
from swarm_worker.journal.store import Store
from swarm_worker.replay import calls, output
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects import wave as waves
from swarm_worker.replay.effects.registry import make_work
from swarm_worker.replay.effects.wave import Wave


@pytest.fixture
def provider(request: Any) -> Provider:
    return Provider(request.node.name)


# --- the journal -------------------------------------------------------------------------------------------------


def test_the_engine_returns_a_result_that_the_journal_has() -> None:
    desk = Desk([result(1, b"value")])
    assert desk.engine.need(Step(1)) == b"value"
    assert (desk.emitted, desk.engine.asked.tasks) == ([], [])
    assert desk.engine.course.stream == [("wave", digest(1))]


def test_a_missing_result_becomes_a_task_and_the_plan_ends() -> None:
    desk = Desk([result(1)])
    assert desk.left(Step(1), Step(2)) is None
    assert [record.kind for record in desk.emitted] == [RecordKind.BLOB, RecordKind.TASK]
    assert [task.digest for task in desk.engine.asked.tasks] == [digest(2)]
    assert desk.engine.course.stream == [("wave", digest(1)), ("wave", digest(2))]


def test_an_object_that_cannot_be_serialized_ends_the_plan_with_a_message_about_the_cause() -> None:
    error = Desk().left(Step(1, fails=True))
    assert isinstance(error, BadInput)
    assert error.reason == "ProgramNotPortable"
    assert "cannot pickle '_io.TextIOWrapper' object" in str(error)


@pytest.mark.parametrize(
    ("before", "drifts"),
    [
        ('[["wave","{1}"]]', False),
        ('[["wave","{1}"],["wave","{2}"],["wave","{3}"]]', False),
        ('[["wave","{2}"]]', True),
        ('[["bootstrap","{1}"]]', True),
        ('[["wave","{1}"],["wave","{9}"]]', True),
    ],
)
def test_a_plan_that_needs_other_effects_than_the_plan_before_it_ends_as_nondeterministic(
    before: str, drifts: bool
) -> None:
    for number in (1, 2, 3, 9):
        before = before.replace(f"{{{number}}}", digest(number))
    error = Desk([result(1), plan_end(0, before)]).left(Step(1), Step(2))
    assert isinstance(error, Drift) == drifts
    assert error is None or error.reason == "Nondeterministic"


# --- small waves -------------------------------------------------------------------------------------------------


class TwoSteps(dspy.Module):
    """A program that makes two calls for each question, and changes attributes of itself and of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict("question -> hint"), dspy.Predict("question, hint -> answer")
        self.seen: list[str] = []

    def forward(self, question: str) -> Any:
        self.seen.append(question)
        return self.second(question=question, hint=self.first(question=question).hint)


def metric(example: Any, prediction: Any, trace: Any = None) -> float:
    example.visited = True
    return len(prediction.answer) / 100


def questions(count: int = 4) -> list[Any]:
    return [dspy.Example(question=f"{number}").with_inputs("question") for number in range(count)]


def evaluation(provider: Provider, program: Any = None, devset: list[Any] | None = None) -> Callable[[], Any]:
    program, devset = program or TwoSteps(), devset or questions()

    def script() -> Any:
        with dspy.context(lm=provider.lm()):
            return dspy.Evaluate(devset=devset, metric=metric, display_progress=False)(program).score

    return script


def test_a_small_wave_runs_in_the_plan(provider: Provider) -> None:
    program, devset = TwoSteps(), questions()
    found = plan(evaluation(provider, program, devset))
    assert (found.left, provider.paid, found.usage.calls) == (False, 8, 8)
    assert [len(found.of(kind)) for kind in (RecordKind.RESULT, RecordKind.CALL, RecordKind.TASK)] == [4, 4, 0]
    assert program.seen == [], "it runs on copies, as in a worker"
    assert not any("visited" in example for example in devset)
    again = plan(evaluation(provider), found.records)
    assert (again.value, again.records, provider.paid) == (found.value, [], 8)


def test_a_plan_prints_the_same_records_for_a_small_wave_as_a_worker(provider: Provider) -> None:
    here = plan(evaluation(provider), threads=1)
    asked = plan(evaluation(provider), small=0)
    blobs = {record.header["key"]: record.body for record in asked.of(RecordKind.BLOB)}
    printed: list[Record] = []
    [task] = asked.tasks
    work, answers = make_work(task, blobs, CODEC), Answers(CODEC, lambda key: None, printed.append)
    with pytest.MonkeyPatch.context() as patch:
        take_over(patch)
        calls.install()
        for position in range(len(task.cells)):
            printed.append(work.run(position, answers))
    assert here.records == printed
    assert (asked.left, asked.error) == (True, None)


@pytest.mark.parametrize(
    ("cells", "small", "threads", "asked"),
    [
        # No other effect can run with the wave, so the plan itself runs up to five times as many cells as usual.
        (1, 1, 8, []),
        (20, 4, 8, []),
        (21, 4, 8, [21]),
        (10, 4, 2, []),
        (11, 4, 2, [11]),
        (1, 0, 8, [1]),
        # A second wave can run with the first.
        ((4, 4), 4, 8, []),
        ((4, 5), 4, 8, []),
        ((5, 4), 4, 8, [5, 4]),
        ((5, 5), 4, 8, [5, 5]),
        ((5, 30), 4, 8, [5, 30]),
        ((4, 21), 4, 8, [21]),
    ],
    ids=str,
)
def test_a_plan_runs_small_waves_itself_and_requests_larger_waves(
    provider: Provider, cells: int | tuple[int, int], small: int, threads: int, asked: list[int]
) -> None:
    waves = cells if isinstance(cells, tuple) else (cells,)

    def script() -> None:
        for number, size in enumerate(waves):
            evaluation(provider, Hinted(f"hint {number}"), devset=questions(size))()

    found = plan(script, small=small, threads=threads)
    assert [len(task.cells) for task in found.tasks] == asked
    assert found.left == bool(asked)


class Hinted(TwoSteps):
    """A program that differs from others by its instructions."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.first.signature = self.first.signature.with_instructions(hint)


def test_the_first_requested_wave_includes_its_data_even_if_the_plan_ran_a_wave_on_the_same_data(
    provider: Provider,
) -> None:
    data = questions(50)
    journal = plan(evaluation(provider, devset=data[:41]), small=41).records

    def script() -> None:
        score = evaluation(provider, devset=data)()
        evaluation(provider, Hinted(f"after {score}"), devset=data)()

    found = plan(script, journal)

    assert len(found.results) == 9
    [task] = found.tasks
    assert {record.header["key"] for record in found.of(RecordKind.BLOB)} == {task.payload, task.items}


class Failing(Hinted):
    """A program that fails on all questions from number `since` on."""

    def __init__(self, hint: str, since: int = 0) -> None:
        super().__init__(hint)
        self.since = since

    def forward(self, question: str) -> Any:
        if int(question) >= self.since:
            raise ValueError(f"no answer to {question}")
        return super().forward(question)


def ending(provider: Provider, program: Any, count: int, max_errors: int) -> Callable[[], Any]:
    """Returns a script that runs an evaluation. If an exception ends the evaluation, it is the script's value."""

    def script() -> Any:
        evaluate = dspy.Evaluate(
            devset=questions(count), metric=metric, max_errors=max_errors, display_progress=False, num_threads=1
        )
        with dspy.context(lm=provider.lm()):
            try:
                return evaluate(program).score
            except Exception as error:
                return str(error)

    return script


CANCELLED = "Execution cancelled due to errors or interruption."


@pytest.mark.parametrize(
    ("since", "max_errors", "failed", "value"),
    [
        (0, 3, 3, CANCELLED),
        (0, 1, 1, CANCELLED),
        (0, 0, 1, CANCELLED),
        (4, 3, 3, CANCELLED),
        (17, 3, 3, CANCELLED),
        (18, 3, 2, None),
        (0, 21, 20, None),
    ],
    ids=str,
)
def test_a_wave_that_the_plan_runs_itself_ends_as_in_stock(
    provider: Provider, since: int, max_errors: int, failed: int, value: Any
) -> None:
    script = ending(provider, Failing("any", since), 20, max_errors)
    found = plan(script, threads=1, small=20)
    assert sum(result.outcome is Outcome.ERROR for result in found.results) == failed
    assert len(found.results) == (since + failed if value else 20)
    assert found.value == value or (value is None and isinstance(found.value, float))
    again = plan(script, found.records)
    assert (again.value, again.records) == (found.value, [])
    with pytest.MonkeyPatch.context():
        stock = script()
    assert found.value == stock


def test_tasks_are_in_the_order_of_the_optimizer_and_carry_their_error_limit(provider: Provider) -> None:
    programs = {name: Hinted(name) for name in ("first", "second")}

    def script() -> None:
        ending(provider, programs["first"], 30, 99)()  # the baseline tolerates any number of errors
        text = propose(provider, TEXT)()[0]
        ending(provider, Hinted(text), 30, 10)()  # this wave depends on the proposal
        ending(provider, programs["second"], 30, 12)()
        ending(provider, programs["first"], 30, 9)()

    found = plan(script, small=0)
    assert found.left
    assert [task.max_errors for task in found.tasks] == [9, 10, 12]
    failed = [result_of(task, number) for task in found.tasks[:1] for number in range(4)]
    again = plan(script, [*found.records, *failed], small=0)
    assert [len(task.cells) for task in again.tasks] == [26, 30, 30]
    assert [task.max_errors for task in again.tasks] == [5, 10, 12], "those that there are count"


def result_of(task: Any, number: int) -> Record:
    """Returns a record of a cell of the task that failed."""
    failed = Result(key=task.cells[number].key, outcome=Outcome.ERROR)
    return Record(RecordKind.RESULT, failed.to_header(), CODEC.dumps((Outcome.ERROR, ValueError("no"))))


def test_the_size_of_a_wave_is_the_number_of_its_missing_cells(provider: Provider) -> None:
    before = plan(evaluation(provider, devset=questions(4)))
    assert not plan(evaluation(provider, devset=questions(8)), before.records, small=4).left


@pytest.mark.parametrize("survived", range(9))
def test_the_plan_after_a_plan_that_was_killed_in_a_small_wave_pays_only_for_the_rest_of_the_wave(
    provider: Provider, survived: int
) -> None:
    whole = plan(evaluation(provider), threads=1)
    assert len(whole.records) == 8
    journal = whole.records[:survived]
    rest = plan(evaluation(provider), journal, threads=1)
    assert rest.value == whole.value
    assert provider.paid - 8 == 8 - Store.of(journal).usage().calls
    assert Store.of([*journal, *rest.records]).usage() == whole.usage


def test_a_silent_provider_during_a_small_wave_ends_the_plan(provider: Provider) -> None:
    def answer(prompt: str) -> str:
        raise LMRateLimitError("slow down")

    provider.answer = answer
    found = plan(evaluation(provider))
    assert isinstance(found.error, ProviderFailed)
    assert found.results == []


def test_cells_reuse_lm_calls_of_the_plan_and_of_each_other(provider: Provider) -> None:
    class Same(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question="the same for all")

    def script() -> Any:
        with dspy.context(lm=provider.lm()):
            own = dspy.Predict("question -> answer")(question="the same for all").answer
        return own, evaluation(provider, Same())()

    found = plan(script)
    assert found.error is None
    assert (provider.paid, found.usage.calls, len(found.results)) == (1, 1, 4)


# --- LM calls of the plan ----------------------------------------------------------------------------------------


def chat(provider: Provider, *prompts: str, **given: Any) -> Callable[[], list[str]]:
    """Returns a script that calls the LM without a signature, as some optimizers do. Its value includes errors."""

    def script() -> list[str]:
        lm, found = provider.lm(**given), []
        for prompt in prompts:
            try:
                found += lm(prompt)
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")
        return found

    return script


def chat_async(provider: Provider, *prompts: str, **given: Any) -> Callable[[], list[str]]:
    async def ask(prompt: str) -> Any:
        try:
            return (await provider.lm(**given).acall(prompt))[0]
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def script() -> list[str]:
        return [await ask(prompt) for prompt in prompts]

    return lambda: asyncio.run(script())


Chat = Callable[..., Callable[[], list[str]]]
CHATS = pytest.mark.parametrize("chat", [chat, chat_async], ids=["sync", "async"])


@CHATS
def test_an_lm_call_of_the_plan_is_made_once(provider: Provider, chat: Chat) -> None:
    provider.answer = str.upper
    script = chat(provider, "one", "two", "one")
    found = plan(script)
    assert found.value == ["ONE", "TWO", "ONE"]
    assert [made.usage.calls for made in found.calls] == [1, 1]
    assert [made.cell for made in found.calls] == [None, None]
    one, two = (made.key for made in found.calls)
    assert found.engine.course.stream == [("call", one), ("call", two), ("call", one)]
    assert found.engine.course.used == {one, two}
    again = plan(script, found.records)
    assert (again.value, again.records, provider.paid) == (found.value, [], 2)
    assert again.engine.course.stream == found.engine.course.stream


@CHATS
def test_repetitions_of_an_uncached_call_are_separate_calls(provider: Provider, chat: Chat) -> None:
    provider.answer = lambda prompt: f"{prompt} {len(provider.asked)}"
    script = chat(provider, "one", "one", "two", "one", cache=False)
    found = plan(script)
    assert found.value == ["one 1", "one 2", "two 3", "one 4"]
    assert len({made.key for made in found.calls}) == 4
    for survived in range(5):
        rest = plan(script, found.records[:survived])
        assert rest.value[:survived] == found.value[:survived], "the answers of the journal, in their order"
        assert len(rest.records) == 4 - survived


@CHATS
def test_an_exception_of_a_client_is_journaled_and_raised_again(provider: Provider, chat: Chat) -> None:
    def answer(prompt: str) -> str:
        if prompt == "bad":
            raise ValueError("cannot read half \udcff of it")
        return prompt

    provider.answer = answer
    script = chat(provider, "one", "bad", "two")
    found = plan(script)
    assert [found.value[0], found.value[2]] == ["one", "two"]
    assert "cannot read half" in found.value[1]
    [failed] = found.results
    assert (failed.outcome, failed.usage.calls) == (Outcome.ERROR, 0)
    assert failed.error is not None
    assert "cannot read half ? of it" in failed.error
    asked = len(provider.asked)
    again = plan(script, found.records)
    assert (again.value, again.records, len(provider.asked)) == (found.value, [], asked)


@CHATS
def test_a_provider_that_does_not_answer_the_plan_ends_the_plan(provider: Provider, chat: Chat) -> None:
    def answer(prompt: str) -> str:
        if prompt == "two":
            raise LMRateLimitError("slow down")
        return prompt

    provider.answer = answer
    found = plan(chat(provider, "one", "two", "three"))
    assert (found.left, type(found.error)) == (True, ProviderFailed)
    assert len(found.calls) == 1, "what was answered before is journaled"
    provider.answer = str
    again = plan(chat(provider, "one", "two", "three"), found.records)
    assert (again.value, provider.paid) == (["one", "two", "three"], 3)


@CHATS
def test_a_fault_of_the_infrastructure_in_an_lm_call_of_the_plan_ends_the_plan(provider: Provider, chat: Chat) -> None:
    """If the plan raised such an error, the optimizer would catch it and continue without the answer."""

    def answer(prompt: str) -> str:
        raise MemoryError

    provider.answer = answer
    found = plan(chat(provider, "one", "two"))
    assert (found.left, type(found.error), found.records) == (True, InfrastructureFailed, [])
    provider.answer = str
    assert plan(chat(provider, "one", "two"), found.records).value == ["one", "two"]


@pytest.mark.parametrize("where", ["digest", "load"])
def test_a_fault_of_our_own_code_never_reaches_an_optimizer(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """If an error of our own code reached MIPROv2, it would turn the error into a score."""

    def broken(*_: object, **__: object) -> Any:
        raise KeyError("a mistake")

    owner, name = {"digest": (waves, "is_evaluation"), "load": (Wave, "load")}[where]
    monkeypatch.setattr(owner, name, broken)

    def script() -> Any:
        try:
            return float(evaluation(provider)())
        except Exception:
            return 0.0

    found = plan(script)
    assert (found.left, type(found.error)) == (True, InfrastructureFailed)


@CHATS
def test_an_answer_that_cannot_be_serialized_ends_the_plan(provider: Provider, chat: Chat) -> None:
    provider.answer = lambda prompt: "your key is sk-a-very-secret-key"
    found = plan(chat(provider, "one"))
    assert isinstance(found.error, BadInput)
    assert found.error.reason == "ResultNotPortable"
    assert "the student model's API key" in str(found.error)
    assert "sk-a-very" not in str(found.error)


# --- proposals ---------------------------------------------------------------------------------------------------


def propose(provider: Provider, *signatures: str) -> Callable[[], list[Any]]:
    """Returns a script that makes proposals in turn. A signature with an `idea` gets the answer before it."""

    def script() -> list[Any]:
        found: list[Any] = []
        with dspy.context(lm=provider.lm()):
            for number, text in enumerate(signatures):
                signature = dspy.Signature(text)
                given = {name: found[-1] if name == "idea" else f"{number}" for name in signature.input_fields}
                answer = dspy.Predict(signature)(**given)
                found.append(answer[next(iter(signature.output_fields))])
        return found

    return script


TEXT, NEXT, NUMBER = "topic -> idea", "idea -> better", "topic -> score: float"

PROPOSALS: list[tuple[str, list[str], list[int]]] = [
    ("independent", [TEXT] * 5, [5]),
    ("one after the other", [TEXT, NEXT, NEXT], [1, 1, 1]),
    ("two chains", [TEXT, NEXT, TEXT, NEXT], [2, 2]),
    ("what is not text ends the scouts", [TEXT, NUMBER, TEXT, TEXT], [2, 2]),
    ("what is not text first", [NUMBER, TEXT, TEXT], [1, 2]),
    ("several texts", ["topic -> idea, reason"] * 3, [3]),
]


@pytest.mark.parametrize(("case", "signatures", "batches"), PROPOSALS, ids=[row[0] for row in PROPOSALS])
def test_lm_calls_for_independent_proposals_are_made_concurrently(
    provider: Provider, case: str, signatures: list[str], batches: list[int]
) -> None:
    def answer(prompt: str) -> str:
        fields = [name for name in ("idea", "better", "reason") if f"`[[ ## {name} ## ]]`" in prompt]
        texts = [f"[[ ## {name} ## ]]\n{name} {abs(hash(prompt))}" for name in fields]
        return "\n".join(texts) or "[[ ## score ## ]]\n0.5"

    provider.seconds, provider.answer = 0.2, answer
    script = propose(provider, *signatures)
    found = plan(script)
    assert provider.batches == batches
    assert not any("⟦" in prompt for prompt in provider.asked), "nothing is asked that holds a placeholder"
    assert (provider.paid, len(found.calls)) == (len(signatures), len(signatures)), "each is made once"
    alone = plan(script, looks_ahead=False)
    assert alone.value == found.value
    assert alone.engine.course.stream == found.engine.course.stream
    again = plan(script, found.records)
    assert (again.value, again.records) == (found.value, [])


def test_an_lm_call_for_equal_proposals_is_made_once(provider: Provider) -> None:
    provider.seconds = 0.1

    def script() -> list[str]:
        with dspy.context(lm=provider.lm()):
            return [dspy.Predict(TEXT)(topic="same").idea for _ in range(3)]

    assert plan(script).value == ["idea of same"] * 3
    assert provider.paid == 1


def test_concurrent_proposals_without_cache_are_separate_lm_calls(provider: Provider) -> None:
    provider.seconds = 0.1

    def script() -> list[str]:
        with dspy.context(lm=provider.lm(cache=False)):
            return [dspy.Predict(TEXT)(topic="same").idea for _ in range(3)]

    found = plan(script)
    assert (provider.batches, len({made.key for made in found.calls})) == ([3], 3)
    again = plan(script, found.records)
    assert (again.value, again.records) == (found.value, [])


def test_proposals_after_a_missing_wave_are_made_in_the_same_round(provider: Provider) -> None:
    def script() -> Any:
        score = evaluation(provider)()
        return score, propose(provider, TEXT, TEXT)()

    provider.seconds = 0.1
    found = plan(script, small=0)
    assert (found.left, len(found.tasks), provider.batches) == (True, 1, [2])


# --- optimizers that run threads ---------------------------------------------------------------------------------


def test_effects_that_several_threads_need_share_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SETTLE_SECONDS", 1.0)
    desk = Desk()

    def need(number: int) -> Any:
        threading.Event().wait(0.4 * number)  # the thread before this one still waits
        return desk.engine.need(Step(number))

    with ThreadPoolExecutor(4) as pool, pytest.raises(Left):
        list(pool.map(need, range(4)))
    assert desk.asked_at_end[0] == 4
    assert sorted(desk.asked()) == [digest(number) for number in range(4)]
    assert desk.engine.course.stream == [], "threads have no order that the next plan could be held to"


THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from support.effects import Step
from swarm_wire.records import Record, RecordKind
from swarm_worker.pod.process import Process
from swarm_worker.content.codec import Codec
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.host import Host
from swarm_worker.journal.store import Store

process = Process()

def leave(error=None):
    process.put(Record(RecordKind.PLAN, {"tasks": len(engine.asked.tasks)}))
    threading.Event().wait(0.1)
    process.end(error)

engine = Engine(Store(), Codec({}), Host(process.put, leave))
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda number: engine.need(Step(number)), range(8)))
"""


def test_one_of_several_threads_writes_the_final_record(tmp_path: Any) -> None:
    log = tmp_path / "log"
    done = run_python(THREADS, SWARM_TERMINATION_LOG=str(log), SWARM_NONCE=NONCE)
    assert (done.returncode, done.stderr) == (0, "")
    transcript = read(done.stdout.splitlines(), NONCE)
    kinds = [record.kind for _, record in sorted(transcript.records.items())]
    assert kinds == [RecordKind.BLOB, *[RecordKind.TASK] * 8, RecordKind.PLAN]
    assert transcript.complete(parse_commit(log.read_text(), NONCE))


# --- checks before the first cost --------------------------------------------------------------------------------


def spending(provider: Provider) -> dict[str, Callable[[], Any]]:
    return {
        "a call": chat(provider, "one", "two"),
        "a call of a coroutine": chat_async(provider, "one"),
        "proposals": propose(provider, TEXT, TEXT),
        "a small wave": evaluation(provider, devset=questions(2)),
    }


SPENDING = pytest.mark.parametrize("case", ["a call", "a call of a coroutine", "proposals", "a small wave"])


@SPENDING
def test_a_plan_is_compared_with_its_twin_once_and_before_its_first_cost(provider: Provider, case: str) -> None:
    asked_before: list[int] = []
    streams: list[Stream] = []

    def check(stream: Stream) -> None:
        asked_before.append(len(provider.asked))
        streams.append(stream)

    found = plan(spending(provider)[case], check=check)
    found.engine.course.spend()  # every plan calls this at its end
    assert (asked_before, found.left) == ([0], False)
    assert streams[0][0] == found.engine.course.stream[0]


@pytest.mark.parametrize(
    "steps",
    [[Step(1)], [Step(5), Step(1)], [Step(1, guess=True)]],
    ids=["at its first effect", "at a later effect", "at lookahead"],
)
def test_a_plan_is_compared_with_its_twin_before_it_requests_a_round(steps: list[Step]) -> None:
    streams: list[Stream] = []
    desk = Desk([result(5)], {"check": streams.append, "looks_ahead": False})
    desk.left(*steps)
    assert streams == [[*desk.engine.course.stream, ("wave", digest(1))]], "what it needed, and what it asks for"


def test_a_plan_that_needs_no_effect_is_compared_with_its_twin_at_its_end() -> None:
    streams: list[Stream] = []
    desk = Desk([result(1)], {"check": streams.append})
    desk.engine.need(Step(1))
    assert streams == []
    desk.engine.course.spend()
    assert streams == [[("wave", digest(1))]]


@SPENDING
def test_a_plan_that_differs_from_its_twin_ends_before_it_costs_anything(provider: Provider, case: str) -> None:
    def check(stream: Stream) -> None:
        raise Drift("Nondeterministic", "the other one saw something else")

    def script() -> Any:
        try:
            return spending(provider)[case]()
        except Exception:
            return "swallowed"

    found = plan(script, check=check)
    assert (found.left, found.value) == (True, None)
    assert isinstance(found.error, Drift)
    assert (provider.asked, found.results, found.calls) == ([], [], [])


@pytest.mark.parametrize(("room", "made"), [(0, 0), (1, 1), (2, 2), (9, 3)], ids=str)
def test_a_plan_whose_output_is_full_leaves_the_rest_to_the_next_plan(provider: Provider, room: int, made: int) -> None:
    script = chat(provider, "one", "two", "three")
    found = plan(script, is_full=lambda: len(provider.asked) >= room)
    assert len(found.calls) == made
    assert isinstance(found.error, OutputFull) == (made < 3)
    assert not plan(script, found.records).left
    assert provider.paid == 3


# --- lookahead ---------------------------------------------------------------------------------------------------


def test_the_engine_requests_effects_that_do_not_depend_on_missing_results() -> None:
    desk = Desk([result(5, b"known")])
    pid = os.getpid()
    try:
        value = desk.engine.need(Step(1, guess=True))  # only scouts go on from here
        low = value[0][1][1] < 0.6
        desk.engine.need(Step(2, guess=True))
        assert desk.engine.need(Step(5)) == b"known"
        desk.engine.need(Step(10 + low, guess=True))
        desk.engine.need(Step(3))  # this step is no guess, so both scouts end here
        desk.engine.need(Step(4))
    except Left:
        assert os.getpid() == pid
    finally:
        if os.getpid() != pid:
            os._exit(1)
    assert [task.digest for task in desk.engine.asked.tasks] == [digest(1), digest(2), digest(3)]
    assert desk.engine.course.stream == [("wave", digest(1))], "scouts do not write the plan's stream"
    assert desk.engine.scouting.scout is None


def score_of(value: Any) -> float:
    return float(value[0][1][1])


def paid(calls: int, wasted: int = 0) -> list[Record]:
    """Returns records of so many paid and wasted calls. They determine how many guesses a round may make."""
    return [result(number) for number in (*range(300, 300 + calls), *range(900, 900 + wasted))]


def need_paid(desk: Desk) -> None:
    """Needs all effects of the journal that were not wasted."""
    for record in desk.journal:
        if (number := int(record.header["key"], 16)) < 900:
            desk.engine.need(Step(number))


def guess(desk: Desk) -> None:
    """Needs a score, and then six effects, which are the same for any ordinary score."""
    need_paid(desk)
    pid = os.getpid()
    try:
        score = score_of(desk.engine.need(Step(1, guess=True)))  # only scouts go on from here
        first = 10 if -10 < score < 10 else 100 if score > 0 else 200
        for number in range(6):
            desk.engine.need(Step(first + number, guess=True))
    except Left:
        assert os.getpid() == pid
    finally:
        if os.getpid() != pid:
            os._exit(1)


@pytest.mark.parametrize(
    ("speculation", "journal", "guessed"),
    [
        (0, paid(90), 0),
        (1, paid(90), 1),
        (4, paid(90), 4),
        (20, paid(90), 6),
        (20, paid(50), 4),
        (20, paid(45), 3),
        (20, paid(50, wasted=2), 2),
        (20, paid(50, wasted=4), 0),
        (20, [], 0),
    ],
    ids=[
        "none",
        "one",
        "four",
        "all possible guesses",
        "as many guesses as the run may waste",
        "no guess beyond the calls that the run may waste",
        "some guesses were wasted before",
        "no further guess may be wasted",
        "no guess before anything is paid for",
    ],
)
def test_guesses_are_limited_and_the_plan_lists_them(speculation: int, journal: list[Record], guessed: int) -> None:
    desk = Desk(journal, {"speculation": speculation})
    guess(desk)
    assert desk.asked() == [digest(1), *map(digest, range(10, 10 + guessed))]
    assert desk.engine.asked.guesses == dict.fromkeys(desk.asked()[1:], 8)


def test_a_guess_counts_as_many_calls_as_the_most_expensive_cells_so_far() -> None:
    desk = Desk([*paid(40), *(result(number, calls=2) for number in range(400, 430))], {"speculation": 20})
    guess(desk)
    assert len(desk.engine.asked.guesses) == 4, "8 of 100 calls, 2 for each"


def test_an_effect_that_all_scouts_need_is_not_a_guess() -> None:
    desk = Desk(paid(90), {"speculation": 5})
    need_paid(desk)
    pid = os.getpid()
    try:
        score = score_of(desk.engine.need(Step(1, guess=True)))
        desk.engine.need(Step(2, guess=True))
        if -10 < score < 10:
            desk.engine.need(Step(3))
    except Left:
        assert os.getpid() == pid
    finally:
        if os.getpid() != pid:
            os._exit(1)
    assert desk.asked() == [digest(1), digest(2), digest(3)]
    assert desk.engine.asked.guesses == {digest(3): 8}


def test_without_lookahead_only_the_first_effect_is_requested() -> None:
    desk = Desk(options={"looks_ahead": False})
    desk.left(Step(1, guess=True))
    assert [task.digest for task in desk.engine.asked.tasks] == [digest(1)]


SWALLOWED = """
import os
from support.worker import NONCE
from swarm_worker.pod.process import Process
from swarm_worker.content.codec import Codec
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.host import Host, Options
from swarm_worker.lookahead.placeholder import EXTREMES
from swarm_worker.journal.store import Store
from support.effects import Step
process = Process()
engine = Engine(Store(), Codec({}), Host(process.put, process.end), Options(looks_ahead=False))
try:
    engine.need(Step(1))
except BaseException:
    print("swallowed")
finally:
    os.write(2, b"still here")
"""


def test_user_code_that_catches_every_exception_cannot_prevent_the_end_of_a_plan(tmp_path: Any) -> None:
    done = run_python(SWALLOWED, SWARM_TERMINATION_LOG=str(tmp_path / "log"), SWARM_NONCE="x" * 16)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("swarm/1 ") == 2
    assert '"records":2' in (tmp_path / "log").read_text()
