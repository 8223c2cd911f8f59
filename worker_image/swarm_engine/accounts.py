"""Adds up what the pods of a run have spent."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm_wire.message_base import MOST
from swarm_wire.messages import Commit
from swarm_wire.spending import Booked, Spending, Usage


@dataclass
class Accounts:
    """Holds one account for each pod of a run.

    An account has the spending that the pod announced last or, after the pod's end, the pod's final spending.

    Attributes:
        closed: names of the accounts of ended pods.
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
        """Whether the account named `stem`, or an account whose name begins with `stem` and a dash, is closed."""
        return stem in self.closed or any(account.startswith(f"{stem}-") for account in self.closed)

    @property
    def total(self) -> Spending:
        """Returns the sum of all accounts."""
        return Spending(**{name: min(MOST, figure) for name, figure in self._sums.items()})

    def _set(self, account: str, spent: Spending) -> None:
        # Pods may have printed any figures, so the sums are not capped here. A capped sum would be too low after a
        # subtraction.
        self._sums.update(spent.model_dump())
        self._sums.subtract(self._spent.get(account, Spending()).model_dump())
        self._spent[account] = spent


def repeated(commit: Commit | None, kept: Iterable[Usage], threads: int) -> int:
    """Returns the most LM calls for which a process paid and whose answers were lost with it. They may be made again.

    Args:
        commit: the process's commit record. Without one, each thread may have had one answer that it did not print.
        kept: the usage of the results and calls that the process printed.
    """
    if commit is None:
        return threads
    return max(0, commit.spent.calls - sum(usage.calls for usage in kept)) if commit.spent else 0


def least(kept: Usage, unprinted: int = 0) -> Spending:
    """Returns the least that a process can have spent, whatever it reported.

    Args:
        kept: the usage of the results and calls that the process printed.
        unprinted: most calls whose answers the process did not print; 0 if the process announces its spending.
    """
    tokens = min(MOST, kept.prompt_tokens + kept.completion_tokens)
    return Spending(calls=min(MOST, kept.calls + unprinted), tokens=tokens)
