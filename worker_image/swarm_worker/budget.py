"""Counts what this process spends, and keeps it within its allowance where it has one.

A call is paid for when it is made, and what it costs is known when it is answered. So the most that it may cost is set
aside before it is made, and what was not needed is given back. When the allowance may not be enough for another call
and nothing can be given back any more, the process ends: what it did is kept, and what is left of the run's limits is
dealt out again.

A process that is killed cannot say what it spent. So it says beforehand what it is going to spend, a tenth of its
allowance at a time.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from math import ceil
from typing import Any

from dspy.utils.exceptions import LMProviderError, LMTimeoutError

from swarm_wire import names
from swarm_wire.messages import MICRO, UNLIMITED, Allowance, Booked, Spending, Usage
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec import CompilationSpec
from swarm_worker.client.call import AsyncMake, LMCall, Make
from swarm_worker.client.installed import client
from swarm_worker.client.longest import longest
from swarm_worker.errors import AllowanceSpent, BadInput
from swarm_worker.price_list import Price, of_spec

AHEAD = 10
"""A process books so many parts of its allowance one after the other."""
POLL_SECONDS = 0.05
"""How often a coroutine looks whether another call has given something back."""


class Budget:
    """The allowance of this process.

    Args:
        prices: of models by name; None where no limit needs them.
        book: prints what is going to be spent.
    """

    def __init__(self, allowance: Allowance, prices: Mapping[str, Price] | None, book: Callable[[Booked], None]):
        self._allowance, self._prices, self._book = allowance, prices, book
        # Reentrant: a signal handler asks what was spent, whatever it interrupts.
        self._lock = threading.Condition(threading.RLock())
        self._spent, self._aside, self._booked = Spending(), Spending(), Spending()

    @property
    def is_limited(self) -> bool:
        return self._allowance.is_limited

    @property
    def spent(self) -> Spending:
        """What was spent, and what the calls under way may cost."""
        return self._spent + self._aside

    def around(self, lm: Any, call: LMCall, make: Make) -> Any:
        """Makes a call. Raises AllowanceSpent."""
        worst = self._worst(lm, call)
        with self._lock:
            while not self._set_aside(worst):
                self._lock.wait()
        with self._settling(lm, worst) as settle:
            answer = make()
            settle(client().usage(answer))
        return answer

    async def async_around(self, lm: Any, call: LMCall, make: AsyncMake) -> Any:
        """As `around`."""
        worst = self._worst(lm, call)
        while not self._set_aside(worst):
            await asyncio.sleep(POLL_SECONDS)
        with self._settling(lm, worst) as settle:
            answer = await make()
            settle(client().usage(answer))
        return answer

    def _set_aside(self, worst: Spending) -> bool:
        """Whether the call can be made now. Raises AllowanceSpent where it never can."""
        with self._lock:
            if not self._allowance.covers(self._spent + worst):
                raise AllowanceSpent
            if not self._allowance.covers(self.spent + worst):
                return False
            self._aside += worst
            if self._limited(self._booked | self.spent) != self._limited(self._booked):
                self._booked = self._next_part()
                self._book(Booked(spent=self._booked))
            return True

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
    def _settling(self, lm: Any, worst: Spending) -> Iterator[Callable[[Usage], None]]:
        """Gives back what a call did not cost; within, what it is given is what the call took."""
        cost = worst

        def settle(usage: Usage) -> None:
            nonlocal cost
            cost = self._cost(lm, usage, worst)

        try:
            yield settle
        except LMProviderError as error:
            # One that timed out may have been answered all the same.
            cost = worst if isinstance(error, LMTimeoutError) else Spending()
            raise
        finally:
            with self._lock:
                self._aside -= worst
                self._spent += cost
                self._lock.notify_all()

    def _cost(self, lm: Any, usage: Usage, worst: Spending) -> Spending:
        tokens = usage.prompt_tokens + usage.completion_tokens
        if usage.calls and not tokens:  # the provider does not count
            return worst
        return Spending(calls=usage.calls, tokens=tokens, micro_usd=self._micro_usd(lm, usage))

    def _worst(self, lm: Any, call: LMCall) -> Spending:
        """The most that a call may cost."""
        if self._allowance.tokens is None and self._prices is None:
            return Spending(calls=call.count)
        usage = longest(lm, call)
        return Spending(
            calls=call.count,
            tokens=usage.prompt_tokens + usage.completion_tokens,
            micro_usd=self._micro_usd(lm, usage),
        )

    def _micro_usd(self, lm: Any, usage: Usage) -> int:
        if self._prices is None:
            return 0
        if (price := self._prices.get(lm.model)) is None:
            raise _no_price(lm.model, "the program makes itself")
        return ceil(price.of(usage) * MICRO)


def prices(spec: CompilationSpec) -> dict[str, Price]:
    """Prices of the spec's models, by name. Raises BadInput where one is not known."""
    found: dict[str, Price] = {}
    for name, price in of_spec(spec).items():
        if price is None:
            raise _no_price(name, "the spec names")
        found[name] = price
    return found


def _no_price(model: str, where: str) -> BadInput:
    return BadInput(
        WorkerReason.PRICE_UNKNOWN,
        f"limits.costUSD is set, and DSPy's list has no price of model {model!r}, which {where}. Write it into the "
        "spec, beside the model's name, in USD for a million tokens: price: {prompt: 1.5, completion: 6}.",
    )


def install(environment: MutableMapping[str, str], spec: CompilationSpec, put: Callable[[Record], None]) -> Budget:
    """Counts the LM calls of this process, and bounds them by the allowance in its environment, if there is one.

    To be called before anything else takes over LM calls: what is answered from the journal costs nothing.
    """
    text = environment.pop(names.ENV_ALLOWANCE, "")
    allowance = Allowance.model_validate_json(text) if text else UNLIMITED

    def book(booked: Booked) -> None:
        put(Record(RecordKind.BOOKED, booked.to_header()))

    budget = Budget(allowance, None if allowance.micro_usd is None else prices(spec), book)
    client().intercept(budget.around, budget.async_around)
    return budget
