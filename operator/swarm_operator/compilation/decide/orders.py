"""Orders for Jobs, with everything that the Jobs and their pods get. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Shard
from swarm_wire import names
from swarm_wire.messages import Assignment, Ending
from swarm_wire.rates import rate_limits
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Allowance

POD_SECONDS: Final = 24 * 3600
"""Longest life of a pod, in case it hangs in an import, in the data or in an optimizer. Workers have less, because
their cells have a time limit. A pod that still works loses its running cells, as on any SIGTERM; another goes on."""
START_SECONDS: Final = 600
"""What a worker may take for the pull of its image, its imports and its data."""
PARTIAL_SECONDS: Final = 1800
"""Longest life of a plan for the best program so far. It makes no LM call, and its replay takes minutes at most."""


def plan_job(
    s: Situation, attempt: int, allowance: Allowance, ending: Ending | None = None, runs_cells: bool = True
) -> StartJob:
    """The next round's plan Job: one pod that replays the compile from the whole journal.

    Args:
        ending: set if a limit ends the run: the plan publishes the best program so far.
        runs_cells: it may run small waves itself.
    """
    # If a limit has cut a round short, the plan first requests the rest of that round's tasks.
    leftover = [] if ending else s.world.journal.leftover
    made = _job(s, ObjectKind.PLAN, s.planned, attempt, allowance, {Folder.TASKS: leftover} if leftover else {})
    if not runs_cells:
        made = replace(made, environment={names.ENV_SMALL_WAVE: "0"})
    if ending is not None:
        environment = {**made.environment, names.ENV_PARTIAL: ending.to_json()}
        made = replace(made, environment=environment, partial=ending.why, seconds=PARTIAL_SECONDS)
    return made


def work_job(s: Situation, assignment: Assignment, allowance: Allowance) -> StartJob:
    """One pod per slice, `spec.swarm.pods` of them at a time. They reuse LM calls in the journal without paying.

    Args:
        allowance: what each pod may spend.
    """
    round_, slices = assignment.round, len(assignment.slices)
    tasks = s.world.journal.task_shards(round_)
    given = {Folder.TASKS: tasks, Folder.ASSIGNMENT: ()}
    made = _job(s, ObjectKind.WORK, round_, assignment.attempt, allowance, given)
    spec = made.run.spec
    # How long the limiter makes a pod wait for a provider is unknown.
    seconds = POD_SECONDS if made.rates.models else _longest(spec, assignment, tasks)
    return replace(made, pods=slices, parallel=min(spec.swarm.pods, slices), seconds=seconds)


def _job(
    s: Situation,
    role: ObjectKind,
    round_: int,
    attempt: int,
    allowance: Allowance,
    shards: Mapping[Folder, Sequence[Shard]],
) -> StartJob:
    """A Job of one pod, with everything that all Jobs of the run share."""
    world, compilation = s.world, s.world.compilation
    assert world.run is not None, "the run was opened"
    assert compilation.spec is not None, "its spec is valid"
    given = {Folder.JOURNAL: world.journal.of(ObjectKind.RESULTS), **shards}
    if world.earlier_shards:
        given[Folder.EARLIER] = world.earlier_shards
    return StartJob(
        role=role,
        run=world.run,
        round=round_,
        attempt=attempt,
        seconds=POD_SECONDS,
        mounts={folder: tuple(mounted) for folder, mounted in given.items()},
        allowance=allowance,
        # From the current spec: a change of limits does not begin a new run.
        rates=rate_limits(compilation.spec, compilation.key.namespace, compilation.key.name),
        limiter=s.settings.limiter,
        queue=compilation.queue,
        pull_policy=s.settings.image_pull_policy,
    )


def _longest(spec: CompilationSpec, assignment: Assignment, tasks: Sequence[Shard]) -> int:
    """Seconds that a pod may take by limits.cellSeconds: a thread may begin the last cell when all others are done."""
    weights = {task.digest: task.weight for shard in tasks for task in shard.tasks}
    cells = [[weights.get(ref.task, 1) for ref in slice_ for _ in ref.cells] for slice_ in assignment.slices]
    turns = max(ceil(sum(each) / spec.swarm.threads_per_pod) + max(each) for each in cells)
    return min(POD_SECONDS, START_SECONDS + turns * spec.limits.cell_seconds)
