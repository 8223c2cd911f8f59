"""What the records of a run say, read as one. Bodies are not looked into: only plans and workers need them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from swarm_engine.accounts import Accounts
from swarm_wire.message_base import MOST
from swarm_wire.messages import Bound, CallMade, Outcome, PlanEnd, Result, Task
from swarm_wire.records import Framed, RecordKind
from swarm_wire.spending import Booked, Usage


class Took(NamedTuple):
    """A Usage that takes little room."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int | None = None

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(usage.calls, usage.prompt_tokens, usage.completion_tokens, usage.micro_usd)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What some records say.

    Attributes:
        results: key of a cell -> what it took.
        failed: keys of results that are errors.
        calls: identity of an LM call that was told of by itself -> what it took.
        bound: what the journal belongs to, where a record says it.
    """

    results: Mapping[str, Usage | Took] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    calls: Mapping[str, Usage | Took] = field(default_factory=dict)
    booked: tuple[Booked, ...] = ()
    plans: tuple[PlanEnd, ...] = ()
    tasks: tuple[Task, ...] = ()
    bound: Bound | None = None

    @classmethod
    def of(cls, records: Iterable[Framed]) -> "Entries":
        """The first record of a key counts. Raises pydantic.ValidationError where a header is none of its kind."""
        results: dict[str, Took] = {}
        calls: dict[str, Took] = {}
        failed: set[str] = set()
        booked: list[Booked] = []
        plans: list[PlanEnd] = []
        tasks: list[Task] = []
        bound: Bound | None = None
        for record in records:
            match record.kind:
                case RecordKind.RESULT:
                    result = Result.model_validate(record.header)
                    if result.key not in results and result.outcome is Outcome.ERROR:
                        failed.add(result.key)
                    results.setdefault(result.key, Took.of(result.usage))
                case RecordKind.CALL:
                    call = CallMade.model_validate(record.header)
                    calls.setdefault(call.identity, Took.of(call.usage))
                case RecordKind.BOOKED:
                    booked.append(Booked.model_validate(record.header))
                case RecordKind.BOUND:
                    bound = bound or Bound.model_validate(record.header)
                case RecordKind.PLAN:
                    plans.append(PlanEnd.model_validate(record.header))
                case RecordKind.TASK:
                    tasks.append(Task.model_validate(record.header))
        return Entries(
            results=results,
            failed=frozenset(failed),
            calls=calls,
            booked=tuple(booked),
            plans=tuple(plans),
            tasks=tuple(tasks),
            bound=bound,
        )


@dataclass(frozen=True)
class Planned:
    """A round whose plan is in the journal. `attempt` is the plan's whose tasks count."""

    end: PlanEnd
    attempt: int


class Journal:
    """The records of one run, in their order.

    Attributes:
        keys: cells that have a result -> the round that brought it.
        failed: those among them whose result is an error.
        calls: LM calls that were told of by themselves, by their identity.
        accounts: what processes spent, where the run has limits.
        plans: round -> its plan's end.
        bound: what the first of its plans said that it belongs to.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.failed: set[str] = set()
        self.calls: set[str] = set()
        self.accounts = Accounts()
        self.plans: dict[int, Planned] = {}
        self.bound: Bound | None = None
        self._took = Took()
        self._unpriced = False

    def take(self, found: Entries, round_: int = 0, attempt: int = 0) -> None:
        """Adds what records of a round and an attempt say. The first of a key counts, whatever comes later."""
        new = [usage for key, usage in found.results.items() if key not in self.keys]
        new += [usage for identity, usage in found.calls.items() if identity not in self.calls]
        self.failed |= found.failed - self.keys.keys()
        for key in found.results:
            self.keys.setdefault(key, round_)
        self.calls |= found.calls.keys()
        self._add(new)
        for booked in found.booked:
            self.accounts.book(booked)
        for end in found.plans:
            self.plans.setdefault(end.round, Planned(end, attempt))
        self.bound = self.bound or found.bound

    def lacks(self, found: Entries) -> bool:
        """Whether it does not say yet what records say."""
        return bool(
            found.results.keys() - self.keys.keys()
            or found.calls.keys() - self.calls
            or found.booked
            or found.plans
            or (found.bound and not self.bound)
        )

    @property
    def usage(self) -> Usage:
        """What results and calls took, each counted once."""
        calls, prompt, completion, micro_usd = self._took
        return Usage(
            calls=min(MOST, calls),
            prompt_tokens=min(MOST, prompt),
            completion_tokens=min(MOST, completion),
            micro_usd=None if self._unpriced or not calls else min(MOST, micro_usd or 0),
        )

    @property
    def last(self) -> PlanEnd | None:
        """The end of its last plan."""
        planned = self.plans.get(max(self.plans, default=-1))
        return planned.end if planned else None

    def _add(self, usages: Sequence[Usage | Took]) -> None:
        calls, prompt, completion, micro_usd = self._took
        self._took = Took(
            calls + sum(usage.calls for usage in usages),
            prompt + sum(usage.prompt_tokens for usage in usages),
            completion + sum(usage.completion_tokens for usage in usages),
            (micro_usd or 0) + sum(usage.micro_usd or 0 for usage in usages),
        )
        self._unpriced |= any(usage.micro_usd is None for usage in usages if usage.calls)
