"""What each pod of a run has spent."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm_wire.message_base import MOST
from swarm_wire.messages import Commit
from swarm_wire.spending import Booked, Spending, Usage


@dataclass
class Accounts:
    """One account per pod: its last announced spending or, at its end, its final spending.

    Attributes:
        closed: accounts of ended pods.
        repeated: most LM calls whose answers were lost with pods.
    """

    closed: set[str] = field(default_factory=set)
    repeated: int = 0
    _spent: dict[str, Spending] = field(default_factory=dict)
    _sums: Counter[str] = field(default_factory=Counter)

    def book(self, booked: Booked) -> None:
        """Books a pod's spending. Final spending replaces announced spending."""
        if booked.final:
            if booked.account not in self.closed:
                self._set(booked.account, booked.spent)
                self.repeated += booked.repeated
            self.closed.add(booked.account)
        elif booked.account not in self.closed:
            self._set(booked.account, self._spent.get(booked.account, Spending()) | booked.spent)

    def has_closed(self, stem: str) -> bool:
        """Whether an account is closed whose name is `stem`, or begins with it and a dash."""
        return stem in self.closed or any(account.startswith(f"{stem}-") for account in self.closed)

    @property
    def total(self) -> Spending:
        """The sum of all accounts."""
        return Spending(**{name: min(MOST, figure) for name, figure in self._sums.items()})

    def _set(self, account: str, spent: Spending) -> None:
        # The sums are exact, whatever pods have printed: a sum capped earlier could fall below the truth.
        self._sums.update(spent.model_dump())
        self._sums.subtract(self._spent.get(account, Spending()).model_dump())
        self._spent[account] = spent


def repeated(commit: Commit | None, kept: Iterable[Usage], threads: int) -> int:
    """Most LM calls that a process paid for and whose answers were lost with it. They may be made again.

    Args:
        commit: its commit record. None: it left none, so that each thread may have had one unprinted answer.
        kept: the usage of the results and calls that it printed.
    """
    if commit is None:
        return threads
    return max(0, commit.spent.calls - sum(usage.calls for usage in kept)) if commit.spent else 0


def least(kept: Usage, unprinted: int = 0) -> Spending:
    """What a process spent at least, whatever it reported.

    Args:
        kept: the usage of the results and calls that it printed.
        unprinted: most calls whose answers it did not print, if it does not announce its spending.
    """
    tokens = min(MOST, kept.prompt_tokens + kept.completion_tokens)
    return Spending(calls=min(MOST, kept.calls + unprinted), tokens=tokens)
