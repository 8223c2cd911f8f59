"""Rules of a run that is over, is ending, or is suspended."""

from collections.abc import Collection

from swarm_engine.steps import Exhausted, next_plan
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide import attempts, limits, transfers, wording
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.moves import Move, end, fail, release, under_way
from swarm_operator.compilation.decide.orders import plan_job
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.waiting import blocked, foreign_artifact, start
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import ClaimName, DropJob, KeepRefused, Publish
from swarm_operator.compilation.model.shards import Artifact
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactGit, ArtifactStatus
from swarm_wire.messages import Ending
from swarm_wire.spending import NO_CALLS


def deletion(s: Situation) -> Move | None:
    """Releases the pods and deletes the Jobs of a Compilation that is being deleted.

    Kubernetes deletes a Compilation's objects with it. But the operator's finalizer would keep the pods. And the Jobs
    would go on spending while somebody else's finalizer keeps the Compilation.
    """
    jobs = (DropJob(job.name, job.uid) for job in s.world.jobs)
    return Move(actions=(*release(s.world.pods), *jobs)) if s.world.compilation.deleting else None


def end_of_run(s: Situation) -> Move | None:
    """Leaves a run that is over as it ended. If somebody has deleted its artifact, writes the artifact again."""
    if s.settled is None:
        return None
    compilation, artifact = s.world.compilation, s.world.journal.artifact
    if s.settled is State.PUBLISHED and s.world.run and artifact and compilation.lacks(s.world.artifact):
        return Move(actions=(publish(s, artifact),), wake_up=None if s.world.artifact else 0)
    if s.settled is State.KEPT and not is_published(s):
        return fail(Reason.GATE_NOT_PASSED, "the artifact of the earlier run is gone. " + wording.new_run(s))
    if compilation.status.observed_generation != compilation.generation:
        return Move(wording.again(s, s.settled))
    left = s.time_to_live
    if left is not None and left <= 0:
        return Move()
    return Move(wake_up=left)


def superseded(s: Situation) -> Move | None:
    """Ends the pods of the earlier run after a change of the spec. The new run begins when their results are kept."""
    if not s.world.compilation.superseded:
        return None
    return Move(wording.superseded(s, len(s.live(s.pods))), end(s, s.jobs), s.settings.gather_interval)


def suspended(s: Situation) -> Move | None:
    """Ends all pods of a suspended run, and keeps what they have finished.

    If the winner is known, the operator still writes its ConfigMap, which takes no pod.
    """
    spec, artifact = s.world.compilation.spec, winner(s)
    if spec is None or not spec.suspend:
        return None
    if artifact is not None and not (is_written(s, artifact) and transfers.is_unpublished(s, artifact)):
        return None
    ending = len(s.live(s.pods))
    wake_up = s.settings.gather_interval if s.jobs or ending else None
    return Move(wording.suspended(s, ending), end(s, s.jobs), wake_up)


def compiled(s: Situation) -> Move | None:
    """Publishes the artifact that the last plan has printed, and only then reports the run as published."""
    artifact, found = winner(s), s.world.artifact
    if artifact is None:
        return None
    if artifact.report.refused:
        return refused(s, artifact)
    if found is None or not is_written(s, artifact):
        message = "the program is compiled and is written to its ConfigMap now."
        written = Move(Finding(State.RUNNING, Reason.PUBLISHING, message), (publish(s, artifact),), wake_up=0)
        return foreign_artifact(s) or written
    score, run_id = artifact.report.scores.best, s.world.compilation.run_id
    there = ArtifactConfigMap(name=found.name)
    pushed = ArtifactGit.of(s.world.journal.pushed)
    published = ArtifactStatus(run_id=run_id, sha256=artifact.sha256, score=score, config_map=there, git=pushed)
    pushing = [job.uid for job in s.jobs if job.kind is ObjectKind.PUBLISH]
    if s.partial is not None and (waits := ending(s, s.partial.why, pushing)):
        return waits
    if pushes := transfers.publish(s, artifact, published.model_copy(update={"git": None})):
        return pushes
    if s.partial is not None:
        message = f"{s.partial.why}. {wording.best_so_far(artifact, wanted=True)}"
        return Move(Finding(State.PUBLISHED, Reason.PUBLISHED_PARTIAL, message, published=published), wake_up=0)
    message = f"the compiled program is in ConfigMap {found.name!r}{wording.committed(pushed)}"
    message += f"{wording.gain(artifact.report)}.{wording.failing(artifact.report)}"
    return Move(Finding(State.PUBLISHED, Reason.PUBLISHED, message, published=published), wake_up=0)


def refused(s: Situation, artifact: Artifact) -> Move:
    """The winner does not meet spec.gate. The operator writes it where people can look at it, and publishes nothing."""
    run, before = s.world.run, s.world.compilation.status.artifact
    assert run is not None, "its journal has the artifact"
    name = object_names.refused_map(run.key.name, run.id)
    if name not in {its.name for its in s.world.maps}:
        finding = Finding(
            State.RUNNING, Reason.PUBLISHING, "the winner does not meet spec.gate, and its report is written now."
        )
        return Move(finding, (KeepRefused(run, artifact),), wake_up=0)
    gate = run.spec.gate
    keeps = gate is not None and gate.on_failure == "keep"
    there = before.config_map if before and is_published(s) else None
    message = wording.refused(artifact, name, there.name if there else None)
    if keeps and there:
        return Move(Finding(State.KEPT, Reason.GATE_NOT_PASSED, message), wake_up=0)
    return fail(Reason.GATE_NOT_PASSED, message)


def is_written(s: Situation, artifact: Artifact) -> bool:
    """Whether the artifact's ConfigMap has this artifact of the run."""
    found, wanted = s.world.artifact, (s.world.compilation.run_id, artifact.sha256, artifact.report.partial or "")
    return found is not None and (found.run_id, found.sha256, found.partial) == wanted


def is_published(s: Situation) -> bool:
    """Whether the artifact that the status names is still in its ConfigMap."""
    artifact = s.world.compilation.status.artifact
    named = artifact and artifact.config_map and (artifact.config_map.name, artifact.run_id, ObjectKind.ARTIFACT)
    return named in {(found.name, found.run_id, found.kind) for found in s.world.maps}


def ended_by_limit(s: Situation) -> Move | None:
    """Fails a run that a limit has ended, if the spec does not ask for its best program."""
    if s.partial is None or not s.partial.holds(limits.current(s)):
        return None
    distills = s.world.run is not None and s.world.run.spec.distill is not None
    message = f"{s.partial.why}. {wording.best_so_far(s.world.journal.artifact, wanted=False, distills=distills)}"
    return ending(s, s.partial.why) or fail(Reason.LIMIT_REACHED, message)


def ending(s: Situation, why: str, spared: Collection[str] = ()) -> Move | None:
    """Ends the pods of a run. The run itself ends later, since the journal first takes the results of these pods.

    Args:
        spared: uids of Jobs that go on, since they find or publish the best program so far.
    """
    jobs = [job for job in s.jobs if not s.over(job) and job.uid not in spared]
    # A pod may still run although somebody has deleted its Job.
    if jobs or s.live(pod for pod in s.pods if pod.job_uid not in spared):
        return Move(wording.ending(why, waits=True), end(s, jobs), s.settings.gather_interval)
    return None


def limited(s: Situation) -> Move | None:
    """Ends the pods of a run that has reached a limit.

    A last plan, which spends nothing, prints the best program so far.
    """
    jobs = s.jobs_of(s.planned, ObjectKind.PLAN)
    last, partial = max(jobs, default=0), [job.uid for job in jobs.values() if job.is_partial]
    why = limits.reached(s)
    if last and jobs[last].is_partial and not s.over(jobs[last]):
        return _in_time(s, why, blocked(s, jobs[last])) or under_way(s, wording.planning(s))
    if why is None:
        return None
    if waits := ending(s, why, partial):
        return waits
    if not s.planned and transfers.unfetched(s):
        return fail(Reason.LIMIT_REACHED, f"{why}, before program and data were fetched. {wording.new_run(s)}")
    pods = [pod for pod in s.pods if pod.job_uid in partial]
    ends = [attempts.ended(pod) for pod in pods]
    if isinstance(next_plan(s.swarm, ends, len(partial)), Exhausted):
        return fail(
            Reason.ATTEMPTS_EXHAUSTED,
            f"{why}, and the plan for the best program by then did not come to its end. {wording.last_failure(pods)}",
        )
    last_plan = plan_job(s, last + 1, NO_CALLS, Ending(why=why, limits=limits.current(s)))
    return _in_time(s, why, start(s, wording.ending(why, waits=False), last_plan))


def _in_time(s: Situation, why: str | None, move: Move | None) -> Move | None:
    """Returns the Move, or fails a run that has reached a limit, and whose last plan waits for too long."""
    if move is None or move.finding is None or move.finding.state is not State.STUCK:
        return move
    return fail(Reason.LIMIT_REACHED, f"{why}. The last plan did not start: {move.finding.message}")


def winner(s: Situation) -> Artifact | None:
    """Returns the artifact to publish: the optimizer's winner, or the best program so far after a limit.

    It returns None if there is no artifact, or if the spec does not ask for the best program so far.
    """
    now = limits.current(s)
    found = s.world.journal.artifact
    if s.partial is None or found is None:
        return found
    return found if s.partial.holds(now) and now.publish_partial and not found.report.refused else None


def publish(s: Situation, artifact: Artifact) -> ClaimName | Publish:
    """Publishes the artifact. If somebody has deleted its ConfigMap, claims the name of the ConfigMap again first."""
    run, found = s.world.run, s.world.artifact
    assert run is not None, "its journal has the artifact"
    return Publish(run, artifact, found) if found else ClaimName(run.spec.artifact_name(run.key.name))
