"""The journal as a plan or worker sees it: results by key, finished LM calls, and what earlier plans did."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from swarm_wire.accounts import Accounts
from swarm_wire.messages import Booked, CallMade, PlanEnd, Result, Usage, Waste
from swarm_wire.records import Record, RecordKind

Stream = list[tuple[str, str]]
"""(kind, digest) of every effect that a plan needed, in order."""


@dataclass
class Store:
    """Results of finished effects and LM calls. The first of a key counts, whatever comes later.

    Attributes:
        plans: the ends of earlier plans, oldest first.
        stream: the effect stream of the last of them.
        accounts: what pods have spent, where they were given allowances.
    """

    plans: list[PlanEnd] = field(default_factory=list)
    stream: Stream = field(default_factory=list)
    accounts: Accounts = field(default_factory=Accounts)
    _results: dict[str, tuple[Result, bytes]] = field(default_factory=dict)
    _calls: dict[str, bytes] = field(default_factory=dict)
    _carried: dict[str, str] = field(default_factory=dict)
    _made: dict[str, CallMade] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        store = cls()
        plans: dict[int, tuple[PlanEnd, bytes]] = {}
        for record in records:
            if record.kind is RecordKind.PLAN:
                end = PlanEnd.model_validate(record.header)
                plans.setdefault(end.round, (end, record.body))
            else:
                store.put(record)
        for _, (end, body) in sorted(plans.items()):
            store.plans.append(end)
            store.stream = [(kind, digest) for kind, digest in json.loads(body)]
        return store

    def put(self, record: Record) -> None:
        """Adds a RESULT, a CALL or what was BOOKED; passes over other kinds."""
        if record.kind is RecordKind.RESULT:
            result = Result.model_validate(record.header)
            self._results.setdefault(result.key, (result, record.body))
            for key in result.calls:
                self._carried.setdefault(key, result.key)
        elif record.kind is RecordKind.CALL:
            made = CallMade.model_validate(record.header)
            self._made.setdefault(made.identity, made)
            self._calls.setdefault(made.key, record.body)
        elif record.kind is RecordKind.BOOKED:
            self.accounts.book(Booked.model_validate(record.header))

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def body(self, key: str) -> bytes:
        return self._results[key][1]

    def result(self, key: str) -> Result:
        return self._results[key][0]

    def answer(self, key: str) -> bytes | None:
        """The pickled answer to an LM call, whoever made it."""
        if key in self._calls:
            return self._calls[key]
        if (carrier := self._carried.get(key)) is not None:
            result, body = self._results[carrier]
            return body[result.calls_at :]
        return None

    def usage(self) -> Usage:
        """All LM calls that the journal holds results of."""
        results = (result.usage for result, _ in self._results.values())
        return sum((made.usage for made in self._made.values()), sum(results, Usage()))

    def waste(self, used: Collection[str]) -> Waste:
        """What was paid for results that are not among the used keys."""
        cells = [result for key, (result, _) in self._results.items() if key not in used]
        calls = [made for made in self._made.values() if (made.cell or made.key) not in used]
        return Waste(
            cells=len(cells), calls=sum(cell.usage.calls for cell in cells) + sum(made.usage.calls for made in calls)
        )

    def __len__(self) -> int:
        return len(self._results)
