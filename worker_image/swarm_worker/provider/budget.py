"""Counts what this process spends, and keeps it within its allowance where it has one.

A request is paid for when it is sent, and what it costs is known when it is answered. So the most that it may cost is
set aside before it is sent, and what was not needed is given back. When the allowance may not be enough for another
request and nothing can be given back any more, the process ends: what it did is kept, and what is left of the run's
limits is dealt out again.

Requests, not LM calls, are what a provider bills: a call makes others where one fails, and one for each completion.

A process that is killed cannot say what it spent. So it says beforehand what it is going to spend, a tenth of its
allowance at a time.
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
"""A process books so many parts of its allowance one after the other."""
POLL_SECONDS = 0.05
"""How often a coroutine looks whether another call has given something back."""


class Budget:
    """The allowance of this process.

    Args:
        prices: None where no limit needs them.
        book: prints what is going to be spent.
    """

    def __init__(self, allowance: Allowance, prices: Prices | None, book: Callable[[Booked], None]):
        self._allowance, self._prices, self._book = allowance, prices, book
        # Reentrant: a signal handler asks what was spent, whatever it interrupts.
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
        """What was spent, and what the requests under way may cost.

        Without the lock, which a signal handler may have interrupted somebody with: what is moved from one to the other
        meanwhile is in both.
        """
        aside = self._aside
        return self._spent + aside

    @property
    def error(self) -> SwarmError | None:
        """Why nothing counts that this process brings: one that it forked wanted to ask. What its program makes of the
        answer that it did not get is no result of the program.
        """
        if not self._fork_has_asked[0]:
            return None
        return BadInput(
            WorkerReason.INVALID_SPEC,
            "limits cannot count the LM calls of a process that was forked. Use threads for them: dspy.Parallel.",
        )

    def close(self) -> None:
        """No request is sent any more: whoever is about to waits for the end of the process."""
        self._is_closed = True

    def stop(self) -> bool:
        """No request is begun any more: whoever is about to raises Stopping. Whether any is under way."""
        self._is_stopping = True
        return self._aside != Spending()

    @contextmanager
    def ending(self, end: Callable[[SwarmError], NoReturn]) -> Iterator[None]:
        """Within, a request that cannot be sent ends the process: what user code makes of that is not what it loads."""
        self._end = end
        try:
            yield
        finally:
            self._end = None

    def around(self, request: Request, send: Send) -> Flow[None]:
        """Sends a request. Raises NoMoreCalls."""
        account = self._opened(request)
        yield self._setting_aside(account.aside)
        with self._settling(account) as settle:
            settle((yield send))

    def _setting_aside(self, worst: Spending) -> Step[None]:
        """Waits until the request can be sent."""

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
        """A request that is made by others costs what they cost."""
        with self._lock:
            self._aside -= outer.aside
            outer.aside = Spending()
            self._lock.notify_all()

    def _set_aside(self, worst: Spending) -> bool:
        """Whether the request can be sent now. Raises NoMoreCalls where it never can."""
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
            if self._is_closed:  # whoever closed it may have looked before
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
        """Those figures of it that have a limit."""
        most = self._allowance
        return Spending(
            calls=0 if most.calls is None else spending.calls,
            tokens=0 if most.tokens is None else spending.tokens,
            micro_usd=0 if most.micro_usd is None else spending.micro_usd,
        )

    def _next_part(self) -> Spending:
        """What is spent now, and a part of the allowance more; never more than the allowance."""
        part, left = self._allowance.shared(AHEAD).all, self._allowance.less(self.spent).all
        return self._booked | (self.spent + (part & left))

    @contextmanager
    def _settling(self, account: "_Account") -> Iterator[Callable[[Usage], None]]:
        """Gives back what a request did not cost; within, what it is given is what the request took."""
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
            # One that was not refused may have been answered all the same.
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
        if usage.calls and not tokens:  # the provider does not count
            return account.aside
        return Spending(
            calls=usage.calls, tokens=tokens, micro_usd=self._micro_usd(account.model, account.endpoint, usage)
        )

    def _worst(self, request: Request) -> Spending:
        """The most that a request may cost."""
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
        aside: what is set aside for it; nothing where it turned out to be made by others, or is over: whoever copied
            its context may ask later.
    """

    model: str
    endpoint: str | None
    aside: Spending


_current: ContextVar[_Account | None] = ContextVar("request", default=None)
"""The request within which this code runs: that of an LM that asks another."""


def prices(spec: CompilationSpec) -> Prices:
    """Prices of the spec's models. Raises BadInput where one is not known."""
    found = Prices(spec)
    for model in spec.models.by_role.values():
        if found.of(model.model, model.endpoint) is None:
            raise _no_price(model.model, "the spec names")
    return found


def _no_price(model: str, where: str) -> BadInput:
    return BadInput(
        WorkerReason.PRICE_UNKNOWN,
        f"limits.costUSD is set, and DSPy's list has no price of model {model!r}, which {where}. Write it into the "
        "spec, beside the name of the model in one of its roles, in USD for a million tokens: price: {prompt: 1.5, "
        "completion: 6}.",
    )


def install(environment: MutableMapping[str, str], spec: CompilationSpec, put: Callable[[Record], None]) -> Budget:
    """Counts the requests of this process, and bounds them by the allowance in its environment, if there is one.

    To be called after the throttle's: a request that waits for what others give back holds no turn.
    """
    text = environment.pop(names.ENV_ALLOWANCE, "")
    allowance = Allowance.model_validate_json(text) if text else UNLIMITED

    def book(booked: Booked) -> None:
        put(Record(RecordKind.BOOKED, booked.to_header()))

    budget = Budget(allowance, None if allowance.micro_usd is None else prices(spec), book)
    client().intercept_requests(budget.around)
    return budget
