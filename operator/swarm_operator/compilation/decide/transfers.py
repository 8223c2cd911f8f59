"""Rules of Jobs that fetch program and data before the first plan, and of the Job that publishes the artifact."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from swarm_operator.compilation.api import AnyReason, ObjectKind, Reason
from swarm_operator.compilation.decide import attempts, wording
from swarm_operator.compilation.decide.attempts import LONGEST_RETRY_DELAY, backoff
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.moves import Move, fail, release, under_way
from swarm_operator.compilation.decide.orders import transfer_job
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.waiting import blocked, start
from swarm_operator.compilation.model.actions import DropJob, StartJob
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import ROLES, destination, fetched
from swarm_operator.compilation.model.shards import Artifact
from swarm_operator.compilation.status import ArtifactStatus
from swarm_wire.names import WorkerReason
from swarm_wire.spec.git import GitDestination

ATTEMPTS: Final = 8
"""Number of attempts that may fail on their own before the Compilation is Stalled, which takes about 15 minutes."""
EXTRA: Final = 20
"""Number of further attempts, for pods that are evicted or deleted."""


def fetch(s: Situation) -> Move | None:
    """Fetches the program's files and data, once in a run. Then plans and workers need none of these credentials."""
    missing = {} if s.planned else unfetched(s)
    for role in (ObjectKind.FETCH, ObjectKind.DOWNLOAD):
        if wanted := {of: url for of, url in missing.items() if of in ROLES[role].fetches}:
            return _job(s, role, wording.fetching(wanted), partial(transfer_job, s, role, 0))
    return None


def unfetched(s: Situation) -> dict[str, str]:
    """Returns the URLs of what the run must fetch and does not have, by the values of `Snapshot.of`."""
    wanted = fetched(s.world.run.spec) if s.world.run else {}
    return {of: url for of, url in wanted.items() if of not in s.world.journal.snapshots}


def publish(s: Situation, artifact: Artifact, published: ArtifactStatus) -> Move | None:
    """Publishes to git the artifact that is in its ConfigMap; returns None if it is there, or belongs in no repository.

    Args:
        published: what the status says about the artifact.
    """
    there = published.config_map
    assert there is not None, "the artifact is in its ConfigMap"
    if (wanted := is_unpublished(s, artifact)) is None:
        return None
    message = f"the compiled program is in ConfigMap {there.name!r}, and a pod publishes it to {wanted.url}."
    finding = Finding(State.RUNNING, Reason.PUBLISHING, message, published=published)
    return _job(
        s,
        ObjectKind.PUBLISH,
        finding,
        partial(transfer_job, s, ObjectKind.PUBLISH, s.planned, artifact=there.name, sha256=artifact.sha256),
    )


def is_unpublished(s: Situation, artifact: Artifact) -> GitDestination | None:
    """Returns the repository that the artifact belongs in and that does not have it; None if there is none."""
    run, pushed = s.world.run, s.world.journal.pushed
    is_there = pushed is not None and pushed.sha256 == artifact.sha256
    return None if run is None or is_there else destination(run.spec)


@dataclass(frozen=True)
class _Stuck:
    """Says that a Job's pods fail for a reason that may pass, and have failed for so long that the user must know.

    Attributes:
        oldest: Jobs of earlier attempts that are no longer needed to know this.
    """

    reason: WorkerReason
    message: str
    oldest: tuple[DropJob, ...]

    @classmethod
    def of(cls, jobs: Mapping[int, Job], pods: Sequence[Pod]) -> "_Stuck | None":
        failed = sorted((pod for pod in pods if attempts.ended(pod).on_its_own), key=lambda pod: pod.attempt)
        known = [pod for pod in failed if wording.worker_reason(pod) is not WorkerReason.WORKER_FAILED]
        if len(failed) < ATTEMPTS or not known:
            return None
        message = f"{wording.last_failure(known)} It is tried again every {LONGEST_RETRY_DELAY / 60:g} minutes."
        needed = {pod.job_uid for pod in failed[-ATTEMPTS:]}
        oldest = tuple(DropJob(job.name, job.uid) for number, job in sorted(jobs.items()) if job.uid not in needed)
        return cls(wording.worker_reason(known[-1]), message, oldest)


def _job(s: Situation, role: ObjectKind, finding: Finding, order: Callable[[int], StartJob]) -> Move:
    """Has one pod do its work. A pod that fails for a reason that may pass is tried again, from some time on slowly."""
    round_ = order(1).round
    jobs, pods = s.jobs_of(round_, role), s.pods_of(round_, role)
    last, stuck = max(jobs, default=0), _Stuck.of(jobs, pods)
    if stuck is not None:
        finding = replace(finding, state=State.STUCK, reason=stuck.reason, message=stuck.message)
    if last and not s.over(jobs[last]):
        return blocked(s, jobs[last]) or under_way(s, finding)
    if s.live(pods):
        return under_way(s, finding)
    strikes = sum(attempts.ended(pod).on_its_own for pod in pods)
    if stuck is None and (strikes >= ATTEMPTS or len(jobs) >= ATTEMPTS + EXTRA):
        why = f"{wording.last_failure(pods)} That did not change in {last} attempts."
        return fail(_reason(pods), f"{why} {wording.new_run(s)}")
    delay = backoff(s, strikes, pods, LONGEST_RETRY_DELAY if stuck else None)
    if delay:
        again = Finding(State.RUNNING, Reason.RETRYING, f"{wording.last_failure(pods)} It is tried again.")
        return Move(finding if stuck else again, release(s.world.harvest.settled), delay)
    move = start(s, finding, order(last + 1))
    starts = any(isinstance(action, StartJob) for action in move.actions)
    return replace(move, actions=(*move.actions, *stuck.oldest)) if stuck and starts else move


def _reason(pods: list[Pod]) -> AnyReason:
    """Returns the reason of the last attempt that has ended."""
    ended = [pod for pod in pods if pod.ended]
    return wording.worker_reason(max(ended, key=lambda pod: pod.attempt)) if ended else Reason.ATTEMPTS_EXHAUSTED
