"""How the processes of an attempt ended, and which cells are to blame."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from swarm_wire.messages import Assignment, Outcome, Result, SliceRef, Task
from swarm_wire.records import Record, RecordKind

EXTRA_ATTEMPTS: Final = 10
"""Attempts that disruptions may cost on top of spec.swarm.maxAttempts: so that nothing goes round for ever."""
MOST_POISONED: Final = 0.1
"""Of a round's cells. If more end their processes, it is not the examples."""


@dataclass(frozen=True)
class Ended:
    """How a pod, or a process of the local driver, ended.

    Attributes:
        on_its_own: this end uses up an attempt: of each cell that it leaves without a result, or of the plan.
        by_cell: how it ended, where its cells may have ended it; "" otherwise.
        refused: it had an LM call to make that it was not allowed.
    """

    on_its_own: bool = False
    by_cell: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Attempt:
    """An attempt at the cells that a round lacks.

    Attributes:
        strikes: key of a cell -> how many attempts before this one ended on their own without a result for it.
        ends: of its processes, by the index of their slice; those that are under way are left out.
    """

    assignment: Assignment
    strikes: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[int, Ended] = field(default_factory=dict)

    def keys(self, tasks: Iterable[Task]) -> list[list[str]]:
        """Keys of the cells of each slice."""
        return slice_keys(tasks, self.assignment.slices)

    def strikes_after(self, tasks: Iterable[Task], present: Mapping[str, object]) -> dict[str, int]:
        """One strike more for each cell whose process ended on its own without a result for it."""
        strikes = dict(self.strikes)
        for index, keys in enumerate(self.keys(tasks)):
            if index in self.ends and self.ends[index].on_its_own:
                for key in keys:
                    strikes[key] = strikes.get(key, 0) + 1
        return {key: count for key, count in strikes.items() if key not in present}

    @property
    def was_refused(self) -> bool:
        return any(end.refused for end in self.ends.values())


def isolated(slices: Sequence[Sequence[str]], ends: Mapping[int, str], cells: int, missing: int) -> dict[str, str]:
    """Cells that ended their process with no other cell beside them -> how.

    After as many attempts as there are, such a cell is an error of the program, as an exception would be. Not where it
    may be the fault of the machine or the image: then no cell of the round has a result, or too many are like that.

    Args:
        slices: cell keys of the last attempt.
        ends: of its processes that were ended by what they ran.
        cells: of the round.
        missing: those among them that have no result.
    """
    found = {keys[0]: ends[index] for index, keys in enumerate(slices) if len(keys) == 1 and index in ends}
    return found if missing < cells and len(found) <= max(1, cells * MOST_POISONED) else {}


def slice_keys(tasks: Iterable[Task], slices: Iterable[Iterable[SliceRef]]) -> list[list[str]]:
    """Cell keys of each slice."""
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
    """The result of such a cell: without a body, which an optimizer sees as an exception."""
    error = f"this example ended every process that ran it: {how}"[:500]
    return Record(RecordKind.RESULT, Result(key=key, outcome=Outcome.ERROR, error=error).to_header())
