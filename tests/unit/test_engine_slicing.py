"""The engine deals the missing cells of a round into slices, one for each pod."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.wire import digest, task
from swarm_engine.slicing import MAX_SLICES, UNEVEN, missing_cells, slice_cells
from swarm_wire.messages import SliceRef, Task

Slices = list[list[SliceRef]]


def dealt(slices: Slices) -> list[tuple[str, int]]:
    return [(ref.task, position) for part in slices for ref in part for position in ref.cells]


def sizes(slices: Slices) -> list[int]:
    return [sum(len(ref.cells) for ref in part) for part in slices]


def weights(slices: Slices, tasks: list[Task]) -> list[int]:
    weight = {task.digest: task.weight for task in tasks}
    return [sum(weight[ref.task] * len(ref.cells) for ref in part) for part in slices]


def pods_of_groups(slices: Slices, tasks: list[Task]) -> dict[str | None, set[int]]:
    """Returns for each group the numbers of the slices that have its cells."""
    cells = {task.digest: task.cells for task in tasks}
    found: dict[str | None, set[int]] = {}
    for number, part in enumerate(slices):
        for ref in part:
            for position in ref.cells:
                found.setdefault(cells[ref.task][position].group, set()).add(number)
    return found


@st.composite
def rounds(draw: st.DrawFn, grouped: bool = False) -> list[Task]:
    made = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        # Tasks may share cells, since two waves may evaluate the same program on the same data.
        first = draw(st.sampled_from([None, 0, 3]))
        weight = draw(st.sampled_from([1, 1, 8]))
        made.append(task(number, draw(st.integers(1, 60)), weight, first, grouped and draw(st.booleans())))
    return made


@settings(max_examples=300, deadline=None)
@given(
    st.booleans().flatmap(rounds),
    st.integers(1, 12),
    st.integers(1, 16),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_every_missing_cell_is_in_one_slice_and_slices_are_about_equal(
    tasks: list[Task], pods: int, threads: int, max_cells: int, attempt: int, attempts: int
) -> None:
    keys = {task.digest: [cell.key for cell in task.cells] for task in tasks}
    present = {cell.key for task in tasks for cell in task.cells[::3]}
    cells = missing_cells(tasks, present)
    slices = slice_cells(cells, pods=pods, threads=threads, max_cells=max_cells, attempt=attempt, attempts=attempts)
    found = [keys[digest][position] for digest, position in dealt(slices)]
    assert sorted(found) == sorted({key for of_task in keys.values() for key in of_task} - present)
    assert all(part and all(ref.cells for ref in part) for part in slices), "no pod without work"
    assert len(slices) <= MAX_SLICES
    assert max(sizes(slices), default=0) <= max(1, max_cells // 4 ** (attempt - 1))


@settings(max_examples=200, deadline=None)
@given(rounds(), st.integers(1, 12), st.integers(1, 16), st.integers(1, 40))
def test_cells_without_a_group_are_spread_evenly_over_slices(
    tasks: list[Task], pods: int, threads: int, max_cells: int
) -> None:
    slices = slice_cells(missing_cells(tasks, ()), pods=pods, threads=threads, max_cells=max_cells)
    by_weight = weights(slices, tasks)
    assert max(by_weight) - min(by_weight) <= max(task.weight for task in tasks)


@settings(max_examples=300, deadline=None)
@given(rounds(grouped=True), st.integers(1, 12), st.integers(1, 16))
def test_cells_of_a_group_stay_together_if_slices_remain_about_equal(
    tasks: list[Task], pods: int, threads: int
) -> None:
    cells = missing_cells(tasks, ())
    slices = slice_cells(cells, pods=pods, threads=threads, max_cells=1000)
    by_weight = weights(slices, tasks)
    of_group: dict[str | None, int] = {}
    for asked, position in cells:
        group = asked.cells[position].group
        of_group[group] = of_group.get(group, 0) + asked.weight
    wanted, heaviest = min(pods, -(-sum(by_weight) // threads), len(cells)), max(task.weight for task in tasks)
    average = sum(by_weight) / wanted
    assert max(by_weight) <= max((1 + UNEVEN) * average, average + heaviest)
    assert heaviest > 1 or len(slices) >= wanted / (1 + UNEVEN), "pods are busy"
    for group, found in pods_of_groups(slices, tasks).items():
        assert group is None or len(found) == 1 or of_group[group] > UNEVEN * average


@pytest.mark.parametrize(
    ("candidates", "examples", "pods", "threads", "max_cells", "slices", "cut"),
    [
        # RandomSearch makes a group for each example, with a cell for each candidate.
        (19, 60, 8, 8, 200, 8, 0),
        (48, 100, 8, 8, 200, 30, 0),
        (47, 100, 4, 16, 2000, 4, 0),
        (16, 16, 8, 8, 200, 8, 0),
        # There are more pods than groups, so some groups are divided. Otherwise half of the pods would be idle.
        (50, 10, 8, 8, 200, 8, 2),
        (50, 3, 8, 8, 200, 8, 3),
        # A group is larger than the largest slice.
        (300, 2, 1, 8, 200, 4, 2),
        # With one candidate, each group is a single cell.
        (1, 100, 8, 8, 200, 8, 0),
    ],
)
def test_cells_of_a_group_stay_together_only_if_no_pod_becomes_idle(
    candidates: int, examples: int, pods: int, threads: int, max_cells: int, slices: int, cut: int
) -> None:
    tasks = [task(number + 1, examples, grouped=True) for number in range(candidates)]
    made = slice_cells(missing_cells(tasks, ()), pods=pods, threads=threads, max_cells=max_cells)
    assert (len(made), sum(len(found) > 1 for found in pods_of_groups(made, tasks).values())) == (slices, cut)


def test_one_pod_gets_all_cells_that_fit_into_one_slice_also_if_they_have_groups() -> None:
    """After two pods whose allowances were too small, one pod gets what is left. Two pods would be refused for ever."""
    tasks = [task(1, 8, grouped=True), task(2, 8, grouped=True)]
    made = slice_cells(missing_cells(tasks, {}), pods=1, threads=4, max_cells=16)
    assert sizes(made) == [16]


def test_slices_of_the_last_attempt_may_divide_groups() -> None:
    tasks = [task(1, 3, grouped=True), task(2, 3, grouped=True)]
    slices = slice_cells(missing_cells(tasks, ()), pods=2, threads=8, max_cells=200, attempt=3)
    assert sizes(slices) == [1] * 6


@pytest.mark.parametrize(
    ("cells", "pods", "threads", "max_cells", "attempt", "attempts", "expected"),
    [
        # There are as many pods as have work for all their threads.
        (1, 8, 8, 200, 1, 3, [1]),
        (8, 8, 8, 200, 1, 3, [8]),
        (9, 8, 8, 200, 1, 3, [5, 4]),
        (64, 8, 8, 200, 1, 3, [8] * 8),
        (100, 2, 8, 200, 1, 3, [50, 50]),
        # There are more slices than pods if a slice would be too large.
        (500, 2, 8, 200, 1, 3, [167, 167, 166]),
        # Slices of later attempts are smaller.
        (64, 8, 8, 200, 2, 3, [8] * 8),
        (16, 8, 8, 200, 2, 3, [2] * 8),
        (100, 2, 8, 40, 2, 3, [10] * 10),
        # In the last attempt, every cell has its own pod as far as 1000 pods allow.
        (5, 2, 8, 200, 3, 3, [1] * 5),
        (5, 2, 8, 200, 2, 2, [1] * 5),
        (5, 2, 8, 200, 4, 3, [1] * 5),
        (2500, 2, 8, 5000, 3, 3, [3] * 500 + [2] * 500),
        # If there is only one attempt, slices are as large as in a first attempt.
        (5, 2, 8, 200, 1, 1, [5]),
        # These rows have the least and the greatest values that the spec allows.
        (3, 1000, 256, 1, 1, 3, [1, 1, 1]),
        (3000, 1, 1, 1, 1, 3, [3] * 1000),
    ],
)
def test_numbers_of_pods_threads_and_attempts_determine_the_size_of_slices(
    cells: int, pods: int, threads: int, max_cells: int, attempt: int, attempts: int, expected: list[int]
) -> None:
    slices = slice_cells(
        missing_cells([task(1, cells)], ()),
        pods=pods,
        threads=threads,
        max_cells=max_cells,
        attempt=attempt,
        attempts=attempts,
    )
    assert sorted(sizes(slices), reverse=True) == expected


@pytest.mark.parametrize("attempts", [2, 3, 5, 10])
def test_slices_of_a_later_attempt_are_never_larger(attempts: int) -> None:
    cells = missing_cells([task(1, 900), task(2, 20, weight=8)], ())
    largest = [
        max(sizes(slice_cells(cells, pods=4, threads=8, max_cells=200, attempt=attempt, attempts=attempts)))
        for attempt in range(1, attempts + 1)
    ]
    assert largest == sorted(largest, reverse=True)
    assert largest[-1] == 1


def test_a_cell_that_belongs_to_two_tasks_is_in_only_one_slice() -> None:
    tasks = [task(1, 3, first_key=0), task(2, 4, first_key=1)]
    assert [(task.digest, position) for task, position in missing_cells(tasks, {digest(2)})] == [
        (digest(1), 0),
        (digest(1), 1),
        (digest(2), 2),
        (digest(2), 3),
    ]


def test_cells_with_great_weight_come_first_in_their_slices() -> None:
    tasks = [task(1, 2), task(2, 2, weight=8)]
    assert [task.weight for task, _ in missing_cells(tasks, ())] == [8, 8, 1, 1]
    slices = slice_cells(missing_cells(tasks, ()), pods=2, threads=8, max_cells=200)
    assert [part[0].task for part in slices] == [digest(2), digest(2)]


def test_a_round_without_missing_cells_has_no_slices() -> None:
    assert missing_cells([task(1, 1)], {task(1, 1).cells[0].key}) == []


@pytest.mark.parametrize(
    ("max_errors", "failed", "needed"),
    [(None, 9, 11), (3, 0, 20), (3, 2, 18), (3, 3, 0), (3, 9, 0), (1, 1, 0)],
    ids=str,
)
def test_a_round_with_too_many_failed_cells_needs_no_more_cells(
    max_errors: int | None, failed: int, needed: int
) -> None:
    tasks = [task(1, 10).model_copy(update={"max_errors": max_errors}), task(2, 10)]
    errors = {cell.key for cell in tasks[0].cells[:failed]}
    assert len(missing_cells(tasks, errors, errors)) == needed
    assert slice_cells([], pods=1, threads=1, max_cells=1) == []


def test_the_same_cells_always_lead_to_the_same_slices() -> None:
    cells = missing_cells([task(1, 50), task(2, 7, weight=8)], ())
    assert slice_cells(cells, pods=4, threads=4, max_cells=9) == slice_cells(cells, pods=4, threads=4, max_cells=9)
