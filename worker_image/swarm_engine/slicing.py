"""Deals the cells of a round into slices, one slice for each pod of an Indexed Job."""

from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Final

from swarm_wire.messages import SliceRef, Task

MAX_SLICES: Final = 1000
"""Most indexes of one Job. If there are more cells than this, several cells share a pod even in the last attempt."""
UNEVEN: Final = 0.25
"""How much heavier than the average a slice may become so that the cells of a group stay in one slice.

If a group is cut, its pods may pay twice for LM calls that its cells share. If a slice is heavier, all other pods wait
for its pod.
"""


def has_failed(task: Task, failed: Collection[str]) -> bool:
    """Whether so many of a task's cells have failed that the other cells of the task are not needed."""
    return task.max_errors is not None and sum(cell.key in failed for cell in task.cells) >= task.max_errors


def missing_cells(
    tasks: Collection[Task], present: Collection[str], failed: Collection[str] = ()
) -> list[tuple[Task, int]]:
    """Returns every (task, position of a cell) that a round still needs. Cells with the same key are returned once.

    If a task has failed, the round needs no more cells, because the compile may end there. Only the next plan can tell.
    So tasks that may fail come first. Heavy tasks come next, so that no bootstrap starts when all other cells are
    finished.

    Args:
        present: keys of cells that have a result.
        failed: keys of the cells whose result is an error.
    """
    if any(has_failed(task, failed) for task in tasks):
        return []
    seen: set[str] = set()
    found: list[tuple[Task, int]] = []
    for task in sorted(tasks, key=lambda task: (task.max_errors is None, -task.weight)):
        for position, cell in enumerate(task.cells):
            if cell.key not in present and cell.key not in seen:
                seen.add(cell.key)
                found.append((task, position))
    return found


def slice_cells(
    cells: Sequence[tuple[Task, int]], *, pods: int, threads: int, max_cells: int, attempt: int = 1, attempts: int = 3
) -> list[list[SliceRef]]:
    """Deals cells into slices of about equal weight, one slice for each Job index.

    The first attempt uses as many pods as have work for `threads` threads each. Later attempts make smaller slices. The
    last attempt gives every cell a pod of its own (up to MAX_SLICES), so that a cell that kills its pod harms no other
    cell. In earlier attempts, cells of a group stay together as long as slices remain about equal.

    Args:
        cells: from `missing_cells`.
        pods: how many pods run at the same time.
        threads: how many cells one pod runs at the same time.
        max_cells: most cells of a slice.
        attempt: number of the attempt, counted from 1.
        attempts: number of all attempts.
    """
    if not cells:
        return []
    last = attempt > 1 and attempt >= attempts
    size = 1 if last else max(1, max_cells // 4 ** (attempt - 1))
    share = max(1, threads // 4 ** (attempt - 1))
    weight = sum(task.weight for task, _ in cells)
    groups = _groups(cells)
    spare = 1 + UNEVEN if len(groups) < len(cells) else 1
    by_size = 1 if size >= len(cells) else ceil(len(cells) * spare / size)
    count = max(by_size, min(pods, -(-weight // share)))
    count = min(count, len(cells), MAX_SLICES)

    dealt = _dealt(
        groups,
        [task.weight for task, _ in cells],
        slices=count,
        # If there are more cells than MAX_SLICES slices of this size hold, slices become larger.
        most=max(size, -(-len(cells) // count)),
        room=weight * spare / count,
    )
    return [_refs(cells, part) for part in dealt]


def _groups(cells: Sequence[tuple[Task, int]]) -> list[list[int]]:
    """Returns for each group the indexes of its cells in `cells`. A cell without a group is a group of its own."""
    groups: dict[str | int, list[int]] = {}
    for place, (task, position) in enumerate(cells):
        groups.setdefault(task.cells[position].group or place, []).append(place)
    return list(groups.values())


def _dealt(
    groups: Sequence[list[int]], weights: Sequence[int], *, slices: int, most: int, room: float
) -> list[list[int]]:
    """Returns the indexes of each slice's cells. The heaviest remaining group always goes to the lightest slice.

    If a group does not fit, the slice gets the cells that fit. The rest of the group is then treated as another group.

    Args:
        most: most cells of a slice.
        room: weight that a slice should not exceed.
    """
    waiting = [(-sum(weights[place] for place in group), group) for group in groups]
    heapify(waiting)
    open_ = [(0, number) for number in range(slices)]
    dealt: list[list[int]] = [[] for _ in range(slices)]
    while waiting:
        _, group = heappop(waiting)
        load, number = heappop(open_)
        part = dealt[number]
        taken = 0
        while taken < len(group) and len(part) < most and (not taken or load + weights[group[taken]] <= room):
            part.append(group[taken])
            load += weights[group[taken]]
            taken += 1
        if rest := group[taken:]:
            heappush(waiting, (-sum(weights[place] for place in rest), rest))
        if len(part) < most:
            heappush(open_, (load, number))
    return [sorted(part) for part in dealt if part]


def _refs(cells: Sequence[tuple[Task, int]], places: Iterable[int]) -> list[SliceRef]:
    """Returns the cells of a slice task by task, in the order of `missing_cells`."""
    positions: dict[str, list[int]] = {}
    for place in places:
        task, position = cells[place]
        positions.setdefault(task.digest, []).append(position)
    return [SliceRef(task=digest, cells=found) for digest, found in positions.items()]
