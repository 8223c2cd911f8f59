"""Reads a run's records as one journal. It does not read their bodies, which only plans and workers need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

from swarm_engine.accounts import Accounts
from swarm_wire.message_base import MOST
from swarm_wire.messages import Bound, CallMade, Outcome, Pending, PlanEnd, Pushed, Result, Snapshot, Task
from swarm_wire.records import Framed, RecordKind
from swarm_wire.spending import Booked, Usage


class Took(NamedTuple):
    """The figures of a Usage in a form that takes little memory."""

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
        results: key of a cell -> usage of its result.
        failed: keys of the cells whose result is an error.
        calls: identity of an LM call with a record of its own -> usage of the call.
        pending: the last record of each cell whose result comes later, by key.
        bound: the code and data to which the journal belongs; None if no record names them.
        snapshots: parts of the files that the run has fetched.
        pushed: where the artifact is in git; None if no record says so.
    """

    results: Mapping[str, Usage | Took] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    calls: Mapping[str, Usage | Took] = field(default_factory=dict)
    pending: Mapping[str, Pending] = field(default_factory=dict)
    booked: tuple[Booked, ...] = ()
    plans: tuple[PlanEnd, ...] = ()
    tasks: tuple[Task, ...] = ()
    bound: Bound | None = None
    snapshots: tuple[Snapshot, ...] = ()
    pushed: Pushed | None = None

    @classmethod
    def of(cls, records: Iterable[Framed]) -> "Entries":
        """Reads records. Of several records with the same key, the first counts. Raises pydantic.ValidationError."""
        results: dict[str, Took] = {}
        calls: dict[str, Took] = {}
        failed: set[str] = set()
        pending: dict[str, Pending] = {}
        booked: list[Booked] = []
        plans: list[PlanEnd] = []
        tasks: list[Task] = []
        bound: Bound | None = None
        snapshots: list[Snapshot] = []
        pushed: Pushed | None = None
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
                case RecordKind.PENDING:
                    waits = Pending.model_validate(record.header)
                    pending[waits.key] = later(pending.get(waits.key), waits)
                case RecordKind.BOOKED:
                    booked.append(Booked.model_validate(record.header))
                case RecordKind.BOUND:
                    bound = bound or Bound.model_validate(record.header)
                case RecordKind.PLAN:
                    plans.append(PlanEnd.model_validate(record.header))
                case RecordKind.TASK:
                    tasks.append(Task.model_validate(record.header))
                case RecordKind.SNAPSHOT:
                    snapshots.append(Snapshot.model_validate(record.header))
                case RecordKind.PUSHED:
                    pushed = Pushed.model_validate(record.header)
        return Entries(
            results=results,
            failed=frozenset(failed),
            calls=calls,
            pending=pending,
            booked=tuple(booked),
            plans=tuple(plans),
            tasks=tuple(tasks),
            bound=bound,
            snapshots=tuple(snapshots),
            pushed=pushed,
        )


def later(one: Pending | None, other: Pending) -> Pending:
    """Returns the one of two records of a cell that counts."""
    return other if one is None or other.number > one.number else one


class Waiting(NamedTuple):
    """A cell whose result comes later, and when a process has to look again."""

    record: Pending
    due: datetime


LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Planned:
    """A round whose plan is in the journal. `attempt` is the number of the attempt whose plan and tasks count."""

    end: PlanEnd
    attempt: int


class Journal:
    """The records of one run, in order.

    Attributes:
        keys: key of a cell that has a result -> the round of the result.
        failed: keys of the cells whose result is an error.
        calls: identities of LM calls with a record of their own.
        pending: cells whose result comes later, by key. Cells that have it by now may be among them.
        accounts: what processes have spent, if the run has limits.
        plans: round -> the end of its plan.
        bound: the code and data to which the journal belongs, according to its first plan.
        pushed: where the newest artifact is in git; None if it is in no repository.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.failed: set[str] = set()
        self.calls: set[str] = set()
        self.pending: dict[str, Waiting] = {}
        self.accounts = Accounts()
        self.plans: dict[int, Planned] = {}
        self.bound: Bound | None = None
        self.pushed: Pushed | None = None
        self._took = Took()
        self._unpriced = False

    def take(self, found: Entries, round_: int = 0, attempt: int = 0, at: datetime = LONG_AGO) -> None:
        """Adds the records of a round and an attempt. Of several records with the same key, the first counts.

        Args:
            at: when they were written to the journal.
        """
        new = [usage for key, usage in found.results.items() if key not in self.keys]
        new += [usage for identity, usage in found.calls.items() if identity not in self.calls]
        self.failed |= found.failed - self.keys.keys()
        for key in found.results:
            self.keys.setdefault(key, round_)
        self.calls |= found.calls.keys()
        for key, waits in found.pending.items():
            if self.is_new(waits):
                self.pending[key] = Waiting(waits, at + timedelta(seconds=waits.retry_after))
        self._add(new)
        for booked in found.booked:
            self.accounts.book(booked)
        for end in found.plans:
            self.plans.setdefault(end.round, Planned(end, attempt))
        self.bound = self.bound or found.bound
        self.pushed = found.pushed or self.pushed

    def lacks(self, found: Entries) -> bool:
        """Whether the records contain anything that the journal lacks."""
        return bool(
            found.results.keys() - self.keys.keys()
            or found.calls.keys() - self.calls
            or any(self.is_new(waits) for waits in found.pending.values())
            or found.booked
            or found.plans
            or (found.bound and not self.bound)
        )

    def is_new(self, waits: Pending) -> bool:
        """Whether a record says more about a cell that has no result yet."""
        known = self.pending.get(waits.key)
        return waits.key not in self.keys and (known is None or waits.number > known.record.number)

    @property
    def usage(self) -> Usage:
        """Returns the usage of all results and calls. Each of them counts once."""
        calls, prompt, completion, micro_usd = self._took
        return Usage(
            calls=min(MOST, calls),
            prompt_tokens=min(MOST, prompt),
            completion_tokens=min(MOST, completion),
            micro_usd=None if self._unpriced or not calls else min(MOST, micro_usd or 0),
        )

    @property
    def last(self) -> PlanEnd | None:
        """Returns how the journal's last plan ended; None if the journal has no plan."""
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
