"""Computes from the log of the simulated provider what a real provider would charge for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

ANSWERED, LEFT = 200, 499
"""Statuses in the log. LEFT means that the client left before the answer came."""


@dataclass(frozen=True)
class Paid:
    """A request that the provider charges for. Its times are seconds of the wall clock."""

    digest: str
    began: float
    ended: float
    status: int


@dataclass(frozen=True)
class Bill:
    """Holds the requests that cost something: the provider answered, or the client left before the answer. Failed
    requests cost nothing."""

    paid: tuple[Paid, ...]

    @classmethod
    def of(cls, log: Iterable[Mapping[str, Any]]) -> Self:
        charged = [entry for entry in log if entry["digest"] and entry["status"] in (ANSWERED, LEFT)]
        return cls(
            tuple(
                Paid(entry["digest"], entry["time"], entry["time"] + entry["latency"], entry["status"])
                for entry in charged
            )
        )

    def __len__(self) -> int:
        return len(self.paid)

    @property
    def again(self) -> Counter[str]:
        """Returns for each call how many times it was paid for again."""
        return Counter(paid.digest for paid in self.paid) - Counter({paid.digest for paid in self.paid})

    def forgotten(self, known: float, harm: float) -> set[str]:
        """Returns the calls that were answered before the moment `known` and repeated after the moment `harm`."""
        answered = {paid.digest for paid in self.paid if paid.status == ANSWERED and paid.ended < known}
        return {paid.digest for paid in self.paid if paid.began > harm} & answered
