"""Rules of a run that goes on: plan, scatter and gather, round by round."""

from collections.abc import Iterable

from swarm_engine.steps import CellsFailed, Exhausted, Wait, Work, next_plan, next_work
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide import attempts, limits, retention, wording
from swarm_operator.compilation.decide.attempts import backoff, open_round
from swarm_operator.compilation.decide.moves import Move, fail, release, under_way
from swarm_operator.compilation.decide.orders import plan_job, work_job
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.waiting import blocked, start
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import Action, KeepAssignment, KeepRecords, OpenRun
from swarm_operator.compilation.model.roles import DEALT, fetched
from swarm_operator.compilation.model.world import NewPlan, PublishedProgram
from swarm_wire.messages import RunRequest
from swarm_wire.names import TERMINAL_EXITS, ExitCode


def harvest(s: Situation) -> Move | None:
    """Writes to the journal what pods have printed. The next pass decides from the journal."""
    found, run_id = s.world.harvest, s.world.compilation.run_id
    kept: list[Action] = [
        KeepRecords(run_id, ObjectKind.RESULTS, round_, 0, records) for round_, records in sorted(found.results.items())
    ]
    kept += [KeepRecords(run_id, ObjectKind.SNAPSHOT, 0, 0, records) for _, records in sorted(found.snapshots.items())]
    for plan in found.plans:
        kept += keep_plan(run_id, plan)
    # The exit code of a pod may be the reason for which the run fails. Such a pod keeps its finalizer until the status
    # has this reason. If its Job is gone, Kubernetes deletes the pod as soon as the pod has no finalizer.
    read = [pod for pod in found.settled if pod.exit_code not in TERMINAL_EXITS]
    return Move(None, (*kept, *release(read)), wake_up=0) if kept else None


def unopened(s: Situation) -> Move | None:
    """Writes the RunRequest, once. The operator makes all Jobs of the run from this RunRequest."""
    if s.world.run is not None:
        return None
    compilation = s.world.compilation
    if object_names.run_map(compilation.key.name, compilation.run_id) in {found.name for found in s.world.maps}:
        return fail(
            Reason.JOURNAL_DAMAGED,
            f"the run's request was altered, or is of another release. {wording.new_run(s)}",
        )
    assert compilation.spec is not None, "it was found to be valid"
    # The run keeps the image with which it begins. If an administrator sets another image, only new runs use it.
    spec = compilation.spec.model_copy(update={"image": compilation.spec.image or s.settings.worker_image})
    published, why_not = published_program(s)
    artifact, _ = compilation.published(s.world.predecessor)
    not_inherited = s.world.predecessor.why_not if s.world.predecessor else None
    request = RunRequest(
        run_id=compilation.run_id,
        name=compilation.key.name,
        namespace=compilation.key.namespace,
        requested_at=compilation.requested_at,
        rerun_at=compilation.rerun_at,
        unpublished=why_not,
        inherited=list(s.world.predecessor.runs) if s.world.predecessor else [],
        not_inherited=not_inherited,
        published_by=artifact.run_id if published and artifact else "",
        spec=spec,
    )
    finding = wording.fetching(fetched(spec)) if fetched(spec) else wording.planning(s)
    finding = wording.without_inheritance(wording.without_published(finding, why_not), not_inherited)
    return Move(finding, (OpenRun(request, published),), wake_up=0)


def published_program(s: Situation) -> tuple[PublishedProgram | None, str | None]:
    """Returns the published program if the run needs it, and why the run cannot use it.

    Both are None if the run needs none, or if no earlier run has published one.
    """
    compilation, found = s.world.compilation, s.world.published
    artifact, owner = compilation.published(s.world.predecessor)
    if compilation.spec is None or not compilation.spec.needs_published or artifact is None:
        return None, None
    if found is None:
        return None, "the ConfigMap of the published artifact is gone"
    place = found.place
    if place.owner_uid != owner:
        return None, f"ConfigMap {place.name!r} of the published artifact is not that of its Compilation"
    if place.foreign or not found.sha256 or found.sha256 != place.sha256:
        return None, f"somebody has edited ConfigMap {place.name!r} of the published artifact"
    return found, None


def crowded(s: Situation) -> Move | None:
    """Merges small shards.

    Every pod mounts its run's shards, so hundreds of shards make Jobs and lists of pods large.
    """
    merge = retention.compaction(s)
    return Move(actions=(merge,), wake_up=0) if merge else None


def scatter(s: Situation) -> Move | None:
    """Makes another attempt if the last planned round lacks results. The attempt has the missing cells only."""
    if not s.missing or s.world.run is None:
        return None
    round_ = open_round(s, s.world.run)
    last, pods = round_.last, s.pods_of(round_.number, *DEALT)
    number = last.assignment.attempt if last else 0
    job = s.jobs_of(round_.number, *DEALT).get(number)
    if last and job is None and not pods and round_.is_untouched(last):
        # The operator died before it created the attempt's Job, or somebody deleted the Job before it had any result.
        share = round_.left.shared(len(last.assignment.slices))
        return start(s, wording.scattering(s), work_job(s, last.assignment, share))
    if job is not None and not s.over(job):
        return blocked(s, job) or under_way(s, wording.scattering(s))
    if s.live(pods):
        return under_way(s, wording.scattering(s))

    ended = [pod for pod in pods if pod.attempt == number]
    match next_work(round_):
        case Wait(until, messages):
            delay, left = (until - s.now).total_seconds(), limits.time_left(s)
            delay = delay if left is None else min(delay, left)
            return Move(wording.waiting_for(messages, until), release(s.world.harvest.settled), delay)
        case CellsFailed(errors):
            kept = KeepRecords(s.world.run.id, ObjectKind.RESULTS, round_.number, 0, errors)
            return Move(wording.scattering(s), (kept,), wake_up=0)
        case Exhausted():
            return fail(
                Reason.ATTEMPTS_EXHAUSTED,
                f"{len(s.missing)} cells of round {round_.number} have no result after {number} attempts. "
                f"{wording.last_failure(ended)} Remove the cause. {wording.new_run(s)}",
            )
        case Work(assignment, strikes, allowance):
            if delay := backoff(s, round_.worst, ended):
                return Move(wording.retrying(s, number, ended), release(s.world.harvest.settled), delay)
            refused = last is not None and last.was_refused
            as_meant = refused or (ended and all(pod.exit_code == ExitCode.DONE for pod in ended))
            finding = wording.retrying(s, number, ended) if last and not as_meant else wording.scattering(s)
            return start(s, finding, KeepAssignment(assignment, strikes), work_job(s, assignment, allowance))


def plan(s: Situation) -> Move | None:
    """Plans the next round, since no round is open."""
    round_ = s.planned
    jobs, pods = s.jobs_of(round_, ObjectKind.PLAN), s.pods_of(round_, ObjectKind.PLAN)
    last = max(jobs, default=0)
    if last and not s.over(jobs[last]):
        return blocked(s, jobs[last]) or under_way(s, wording.planning(s))
    left = limits.left(s)
    # If the run has a limit, the plan waits for all pods, since the spending of a running pod is in no account yet. If
    # the run has no limit, the plan waits for workers whose cells it would request again. Such workers may run after a
    # failed task, or after somebody has deleted a plan's tasks or its PLAN record.
    first = round_ - (s.tasks is None or s.is_cut_short)
    if s.live(s.pods if left.is_limited else [pod for pod in s.pods if pod.round >= first]):
        return under_way(s, wording.planning(s))
    step = next_plan(s.swarm, [attempts.ended(pod) for pod in pods], last)
    if isinstance(step, Exhausted):
        return fail(
            Reason.ATTEMPTS_EXHAUSTED,
            f"the plan of round {round_} did not come to its end in {last} attempts. {wording.last_failure(pods)} "
            f"Remove the cause. {wording.new_run(s)}",
        )
    if delay := backoff(s, sum(pod.failed_on_its_own for pod in pods), pods):
        return Move(wording.retrying(s, last, pods), release(s.world.harvest.settled), delay)
    finding = wording.retrying(s, last, pods) if last else wording.planning(s)
    return start(s, finding, plan_job(s, step.attempt, left, runs_cells=step.runs_cells))


def keep_plan(run_id: str, new: NewPlan) -> Iterable[Action]:
    """Writes the closing PLAN record last, so that the journal has a plan either entirely or not at all."""
    if new.tasks:
        yield KeepRecords(run_id, ObjectKind.TASKS, new.round, new.attempt, new.tasks)
    yield KeepRecords(run_id, ObjectKind.RESULTS, new.round, new.attempt, new.closing)
