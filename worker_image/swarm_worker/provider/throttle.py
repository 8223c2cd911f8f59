"""Throttles requests. Each request waits for its turn. If the provider objects to a request, sends it again later.

An objection is the provider's answer "too many requests". It costs a cell only time, and is no failure. The LM client's
error counts only when a provider has done nothing but object for PATIENCE_SECONDS.
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
"""How long a provider may answer nothing but "too many requests"."""


class Throttle:
    """Throttles the requests of this process.

    Args:
        limits: rate limits of models.
        address: the limiter's address.
        patience: how long a provider may answer nothing but "too many requests", in seconds.
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
        """Returns a clock in seconds that stands still while a request waits for its turn."""
        return time.monotonic() - self._waiting.seconds

    def around(self, request: Request, send: Send) -> Flow[None]:
        """Sends a request when it has its turn. Raises LimiterUnreachable."""
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
    """Gives turns to the requests to one model at one endpoint.

    Args:
        limit: their rate limit, if they have one.
    """

    def __init__(self, turns: Turns, patience: float, limit: RateLimit | None = None) -> None:
        self.turns, self._patience, self._limit = turns, patience, limit
        self._objects_since: float | None = None

    @property
    def is_passed(self) -> bool:
        """Whether this code runs within a request that has its turn from this gate."""
        return any(passage.gate is self and passage.is_open for passage in _passed.get())

    def most_tokens(self, request: Request) -> int:
        if self._limit is None:
            return 0
        # Other models of the group may have a token limit, and this model's known tokens count towards it.
        most = longest(request, unbounded=0 if self._limit.tokens_per_minute is None else None)
        return most.prompt_tokens + most.completion_tokens

    @contextmanager
    def answering(self, end: End) -> Iterator[Callable[[Usage], None]]:
        """The block sends a request. After the block, `end` receives the request's outcome.

        If the provider objects, nothing is raised, and the caller sends the request again. If it has only objected for
        too long, the LM client's exception is raised.
        """
        answered = Answered()

        def took(usage: Usage) -> None:
            nonlocal answered
            self._objects_since = None
            # If the provider does not report tokens, the request may have used the most that it could.
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
    """A request under way. Code in a copy of the request's context may still find this object after the request."""

    gate: _Gate
    is_open: bool = True


_passed: ContextVar[tuple[_Passage, ...]] = ContextVar("passed", default=())
"""The requests within which this code runs. A request within another request to the same model needs no turn of its
own. It might never get one, because the outer request keeps its turn until it ends.
"""


class Stopwatch:
    """Measures the time during which at least one of several activities runs."""

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
    """Throttles the requests of this process, by the limits in its environment."""
    text = environment.pop(names.ENV_RATE_LIMITS, "")
    limits = RateLimits.model_validate_json(text) if text else RateLimits()
    throttle = Throttle(limits, environment.pop(names.ENV_LIMITER, ""))
    client().intercept_requests(throttle.around)
    return throttle
