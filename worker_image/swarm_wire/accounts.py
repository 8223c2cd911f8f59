"""What the pods of a run have spent, each told by itself, and what they may spend yet."""

from dataclasses import dataclass, field

from swarm_wire.messages import Booked, Spending


@dataclass
class Accounts:
    """One account for each pod: what it told last, or what it came to in the end.

    Attributes:
        closed: accounts of pods that are over.
    """

    closed: set[str] = field(default_factory=set)
    _spent: dict[str, Spending] = field(default_factory=dict)

    def book(self, booked: Booked) -> None:
        """Takes a word of a pod down. What it came to in the end replaces what it might have spent."""
        if booked.final:
            if booked.account not in self.closed:
                self._spent[booked.account] = booked.spent
            self.closed.add(booked.account)
        elif booked.account not in self.closed:
            self._spent[booked.account] = self._spent.get(booked.account, Spending()) | booked.spent

    @property
    def total(self) -> Spending:
        return sum(self._spent.values(), Spending())
