"""Measures how long a provider takes for an answer, without the waits of this process.

The time travels with the answer in the journal. So a later plan, or a run that reuses the answer, has the same figure.
No digest and no decision depends on it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from swarm_worker.client.call import Request, Send
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client

_MARK = "swarm_milliseconds"
"""Name of the attribute in which an answer carries its time."""
_answered: ContextVar[list[float] | None] = ContextVar("answered", default=None)


def install() -> None:
    """Measures the requests of this process. Interceptions that make a request wait are installed later."""
    client().intercept_requests(_around)


def _around(request: Request, send: Send) -> Flow[None]:
    began, times = time.monotonic(), _answered.get()
    yield send
    if times is not None:
        times.append(time.monotonic() - began)


@contextmanager
def measured() -> Iterator[list[float]]:
    """The block makes an LM call. The list then has the seconds of each answered request."""
    times: list[float] = []
    token = _answered.set(times)
    try:
        yield times
    finally:
        _answered.reset(token)


def mark(answer: Any, times: list[float]) -> None:
    """Writes the time of an LM call into its answer, if its requests were seen."""
    if times and hasattr(answer, "__dict__"):
        vars(answer)[_MARK] = round(1000 * sum(times))


def milliseconds(answer: Any) -> int | None:
    """Returns the time that the provider took for an answer; None if nobody has measured it."""
    found = getattr(answer, _MARK, None)
    return found if isinstance(found, int) else None
