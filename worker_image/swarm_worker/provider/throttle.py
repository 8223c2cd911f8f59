"""Every request to a provider waits for its turn, and one to which the provider objects is sent again later.

An objection is no failure of what was asked: it costs a cell nothing but time. Only where a provider does nothing but
object for a long while does the client's error count.
"""

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from swarm_wire import names
from swarm_wire.rates import Answered, RateLimit, RateLimits
from swarm_wire.spending import Usage
from swarm_worker.client.call import Request, Send, TooManyRequests, as_raised
from swarm_worker.client.flow import Flow, Step
from swarm_worker.client.installed import client
from swarm_worker.provider.limiter_client import LimiterTurns
from swarm_worker.provider.longest_request import longest
from swarm_worker.provider.turns import End, OwnTurns, Turns

PATIENCE_SECONDS: Final = 600.0
"""How long a provider may do nothing but object."""


class Throttle:
    """The requests of this process.

    Args:
        limits: the models that have some.
        address: the limiter's.
        patience: in seconds.
    """

    def __init__(self, limits: RateLimits, address: str, patience: float = PATIENCE_SECONDS) -> None:
        self._gates = {
            (limited.model, limited.endpoint): _Gate(LimiterTurns(address, limited.limit), patience, limited.limit)
            for limited in limits.models
        }
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting = Stopwatch()

    def clock(self) -> float:
        """Seconds; it stands still while a request waits for its turn."""
        return time.monotonic() - self._waiting.seconds

    def around(self, request: Request, send: Send) -> Flow[None]:
        """Raises LimiterUnreachable."""
        gate = self._gate(request)
        if gate.is_passed:
            with as_raised():
                yield send
            return
        most = gate.most_tokens(request)
        while True:
            with self._waiting.running():
                end = yield Step(lambda: gate.turns.wait(most), lambda: gate.turns.async_wait(most))
            with gate.answering(end) as took:
                took((yield send))
                return

    def _gate(self, request: Request) -> "_Gate":
        key = request.lm.model, (request.endpoint or "").rstrip("/")
        with self._lock:
            if key not in self._gates:
                self._gates[key] = _Gate(OwnTurns(), self._patience)
            return self._gates[key]


class _Gate:
    """The requests to one model at one endpoint.

    Args:
        limit: what they keep to, if they do.
    """

    def __init__(self, turns: Turns, patience: float, limit: RateLimit | None = None) -> None:
        self.turns, self._patience, self._limit = turns, patience, limit
        self._objects_since: float | None = None

    @property
    def is_passed(self) -> bool:
        """Whether this code runs within a request that has passed it."""
        return any(passage.gate is self and passage.is_open for passage in _passed.get())

    def most_tokens(self, request: Request) -> int:
        if self._limit is None:
            return 0
        # Others of the group may have a limit of tokens, which these count for as far as is known.
        most = longest(request, unbounded=0 if self._limit.tokens_per_minute is None else None)
        return most.prompt_tokens + most.completion_tokens

    @contextmanager
    def answering(self, end: End) -> Iterator[Callable[[Usage], None]]:
        """Within, a request is under way; `end` is told what comes of it. An objection is no error: it is sent again.

        Raises what the client raised, also where the provider has done nothing but object for too long.
        """
        answered = Answered()

        def took(usage: Usage) -> None:
            nonlocal answered
            self._objects_since = None
            # A provider that does not count may have taken as many as it could.
            answered = Answered(tokens=usage.prompt_tokens + usage.completion_tokens or None)

        passage = _Passage(self)
        within = _passed.set((*_passed.get(), passage))
        try:
            yield took
        except TooManyRequests as objection:
            answered = Answered(throttled=True, retry_after=objection.retry_after)
            now = time.monotonic()
            since = self._objects_since = self._objects_since or now
            if now - since >= self._patience:
                raise objection.error from None
        finally:
            _passed.reset(within)
            passage.is_open = False
            end(answered)


@dataclass
class _Passage:
    """A request that is under way; whoever copied its context may ask when it is over."""

    gate: _Gate
    is_open: bool = True


_passed: ContextVar[tuple[_Passage, ...]] = ContextVar("passed", default=())
"""Of the requests within which this code runs. An LM that asks itself needs no second turn, and might never get one
while it holds its first."""


class Stopwatch:
    """The time in which at least one of several things was going on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running, self._since, self._before = 0, 0.0, 0.0

    @property
    def seconds(self) -> float:
        with self._lock:
            return self._before + (time.monotonic() - self._since if self._running else 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._lock:
            if not self._running:
                self._since = time.monotonic()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._before += time.monotonic() - self._since


def install(environment: MutableMapping[str, str]) -> Throttle:
    """Makes the requests of this process wait for their turn, as its environment says."""
    text = environment.pop(names.ENV_RATE_LIMITS, "")
    limits = RateLimits.model_validate_json(text) if text else RateLimits()
    throttle = Throttle(limits, environment.pop(names.ENV_LIMITER, ""))
    client().intercept_requests(throttle.around)
    return throttle
