"""The journal as a plan sees it: results by key, and what earlier plans did."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from swarm_wire.messages import PlanEnd, Result, Usage
from swarm_wire.records import Record, RecordKind

Stream = list[tuple[str, str]]
"""(kind, digest) of every effect that a plan needed, in order."""


@dataclass
class Store:
    """Results of finished effects. The first result of a key counts, whatever comes later.

    Attributes:
        plans: the ends of earlier plans, oldest first.
        stream: the effect stream of the last of them.
    """

    plans: list[PlanEnd] = field(default_factory=list)
    stream: Stream = field(default_factory=list)
    _results: dict[str, tuple[Result, bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        store = cls()
        plans: dict[int, tuple[PlanEnd, bytes]] = {}
        for record in records:
            if record.kind is RecordKind.RESULT:
                store.put(record)
            elif record.kind is RecordKind.PLAN:
                end = PlanEnd.model_validate(record.header)
                plans.setdefault(end.round, (end, record.body))
        for _, (end, body) in sorted(plans.items()):
            store.plans.append(end)
            store.stream = [(kind, digest) for kind, digest in json.loads(body)]
        return store

    def put(self, record: Record) -> None:
        result = Result.model_validate(record.header)
        self._results.setdefault(result.key, (result, record.body))

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def body(self, key: str) -> bytes:
        return self._results[key][1]

    def result(self, key: str) -> Result:
        return self._results[key][0]

    def usage(self) -> Usage:
        """All LM calls that the journal holds results of."""
        return sum((result.usage for result, _ in self._results.values()), Usage())

    def __len__(self) -> int:
        return len(self._results)
