"""Makes the StartJob actions: each says what a Job and its pods mount, may spend, and have in their environment."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.roles import ROLES, Folder, dealt_role
from swarm_operator.compilation.model.shards import Shard
from swarm_wire import names
from swarm_wire.messages import Assignment, Ending
from swarm_wire.rates import rate_limits
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Allowance

POD_SECONDS: Final = 24 * 3600
"""Longest life of a pod, which ends a pod that hangs in an import, in the data or in an optimizer.

A worker usually has less time, because its cells have a time limit. A pod that still works at its end loses its running
cells, as it does on any SIGTERM, and another pod goes on with them.
"""
START_SECONDS: Final = 1800
"""Seconds that a worker may take to pull its image, import the program and read the data.

Kubernetes counts the time for which a pod waits for its image. So this is longer than the time after which the
Compilation is Stalled.
"""
TRANSFER_SECONDS: Final = 3600
"""Longest life of a pod that fetches program or data, or publishes the artifact. It may wait for its image, too."""
PARTIAL_SECONDS: Final = 1800
"""Longest life of a plan that publishes the best program so far. It makes no LM call and takes minutes at most."""


def plan_job(
    s: Situation, attempt: int, allowance: Allowance, ending: Ending | None = None, runs_cells: bool = True
) -> StartJob:
    """Returns the Job for the next round's plan: one pod that replays the optimizer from the whole journal.

    Args:
        ending: the limit that ends the run, if one does. The plan then publishes the best program so far.
        runs_cells: whether the plan may run small waves itself.
    """
    # If a limit has ended a round early, the next plan first requests the tasks that this round has left.
    leftover = [] if ending else s.world.journal.leftover
    made = _job(s, ObjectKind.PLAN, s.planned, attempt, allowance, {Folder.TASKS: leftover} if leftover else {})
    if not runs_cells:
        made = replace(made, environment={names.ENV_SMALL_WAVE: "0"})
    if ending is not None:
        environment = {**made.environment, names.ENV_PARTIAL: ending.to_json()}
        made = replace(made, environment=environment, partial=ending.why, seconds=PARTIAL_SECONDS)
    return made


def work_job(s: Situation, assignment: Assignment, allowance: Allowance) -> StartJob:
    """Returns a Job with one pod per slice, of which `spec.swarm.pods` run at a time.

    A pod reuses the LM calls that are in the journal, and does not pay for them again.

    Args:
        allowance: what each pod may spend.
    """
    round_, slices = assignment.round, len(assignment.slices)
    tasks = s.world.journal.task_shards(round_)
    given = {Folder.TASKS: tasks, Folder.ASSIGNMENT: ()}
    made = _job(s, dealt_role(assignment), round_, assignment.attempt, allowance, given)
    spec = made.run.spec
    if assignment.trains:
        assert spec.finetune is not None, "a trainer belongs to a fine-tune"
        return replace(made, pods=slices, parallel=slices, seconds=START_SECONDS + spec.finetune.deadline_seconds)
    # The limiter may make a pod wait for any time, so the time limits of cells say nothing about the pod's life.
    seconds = POD_SECONDS if made.rates.models else _longest(spec, assignment, tasks)
    return replace(made, pods=slices, parallel=min(spec.swarm.pods, slices), seconds=seconds)


def transfer_job(
    s: Situation, role: ObjectKind, round_: int, attempt: int, artifact: str = "", sha256: str = ""
) -> StartJob:
    """Returns the Job with one pod that fetches or publishes. It makes no LM call.

    Args:
        artifact: name of the ConfigMap with the artifact to publish.
        sha256: digest of the artifact's program. The pod publishes no other one.
    """
    assert s.world.run is not None, "the run was opened"
    uses_git = ROLES[role].repository is not None
    return StartJob(
        role=role,
        run=s.world.run,
        round=round_,
        attempt=attempt,
        seconds=TRANSFER_SECONDS,
        mounts={},
        queue=s.world.compilation.queue,
        pull_policy=s.settings.image_pull_policy,
        image=s.settings.git_image if uses_git else "",
        artifact=artifact,
        environment={names.ENV_ARTIFACT_SHA256: sha256} if sha256 else {},
    )


def _job(
    s: Situation,
    role: ObjectKind,
    round_: int,
    attempt: int,
    allowance: Allowance,
    shards: Mapping[Folder, Sequence[Shard]],
) -> StartJob:
    """Returns a Job with one pod, and with everything that all Jobs of the run share."""
    world, compilation = s.world, s.world.compilation
    assert world.run is not None, "the run was opened"
    assert compilation.spec is not None, "its spec is valid"
    given = {Folder.JOURNAL: world.journal.of(ObjectKind.RESULTS), **shards}
    for folder, kind in ((Folder.SNAPSHOT, ObjectKind.FETCH), (Folder.DATA, ObjectKind.DOWNLOAD)):
        fetched = world.journal.fetched_shards(ROLES[kind].fetches)
        if fetched and folder in ROLES[role].mounts:
            given[folder] = fetched
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
        # The rates come from the current spec, since a change of limits does not begin a new run.
        rates=rate_limits(compilation.spec, compilation.key.namespace, compilation.key.name),
        limiter=s.settings.limiter,
        queue=compilation.queue,
        pull_policy=s.settings.image_pull_policy,
    )


def _longest(spec: CompilationSpec, assignment: Assignment, tasks: Sequence[Shard]) -> int:
    """Returns the seconds that a pod may take according to limits.cellSeconds.

    A thread may begin the last cell when all other cells are done, so this cell's time is added.
    """
    weights = {task.digest: task.weight for shard in tasks for task in shard.tasks}
    cells = [[weights.get(ref.task, 1) for ref in slice_ for _ in ref.cells] for slice_ in assignment.slices]
    turns = max(ceil(sum(each) / spec.swarm.threads_per_pod) + max(each) for each in cells)
    return min(POD_SECONDS, START_SECONDS + turns * spec.limits.cell_seconds)
