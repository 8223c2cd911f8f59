"""What the pods of a run have spent, each told by itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm_wire.messages import Booked, Commit, Spending, Usage


@dataclass
class Accounts:
    """One account for each pod: what it told last, or what it came to in the end.

    Attributes:
        closed: accounts of pods that are over.
        repeated: LM calls, at most, whose answers died with pods.
    """

    closed: set[str] = field(default_factory=set)
    repeated: int = 0
    _spent: dict[str, Spending] = field(default_factory=dict)

    def book(self, booked: Booked) -> None:
        """Takes a word of a pod down. What it came to in the end replaces what it might have spent."""
        if booked.final:
            if booked.account not in self.closed:
                self._spent[booked.account] = booked.spent
                self.repeated += booked.repeated
            self.closed.add(booked.account)
        elif booked.account not in self.closed:
            self._spent[booked.account] = self._spent.get(booked.account, Spending()) | booked.spent

    @property
    def total(self) -> Spending:
        return sum(self._spent.values(), Spending())


def repeated(commit: Commit | None, kept: Iterable[Usage], threads: int) -> int:
    """LM calls, at most, that a process paid for and whose answers died with it: whoever needs them makes them again.

    Args:
        commit: how it ended. None: without a word. Then each of its threads may have had one answer that it had not
            printed.
        kept: what the results and calls took that it printed.
    """
    if commit is None:
        return threads
    return max(0, commit.spent.calls - sum(usage.calls for usage in kept)) if commit.spent else 0
