"""How fast pods may send requests to providers: models.*.limits as pods get them, and the limiter's protocol.

The limiter reads JSON lines over TCP. A pod has one connection for each of its running or waiting requests:

    pod      Ask           a request waits
    limiter  "wait"        every WAIT_SECONDS: the limiter is alive
    limiter  "go"          the pod may send the request to the provider
    pod      Answered      how the request ended; then the next Ask may follow

When a connection ends, its request counts as ended.
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
"""Largest length of a line of the protocol, in bytes."""


class RateLimit(Message):
    """The limits of a group of requests.

    Attributes:
        group: name of the group, unique in the cluster.
    """

    group: str = Field(min_length=1, max_length=1024)
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)


class LimitedModel(Message):
    """A limit on the requests to one model at one endpoint. An empty endpoint is the provider's own."""

    model: str
    endpoint: str
    limit: RateLimit


class RateLimits(Message):
    """The content of ENV_RATE_LIMITS."""

    models: tuple[LimitedModel, ...] = ()


class Ask(Message):
    """A request waits for its turn.

    Attributes:
        tokens: the most tokens that the request may take; 0 if tokens are not limited.
    """

    limit: RateLimit
    tokens: int = Field(0, ge=0)


class Answered(Message):
    """How a request ended.

    Attributes:
        tokens: how many tokens the request took; None if that is unknown, so that its maximum counts.
        throttled: whether the provider refused the request because of too many requests.
        retry_after: seconds that the provider asks to wait.
    """

    tokens: int | None = Field(None, ge=0)
    throttled: bool = False
    retry_after: float | None = Field(None, ge=0)


def rate_limits(spec: CompilationSpec, namespace: str, compilation: str) -> RateLimits:
    """Returns the limits of a spec's models.

    Args:
        namespace: the namespace in which names of groups in the spec are valid.
        compilation: the Compilation's name. A model that names no group is a group of its own in this Compilation.
    """
    # If several roles have the same model at the same endpoint, they share one limit.
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
