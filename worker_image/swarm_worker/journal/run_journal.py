"""The journal of one run: results by key, finished LM calls, and the PLAN records with which plans ended."""

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from swarm_engine.accounts import Accounts
from swarm_engine.journal import later
from swarm_wire.messages import STORED, Bound, CallMade, Outcome, Pending, PlanEnd, PlanOutcome, Result, Stored
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Waste
from swarm_wire.spending import Booked, Usage
from swarm_worker.errors import Drift
from swarm_worker.journal.body_store import Bodies

Stream = list[tuple[str, str]]
"""Kind and digest of each effect that a plan has needed, in order."""
Body = bytes | Stored


@dataclass
class Journal:
    """Results of finished effects and LM calls. For each key, only the first result counts.

    Attributes:
        plans: the headers of the run's PLAN records, oldest first.
        last: the last of `plans` that is not from a plan for a partial artifact. Such a plan goes on without incomplete
            evaluations, so it needs other effects.
        stream: the effects that the plan of `last` needed.
        accounts: the spending of pods with allowances.
        pending: the last record of each cell whose result comes later, by key.
        bodies: reads bodies that are in a depot.
    """

    bodies: Bodies | None = None
    plans: list[PlanEnd] = field(default_factory=list)
    last: PlanEnd | None = None
    stream: Stream = field(default_factory=list)
    accounts: Accounts = field(default_factory=Accounts)
    pending: dict[str, Pending] = field(default_factory=dict)
    _results: dict[str, tuple[Result, Body]] = field(default_factory=dict)
    _calls: dict[str, list[Body]] = field(default_factory=dict)
    _carried: dict[str, str] = field(default_factory=dict)
    _made: dict[str, CallMade] = field(default_factory=dict)
    _good: dict[str, bool] = field(default_factory=dict)
    _bound: Bound | None = None

    @classmethod
    def of(cls, records: Iterable[Record], bodies: Bodies | None = None) -> Self:
        journal = cls(bodies)
        plans: dict[int, tuple[PlanEnd, bytes]] = {}
        for record in records:
            if record.kind is RecordKind.PLAN:
                end = PlanEnd.model_validate(record.header)
                plans.setdefault(end.round, (end, record.body))
            else:
                journal.put(record)
        for _, (end, body) in sorted(plans.items()):
            journal.plans.append(end)
            if end.outcome is not PlanOutcome.PARTIAL:
                journal.last, journal.stream = end, [(kind, digest) for kind, digest in json.loads(body)]
        return journal

    def put(self, record: Record) -> None:
        """Adds a RESULT, PENDING, CALL, BOOKED or BOUND record; ignores other kinds."""
        if record.kind is RecordKind.RESULT:
            result = Result.model_validate(record.header)
            self._results.setdefault(result.key, (result, body_of(record)))
            for key in result.calls:
                self._carried.setdefault(key, result.key)
        elif record.kind is RecordKind.CALL:
            made = CallMade.model_validate(record.header)
            self._made.setdefault(made.identity, made)
            self._calls.setdefault(made.key, []).append(body_of(record))
        elif record.kind is RecordKind.PENDING:
            waits = Pending.model_validate(record.header)
            self.pending[waits.key] = later(self.pending.get(waits.key), waits)
        elif record.kind is RecordKind.BOOKED:
            self.accounts.book(Booked.model_validate(record.header))
        elif record.kind is RecordKind.BOUND:
            self._bound = self._bound or Bound.model_validate(record.header)

    @property
    def bound(self) -> Bound | None:
        """Returns the record with the journal's binding; None if all plans ended before they knew the binding."""
        return next((end for end in reversed(self.plans) if end.binding), self._bound)

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def __len__(self) -> int:
        return len(self._results)

    def has_call(self, key: str) -> bool:
        """Whether the journal has a CALL record with this key, with or without an answer."""
        return key in self._calls

    def result(self, key: str) -> Result:
        return self._results[key][0]

    def has_error(self, key: str) -> bool:
        """Whether the journal has an error as the result of this key."""
        return key in self and self.result(key).outcome is Outcome.ERROR

    def body(self, key: str) -> bytes:
        try:
            return read_body(self._results[key][1], self.bodies)
        except Drift as error:
            assert self.bodies is not None, "what is with its record is never lost"
            self.bodies.give_up(error)

    def is_good(self, key: str) -> bool:
        """Whether the key has a result that is no error, with an undamaged body."""
        if key not in self._good:
            self._good[key] = key in self and self.result(key).outcome is Outcome.OK and self._is_there(key)
        return self._good[key]

    def answer(self, key: str) -> bytes | None:
        """Returns the answer to an LM call; None if the journal has none.

        An answer that is lost or altered in the depot does not count. Then the call is made again.
        """
        places = [(body, 0) for body in self._calls.get(key, ())]
        if key in self._carried:
            result, body = self._results[self._carried[key]]
            places.append((body, result.calls_at or 0))
        for body, start in places:
            with contextlib.suppress(Drift):
                return read_body(body, self.bodies)[start:]
        return None

    def usage(self) -> Usage:
        """Returns the usage of all LM calls in the journal."""
        results = (result.usage for result, _ in self._results.values())
        return sum((made.usage for made in self._made.values()), sum(results, Usage()))

    def waste(self, used: Collection[str]) -> Waste:
        """Returns the cells and calls that were paid for, but are not among the used keys."""
        cells = [result for key, (result, _) in self._results.items() if key not in used]
        calls = [made for made in self._made.values() if (made.cell or made.key) not in used]
        return Waste(
            cells=len(cells), calls=sum(cell.usage.calls for cell in cells) + sum(made.usage.calls for made in calls)
        )

    def calls_by_cell(self) -> Counter[str]:
        """Returns the number of LM calls of each cell with a result, including calls that an earlier run paid for."""
        calls = Counter({key: result.usage.calls + len(result.reused) for key, (result, _) in self._results.items()})
        calls.update(made.cell for made in self._made.values() if made.cell is not None and made.cell in calls)
        return calls

    def paid(self, cells: Collection[str]) -> tuple[int, set[str]]:
        """Returns how many LM calls these cells have paid for, and the keys of those calls that have a key."""
        results = [self._results[key][0] for key in cells if key in self]
        made = [made for made in self._made.values() if made.cell in cells]
        calls = sum(result.usage.calls for result in results) + sum(one.usage.calls for one in made)
        return calls, {key for result in results for key in result.calls} | {one.key for one in made}

    def _is_there(self, key: str) -> bool:
        with contextlib.suppress(Drift):
            read_body(self._results[key][1], self.bodies)
            return True
        return False


def body_of(record: Record) -> Body:
    """Returns the body of a record, or its place in the depot."""
    return Stored.model_validate(record.header[STORED]) if STORED in record.header else record.body


def read_body(body: Body, bodies: Bodies | None) -> bytes:
    """Returns the bytes of a body. Raises Drift if the depot has lost or altered it."""
    if isinstance(body, bytes):
        return body
    assert bodies is not None, "records that name a depot are of runs that have one"
    return bodies.read(body)
