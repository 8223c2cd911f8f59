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
    """Applies a function to each pair of figures. No result exceeds MOST."""
    return type(left)(
        **{name: min(MOST, what(getattr(left, name), getattr(right, name))) for name in type(left).model_fields}
    )


def price_clause(micro_usd: int | None) -> str:
    """Returns a cost as a clause that ends a list for people: ", 0.2500 USD"; empty if the cost is unknown."""
    return "" if micro_usd is None else f", {micro_usd / MICRO:.4f} USD"


class Usage(Message):
    """LM calls that a provider has answered, and their tokens. Objects of this class can be added.

    Attributes:
        micro_usd: cost in millionths of a USD; None if the price of a call is unknown.
    """

    calls: Figure = 0
    prompt_tokens: Figure = 0
    completion_tokens: Figure = 0
    micro_usd: Figure | None = None

    def __add__(self, other: Self) -> "Usage":
        # A fine-tune makes no call, and may have a price.
        costs = [each.micro_usd for each in (self, other) if each.calls or each.micro_usd is not None]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            calls=min(MOST, self.calls + other.calls),
            prompt_tokens=min(MOST, self.prompt_tokens + other.prompt_tokens),
            completion_tokens=min(MOST, self.completion_tokens + other.completion_tokens),
            micro_usd=min(MOST, sum(known)) if known and len(known) == len(costs) else None,
        )


class Spending(Message):
    """What LM calls cost, or may cost. Objects of this class can be added.

    Attributes:
        tokens: tokens of prompts and completions together.
        micro_usd: cost in millionths of a USD; 0 if cost is not limited.
    """

    calls: Figure = 0
    tokens: Figure = 0
    micro_usd: Figure = 0

    def __add__(self, other: Self) -> "Spending":
        return _each(add, self, other)

    def __sub__(self, other: Self) -> "Spending":
        return _each(sub, self, other)

    def __or__(self, other: Self) -> "Spending":
        """Returns the larger figure of each kind."""
        return _each(max, self, other)

    def __and__(self, other: Self) -> "Spending":
        """Returns the smaller figure of each kind."""
        return _each(min, self, other)


class Allowance(Message):
    """The most that a pod or a run may spend. A figure is None if it has no limit."""

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
        """Returns the whole allowance as spending, with 0 for each figure without a limit."""
        return Spending(calls=self.calls or 0, tokens=self.tokens or 0, micro_usd=self.micro_usd or 0)

    def covers(self, spending: Spending) -> bool:
        figures = (self.calls, spending.calls), (self.tokens, spending.tokens), (self.micro_usd, spending.micro_usd)
        return all(most is None or figure <= most for most, figure in figures)

    def less(self, spending: Spending) -> "Allowance":
        """Returns the allowance that is left after this spending."""
        return Allowance(
            calls=None if self.calls is None else max(0, self.calls - spending.calls),
            tokens=None if self.tokens is None else max(0, self.tokens - spending.tokens),
            micro_usd=None if self.micro_usd is None else max(0, self.micro_usd - spending.micro_usd),
        )

    def shared(self, parts: int) -> "Allowance":
        """Returns one of `parts` equal shares of the allowance."""
        return Allowance(
            calls=None if self.calls is None else self.calls // parts,
            tokens=None if self.tokens is None else self.tokens // parts,
            micro_usd=None if self.micro_usd is None else self.micro_usd // parts,
        )


UNLIMITED = Allowance()
NO_CALLS = Allowance(calls=0)


class Booked(Message):
    """Header of a BOOKED record: the spending of one pod. A pod with an allowance prints it before it spends anything.

    Attributes:
        account: name of the pod's account. Only the writer of the journal sets it.
        final: whether this is the pod's whole spending. If false, the pod may spend up to this before it prints another
            record.
        repeated: largest possible number of LM calls that must be made again, because their paid answers were lost with
            the pod.
    """

    account: str = ""
    spent: Spending
    final: bool = False
    repeated: Figure = 0
