"""Counts what this process spends, and keeps it within its allowance if it has one.

A request costs money when it is sent, but its cost is known only with the answer. So the budget first sets aside the
highest possible cost of the request. When the answer is there, the budget releases what the request did not cost. A
request waits while other requests have too much set aside. The process ends when the rest of its allowance may not
cover the next request, even if the others cost nothing. Results of the process are kept. New processes get shares of
what is left of the run's limits.

Providers bill requests, not LM calls. An LM call sends a request for each completion, and another after each failure.

A killed process cannot report its spending. So each process books spending in advance, a tenth of its allowance at a
time.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import ceil
from mmap import mmap
from typing import NoReturn

import dspy

from swarm_wire import names
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import MICRO, UNLIMITED, Allowance, Booked, Spending, Usage
from swarm_worker.client.call import Request, Send, TooManyRequests
from swarm_worker.client.flow import Flow, Step
from swarm_worker.client.installed import client
from swarm_worker.errors import AllowanceSpent, BadInput, NoMoreCalls, Stopping, SwarmError
from swarm_worker.provider.longest_request import longest
from swarm_worker.provider.price_list import Prices

AHEAD = 10
"""Number of parts in which a process books its allowance."""
POLL_SECONDS = 0.05
"""How often a coroutine checks whether another call has released a part of the allowance."""


class Budget:
    """Keeps the spending of this process within its allowance.

    Args:
        prices: prices of models; None if there is no limit in USD.
        book: prints a booking: the most that this process may have spent before its next booking.
    """

    def __init__(self, allowance: Allowance, prices: Prices | None, book: Callable[[Booked], None]):
        self._allowance, self._prices, self._book = allowance, prices, book
        # The lock is reentrant: a signal handler reads the spending, and may interrupt a thread that holds the lock.
        self._lock = threading.Condition(threading.RLock())
        self._spent, self._aside, self._booked = Spending(), Spending(), Spending()
        self._is_closed = self._is_stopping = False
        self._process, self._fork_has_asked = os.getpid(), mmap(-1, 1)
        self._end: Callable[[SwarmError], NoReturn] | None = None

    @property
    def is_limited(self) -> bool:
        return self._allowance.is_limited

    @property
    def spent(self) -> Spending:
        """Returns the spending so far, plus the highest possible cost of requests under way.

        It takes no lock, because a signal handler may have interrupted the thread that holds the lock. When a request
        ends, its cost may count twice for a moment.
        """
        aside = self._aside
        return self._spent + aside

    @property
    def error(self) -> SwarmError | None:
        """Returns why no result of this process counts; None if results count.

        The reason is that a fork of this process has tried to make an LM call. Without the answer, the program's result
        would differ from stock DSPy's.
        """
        if not self._fork_has_asked[0]:
            return None
        return BadInput(
            WorkerReason.INVALID_SPEC,
            "limits cannot count the LM calls of a process that was forked. Use threads for them: dspy.Parallel.",
        )

    def close(self) -> None:
        """Blocks all further requests until the process ends."""
        self._is_closed = True

    def stop(self) -> bool:
        """Makes all further requests raise Stopping. Returns whether a request is under way."""
        self._is_stopping = True
        return self._aside != Spending()

    @contextmanager
    def ending(self, end: Callable[[SwarmError], NoReturn]) -> Iterator[None]:
        """Within the block, a request that may not be sent ends the process: user code might catch an exception."""
        self._end = end
        try:
            yield
        finally:
            self._end = None

    def pay(self, cost: Spending) -> None:
        """Spends on something that is no request to a model, as much at once. Raises AllowanceSpent if it may not."""
        with self._lock:
            if not self._set_aside(cost):
                raise AllowanceSpent
            self._spent += cost
            self._aside -= cost
            self._lock.notify_all()

    def check(self, cost: Spending) -> None:
        """Raises AllowanceSpent if this process may not spend so much."""
        if not self._allowance.covers(self.spent + cost):
            raise AllowanceSpent

    def count(self, cost: Spending) -> None:
        """Counts what has been spent, whether or not the allowance covers it."""
        with self._lock:
            self._spent += cost

    def around(self, request: Request, send: Send) -> Flow[None]:
        """Sends a request. Raises NoMoreCalls if it may not be sent."""
        account = self._opened(request)
        yield self._setting_aside(account.aside)
        with self._settling(account) as settle:
            settle((yield send))

    def _setting_aside(self, worst: Spending) -> Step[None]:
        """Waits until the allowance covers the request."""

        def block() -> None:
            with self._lock:
                self._lock.wait_for(lambda: self._set_aside(worst))

        async def wait() -> None:
            while not self._set_aside(worst):
                await asyncio.sleep(POLL_SECONDS)

        return Step(block, wait)

    def _opened(self, request: Request) -> "_Account":
        if self.is_limited and os.getpid() != self._process:
            self._fork_has_asked[0] = True
            raise SwarmError(str(self.error))
        account = _Account(request.lm.model, request.endpoint, self._worst(request))
        if (outer := _current.get()) is not None:
            self._give_back(outer)
        return account

    def _give_back(self, outer: "_Account") -> None:
        """Releases the amount set aside for an outer request, because only its inner requests cost money."""
        with self._lock:
            self._aside -= outer.aside
            outer.aside = Spending()
            self._lock.notify_all()

    def _set_aside(self, worst: Spending) -> bool:
        """Sets an amount aside. Returns False if the request must wait. Raises NoMoreCalls if it may never be sent."""
        with self._lock:
            if self._is_closed:
                return False
            if self._is_stopping:
                self._refuse(Stopping())
            if not self._allowance.covers(self._spent + worst):
                self._refuse(AllowanceSpent())
            if not self._allowance.covers(self.spent + worst):
                return False
            self._aside += worst
            if self._is_closed:  # the commit record may report the spending without this request
                return False
            if self._limited(self._booked | self.spent) != self._limited(self._booked):
                self._booked = self._next_part()
                self._book(Booked(spent=self._booked))
            return True

    def _refuse(self, error: NoMoreCalls) -> NoReturn:
        if self._end is not None:
            self._end(error)
        raise error

    def _limited(self, spending: Spending) -> Spending:
        """Returns the figures that the allowance limits, and 0 for the other figures."""
        most = self._allowance
        return Spending(
            calls=0 if most.calls is None else spending.calls,
            tokens=0 if most.tokens is None else spending.tokens,
            micro_usd=0 if most.micro_usd is None else spending.micro_usd,
        )

    def _next_part(self) -> Spending:
        """Returns the next booking: the spending and one more part of the allowance, at most the whole allowance."""
        part, left = self._allowance.shared(AHEAD).all, self._allowance.less(self.spent).all
        return self._booked | (self.spent + (part & left))

    @contextmanager
    def _settling(self, account: "_Account") -> Iterator[Callable[[Usage], None]]:
        """Adds the cost of a request to the spending, after the block.

        The block passes the request's usage to the yielded function.
        """
        cost: Spending | None = None

        def settle(usage: Usage) -> None:
            nonlocal cost
            if account.aside != Spending():
                cost = self._cost(account, usage)

        within = _current.set(account)
        try:
            yield settle
        except TooManyRequests as objection:
            cost = Spending()
            raise objection.error from None
        except Exception as error:
            # A failed request costs nothing only if the provider refused it. After any other failure, the provider may
            # have answered it.
            cost = Spending() if isinstance(error, SwarmError) or client().is_refusal(error) else None
            raise
        finally:
            _current.reset(within)
            with self._lock:
                self._spent += account.aside if cost is None else cost
                self._aside -= account.aside
                account.aside = Spending()
                self._lock.notify_all()

    def _cost(self, account: "_Account", usage: Usage) -> Spending:
        tokens = usage.prompt_tokens + usage.completion_tokens
        if usage.calls and not tokens:  # the provider reports no tokens
            return account.aside
        return Spending(
            calls=usage.calls, tokens=tokens, micro_usd=self._micro_usd(account.model, account.endpoint, usage)
        )

    def _worst(self, request: Request) -> Spending:
        """Returns the highest possible cost of a request."""
        if self._allowance.tokens is None and self._prices is None:
            return Spending(calls=1)
        usage = longest(request)
        return Spending(
            calls=1,
            tokens=usage.prompt_tokens + usage.completion_tokens,
            micro_usd=self._micro_usd(request.lm.model, request.endpoint, usage),
        )

    def _micro_usd(self, model: str, endpoint: str | None, usage: Usage) -> int:
        if self._prices is None:
            return 0
        if (price := self._prices.of(model, endpoint)) is None:
            raise _no_price(model, "the program makes itself")
        return ceil(price.of(usage) * MICRO)


@dataclass
class _Account:
    """A request that is about to be sent, or under way.

    Attributes:
        aside: the amount set aside for the request. It is nothing when the request is over or has inner requests. Code
            in a copy of the request's context may still find this object after that.
    """

    model: str
    endpoint: str | None
    aside: Spending


_current: ContextVar[_Account | None] = ContextVar("request", default=None)
"""The request within which this code runs: the code of one LM may call another LM."""


COST_LIMIT, COST_GATE, SAVING_GATE = "limits.costUSD", "gate.maxCostUSD", "gate.minCostReduction"
"""Fields that need a price of each model."""


def prices(spec: CompilationSpec) -> Prices:
    """Returns the prices of the spec's models. Raises BadInput if a price is unknown."""
    found = Prices(spec)
    for model in spec.models.by_role.values():
        if found.of(model.model, model.endpoint) is None:
            raise _no_price(model.model, "the spec names")
    return found


def check_gate(spec: CompilationSpec, student: dspy.Module) -> None:
    """Raises BadInput if the gate is about costs, and the price of a model is unknown."""
    if spec.gate is None:
        return
    found, roles = Prices(spec), spec.models.by_role
    for role in ("student", "teacher") if spec.gate.min_cost_reduction is not None else ():
        if role in roles and found.of(roles[role].model) is None:
            raise _no_price(roles[role].model, f"is models.{role}", SAVING_GATE)
    if spec.gate.max_cost_usd is None:
        return
    own = [predictor.lm for predictor in student.predictors()]
    for model in {spec.models.student.model, *(lm.model for lm in own if lm is not None)}:
        if found.of(model) is None:
            raise _no_price(model, "the program calls", COST_GATE)


def _no_price(model: str, where: str, field: str = COST_LIMIT) -> BadInput:
    return BadInput(
        WorkerReason.PRICE_UNKNOWN,
        f"{field} is set, and DSPy's list has no price of model {model!r}, which {where}. Write it into the "
        "spec, beside the name of the model in one of its roles, in USD for a million tokens: price: {prompt: 1.5, "
        "completion: 6}.",
    )


def install(environment: MutableMapping[str, str], spec: CompilationSpec, put: Callable[[Record], None]) -> Budget:
    """Counts the requests of this process, and limits them by the allowance in its environment, if there is one.

    Call it after the throttle's `install`, so that a request that waits for the budget holds no turn.
    """
    text = environment.pop(names.ENV_ALLOWANCE, "")
    allowance = Allowance.model_validate_json(text) if text else UNLIMITED

    def book(booked: Booked) -> None:
        put(Record(RecordKind.BOOKED, booked.to_header()))

    budget = Budget(allowance, None if allowance.micro_usd is None else prices(spec), book)
    client().intercept_requests(budget.around)
    return budget
