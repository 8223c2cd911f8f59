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
    """Returns shards with one result each. No task has the cells of these results."""
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
        "a few small shards stay as they are",
        world(planned(0), small(0, FEW)),
        scatter(DEALT, planned(0), small(0, FEW)),
    ),
    Row(
        "too many small shards become one before a Job mounts them",
        world(planned(0), small(0, FEW + 1)),
        [MergeShards(in_order(small(0, FEW + 1)))],
        None,
    ),
    Row(
        "small shards go when the large one is seen, and nothing that is not in it",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), results(0, 99)),
        [
            *scatter(DEALT, planned(0), merged(0, FEW + 1), results(0, 99)),
            *gone(small(0, FEW + 1)),
        ],
    ),
    Row(
        "a run goes on with the large shard",
        world(planned(0), merged(0, FEW + 1)),
        scatter(DEALT, planned(0), merged(0, FEW + 1)),
    ),
    Row(
        "what a Job mounts stays for as long as a pod may start",
        world(
            planned(0),
            small(0, FEW + 1),
            jobs=(mounting := job(WORK, 0, mounted=frozenset(found.name for found in small(0, FEW + 1))),),
            pods=(pod(mounting),),
        ),
        [],
    ),
    Row(
        "what a Job mounts stays though a larger shard says it, too",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), jobs=(mounting,), pods=(pod(mounting),)),
        [],
    ),
    Row(
        "a Job whose shards are also in a larger one may start its pods",
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
        "what a Job of another run mounts stays",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, run_id="older"),), pods=(pod(mounting),)),
        [drop(WORK_0)],
    ),
    Row(
        "small shards that came since a Job began are merged meanwhile",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, mounted=frozenset()),), pods=(pod(mounting),)),
        [MergeShards(in_order(small(0, FEW + 1)))],
        None,
        wake_up=0,
    ),
    Row(
        "a pod that has not started and whose Job is gone may mount anything",
        world(planned(0), small(0, FEW + 1), pods=(pod(mounting, started=False),)),
        [],
    ),
    Row(
        "nothing is merged where a ConfigMap was altered: it may be the large one",
        world(planned(0), small(0, FEW + 1), maps=(MapRef("altered", "u", RUN_ID, "results", 0),)),
        scatter(DEALT, planned(0), small(0, FEW + 1)),
    ),
    Row(
        "of a run that is over nothing is merged",
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
        "what an earlier run left is merged before a Job mounts it",
        world(
            earlier=("older",),
            earlier_shards=OF_AN_EARLIER_RUN,
        ),
        [MergeShards(OF_AN_EARLIER_RUN)],
        None,
    ),
    Row(
        "a journal that is too large only while its shards are there twice goes on",
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
