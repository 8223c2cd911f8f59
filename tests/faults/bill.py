"""What a provider would charge for, from the log of the simulated one. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

ANSWERED, LEFT = 200, 499
"""LEFT: its asker went away while it was answered."""


@dataclass(frozen=True)
class Paid:
    """One request. Moments are seconds of the wall clock."""

    digest: str
    began: float
    ended: float
    status: int


@dataclass(frozen=True)
class Bill:
    """Requests that were answered, and those whose askers went away meanwhile; not those that failed."""

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
        """How often each call was paid for more than once."""
        return Counter(paid.digest for paid in self.paid) - Counter({paid.digest for paid in self.paid})

    def forgotten(self, known: float, harm: float) -> set[str]:
        """Calls that were answered before the moment `known`, and asked for again after the moment `harm`."""
        answered = {paid.digest for paid in self.paid if paid.status == ANSWERED and paid.ended < known}
        return {paid.digest for paid in self.paid if paid.began > harm} & answered
