"""The operator merges small shards of a journal. It deletes them once it has seen the merged shard."""

from dataclasses import replace

import pytest

from support.decisions import (
    DEALT,
    RESULTS,
    WORK,
    WORK_0,
    Row,
    drop,
    gone,
    scatter,
    settled,
)
from support.worlds import (
    RUN_ID,
    cell,
    compiled,
    job,
    planned,
    pod,
    published,
    results,
    shard,
    world,
)
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.retention import FEW
from swarm_operator.compilation.model.actions import MergeShards
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import MapRef
from swarm_wire.spending import Usage


def small(round_: int, count: int) -> list[Shard]:
    """Returns shards with one result each. The results are of cells that belong to no task."""
    return [
        shard(RESULTS, round_, 0, number, size=200, results={cell(900, number): Usage(calls=1)})
        for number in range(count)
    ]


def merged(round_: int, count: int) -> Shard:
    """Returns the shard into which the operator merges the shards of `small`."""
    found = {cell(900, number): Usage(calls=1) for number in range(count)}
    return shard(RESULTS, round_, 0, 1000, size=200 * count, results=found)


def in_order(shards: list[Shard]) -> tuple[Shard, ...]:
    return tuple(sorted(shards, key=lambda shard: shard.key))


OF_AN_EARLIER_RUN = tuple(replace(found, run_id="older") for found in small(0, FEW + 1))

MERGING = [
    Row(
        "a few small shards are not merged",
        world(planned(0), small(0, FEW)),
        scatter(DEALT, planned(0), small(0, FEW)),
    ),
    Row(
        "too many small shards are merged before a Job mounts them",
        world(planned(0), small(0, FEW + 1)),
        [MergeShards(in_order(small(0, FEW + 1)))],
        None,
    ),
    Row(
        "once the merged shard is seen, only the small shards that it contains are deleted",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), results(0, 99)),
        [
            *scatter(DEALT, planned(0), merged(0, FEW + 1), results(0, 99)),
            *gone(small(0, FEW + 1)),
        ],
    ),
    Row(
        "a run goes on with the merged shard",
        world(planned(0), merged(0, FEW + 1)),
        scatter(DEALT, planned(0), merged(0, FEW + 1)),
    ),
    Row(
        "shards that a Job mounts are not merged while a pod of the Job may start",
        world(
            planned(0),
            small(0, FEW + 1),
            jobs=(mounting := job(WORK, 0, mounted=frozenset(found.name for found in small(0, FEW + 1))),),
            pods=(pod(mounting),),
        ),
        [],
    ),
    Row(
        "shards that a Job mounts are kept although a merged shard contains them",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), jobs=(mounting,), pods=(pod(mounting),)),
        [],
    ),
    Row(
        "a Job whose shards are also in a merged shard may start its pods",
        world(
            planned(0),
            merged(0, FEW + 1),
            small(0, FEW + 1),
            jobs=(replace(mounting, needed=mounting.mounted),),
            pods=(pod(mounting, started=False),),
        ),
        [],
    ),
    Row(
        "shards that a Job of another run mounts are kept",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, run_id="older"),), pods=(pod(mounting),)),
        [drop(WORK_0)],
    ),
    Row(
        "small shards that a running Job does not mount are merged",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, mounted=frozenset()),), pods=(pod(mounting),)),
        [MergeShards(in_order(small(0, FEW + 1)))],
        None,
        wake_up=0,
    ),
    Row(
        "nothing is merged while a pod without a Job has not started, since it may mount any shard",
        world(planned(0), small(0, FEW + 1), pods=(pod(mounting, started=False),)),
        [],
    ),
    Row(
        "nothing is merged if a ConfigMap was altered, since it may be the merged shard",
        world(planned(0), small(0, FEW + 1), maps=(MapRef("altered", "u", RUN_ID, "results", 0),)),
        scatter(DEALT, planned(0), small(0, FEW + 1)),
    ),
    Row(
        "shards of a finished run are not merged",
        world(
            compiled(0),
            small(0, FEW + 1),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
        ),
        [],
        None,
    ),
    Row(
        "small shards of an earlier run are merged before a Job mounts them",
        world(
            earlier=("older",),
            earlier_shards=OF_AN_EARLIER_RUN,
        ),
        [MergeShards(OF_AN_EARLIER_RUN)],
        None,
    ),
    Row(
        "a run goes on if its journal is too large only because small and merged shards both exist",
        world(
            planned(0),
            large := replace(merged(0, FEW + 1), size=200 * (FEW + 1) * 10_000),
            [replace(found, size=200 * 10_000) for found in small(0, FEW + 1)],
        ),
        [*scatter(DEALT, planned(0), large), *gone(small(0, FEW + 1))],
    ),
]


@pytest.mark.parametrize("row", [*MERGING], ids=lambda row: row.name)
def test_the_operator_decides_which_shards_it_merges(row: Row) -> None:
    row.holds()
