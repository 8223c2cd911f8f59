"""What a process may spend: set aside before a call is made, given back after it, told before it is spent."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dspy.utils.exceptions import LMRateLimitError, LMServerError, LMTimeoutError

from support.models import CODEC, Provider, take_over
from support.wire import digest
from support.wire_spec import a_spec
from swarm_wire.messages import Allowance, Booked, Spending
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec import CompilationSpec
from swarm_worker import budget
from swarm_worker.budget import Budget
from swarm_worker.client.installed import client
from swarm_worker.errors import AllowanceSpent, BadInput, SwarmError
from swarm_worker.price_list import Price
from swarm_worker.replay import calls
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.execute import run_cell

TOKENS = 5
"""Of every call: 3 in the prompt, 2 in the answer."""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, request: Any) -> Provider:
    take_over(monkeypatch)
    return Provider(request.node.name, answer=lambda prompt: "an answer")


class Books:
    """A budget that is in force, and what it told."""

    def __init__(self, prices: dict[str, Price] | None = None, **allowance: int) -> None:
        self.told: list[Booked] = []
        self.budget = Budget(Allowance(**allowance), prices, self.told.append)
        client().intercept(self.budget.around, self.budget.async_around)

    @property
    def calls(self) -> int:
        return self.budget.spent.calls


def asks(lm: Any, *prompts: str, **given: Any) -> list[type[Exception] | None]:
    """What each call raised."""

    def ask(prompt: str) -> type[Exception] | None:
        try:
            lm(prompt, **given)
        except Exception as error:
            return type(error)
        return None

    return [ask(prompt) for prompt in prompts]


def test_calls_are_made_as_long_as_they_are_allowed(provider: Provider) -> None:
    books = Books(calls=3)
    assert asks(provider.lm(), "a", "b", "c", "d", "e") == [None, None, None, AllowanceSpent, AllowanceSpent]
    assert (provider.paid, books.calls) == (3, 3)


@pytest.mark.parametrize("allowed", [0, 1, 7, 20])
def test_side_by_side_too(provider: Provider, allowed: int) -> None:
    provider.seconds = 0.01
    books, lm = Books(calls=allowed), provider.lm()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: asks(lm, f"{number}"), range(40)))
    assert provider.paid == books.calls == allowed


def test_and_in_coroutines(provider: Provider) -> None:
    provider.seconds = 0.01
    books, lm = Books(calls=4), provider.lm()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(lm.acall(f"{number}") for number in range(9)), return_exceptions=True)

    raised = [type(found) for found in asyncio.run(all_of_them()) if isinstance(found, Exception)]
    assert raised == [AllowanceSpent] * 5
    assert provider.paid == books.calls == 4


def test_what_a_call_did_not_need_is_given_back(provider: Provider) -> None:
    """Before a call is made, its answer may have any length up to its limit."""
    books, lm = Books(tokens=1000), provider.lm(max_tokens=100)
    assert asks(lm, *map(str, range(30))) == [None] * 30
    assert books.budget.spent == Spending(calls=30, tokens=30 * TOKENS)


def test_no_call_is_made_that_could_pass_the_limit(provider: Provider) -> None:
    assert asks(provider.lm(max_tokens=100), "a") == [None]
    provider.paid = 0
    Books(tokens=100)
    assert asks(provider.lm(max_tokens=100), "b") == [AllowanceSpent]
    assert provider.paid == 0


def test_a_call_waits_for_what_others_may_give_back(provider: Provider) -> None:
    provider.seconds = 0.05
    books, lm = Books(tokens=500), provider.lm(max_tokens=100)
    with ThreadPoolExecutor(8) as pool:
        raised = list(pool.map(lambda number: asks(lm, f"{number}"), range(24)))
    assert raised == [[None]] * 24
    assert books.budget.spent.tokens == 24 * TOKENS
    assert max(provider.batches) < 8, "not all at once"


def test_money_is_counted_by_price(provider: Provider) -> None:
    books = Books({"openai/model": Price(2.0, 8.0)}, micro_usd=10_000)
    asks(provider.lm(max_tokens=100), "a", "b")
    assert books.budget.spent.micro_usd == 2 * (3 * 2 + 2 * 8)


@pytest.mark.parametrize(
    ("allowance", "prices", "given", "says"),
    [
        ({"tokens": 1000}, None, {}, "without max_tokens"),
        ({"micro_usd": 1000}, {}, {"max_tokens": 10}, "no price of model 'openai/model'"),
    ],
)
def test_a_model_of_the_programs_own_must_be_bounded_and_priced(
    provider: Provider, allowance: dict[str, int], prices: Any, given: dict[str, Any], says: str
) -> None:
    Books(prices, **allowance)
    with pytest.raises(BadInput, match=says):
        provider.lm(**given)("a")
    assert provider.asked == []


@pytest.mark.parametrize(
    ("error", "calls"),
    [(LMRateLimitError("slow down"), 0), (LMServerError("down"), 0), (LMTimeoutError("late"), 1), (OSError("cut"), 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_call_without_an_answer_counts_where_it_may_have_been_answered(
    provider: Provider, error: Exception, calls: int
) -> None:
    books = Books(calls=3)

    def answer(prompt: str) -> str:
        raise error

    provider.answer = answer
    asks(provider.lm(), "a")
    assert books.calls == calls


def test_what_is_going_to_be_spent_is_told_before(provider: Provider) -> None:
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
def test_what_a_program_makes_of_a_refusal_is_no_result(provider: Provider, function: Callable[[Any], Any]) -> None:
    Books(calls=1)
    calls.install()
    lm, answers = provider.lm(), Answers(CODEC, lambda key: None, lambda record: None)
    run_cell(digest(1), lm, ("a",), answers)
    with pytest.raises(SwarmError) as raised:
        run_cell(digest(2), function, (lm,), answers)
    assert raised.value.reason == "AllowanceSpent"


def test_what_the_journal_answers_costs_nothing(provider: Provider) -> None:
    books = Books(calls=1)
    calls.install()
    lm, answers = provider.lm(), Answers(CODEC, lambda key: None, lambda record: None)
    for cell in range(5):
        run_cell(digest(cell), lm, ("a",), answers)
    assert (provider.paid, books.calls) == (1, 1)


# --- the process -------------------------------------------------------------------------------------------------


def test_without_an_allowance_calls_are_counted_and_nothing_is_told(provider: Provider) -> None:
    printed: list[Record] = []
    found = budget.install({}, CompilationSpec.model_validate(a_spec()), printed.append)
    assert not found.is_limited
    asks(provider.lm(), "a", "b", "c")
    assert found.spent.calls == 3
    assert printed == []


def test_the_allowance_comes_with_the_environment(provider: Provider) -> None:
    printed: list[Record] = []
    environment = {"SWARM_ALLOWANCE": '{"calls":2}', "OTHER": "1"}
    found = budget.install(environment, CompilationSpec.model_validate(a_spec()), printed.append)
    assert environment == {"OTHER": "1"}, "user code does not see it"
    asks(provider.lm(), "a", "b", "c")
    assert found.is_limited
    assert found.spent.calls == 2
    assert {record.kind for record in printed} == {RecordKind.BOOKED}


def test_prices_come_from_the_spec_or_from_the_list() -> None:
    models: dict[str, dict[str, Any]] = {
        "student": {"model": "openai/gpt-4o-mini", "endpoint": "http://provider/v1"},
        "teacher": {"model": "openai/own", "endpoint": "http://provider/v1", "price": {"prompt": 1, "completion": 2}},
    }
    found = budget.prices(CompilationSpec.model_validate(a_spec(models=models)))
    assert found["openai/own"] == Price(1, 2)
    assert found["openai/gpt-4o-mini"].completion > found["openai/gpt-4o-mini"].prompt > 0
    models["student"]["model"] = "openai/nobody-knows"
    with pytest.raises(BadInput, match="nobody-knows") as refused:
        budget.prices(CompilationSpec.model_validate(a_spec(models=models)))
    assert refused.value.reason == "PriceUnknown"


def test_a_signal_handler_may_ask_at_any_moment(provider: Provider) -> None:
    books = Books(calls=3)
    with books.budget._lock:
        assert books.calls == 0
    asking = threading.Thread(target=asks, args=(provider.lm(), "a"))
    asking.start()
    asking.join()
    assert books.calls == 1
