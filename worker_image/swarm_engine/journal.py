"""A run's records as one journal. Bodies are not read: only plans and workers need them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from swarm_engine.accounts import Accounts
from swarm_wire.message_base import MOST
from swarm_wire.messages import Bound, CallMade, Outcome, PlanEnd, Result, Task
from swarm_wire.records import Framed, RecordKind
from swarm_wire.spending import Booked, Usage


class Took(NamedTuple):
    """A Usage in little memory."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    micro_usd: int | None = None

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(usage.calls, usage.prompt_tokens, usage.completion_tokens, usage.micro_usd)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The content of some records.

    Attributes:
        results: cell key -> usage.
        failed: keys of results that are errors.
        calls: identity of an LM call with its own record -> usage.
        bound: the code and data that the journal belongs to, if a record names them.
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
        """Reads records. The first of a key counts. Raises pydantic.ValidationError if a header is invalid."""
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
    """A round whose plan is in the journal. `attempt` is the attempt of the plan whose tasks count."""

    end: PlanEnd
    attempt: int


class Journal:
    """The records of one run, in order.

    Attributes:
        keys: key of a cell that has a result -> the round of the result.
        failed: keys of the cells whose result is an error.
        calls: identities of LM calls with their own record.
        accounts: what processes spent, if the run has limits.
        plans: round -> its plan's end.
        bound: the code and data that the journal belongs to, according to its first plan.
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
        """Adds records of a round and an attempt. The first record of a key counts."""
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
        """Whether the records say anything that the journal lacks."""
        return bool(
            found.results.keys() - self.keys.keys()
            or found.calls.keys() - self.calls
            or found.booked
            or found.plans
            or (found.bound and not self.bound)
        )

    @property
    def usage(self) -> Usage:
        """The usage of results and calls, each counted once."""
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
