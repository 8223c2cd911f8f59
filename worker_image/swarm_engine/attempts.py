"""Says how the processes of an attempt ended, and which cells are to blame."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from swarm_wire.messages import Assignment, Outcome, Result, SliceRef, Task
from swarm_wire.records import Record, RecordKind

EXTRA_ATTEMPTS: Final = 10
"""Attempts that disruptions may use up in addition to spec.swarm.maxAttempts.

Without this bound, a run may never end.
"""
MOST_POISONED: Final = 0.1
"""If a larger share of a round's cells than this end their processes, the examples are not to blame."""


@dataclass(frozen=True)
class Ended:
    """How a pod, or a process of the local driver, ended.

    Attributes:
        on_its_own: this end uses up an attempt of the plan, or of each cell that the pod leaves without a result.
        by_cell: how the pod ended, if its cells may have ended it; otherwise "".
        refused: the pod's allowance was too small for another LM call.
        done: the pod has finished all its cells, or has looked at those whose result comes later.
    """

    on_its_own: bool = False
    by_cell: str = ""
    refused: bool = False
    done: bool = False


@dataclass(frozen=True)
class Attempt:
    """An attempt at the missing cells of a round.

    Attributes:
        strikes: key of a cell -> number of earlier attempts that ended on their own without a result for this cell.
        ends: index of a slice -> how its process ended. A running process has no entry.
    """

    assignment: Assignment
    strikes: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[int, Ended] = field(default_factory=dict)

    def keys(self, tasks: Iterable[Task]) -> list[list[str]]:
        """Returns the keys of the cells of each slice."""
        return slice_keys(tasks, self.assignment.slices)

    def strikes_after(
        self, tasks: Iterable[Task], present: Mapping[str, object], pending: Collection[str] = ()
    ) -> dict[str, int]:
        """Returns the strikes of the missing cells.

        Each cell whose process ended on its own has one strike more than before. A cell that waits has none after a
        process has looked at it, because a run may look at it for days.
        """
        strikes = dict(self.strikes)
        for index, keys in enumerate(self.keys(tasks)):
            for key in keys if index in self.ends else ():
                if self.ends[index].done and key in pending:
                    strikes.pop(key, None)
                elif self.ends[index].on_its_own:
                    strikes[key] = strikes.get(key, 0) + 1
        return {key: count for key, count in strikes.items() if key not in present}

    @property
    def was_refused(self) -> bool:
        return any(end.refused for end in self.ends.values())


def isolated(slices: Sequence[Sequence[str]], ends: Mapping[int, str], cells: int, missing: int) -> dict[str, str]:
    """Returns each cell that was alone in a process and ended it, with how the process ended.

    After the last attempt, such a cell counts as an error of the program, like an exception. But if no cell of the
    round has a result, or if there are too many such cells, the machine or the image may be at fault. Then this
    returns no cells.

    Args:
        slices: keys of the cells of the last attempt, by slice.
        ends: index of a slice -> how its process ended, only for processes that their cells may have ended.
        cells: number of the round's cells.
        missing: number of the round's cells without a result.
    """
    found = {keys[0]: ends[index] for index, keys in enumerate(slices) if len(keys) == 1 and index in ends}
    return found if missing < cells and len(found) <= max(1, cells * MOST_POISONED) else {}


def slice_keys(tasks: Iterable[Task], slices: Iterable[Iterable[SliceRef]]) -> list[list[str]]:
    """Returns the keys of the cells of each slice."""
    by_digest = {task.digest: task for task in tasks}
    return [
        [
            by_digest[ref.task].cells[position].key
            for ref in slice_
            if ref.task in by_digest
            for position in ref.cells
            if 0 <= position < len(by_digest[ref.task].cells)
        ]
        for slice_ in slices
    ]


def process_ended(key: str, how: str) -> Record:
    """Returns the result of a cell that ended its processes.

    It has no body, and the optimizer gets an exception for it.
    """
    error = f"this example ended every process that ran it: {how}"[:500]
    return Record(RecordKind.RESULT, Result(key=key, outcome=Outcome.ERROR, error=error).to_header())
