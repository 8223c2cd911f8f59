"""Scouts report effects to the plan, which decides which effects join the round."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tqdm

from support.wire import digest
from swarm_worker.lookahead import scouts
from swarm_worker.lookahead.placeholder import EXTREMES, LIKELY, Outlook
from swarm_worker.lookahead.scouts import Scout, Sighting, look


def agreed(
    script: Callable[[Scout], object],
    known: frozenset[int] = frozenset(),
    outlooks: Sequence[Outlook] = EXTREMES,
    **options: Any,
) -> list[int]:
    """Returns the numbers of the tasks that join the round. Each scout runs the script."""
    found: list[int] = []
    names = {digest(number) for number in known}
    scout = look(names, lambda _, number: found.append(number), outlooks, **options)
    if scout is not None:
        try:
            script(scout)
        finally:
            os._exit(0)
    return found


def test_a_plan_that_cannot_fork_continues_without_scouts(monkeypatch: pytest.MonkeyPatch) -> None:
    stock, forks = os.fork, 0

    def fork() -> int:
        nonlocal forks
        forks += 1
        if forks > 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return stock()

    monkeypatch.setattr(os, "fork", fork)
    assert agreed(lambda scout: sight(scout, 1)) == []
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def sight(scout: Scout, number: int, *, unresolved: bool = False, kind: str = "wave") -> bool:
    scout.report(Sighting(kind, digest(number), unresolved), lambda: number)
    return True


def differing(scout: Scout, one: int, other: int) -> bool:
    return sight(scout, one if scout.letter == "A" else other)


def die(scout: Scout, role: str) -> bool:
    if scout.letter == role:
        os.kill(os.getpid(), 9)
    return False


SCRIPTS: list[tuple[str, Callable[[Scout], object], list[int]]] = [
    ("both want the same", lambda it: [sight(it, number) for number in (1, 2, 3)], [1, 2, 3]),
    ("both end", lambda it: None, []),
    ("one disagreement is skipped", lambda it: [sight(it, 1), differing(it, 2, 3), sight(it, 4)], [1, 4]),
    ("two in a row end it", lambda it: [differing(it, 2, 3), differing(it, 4, 5), sight(it, 6)], []),
    (
        "disagreements apart are skipped",
        lambda it: [differing(it, 1, 2), sight(it, 3), differing(it, 4, 5), sight(it, 6)],
        [3, 6],
    ),
    ("unresolved is not asked for", lambda it: [sight(it, 1, unresolved=True), sight(it, 2)], [2]),
    (
        "unresolved for one alone ends it",
        lambda it: [sight(it, 1, unresolved=it.letter == "A"), sight(it, 2)],
        [],
    ),
    ("another kind ends it", lambda it: [sight(it, 1, kind=it.letter), sight(it, 2)], []),
    ("the same twice is asked for once", lambda it: [sight(it, 1), sight(it, 1), sight(it, 2)], [1, 2]),
    ("the first scout dies", lambda it: [sight(it, 1), die(it, "A"), sight(it, 2)], [1]),
    ("the second scout dies", lambda it: [sight(it, 1), die(it, "B"), sight(it, 2)], [1]),
    ("one ends before the other", lambda it: [sight(it, 1), it.letter == "A" or sight(it, 2)], [1]),
    ("a scout raises", lambda it: [sight(it, 1), 1 / 0], [1]),
]


@pytest.mark.parametrize(("case", "script", "expected"), SCRIPTS, ids=[row[0] for row in SCRIPTS])
def test_effects_that_all_scouts_need_join_a_round(
    case: str, script: Callable[[Scout], object], expected: list[int]
) -> None:
    assert agreed(script) == expected


@pytest.mark.parametrize("kind", ["new", "of a pool", "of a pool that was there", "a progress bar's"])
def test_a_scout_ends_before_it_starts_a_thread(kind: str) -> None:
    with ThreadPoolExecutor(1) as before:
        before.submit(int).result()

        def script(it: Scout) -> None:
            sight(it, 1)
            match kind:
                case "new":
                    threading.Thread(target=sight, args=(it, 2), daemon=True).start()
                case "of a pool":
                    ThreadPoolExecutor(4).submit(sight, it, 2)
                case "of a pool that was there":
                    before.submit(sight, it, 2).result()
                case _:
                    list(tqdm.tqdm(range(2)))
            sight(it, 3)

        assert agreed(script) == ([1, 3] if kind == "a progress bar's" else [1])


def test_the_plan_hears_of_a_known_effect_when_all_scouts_have_reached_it() -> None:
    met: list[str] = []
    agreed(
        lambda it: [sight(it, 1), sight(it, 2), sight(it, 1), differing(it, 2, 1), sight(it, 3)],
        frozenset({1, 2}),
        met=lambda sighting: met.append(sighting.digest),
    )
    assert met == [digest(1), digest(2), digest(1)]


def by_letter(scout: Scout, *numbers: int) -> bool:
    """Lets each of the likely scouts need another effect."""
    return sight(scout, numbers["CDEF".index(scout.letter)])


def ends(scout: Scout, letters: str) -> bool:
    if scout.letter in letters:
        scout.end()
    return False


QUORUM: list[tuple[str, Callable[[Scout], object], int, list[int]]] = [
    ("all", lambda it: by_letter(it, 1, 1, 1, 1), 2, [1]),
    ("the first and another", lambda it: by_letter(it, 1, 2, 3, 1), 2, [1]),
    ("the first alone", lambda it: [by_letter(it, 1, 2, 3, 4), sight(it, 5)], 2, [5]),
    ("the first alone, twice", lambda it: [by_letter(it, 1, 2, 2, 2), by_letter(it, 1, 2, 2, 2), sight(it, 5)], 2, []),
    ("all but the first", lambda it: [by_letter(it, 1, 2, 2, 2), sight(it, 5)], 2, [5]),
    ("too few", lambda it: [by_letter(it, 1, 1, 2, 3), sight(it, 5)], 3, [5]),
    ("two came to an end", lambda it: [sight(it, 1), ends(it, "DF"), sight(it, 2)], 2, [1, 2]),
    ("three came to an end", lambda it: [sight(it, 1), ends(it, "DEF"), sight(it, 2)], 2, [1]),
    ("the first came to an end", lambda it: [sight(it, 1), ends(it, "C"), sight(it, 2)], 2, [1]),
    ("two died", lambda it: [sight(it, 1), die(it, "D"), die(it, "E"), sight(it, 2)], 2, [1, 2]),
]


@pytest.mark.parametrize(("case", "script", "quorum", "expected"), QUORUM, ids=[row[0] for row in QUORUM])
def test_effects_that_enough_scouts_need_join_a_round(
    case: str, script: Callable[[Scout], object], quorum: int, expected: list[int]
) -> None:
    assert agreed(script, outlooks=LIKELY[:4], quorum=quorum) == expected


@pytest.mark.parametrize(("limit", "expected"), [(1, [0]), (3, [0, 1, 2]), (9, [0, 1, 2, 3])], ids=str)
def test_a_round_takes_no_more_effects_than_its_limit(limit: int, expected: list[int]) -> None:
    assert agreed(lambda it: [sight(it, number) for number in range(4)], limit=limit) == expected


def test_effects_that_the_plan_does_not_choose_stay_out_of_the_round_and_end_no_scout() -> None:
    asked: list[tuple[str, int]] = []

    def odd(sighting: Sighting) -> bool:
        asked.append((sighting.digest, sighting.cells))
        return sighting.digest in map(digest, (1, 3, 7))

    def script(it: Scout) -> None:
        for number in (1, 2, 4):
            it.report(Sighting("wave", digest(number), False, 10 * number), lambda number=number: number)  # type: ignore[misc]
        by_letter(it, 3, 3, 3, 5)
        sight(it, 6, unresolved=True)
        sight(it, 7)

    assert agreed(script, frozenset({4}), outlooks=LIKELY[:4], quorum=2, choice=odd) == [1, 3, 7]
    assert asked == [(digest(number), cells) for number, cells in ((1, 10), (2, 20), (3, 0), (7, 0))]


def test_effects_in_the_round_are_not_requested_again() -> None:
    assert agreed(lambda it: [sight(it, 1), sight(it, 2)], frozenset({1})) == [2]


def test_the_number_of_effects_in_a_round_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouts, "BUDGET", 5)
    assert agreed(lambda it: [sight(it, number) for number in range(100)]) == [0, 1, 2, 3, 4]


def test_the_plan_gives_up_a_silent_scout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouts, "PATIENCE_SECONDS", 0.1)
    assert agreed(lambda it: [sight(it, 1), it.letter == "A" or threading.Event().wait(), sight(it, 2)]) == [1]


def test_all_scouts_end_with_their_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, pids = os.fork, list[int]()

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", noted)
    assert agreed(lambda it: [sight(it, 1), differing(it, 2, 3), differing(it, 2, 3), threading.Event().wait()]) == [1]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_plan_forks_no_scouts_from_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look, set(), print, EXTREMES).result() is None
