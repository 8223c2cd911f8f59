"""How the processes of an attempt ended, and which cells are to blame."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from swarm_wire.messages import Assignment, Outcome, Result, SliceRef, Task
from swarm_wire.records import Record, RecordKind

EXTRA_ATTEMPTS: Final = 10
"""Attempts that disruptions may use up in addition to spec.swarm.maxAttempts, so that no run retries forever."""
MOST_POISONED: Final = 0.1
"""Share of a round's cells. If more cells than this end their processes, the cause is not the examples."""


@dataclass(frozen=True)
class Ended:
    """How a pod, or a process of the local driver, ended.

    Attributes:
        on_its_own: this end uses up an attempt of the plan, or of each cell that it leaves without a result.
        by_cell: how it ended, if its cells may have ended it; otherwise "".
        refused: its allowance did not cover another LM call.
    """

    on_its_own: bool = False
    by_cell: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Attempt:
    """An attempt at the missing cells of a round.

    Attributes:
        strikes: cell key -> how many earlier attempts ended on their own without a result for this cell.
        ends: index of a slice -> how its process ended, without running processes.
    """

    assignment: Assignment
    strikes: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[int, Ended] = field(default_factory=dict)

    def keys(self, tasks: Iterable[Task]) -> list[list[str]]:
        """Keys of the cells of each slice."""
        return slice_keys(tasks, self.assignment.slices)

    def strikes_after(self, tasks: Iterable[Task], present: Mapping[str, object]) -> dict[str, int]:
        """The strikes of the missing cells, one more for each cell whose process ended on its own."""
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
    """Key of a cell that ended its process and was alone in it -> how the process ended.

    After the last attempt, such a cell counts as an error of the program, like an exception. The machine or the image
    may be at fault if no cell of the round has a result, or if there are too many such cells: then there are none.

    Args:
        slices: cell keys of the last attempt.
        ends: index -> how a process ended that its cells have ended.
        cells: number of the round's cells.
        missing: how many of them have no result.
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
    """The result of a cell that ended its processes. It has no body; the optimizer sees an exception."""
    error = f"this example ended every process that ran it: {how}"[:500]
    return Record(RecordKind.RESULT, Result(key=key, outcome=Outcome.ERROR, error=error).to_header())
