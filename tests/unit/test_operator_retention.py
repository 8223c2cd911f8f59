"""The operator decides by size which journals of earlier runs it uses, and which shards it merges and deletes."""

from dataclasses import replace
from typing import Any

import pytest

from support.worlds import ARTIFACT, cell, compiled, planned, shard
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.retention import FEW, MOST_EARLIER, MOST_MERGED, crowded, reusable, superfluous
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import MapRef
from swarm_operator.settings import MEBIBYTE
from swarm_wire.messages import PlanOutcome
from swarm_wire.shards import SHARD_BYTES
from swarm_wire.spending import Booked, Spending, Usage

RESULTS = ObjectKind.RESULTS


def refs(run: str, count: int, size: int) -> list[MapRef]:
    return [MapRef(f"{run}-{number}", "u", run, "results", 0, size) for number in range(count)]


@pytest.mark.parametrize(
    ("maps", "used"),
    [
        (refs("a", 1, 10) + refs("b", 1, 10), ["a", "b"]),
        (refs("b", 1, 10), ["b"]),
        ([], []),
        # The newest run is used whatever its size, since paying for all its results again is worse.
        (refs("b", 65, MEBIBYTE), ["b"]),
        (refs("b", MOST_EARLIER + 1, 4096), ["b"]),
        ([*refs("a", 65, MEBIBYTE), MapRef("b", "u", "b", "run", 0)], ["a"]),
        (refs("a", 40, MEBIBYTE) + refs("b", 40, MEBIBYTE), ["b"]),
        (refs("a", 300, 10) + refs("b", 300, 10), ["b"]),
        # The operator believes the size in an annotation, even a wrong one.
        (refs("a", 1, 10**12) + refs("b", 1, 10), ["a", "b"]),
        (refs("a", 40, 0) + refs("b", 40, 0), ["b"]),
    ],
)
def test_the_operator_uses_the_newest_earlier_run_and_as_many_older_runs_as_fit(
    maps: list[MapRef], used: list[str]
) -> None:
    assert reusable(("a", "b"), maps, 64 * MEBIBYTE) == used


def small(count: int, round_: int = 0, size: int = 100, attempt: int = 0) -> list[Shard]:
    return [
        shard(RESULTS, round_, attempt, number, size=size, results={cell(round_, number): Usage(calls=1)})
        for number in range(count)
    ]


def ends(rounds: int) -> list[Shard]:
    """Returns the shards with the plans of so many rounds."""
    return [replace(found, size=100) for round_ in range(rounds) for found in planned(round_) if found.kind is RESULTS]


def test_the_sizes_of_a_config_map_and_of_a_pass_limit_a_merge() -> None:
    assert crowded(small(FEW)) == ()
    assert crowded(small(FEW + 1)) == tuple(small(FEW + 1))
    assert len(crowded(small(300))) == MOST_MERGED
    assert len(crowded(small(30, size=SHARD_BYTES // 3))) == 3
    assert len(crowded(small(30, size=SHARD_BYTES // 2))) == 2
    assert crowded(small(30, size=SHARD_BYTES // 2 + 1)) == (), "they are large"


def test_rounds_whose_results_no_pod_needs_any_more_are_merged_together() -> None:
    journal = [*ends(FEW), *small(FEW, FEW - 3), *small(FEW, FEW - 2), *small(FEW, FEW - 1), *small(FEW, FEW)]
    found = crowded(journal)
    assert {shard.round for shard in found} == set(range(FEW - 2))
    assert len(found) == FEW - 2 + FEW
    assert crowded([shard for shard in journal if shard not in found]) == ()


def test_a_round_that_a_limit_cut_short_is_not_merged_with_others_even_if_the_run_ends_several_times() -> None:
    ended = [
        replace(found, plans=tuple(end.model_copy(update={"outcome": PlanOutcome.PARTIAL}) for end in found.plans))
        for found in ends(9)[3:]
    ]
    journal = [*ends(3), *ended, *small(FEW, 0), *small(FEW, 1), *small(FEW, 2)]
    assert {shard.round for shard in crowded(journal)} <= {0}


def test_merging_comes_to_an_end_and_loses_no_record() -> None:
    """Shards come one by one, as in a run. The operator merges them when there are too many."""
    shards: list[Shard] = []
    most = 0
    for number, one in enumerate(small(600, size=4000)):
        shards.append(replace(one, round=number // 60))
        shards += ends(10)[number // 60 : number // 60 + 1] if number % 60 == 0 else []
        while crowd := crowded(shards):
            whole = replace(
                shard(RESULTS, max(found.round for found in crowd), 0, 10_000 + number),
                size=sum(found.size for found in crowd),
                results={key: usage for found in crowd for key, usage in found.results.items()},
                plans=tuple(end for found in crowd for end in found.plans),
            )
            assert sorted(found.key for found in superfluous([*shards, whole])) == sorted(f.key for f in crowd)
            shards = [found for found in shards if found not in crowd] + [whole]
        most = max(most, len(shards))
    journal = Journal(shards)
    assert (len(journal.keys), len(journal.plans)) == (600, 10)
    assert most < 4 * FEW


BOOKED = Booked(account="work-0-1-0", spent=Spending(calls=3), final=True)


@pytest.mark.parametrize(
    "said",
    [
        {"results": {cell(0, 7): Usage(calls=1)}},
        {"calls": {"c": Usage(calls=1)}},
        {"booked": (BOOKED,)},
        {"plans": compiled(0).plans},
        {"artifact": ARTIFACT},
        {"bound": True},
    ],
    ids=lambda said: next(iter(said)),
)
def test_a_shard_is_deleted_only_if_a_larger_shard_holds_all_of_it(said: dict[str, Any]) -> None:
    one = shard(RESULTS, 0, size=100, **said)
    nothing, other = shard(RESULTS, 0, 0, 1, size=900), shard(RESULTS, 0, 0, 2, size=900, **said)
    assert one not in superfluous([one, nothing])
    assert superfluous([one, other]) == [one]
    assert superfluous([one]) == []
