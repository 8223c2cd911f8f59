"""What LM calls cost, and what they may cost."""

from collections.abc import Callable
from operator import add, sub
from typing import Self, TypeVar

from pydantic import Field

from swarm_wire.message_base import MOST, Figure, Message
from swarm_wire.spec.limits import Limits

MICRO = 1_000_000
FiguresT = TypeVar("FiguresT", bound=Message)


def _each(what: Callable[[int, int], int], left: FiguresT, right: FiguresT) -> FiguresT:
    """What becomes of each figure and its like."""
    return type(left)(
        **{name: min(MOST, what(getattr(left, name), getattr(right, name))) for name in type(left).model_fields}
    )


class Usage(Message):
    """LM calls that a provider answered, and their tokens. Adds up.

    Attributes:
        micro_usd: millionths of a USD; None where the price of a call is not known.
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
        tokens: of prompts and completions together.
        micro_usd: millionths of a USD; 0 where nobody asked for it.
    """

    calls: Figure = 0
    tokens: Figure = 0
    micro_usd: Figure = 0

    def __add__(self, other: Self) -> "Spending":
        return _each(add, self, other)

    def __sub__(self, other: Self) -> "Spending":
        return _each(sub, self, other)

    def __or__(self, other: Self) -> "Spending":
        """The larger one, figure by figure."""
        return _each(max, self, other)

    def __and__(self, other: Self) -> "Spending":
        """The smaller one, figure by figure."""
        return _each(min, self, other)


class Allowance(Message):
    """The most that may be spent; None: as much as you like."""

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
        """All of it, where it is limited."""
        return Spending(calls=self.calls or 0, tokens=self.tokens or 0, micro_usd=self.micro_usd or 0)

    def covers(self, spending: Spending) -> bool:
        figures = (self.calls, spending.calls), (self.tokens, spending.tokens), (self.micro_usd, spending.micro_usd)
        return all(most is None or figure <= most for most, figure in figures)

    def less(self, spending: Spending) -> "Allowance":
        """What is left of it."""
        return Allowance(
            calls=None if self.calls is None else max(0, self.calls - spending.calls),
            tokens=None if self.tokens is None else max(0, self.tokens - spending.tokens),
            micro_usd=None if self.micro_usd is None else max(0, self.micro_usd - spending.micro_usd),
        )

    def shared(self, parts: int) -> "Allowance":
        """One of so many equal parts."""
        return Allowance(
            calls=None if self.calls is None else self.calls // parts,
            tokens=None if self.tokens is None else self.tokens // parts,
            micro_usd=None if self.micro_usd is None else self.micro_usd // parts,
        )


UNLIMITED = Allowance()


class Booked(Message):
    """Header of a BOOKED record: what one pod has spent; where it has an allowance, told before it is spent.

    Attributes:
        account: which pod; only in the journal, by whoever keeps it.
        final: this is what it came to; otherwise the pod may spend so much before it tells more.
        repeated: LM calls, at most, that were paid for and whose answers died with the pod: they are made again.
    """

    account: str = ""
    spent: Spending
    final: bool = False
    repeated: Figure = 0
