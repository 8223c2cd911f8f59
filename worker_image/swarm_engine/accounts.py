"""What the pods of a run have spent, each told by itself."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm_wire.message_base import MOST
from swarm_wire.messages import Commit
from swarm_wire.spending import Booked, Spending, Usage


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
    _sums: Counter[str] = field(default_factory=Counter)

    def book(self, booked: Booked) -> None:
        """Takes a word of a pod down. What it came to in the end replaces what it might have spent."""
        if booked.final:
            if booked.account not in self.closed:
                self._set(booked.account, booked.spent)
                self.repeated += booked.repeated
            self.closed.add(booked.account)
        elif booked.account not in self.closed:
            self._set(booked.account, self._spent.get(booked.account, Spending()) | booked.spent)

    def has_closed(self, stem: str) -> bool:
        """Whether the account of a pod is closed whose name is this, or begins so."""
        return stem in self.closed or any(account.startswith(f"{stem}-") for account in self.closed)

    @property
    def total(self) -> Spending:
        """Of all accounts."""
        return Spending(**{name: min(MOST, figure) for name, figure in self._sums.items()})

    def _set(self, account: str, spent: Spending) -> None:
        # Exact, whatever pods have said: a sum that had been cut could fall below the truth.
        self._sums.update(spent.model_dump())
        self._sums.subtract(self._spent.get(account, Spending()).model_dump())
        self._spent[account] = spent


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


def least(kept: Usage, unprinted: int = 0) -> Spending:
    """What a process spent at least, whatever it said.

    Args:
        kept: what the results and calls took that it printed.
        unprinted: calls, at most, whose answers it did not print, where it had not said before what it was going to
            spend.
    """
    tokens = min(MOST, kept.prompt_tokens + kept.completion_tokens)
    return Spending(calls=min(MOST, kept.calls + unprinted), tokens=tokens)
