"""How fast providers may be asked: what pods are told of models.*.limits, and what they tell the limiter.

The limiter gets JSON lines over TCP, one connection for each request to a provider that is under way or waits:

    pod      Ask           a request waits for its turn
    limiter  "wait", ...   it is heard; every WAIT_SECONDS
    limiter  "go"          its turn
    pod      Answered      what came of it; then the next Ask

A connection that ends is a request that ended.
"""

from collections.abc import Iterator
from typing import Final

from pydantic import Field

from swarm_wire.message_base import Message
from swarm_wire.spec.compilation import CompilationSpec

WAIT: Final = b"wait\n"
GO: Final = b"go\n"
WAIT_SECONDS: Final = 10
LINE_BYTES: Final = 4096
"""No line is longer."""


class RateLimit(Message):
    """What the requests of one group keep to.

    Attributes:
        group: unique in the cluster.
    """

    group: str = Field(min_length=1, max_length=1024)
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)


class LimitedModel(Message):
    """Requests that a limit is about: to this model, at this endpoint; empty: the provider's own."""

    model: str
    endpoint: str
    limit: RateLimit


class RateLimits(Message):
    """ENV_RATE_LIMITS."""

    models: tuple[LimitedModel, ...] = ()


class Ask(Message):
    """A request waits for its turn.

    Attributes:
        tokens: how many it takes at most; 0 where nobody needs to know.
    """

    limit: RateLimit
    tokens: int = Field(0, ge=0)


class Answered(Message):
    """What came of a request.

    Attributes:
        tokens: how many it took; None: as many as it could at most.
        throttled: the provider answered that these are too many requests.
        retry_after: seconds that it wants us to wait.
    """

    tokens: int | None = Field(None, ge=0)
    throttled: bool = False
    retry_after: float | None = Field(None, ge=0)


def rate_limits(spec: CompilationSpec, namespace: str, compilation: str) -> RateLimits:
    """The limits of a spec's models.

    Args:
        namespace: groups are known in it.
        compilation: has a group of its own for each model that names none.
    """
    # Roles that have the same model at the same endpoint have the same limit.
    limited = {(each.model, each.endpoint): each for each in _limited(spec, namespace, compilation)}
    return RateLimits(models=tuple(limited.values()))


def _limited(spec: CompilationSpec, namespace: str, compilation: str) -> Iterator[LimitedModel]:
    for model in spec.models.by_role.values():
        if (given := model.limits) is None:
            continue
        own = f"compilation/{compilation}/{model.model}@{model.address}"
        limit = RateLimit(
            group=f"{namespace}/group/{given.group}" if given.group else f"{namespace}/{own}"[:1024],
            requests_per_minute=given.requests_per_minute,
            tokens_per_minute=given.tokens_per_minute,
            concurrency=given.concurrency,
        )
        yield LimitedModel(model=model.model, endpoint=model.address, limit=limit)
