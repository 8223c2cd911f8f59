"""The cost of LM calls, and its limits."""

from collections.abc import Callable
from operator import add, sub
from typing import Self, TypeVar

from pydantic import Field

from swarm_wire.message_base import MOST, Figure, Message
from swarm_wire.spec.limits import Limits

MICRO = 1_000_000
FiguresT = TypeVar("FiguresT", bound=Message)


def _each(what: Callable[[int, int], int], left: FiguresT, right: FiguresT) -> FiguresT:
    """Applies a function to each pair of figures, capped at MOST."""
    return type(left)(
        **{name: min(MOST, what(getattr(left, name), getattr(right, name))) for name in type(left).model_fields}
    )


class Usage(Message):
    """LM calls that a provider answered, and their tokens. Adds up.

    Attributes:
        micro_usd: millionths of a USD; None if the price of a call is unknown.
    """

    calls: Figure = 0
    prompt_tokens: Figure = 0
    completion_tokens: Figure = 0
    micro_usd: Figure | None = None

    def __add__(self, other: Self) -> "Usage":
        costs = [each.micro_usd for each in (self, other) if each.calls]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            calls=min(MOST, self.calls + other.calls),
            prompt_tokens=min(MOST, self.prompt_tokens + other.prompt_tokens),
            completion_tokens=min(MOST, self.completion_tokens + other.completion_tokens),
            micro_usd=min(MOST, sum(known)) if known and len(known) == len(costs) else None,
        )


class Spending(Message):
    """What LM calls cost, or may cost. Adds up.

    Attributes:
        tokens: tokens of prompts and completions together.
        micro_usd: millionths of a USD; 0 if cost is not limited.
    """

    calls: Figure = 0
    tokens: Figure = 0
    micro_usd: Figure = 0

    def __add__(self, other: Self) -> "Spending":
        return _each(add, self, other)

    def __sub__(self, other: Self) -> "Spending":
        return _each(sub, self, other)

    def __or__(self, other: Self) -> "Spending":
        """The larger of each figure."""
        return _each(max, self, other)

    def __and__(self, other: Self) -> "Spending":
        """The smaller of each figure."""
        return _each(min, self, other)


class Allowance(Message):
    """The most that may be spent; None: unlimited."""

    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    micro_usd: int | None = Field(None, ge=0)

    @classmethod
    def of(cls, limits: Limits) -> Self:
        usd = limits.cost_usd
        return cls(
            calls=limits.lm_calls, tokens=limits.total_tokens, micro_usd=None if usd is None else int(usd * MICRO)
        )

    @property
    def is_limited(self) -> bool:
        return self != Allowance()

    @property
    def all(self) -> Spending:
        """The whole allowance; 0 for unlimited figures."""
        return Spending(calls=self.calls or 0, tokens=self.tokens or 0, micro_usd=self.micro_usd or 0)

    def covers(self, spending: Spending) -> bool:
        figures = (self.calls, spending.calls), (self.tokens, spending.tokens), (self.micro_usd, spending.micro_usd)
        return all(most is None or figure <= most for most, figure in figures)

    def less(self, spending: Spending) -> "Allowance":
        """The allowance that is left after this spending."""
        return Allowance(
            calls=None if self.calls is None else max(0, self.calls - spending.calls),
            tokens=None if self.tokens is None else max(0, self.tokens - spending.tokens),
            micro_usd=None if self.micro_usd is None else max(0, self.micro_usd - spending.micro_usd),
        )

    def shared(self, parts: int) -> "Allowance":
        """One of `parts` equal shares."""
        return Allowance(
            calls=None if self.calls is None else self.calls // parts,
            tokens=None if self.tokens is None else self.tokens // parts,
            micro_usd=None if self.micro_usd is None else self.micro_usd // parts,
        )


UNLIMITED = Allowance()
NO_CALLS = Allowance(calls=0)


class Booked(Message):
    """Header of a BOOKED record: the spending of one pod. A pod with an allowance announces it in advance.

    Attributes:
        account: the pod's account; set by the writer of the journal only.
        final: this is the final spending; otherwise the pod may spend so much before it announces more.
        repeated: most LM calls that were paid for and whose answers were lost with the pod, so that they are repeated.
    """

    account: str = ""
    spent: Spending
    final: bool = False
    repeated: Figure = 0
