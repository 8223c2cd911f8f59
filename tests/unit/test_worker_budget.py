"""A process reserves from its allowance before a call, gives the unused part back, and reports before it spends."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from multiprocessing import Pipe, get_context
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.clients import execution
from dspy.utils.exceptions import LMRateLimitError, LMServerError, LMTimeoutError
from pydantic import BaseModel

from support.flows import around
from support.models import CODEC, Provider, prepared, take_over
from support.wire import digest
from support.wire_spec import a_spec
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Allowance, Booked, Spending, Usage
from swarm_worker.client.call import Request
from swarm_worker.client.installed import client
from swarm_worker.errors import AllowanceSpent, BadInput, LimiterUnreachable, SwarmError, causes
from swarm_worker.provider import budget
from swarm_worker.provider.budget import Budget
from swarm_worker.provider.longest_request import longest
from swarm_worker.provider.price_list import Price, Prices
from swarm_worker.replay import calls
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.execute import run_cell

OTHER = {"model": "openai/gpt-4o-mini", "endpoint": "http://provider/v1"}
TOKENS = 5
"""The tokens of every call: 3 in the prompt, 2 in the answer."""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, request: Any) -> Provider:
    take_over(monkeypatch)
    return Provider(request.node.name, answer=lambda prompt: "an answer")


class Books:
    """A budget that is in force, and the reports that it made."""

    def __init__(self, priced: dict[str, dict[str, Any]] | None = None, **allowance: int) -> None:
        self.told: list[Booked] = []
        prices = None if priced is None else Prices(CompilationSpec.model_validate(a_spec(models=priced)))
        self.budget = Budget(Allowance(**allowance), prices, self.told.append)
        client().intercept_requests(self.budget.around)

    @property
    def calls(self) -> int:
        return self.budget.spent.calls


def asks(lm: Any, *prompts: str, **given: Any) -> list[type[BaseException] | None]:
    """Calls the LM with each prompt. Returns the type of the root cause of each call's exception, or None."""

    def ask(prompt: str) -> type[BaseException] | None:
        try:
            lm(prompt, **given)
        except Exception as error:
            return type([*causes(error)][-1])
        return None

    return [ask(prompt) for prompt in prompts]


def test_calls_are_made_while_the_allowance_lasts(provider: Provider) -> None:
    books = Books(calls=3)
    assert asks(provider.lm(), "a", "b", "c", "d", "e") == [None, None, None, AllowanceSpent, AllowanceSpent]
    assert (provider.paid, books.calls) == (3, 3)


@pytest.mark.parametrize("allowed", [0, 1, 7, 20])
def test_concurrent_calls_stay_within_the_allowance(provider: Provider, allowed: int) -> None:
    provider.seconds = 0.01
    books, lm = Books(calls=allowed), provider.lm()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: asks(lm, f"{number}"), range(40)))
    assert provider.paid == books.calls == allowed


def test_calls_in_coroutines_stay_within_the_allowance(provider: Provider) -> None:
    provider.seconds = 0.01
    books, lm = Books(calls=4), provider.lm()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(lm.acall(f"{number}") for number in range(9)), return_exceptions=True)

    raised = [type([*causes(found)][-1]) for found in asyncio.run(all_of_them()) if isinstance(found, Exception)]
    assert raised == [AllowanceSpent] * 5
    assert provider.paid == books.calls == 4


def test_a_call_gives_back_the_unused_part_of_its_reservation(provider: Provider) -> None:
    """A call reserves tokens for the longest answer that it allows, since nobody knows the length before."""
    books, lm = Books(tokens=1000), provider.lm(max_tokens=100)
    assert asks(lm, *map(str, range(30))) == [None] * 30
    assert books.budget.spent == Spending(calls=30, tokens=30 * TOKENS)


def test_no_call_is_made_that_could_exceed_the_limit(provider: Provider) -> None:
    assert asks(provider.lm(max_tokens=100), "a") == [None]
    provider.paid = 0
    Books(tokens=100)
    assert asks(provider.lm(max_tokens=100), "b") == [AllowanceSpent]
    assert provider.paid == 0


def test_a_call_waits_for_reservations_of_other_calls(provider: Provider) -> None:
    provider.seconds = 0.05
    books, lm = Books(tokens=500), provider.lm(max_tokens=100)
    with ThreadPoolExecutor(8) as pool:
        raised = list(pool.map(lambda number: asks(lm, f"{number}"), range(24)))
    assert raised == [[None]] * 24
    assert books.budget.spent.tokens == 24 * TOKENS
    assert max(provider.batches) < 8, "not all at once"


def priced(prompt: float, completion: float, endpoint: str = "http://provider/v1") -> dict[str, Any]:
    return {"model": "openai/model", "endpoint": endpoint, "price": {"prompt": prompt, "completion": completion}}


def test_spent_usd_are_computed_from_prices(provider: Provider) -> None:
    books = Books({"student": priced(2, 8)}, micro_usd=10_000)
    asks(provider.lm(max_tokens=100), "a", "b")
    assert books.budget.spent.micro_usd == 2 * (3 * 2 + 2 * 8)


@pytest.mark.parametrize(
    ("allowance", "prices", "given", "says"),
    [
        ({"tokens": 1000}, None, {}, "without max_tokens"),
        ({"micro_usd": 1000}, {"student": OTHER}, {"max_tokens": 10}, "no price of model 'openai/model'"),
    ],
)
def test_a_programs_own_model_needs_a_maximum_of_tokens_and_a_price_if_the_run_has_limits(
    provider: Provider, allowance: dict[str, int], prices: Any, given: dict[str, Any], says: str
) -> None:
    Books(prices, **allowance)
    with pytest.raises(Exception, match=says) as raised:
        provider.lm(**given)("a")
    assert isinstance([*causes(raised.value)][-1], BadInput)
    assert provider.asked == []


@pytest.mark.parametrize(
    ("endpoint", "micro_usd"),
    [("http://cheap/v1", 3 * 1 + 2 * 2), ("http://dear/v1/", 3 * 10 + 2 * 20), ("http://another/v1", 3 * 10 + 2 * 20)],
)
def test_a_model_may_have_another_price_at_another_endpoint(provider: Provider, endpoint: str, micro_usd: int) -> None:
    prices = {"student": priced(1, 2, "http://cheap/v1"), "teacher": priced(10, 20, "http://dear/v1")}
    books = Books(prices, micro_usd=10_000)
    request = Request(provider.lm(max_tokens=10), endpoint, 1, lambda: prepared(provider.lm(max_tokens=10), "a"))
    around(books.budget.around, request, block=lambda: Usage(calls=1, prompt_tokens=3, completion_tokens=2))
    assert books.budget.spent.micro_usd == micro_usd


def test_prices_of_a_programs_own_models_are_looked_up_too(provider: Provider) -> None:
    books = Books({"student": priced(2, 8)}, micro_usd=10_000)
    lm = dspy.LM("openai/gpt-4o-mini", engine=provider.lm()._engine_spec, max_tokens=10)
    assert asks(lm, "a") == [None]
    assert books.budget.spent.micro_usd > 0


@pytest.mark.parametrize(
    ("of_lm", "prompt", "given", "most"),
    [
        (100, "a", {}, 100),
        (100, "a", {"max_tokens": 50}, 50),
        (100, "a", {"max_completion_tokens": 500}, 500),
        (None, "a", {"max_completion_tokens": 500}, 500),
        (100, "a", {"reasoning": {"max_tokens": 300}}, 300),
        (100, "a", {"max_tokens": None}, None),
        (100, lm15.Request("openai/model", [lm15.Message.user("a")], config=lm15.Config(max_tokens=50)), {}, 50),
        (100, lm15.Request("openai/model", [lm15.Message.user("a")]), {}, None),
    ],
)
def test_the_largest_of_several_token_limits_of_a_call_bounds_its_answer(
    provider: Provider, of_lm: int | None, prompt: Any, given: dict[str, Any], most: int | None
) -> None:
    lm = provider.lm(max_tokens=of_lm)
    request = Request(lm, None, 1, lambda: prepared(lm, prompt, given))
    if most is None:
        with pytest.raises(BadInput, match="without max_tokens"):
            longest(request)
    assert longest(request, unbounded=7).completion_tokens == (most or 7)


def test_the_schema_of_an_answer_counts_as_tokens_of_the_prompt(provider: Provider) -> None:
    class Answer(BaseModel):
        """As long as you like."""

        text: str

    lm = provider.lm(max_tokens=10)
    plain, shaped = (
        longest(Request(lm, None, 1, partial(prepared, lm, "a", given))).prompt_tokens
        for given in ({}, {"response_format": Answer})
    )
    assert shaped - plain >= len(json.dumps(Answer.model_json_schema()))


class Fails:
    """Raises one of the given errors at each of the first requests, and answers all others."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)

    def __call__(self, prompt: str) -> str:
        if self._errors and (error := self._errors.pop(0)) is not None:
            raise error
        return "an answer"


@pytest.mark.parametrize("error", [lm15.TimeoutError("late"), lm15.TransportError("cut")], ids=["late", "cut"])
@pytest.mark.parametrize("allowed", [20, 2])
def test_each_request_that_dspy_repeats_counts(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, error: Exception, allowed: int
) -> None:
    """DSPy itself repeats a request that got no answer."""
    monkeypatch.setattr(execution, "_delay", lambda *_: 0)
    books, provider.answer = Books(calls=allowed), Fails(error, error)
    assert asks(provider.lm(num_retries=3), "a") == [None if allowed > 2 else AllowanceSpent]
    assert len(provider.asked) == books.calls == min(3, allowed)


def test_answered_completions_of_a_call_count_even_if_a_later_completion_fails(provider: Provider) -> None:
    books = Books(tokens=10_000)
    provider.answer = Fails(None, None, None, lm15.ServerError("down", status=500))
    assert asks(provider.lm(max_tokens=100), "a", n=5) == [lm15.ServerError]
    assert books.budget.spent == Spending(calls=3, tokens=3 * TOKENS)


class Asks(dspy.BaseLM):
    """An LM that answers by calling another LM so many times."""

    def __init__(self, other: Any, times: int = 1) -> None:
        super().__init__("openai/asks", max_tokens=100)
        self.other, self.times = other, times

    def forward(self, prompt: Any = None, messages: Any = None, **given: Any) -> Any:
        for number in range(self.times):
            said = self.other(f"{prompt} {number}")
        choice = SimpleNamespace(message=SimpleNamespace(content=said[0]), finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={"prompt_tokens": 100, "completion_tokens": 100}, model="asks")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("times", [1, 3])
def test_an_lm_that_calls_another_lm_costs_as_much_as_the_other_lm(provider: Provider, times: int) -> None:
    """The inner request releases what the outer LM has reserved, so it does not wait for this reservation."""
    books = Books(calls=times)
    assert asks(Asks(provider.lm(), times), "a", "b") == [None, AllowanceSpent]
    assert provider.paid == books.calls == times


def test_calls_of_a_thread_that_outlives_its_request_are_counted(provider: Provider) -> None:
    """A thread or task keeps its context, which names the request in which it started, even after the request ends."""
    books, begun = Books(calls=3), list[Context]()
    request = Request(provider.lm(), None, 1, lambda: prepared(provider.lm(), "a"))

    def send(*later: Context) -> Usage:
        begun.append(copy_context())
        for context in later:
            context.run(sent)
        return Usage(calls=1)

    def sent(*later: Context) -> None:
        around(books.budget.around, request, block=lambda: send(*later))

    sent()
    sent(begun[0])
    assert books.calls == 3
    with pytest.raises(AllowanceSpent):
        begun[0].run(sent)


def test_after_the_final_report_of_spending_no_request_is_allowed(provider: Provider) -> None:
    books, began, goes_on = Books(calls=9), threading.Event(), threading.Event()

    def answer(prompt: str) -> str:
        began.set()
        goes_on.wait(10)
        return "an answer"

    provider.answer = answer
    asking = threading.Thread(target=asks, args=(provider.lm(), "a", "b"), daemon=True)
    asking.start()
    began.wait(10)
    books.budget.close()
    assert books.calls == 1, "the one under way"
    goes_on.set()
    asking.join(0.5)
    assert asking.is_alive()
    assert (provider.asked, books.calls) == (["a"], 1)


def test_a_request_in_flight_counts_at_every_moment(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that ends the process may read the accounts at any moment."""
    books, seen = Books(), set[int]()

    def look(budget: Budget, name: str, value: Any) -> None:
        object.__setattr__(budget, name, value)
        if provider.paid:
            seen.add(budget.spent.calls)

    monkeypatch.setattr(Budget, "__setattr__", look)
    asks(provider.lm(), "a")
    assert books.calls == 1
    assert 0 not in seen


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (LMRateLimitError("slow down"), 0),
        (LMServerError("down"), 0),
        (lm15.ServerError("down", status=503), 0),
        (lm15.AuthError("no", status=401), 0),
        (LimiterUnreachable("nobody says whose turn it is"), 0),
        (LMTimeoutError("late"), 1),
        (lm15.TimeoutError("late"), 1),
        (lm15.TimeoutError("late", status=504), 1),
        (lm15.ProviderError("cannot be read", status=200), 1),
        (OSError("cut"), 1),
    ],
    ids=repr,
)
def test_a_call_without_an_answer_counts_if_the_provider_may_have_answered_it(
    provider: Provider, error: Exception, calls: int
) -> None:
    books = Books(calls=3)

    def answer(prompt: str) -> str:
        raise error

    provider.answer = answer
    asks(provider.lm(), "a")
    assert books.calls == calls


def test_a_process_reports_spending_before_it_spends(provider: Provider) -> None:
    seen: list[tuple[int, int]] = []
    books = Books(calls=40)

    def answer(prompt: str) -> str:
        seen.append((len(provider.asked), books.told[-1].spent.calls))
        return "answer"

    provider.answer = answer
    asks(provider.lm(), *map(str, range(50)))
    assert all(made <= told <= 40 for made, told in seen)
    assert len(books.told) <= budget.AHEAD
    assert not any(booked.final for booked in books.told)


# --- cells -------------------------------------------------------------------------------------------------------


def swallows(error: type[BaseException]) -> Callable[[Any], Any]:
    def function(lm: Any) -> Any:
        try:
            return lm("b")
        except error:
            return "made up"

    return function


@pytest.mark.parametrize("function", [lambda lm: lm("b"), swallows(Exception), swallows(BaseException)])
def test_a_program_that_catches_the_refusal_of_a_call_has_no_result(
    provider: Provider, function: Callable[[Any], Any]
) -> None:
    Books(calls=1)
    calls.install()
    lm, answers = provider.lm(), Answers(CODEC, lambda key: None, lambda record: None)
    run_cell(digest(1), lm, ("a",), answers)
    with pytest.raises(SwarmError) as raised:
        run_cell(digest(2), function, (lm,), answers)
    assert raised.value.reason == "AllowanceSpent"


def test_answers_from_the_journal_use_up_no_allowance(provider: Provider) -> None:
    books = Books(calls=1)
    calls.install()
    lm, answers = provider.lm(), Answers(CODEC, lambda key: None, lambda record: None)
    for cell in range(5):
        run_cell(digest(cell), lm, ("a",), answers)
    assert (provider.paid, books.calls) == (1, 1)


@pytest.mark.parametrize(("books", "expected"), [(Books, None), (lambda: Books(calls=9), SwarmError)])
def test_a_process_forked_by_a_program_makes_no_uncounted_request(
    provider: Provider, books: Callable[[], Books], expected: type[BaseException] | None
) -> None:
    asking = books().budget
    found, here = Pipe(duplex=False)
    process = get_context("fork").Process(target=lambda: here.send(asks(provider.lm(), "a")))
    process.start()
    assert found.recv() == [expected]
    process.join()
    assert (asking.error is not None) == (expected is not None), "told to the process that forked it"


# --- processes ---------------------------------------------------------------------------------------------------


def test_without_an_allowance_calls_are_counted_but_not_reported(provider: Provider) -> None:
    printed: list[Record] = []
    found = budget.install({}, CompilationSpec.model_validate(a_spec()), printed.append)
    assert not found.is_limited
    asks(provider.lm(), "a", "b", "c")
    assert found.spent.calls == 3
    assert printed == []


def test_the_allowance_is_read_from_the_environment(provider: Provider) -> None:
    printed: list[Record] = []
    environment = {"SWARM_ALLOWANCE": '{"calls":2}', "OTHER": "1"}
    found = budget.install(environment, CompilationSpec.model_validate(a_spec()), printed.append)
    assert environment == {"OTHER": "1"}, "user code does not see it"
    asks(provider.lm(), "a", "b", "c")
    assert found.is_limited
    assert found.spent.calls == 2
    assert {record.kind for record in printed} == {RecordKind.BOOKED}


def test_prices_come_from_the_spec_or_from_the_list_of_dspy() -> None:
    models: dict[str, dict[str, Any]] = {
        "student": {"model": "openai/gpt-4o-mini", "endpoint": "http://provider/v1"},
        "teacher": {"model": "openai/own", "endpoint": "http://provider/v1", "price": {"prompt": 1, "completion": 2}},
    }
    found = budget.prices(CompilationSpec.model_validate(a_spec(models=models)))
    assert found.of("openai/own", "http://provider/v1") == Price(1, 2)
    listed = found.of("openai/gpt-4o-mini", "http://provider/v1")
    assert listed is not None
    assert listed.completion > listed.prompt > 0
    models["student"]["model"] = "openai/nobody-knows"
    with pytest.raises(BadInput, match="nobody-knows") as refused:
        budget.prices(CompilationSpec.model_validate(a_spec(models=models)))
    assert refused.value.reason == "PriceUnknown"


def test_a_signal_handler_may_read_the_accounts_at_any_moment(provider: Provider) -> None:
    books = Books(calls=3)
    with books.budget._lock:
        assert books.calls == 0
    asking = threading.Thread(target=asks, args=(provider.lm(), "a"))
    asking.start()
    asking.join()
    assert books.calls == 1
