"""The bill of a provider, computed from the log of the simulated provider. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

ANSWERED, LEFT = 200, 499
"""LEFT: the client went away before its answer came."""


@dataclass(frozen=True)
class Paid:
    """One request. Moments are seconds of the wall clock."""

    digest: str
    began: float
    ended: float
    status: int


@dataclass(frozen=True)
class Bill:
    """Answered requests, and requests whose clients went away meanwhile; failed requests are free."""

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
        """Calls answered before the moment `known`, and repeated after the moment `harm`."""
        answered = {paid.digest for paid in self.paid if paid.status == ANSWERED and paid.ended < known}
        return {paid.digest for paid in self.paid if paid.began > harm} & answered
