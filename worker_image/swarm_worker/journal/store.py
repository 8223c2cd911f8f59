"""The journals that a plan or worker reads: that of its run, and those of the Compilation's earlier runs.

The name of an LM call covers all that the answer depends on, so an answer counts in every run. The key of a cell does
not cover all that the result depends on (see `user.binding`). So a cell's result counts only in runs with the same
binding. If the result is an error of an earlier run, the cell runs again: the error's cause may be gone. The journal
then answers the cell's LM calls.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from swarm_wire.messages import Result
from swarm_wire.report import Reused
from swarm_wire.shards import read_folder
from swarm_worker.content.packages import packages
from swarm_worker.journal.body_store import Bodies
from swarm_worker.journal.run_journal import Journal


@dataclass
class Store(Journal):
    """The journal of this run, completed by those of earlier runs.

    Attributes:
        earlier: journals of earlier runs, the newest first.
        kept: paths of state that may change, as the first plan's rehearsal has shown. None if there was no rehearsal.
    """

    earlier: list[Journal] = field(default_factory=list)
    kept: list[str] | None = None
    _equal: list[Journal] = field(default_factory=list)
    """The earlier journals with the run's binding."""

    def bind(self, binding: str) -> None:
        """Sets the run's binding: from now on, results of earlier runs with the same binding count."""
        self._equal = [run for run in self.earlier if run.bound and run.bound.binding == binding]

    def __contains__(self, key: str) -> bool:
        return super().__contains__(key) or self._earlier(key) is not None

    def result(self, key: str) -> Result:
        run = self._earlier(key)
        return super().result(key) if run is None else run.result(key)

    def body(self, key: str) -> bytes:
        run = self._earlier(key)
        return super().body(key) if run is None else run.body(key)

    def answer(self, key: str, *, is_sample: bool = False) -> bytes | None:
        """Returns the answer to an LM call; None if no journal has one.

        Args:
            is_sample: whether the call is uncached, so equal calls have different answers. Then earlier runs count only
                with the same binding.
        """
        if (own := super().answer(key)) is not None:
            return own
        runs = self._equal if is_sample else self.earlier
        return next((found for run in runs if (found := run.answer(key)) is not None), None)

    def is_reused(self, key: str) -> bool:
        """Whether an earlier run paid for the answer to an LM call."""
        return super().answer(key) is None and self.answer(key) is not None

    def reused(self, used: Collection[str]) -> Reused:
        """Counts the cells and LM calls that earlier runs have paid for, among those with the used keys."""
        cells = {key: run for key in used if (run := self._earlier(key)) is not None}
        results = [self.result(key) for key in used if key in self]
        # Calls of plans, and of cells that ran again.
        calls = {key for key in used if key not in self and self.is_reused(key)}
        calls.update(key for result in results for key in result.reused)
        paid = 0
        for run in self.earlier:
            of_cells, named = run.paid({key for key, owner in cells.items() if owner is run})
            paid += of_cells
            calls -= named
        return Reused(cells=len(cells), calls=paid + len(calls))

    def was_known(self, key: str) -> bool:
        """Whether this run has paid for no LM call of a cell, since earlier runs have asked all of them."""
        if self._earlier(key) is not None:
            return True
        if key not in self:
            return False
        result = self.result(key)
        return result.usage.calls == 0 and bool(result.reused)

    def calls_by_cell(self) -> Counter[str]:
        """Returns the number of LM calls of each cell that has a result.

        The result is of this run, or of an earlier run with the same binding.
        """
        calls = super().calls_by_cell()
        for run in self._equal:
            calls |= Counter({key: count for key, count in run.calls_by_cell().items() if key not in calls})
        return calls

    def _earlier(self, key: str) -> Journal | None:
        """Returns the earlier run whose result counts. None if this run has a result, or no run has one."""
        if super().__contains__(key):
            return None
        return next((run for run in self._equal if run.is_good(key)), None)


def read_earlier(folder: Path, bodies: Bodies | None) -> dict[str, Journal]:
    """Returns the journals of earlier runs by run id, the newest first.

    Each journal is a folder named NUMBER-ID. The oldest has number 0.

    A journal made with other packages counts as empty, because this process may not be able to unpickle it.
    """
    runs = sorted((path for path in folder.glob("*") if path.is_dir() and path.name[0] != "."), reverse=True)
    found = {run.name.partition("-")[2]: Journal.of(read_folder(run, growing=True), bodies) for run in runs}
    return {
        name: run if run.bound and run.bound.packages == packages() else Journal(bodies) for name, run in found.items()
    }
