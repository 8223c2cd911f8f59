"""Cells make each LM call once. A worker prints the answer at the cell's next call, and counts its cost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMRateLimitError

from support.models import CODEC, Provider, prepared, take_over
from support.wire import digest
from swarm_wire.messages import CallMade, Result
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Usage
from swarm_worker.client.call import Make, Request, Send
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.errors import BadInput, LimiterUnreachable, ProviderFailed, SwarmError
from swarm_worker.journal.store import Store
from swarm_worker.replay import calls
from swarm_worker.replay.calls import Answers, cell_calls, name_call
from swarm_worker.replay.execute import run_cell


@dataclass
class Desk:
    """Runs cells as a worker does, and keeps what the worker prints."""

    journal: list[Record] = field(default_factory=list)
    printed: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = Answers(CODEC, Store.of(self.journal).answer, self.printed.append)

    def run(self, function: Callable[[], Any], cell: int = 1) -> Any:
        """Runs a cell and prints its record. Returns the value or the exception of the cell."""
        record = run_cell(digest(cell), function, (), self.answers)
        self.printed.append(record)
        return CODEC.loads(record.body)[1]

    def said(self) -> list[tuple[str, int, int]]:
        """Returns kind, calls paid, and answers carried of each printed record."""
        return [(record.kind, usage_in(record).calls, len(record.header.get("calls", ()))) for record in self.printed]

    @property
    def usage(self) -> Usage:
        """Returns the total usage as the last plan computes it."""
        return Store.of(self.printed).usage()


def usage_in(record: Record) -> Usage:
    message = CallMade if record.kind is RecordKind.CALL else Result
    return message.model_validate(record.header).usage


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, request: Any) -> Provider:
    take_over(monkeypatch)
    calls.install()
    return Provider(request.node.name)


def ask(lm: Any, *questions: str, **config: Any) -> list[str]:
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=lm):
        return [predict(question=question, config=config).answer for question in questions]


async def ask_at_once(lm: Any, *questions: str) -> list[str]:
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=lm):
        return [found.answer for found in await asyncio.gather(*(predict.acall(question=q) for q in questions))]


def once(error: BaseException) -> Callable[[str], str]:
    """Returns a function that raises at the first request and answers all others."""
    failures = iter([error])

    def answer(prompt: str) -> str:
        for failure in failures:
            raise failure
        return "[[ ## answer ## ]]\nat last"

    return answer


# --- digests of calls --------------------------------------------------------------------------------------------


def name(prompt: str = "q", given: dict[str, Any] | None = None, occurrence: int = 0, **parameters: Any) -> str:
    lm = dspy.LM(**{"model": "openai/m", "api_base": "http://one/v1", "api_key": "k", **parameters})
    return name_call(lm, prepared(lm, prompt, given or {}), occurrence)[0]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "another"},
        {"model": "openai/n"},
        {"model_type": "text"},
        {"api_base": "http://two/v1"},
        {"api_base": None, "base_url": "http://two/v1"},
        {"given": {"api_base": "http://two/v1"}},
        {"temperature": 0.7},
        {"given": {"temperature": 0.7}},
        {"given": {"n": 2}},
        {"seed": 1},
        {"reasoning_effort": "low"},
        {"headers": {"X-Team": "a"}},
        {"extra_body": {"store": False}},
        {"api_version": "2024-10-21"},
        {"aws_region_name": "us-east-1"},
        {"api_base": None},
        {"given": {"rollout_id": 1, "temperature": 1.0}},
        {"occurrence": 1},
    ],
    ids=str,
)
def test_different_requests_are_different_calls(other: dict[str, Any]) -> None:
    assert name(**other) != name()


def test_rollouts_with_different_ids_are_different_calls() -> None:
    first, second = (name(given={"rollout_id": number, "temperature": 1.0}) for number in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"api_key": "another"},
        {"num_retries": 9},
        {"api_base": None, "base_url": "http://one/v1"},
        {"api_base": "http://two/v1", "given": {"api_base": "http://one/v1"}},
        {"given": {"rollout_id": None}},
    ],
    ids=str,
)
def test_equal_requests_are_the_same_call(same: dict[str, Any]) -> None:
    assert name(**same) == name()


def test_a_request_that_contains_a_placeholder_of_a_scout_is_detected() -> None:
    lm = dspy.LM("openai/m")
    found = [name_call(lm, prepared(lm, text))[1] for text in ("plain", f"with ⟦A|{'0' * 32}|answer⟧ in it")]
    assert found == [False, True]


# --- the same request once ---------------------------------------------------------------------------------------


def test_a_call_in_the_journal_is_not_made_again(provider: Provider) -> None:
    first = Desk()
    first.run(lambda: ask(provider.lm(), "one", "two"))
    told = {record.kind: record for record in first.printed}
    assert list(told) == [RecordKind.CALL, RecordKind.RESULT]
    for number, kind in enumerate(told):
        later, question = Desk([told[kind]]), ("one", "two")[number]
        assert later.run(partial(ask, provider.lm(), question), 2) == [f"answer of {question}"]
        assert later.said() == [(RecordKind.RESULT, 0, 0)], f"told by a {kind} record"
    assert len(provider.asked) == 2


def test_a_call_that_another_cell_made_is_not_made_again(provider: Provider) -> None:
    desk = Desk()
    assert desk.run(lambda: ask(provider.lm(), "one"), 1) == desk.run(lambda: ask(provider.lm(), "one"), 2)
    assert desk.said() == [(RecordKind.RESULT, 1, 1), (RecordKind.RESULT, 0, 0)]
    assert (len(provider.asked), desk.usage.calls) == (1, 1)


def in_threads(desk: Desk, lm: Any) -> list[Any]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda cell: desk.run(lambda: ask(lm, "one"), cell), range(8)))


def in_parallel(desk: Desk, lm: Any) -> list[Any]:
    predict = dspy.Predict("question -> answer")
    pairs = [(predict, dspy.Example(question="one").with_inputs("question"))] * 8

    def cell() -> Any:
        with dspy.context(lm=lm):
            return [found.answer for found in dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs)]

    return [desk.run(cell)]


def in_a_loop(desk: Desk, lm: Any) -> list[Any]:
    """Makes 40 equal calls in one event loop, more than the loop's pool has threads."""
    return [desk.run(lambda: asyncio.run(ask_at_once(lm, *["one"] * 40)))]


def in_loops(desk: Desk, lm: Any) -> list[Any]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda cell: desk.run(lambda: asyncio.run(ask_at_once(lm, "one")), cell), range(4)))


@pytest.mark.parametrize("together", [in_threads, in_parallel, in_a_loop, in_loops])
def test_a_cell_waits_for_the_same_call_in_flight(
    provider: Provider, together: Callable[[Desk, Any], list[Any]]
) -> None:
    provider.seconds = 0.1
    desk = Desk()
    found = together(desk, provider.lm())
    assert {answer for cell in found for answer in cell} == {"answer of one"}
    assert (len(provider.asked), desk.usage.calls) == (1, 1)


@pytest.mark.parametrize("together", [in_threads, in_loops])
def test_after_a_failed_call_a_waiting_cell_makes_the_call(
    provider: Provider, together: Callable[[Desk, Any], list[Any]]
) -> None:
    provider.seconds, provider.answer = 0.1, once(ValueError("not this time"))
    desk = Desk()
    found = together(desk, provider.lm())
    failed = [value for value in found if isinstance(value, Exception)]
    assert len(failed) == 1
    assert {answer for cell in found if cell is not failed[0] for answer in cell} == {"at last"}
    assert (len(provider.asked), desk.usage.calls) == (2, 1)


def test_a_cell_that_stops_waiting_for_a_call_disturbs_no_other_cell(provider: Provider) -> None:
    provider.seconds = 0.3

    async def cell() -> Any:
        maker, patient = (asyncio.create_task(ask_at_once(provider.lm(), "one")) for _ in range(2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask_at_once(provider.lm(), "one"), 0.1)
        return [*await maker, *await patient]

    assert Desk().run(lambda: asyncio.run(cell())) == ["answer of one"] * 2
    assert len(provider.asked) == 1


def test_another_cell_makes_the_call_of_a_cancelled_cell(provider: Provider) -> None:
    provider.seconds = 0.3

    async def cell() -> Any:
        maker = asyncio.create_task(ask_at_once(provider.lm(), "one"))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(ask_at_once(provider.lm(), "one"))
        await asyncio.sleep(0.05)
        maker.cancel()
        return await waiting

    assert Desk().run(lambda: asyncio.run(cell())) == ["answer of one"]
    assert len(provider.asked) == 2


class Plain(dspy.BaseLM):
    """An LM class of the user. DSPy does not cache its answers."""

    def __init__(self, provider: str) -> None:
        super().__init__("plain")
        self.provider = provider

    def forward(self, prompt: Any = None, messages: Any = None, **given: Any) -> Any:
        from types import SimpleNamespace as Bag

        provider = Provider.named[self.provider]
        provider.begin("")
        provider.end("", self.model)
        message = Bag(content="[[ ## answer ## ]]\nplain", tool_calls=None)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return Bag(choices=[Bag(message=message, finish_reason="stop")], usage=usage, model=self.model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "client",
    [lambda it: it.lm(cache=False), lambda it: Plain(it.name)],
    ids=["the client's cache is off", "the client is the user's own"],
)
def test_calls_that_dspy_does_not_cache_are_not_shared(provider: Provider, client: Callable[[Provider], Any]) -> None:
    desk = Desk()
    for cell in (1, 2):
        desk.run(lambda: ask(client(provider), "one", "one"), cell)
    assert desk.said() == [(RecordKind.RESULT, 2, 0)] * 2
    assert (len(provider.asked), desk.usage.calls) == (4, 4)


def test_an_answer_that_cannot_be_serialized_is_not_shared(provider: Provider) -> None:
    provider.answer = lambda prompt: "[[ ## answer ## ]]\nthe key is sk-a-very-secret-key"
    desk = Desk()
    found = [desk.run(lambda: len(ask(provider.lm(), "one")[0]), cell) for cell in (1, 2)]
    assert found == [len("the key is sk-a-very-secret-key")] * 2
    assert desk.said() == [(RecordKind.RESULT, 1, 0)] * 2


# --- when answers are printed ------------------------------------------------------------------------------------


def test_a_worker_prints_an_answer_when_the_cell_makes_its_next_call(provider: Provider) -> None:
    desk, seen = Desk(), list[int]()

    def cell() -> None:
        for question in ("one", "two", "one", "three"):
            ask(provider.lm(), question)
            seen.append(len(desk.printed))

    desk.run(cell)
    assert seen == [0, 1, 2, 2], "the third is known: the second was printed before it, and the third adds nothing"
    assert desk.said() == [(RecordKind.CALL, 1, 0), (RecordKind.CALL, 1, 0), (RecordKind.RESULT, 1, 1)]
    assert len(provider.asked) == 3


def test_the_record_of_a_cells_result_contains_the_last_answer(provider: Provider) -> None:
    desk = Desk()
    desk.run(lambda: ask(provider.lm(), "one"))
    [record] = desk.printed
    header = Result.model_validate(record.header)
    assert header.calls_at is not None
    assert CODEC.loads(record.body)[1] == ["answer of one"]
    assert CODEC.loads_answer(record.body[header.calls_at :]).outputs == ["[[ ## answer ## ]]\nanswer of one"]
    assert Store.of([record]).answer(header.calls[0]) == record.body[header.calls_at :]


def rate_limited(provider: Provider, *questions: str) -> None:
    """Asks these questions, and then one more, whose request gets a rate limit error."""
    ask(provider.lm(), *questions)
    provider.answer = once(LMRateLimitError("slow down"))
    ask(provider.lm(), "more")


def then_raise(provider: Provider, error: BaseException) -> None:
    ask(provider.lm(), "one", "two")
    raise error


DEATHS: list[tuple[str, Callable[[Provider], Any], type[SwarmError]]] = [
    ("the provider does not answer the first call", lambda it: rate_limited(it), ProviderFailed),
    ("the provider does not answer the third call", lambda it: rate_limited(it, "one", "two"), ProviderFailed),
    ("the program exits", lambda it: then_raise(it, SystemExit(1)), BadInput),
    ("what it returns cannot travel", lambda it: (thing for thing in ask(it.lm(), "one", "two")), BadInput),
]


@pytest.mark.parametrize(("case", "cell", "error"), DEATHS, ids=[row[0] for row in DEATHS])
def test_the_answers_of_a_cell_are_printed_before_the_cell_dies(
    provider: Provider, case: str, cell: Callable[[Provider], Any], error: type[SwarmError]
) -> None:
    desk = Desk()
    with pytest.raises(error):
        desk.run(lambda: cell(provider))
    assert {record.kind for record in desk.printed} <= {RecordKind.CALL}
    assert desk.usage.calls == provider.paid
    made, provider.answer = provider.paid, Provider("spare").answer
    again = Desk(desk.printed)
    again.run(lambda: ask(provider.lm(), "one", "two"))
    assert provider.paid == max(made, 2), "another attempt pays for nothing again"


# --- the accounts ------------------------------------------------------------------------------------------------


def failing(provider: Provider) -> None:
    ask(provider.lm(), "one", "two")
    raise ValueError("bad")


def parallel(provider: Provider) -> None:
    predict = dspy.Predict("question -> answer")
    pairs = [(predict, dspy.Example(question=f"{n % 5}").with_inputs("question")) for n in range(10)]
    with dspy.context(lm=provider.lm()):
        dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs)


def nested(provider: Provider) -> None:
    def both(question: str) -> list[str]:
        return asyncio.run(ask_at_once(provider.lm(), question, "shared"))

    with dspy.context(lm=provider.lm()):
        dspy.Parallel(num_threads=3, disable_progress_bar=True)([(both, {"question": str(n)}) for n in range(4)])


def asyncified(provider: Provider) -> None:
    async def go() -> None:
        await asyncio.gather(*(dspy.asyncify(ask)(provider.lm(), str(n)) for n in range(3)))

    asyncio.run(go())


BOOKS: list[tuple[str, Callable[[Provider], Any], int]] = [
    ("none", lambda it: None, 0),
    ("one", lambda it: ask(it.lm(), "one"), 1),
    ("a repetition", lambda it: ask(it.lm(), "one", "two", "one"), 2),
    ("a program that raises", failing, 2),
    ("three completions", lambda it: ask(it.lm(), "one", n=3, temperature=1.0), 3),
    ("uncached between cached", lambda it: [ask(it.lm(cache=n % 2 == 0), "one", "two") for n in range(4)], 6),
    ("rollouts", lambda it: [ask(it.lm(), "one", rollout_id=n, temperature=1.0) for n in range(3)], 3),
    ("dspy.Parallel", parallel, 5),
    ("coroutines", lambda it: asyncio.run(ask_at_once(it.lm(), "one", "two", "three", "one")), 3),
    ("coroutines in threads", nested, 5),
    ("dspy.asyncify", asyncified, 3),
]


@pytest.mark.parametrize(("case", "cell", "expected"), BOOKS, ids=[row[0] for row in BOOKS])
def test_the_accounts_hold_the_calls_and_tokens_that_were_paid(
    provider: Provider, case: str, cell: Callable[[Provider], Any], expected: int
) -> None:
    desk = Desk()
    desk.run(lambda: cell(provider) and None)
    paid = Usage(calls=expected, prompt_tokens=3 * expected, completion_tokens=2 * expected)
    assert (provider.paid, desk.usage) == (expected, paid)
    assert sum(usage_in(record).calls for record in desk.printed) == expected, "each call is told of once"


@pytest.mark.parametrize("error", [LimiterUnreachable("nobody deals out turns"), BadInput("InvalidSpec", "endless")])
def test_a_program_that_catches_the_error_of_an_unsent_request_has_no_result(
    provider: Provider, error: SwarmError
) -> None:
    """DSPy reports any exception in a request as an error of the LM client."""

    def around(request: Request, send: Send) -> Flow[None]:
        yield from ()
        raise error

    def program() -> str:
        try:
            return str(provider.lm()("a"))
        except Exception:
            return "made up"

    undo = client().intercept_requests(around)
    try:
        with pytest.raises(type(error)) as raised:
            Desk().run(program)
    finally:
        undo()
    assert raised.value is error


def test_answers_from_dspys_own_cache_cost_nothing(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    from dspy.clients.cache import Cache

    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir=""))
    ask(provider.lm(), "one")
    desk = Desk()
    desk.run(lambda: ask(provider.lm(), "one"))
    assert (provider.paid, desk.usage.calls) == (1, 0)


# --- calls outside of cells --------------------------------------------------------------------------------------


def test_calls_outside_of_cells_are_left_to_dspy(provider: Provider) -> None:
    for _ in range(2):
        assert ask(provider.lm(), "one") == ["answer of one"]
    assert len(provider.asked) == 2


@contextmanager
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yields a list of the calls that belong to no cell."""
    outside: list[str] = []

    class Outside:
        def around(self, lm: Any, call: Any, make: Make) -> Flow[Any]:
            outside.append("call")
            return (yield make)

    take_over(monkeypatch)
    calls.install(Outside())
    yield outside


def test_a_call_belongs_to_a_cell_only_if_the_cell_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider("in and out")
    with heard(monkeypatch) as outside:
        ask(provider.lm(), "one")
        asyncio.run(ask_at_once(provider.lm(), "one"))
        assert outside == ["call"] * 2
        with cell_calls(digest(1), Desk().answers):
            ask(provider.lm(), "two")
            assert calls.current() is not None
            thread = threading.Thread(target=ask, args=(provider.lm(), "three"))
            thread.start()
            thread.join()
        assert outside == ["call"] * 3, "a thread that DSPy did not start belongs to no cell"
        assert calls.current() is None
