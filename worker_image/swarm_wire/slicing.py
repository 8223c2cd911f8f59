"""How the cells of a round are dealt to the pods of one Indexed Job."""

from collections.abc import Collection, Iterable, Sequence
from heapq import heappop, heappush

from swarm_wire.messages import SliceRef, Task

MAX_SLICES = 1000
"""Indexes of one Job; more cells than that share slices even on their last attempt."""


def missing_cells(tasks: Iterable[Task], present: Collection[str]) -> list[tuple[Task, int]]:
    """Every (task, cell position) without a result, each key once, heaviest tasks first.

    Heavy cells come first so that a bootstrap does not start when everything else is finished.
    """
    seen: set[str] = set()
    found: list[tuple[Task, int]] = []
    for task in sorted(tasks, key=lambda task: -task.weight):
        for position, cell in enumerate(task.cells):
            if cell.key not in present and cell.key not in seen:
                seen.add(cell.key)
                found.append((task, position))
    return found


def slice_cells(
    cells: Sequence[tuple[Task, int]], *, pods: int, threads: int, max_cells: int, attempt: int = 1, attempts: int = 3
) -> list[list[SliceRef]]:
    """Deals cells into slices of about equal weight, one slice for each Job index.

    The first attempt uses as many pods as there is work for `threads` threads each. Later attempts cut smaller, and
    the last one gives every cell a pod of its own (up to MAX_SLICES), so that a cell that kills its pod harms no other.

    Args:
        cells: from `missing_cells`.
        pods: how many pods run side by side.
        threads: cells that one pod runs at the same time.
        max_cells: most cells of a slice.
        attempt: 1 for the first.
        attempts: how many there are in all.
    """
    if not cells:
        return []
    if attempt > 1 and attempt >= attempts:
        count = len(cells)
    else:
        size = max(1, max_cells // 4 ** (attempt - 1))
        share = max(1, threads // 4 ** (attempt - 1))
        weight = sum(task.weight for task, _ in cells)
        count = max(-(-len(cells) // size), min(pods, -(-weight // share)))
    count = min(count, len(cells), MAX_SLICES)

    load = [(0, number) for number in range(count)]
    dealt: list[dict[str, list[int]]] = [{} for _ in range(count)]
    for task, position in cells:
        weight, lightest = heappop(load)
        heappush(load, (weight + task.weight, lightest))
        dealt[lightest].setdefault(task.digest, []).append(position)
    return [[SliceRef(task=digest, cells=positions) for digest, positions in part.items()] for part in dealt]
