"""What keeps a run from going on, and how long the run waits until somebody removes it.

Such an obstacle is a name that is taken, a missing input, or pods that do not start.
"""

from datetime import datetime, timedelta
from typing import Final

from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide import limits, wording
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.moves import Move, release
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import ClaimName, KeepAssignment, StartJob
from swarm_operator.compilation.model.pods import Job
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.world import World
from swarm_wire.words import sentence

START_PATIENCE: Final = 120.0
"""Seconds that a pod may take to start before the status mentions this pod."""


def start(s: Situation, finding: Finding, *actions: KeepAssignment | StartJob) -> Move:
    """Creates a Job. If an obstacle keeps the run from going on, reports the obstacle instead."""
    # A pod that mounts a missing object would hang silently, so the inputs must exist. A run that cannot write its
    # artifact must not spend anything. So the operator claims the artifact's name before it creates the first Job.
    claim = () if s.world.artifact or s.artifact_name is None else (ClaimName(s.artifact_name),)
    go = Move(finding, (*release(s.world.harvest.settled), *claim, *actions), s.settings.gather_interval)
    runs_code = any(ROLES[action.role].runs_code for action in actions if isinstance(action, StartJob))
    return foreign_artifact(s) or (missing_input(s) if runs_code else None) or go


def foreign_artifact(s: Situation) -> Move | None:
    found, ours = s.world.artifact, s.world.compilation.key.uid
    if found is None or (found.owner_uid == ours and not found.foreign):
        return None
    which = "whose data somebody edited" if found.owner_uid == ours else "which is not this Compilation's"
    return wait(
        s,
        Reason.ARTIFACT_CONFLICT,
        f"the artifact goes to ConfigMap {found.name!r}, {which}: it is not overwritten. Delete it, or give another "
        "name in spec.artifact.configMap.name.",
    )


def missing_input(s: Situation) -> Move | None:
    for name, wanted in sorted(s.world.run.spec.needed_config_maps().items() if s.world.run else ()):
        there = s.world.inputs.get(name)
        if there is None:
            return wait(
                s,
                Reason.MISSING_CONFIG_MAP,
                f"the spec names ConfigMap {name!r}, and there is none in namespace "
                f"{s.world.compilation.key.namespace!r}. Create it, or correct the name.",
            )
        if lacking := sorted(wanted - there):
            return wait(
                s,
                Reason.MISSING_CONFIG_MAP_KEY,
                f"the spec names key {lacking[0]!r} of ConfigMap {name!r}, which has: "
                f"{', '.join(sorted(there))[:500] or 'no keys'}. Add it, or correct the key.",
            )
    return None


def blocked(s: Situation, job: Job) -> Move | None:
    """Reports why a Job has no running pod, if none of its pods can start.

    The Job's own status reports no such cause.
    """
    pods = [pod for pod in s.pods if pod.job_uid == job.uid and not pod.ended]
    if any(pod.has_begun and pod.trouble is None for pod in pods):
        return None
    if job.suspended:
        left = limits.time_left(s)
        # The time of a run that only publishes may be over already.
        wake_up = left if left is None or left > 0 else s.settings.gather_interval
        return Move(wording.queued(job), release(s.world.harvest.settled), wake_up)
    # limits.pendingSeconds, if set, replaces the deadline of the settings. It counts from a pod's creation.
    given = limits.current(s).pending_seconds
    began = min((pod.created_at for pod in pods), default=job.created_at)
    since = None if given is None else began
    for pod in pods:
        if pod.trouble is not None:
            message = f"pod {pod.name!r} cannot start: {sentence(pod.trouble.message)}"
            return wait(s, pod.trouble.reason, message, since)
    patience = START_PATIENCE if given is None else min(given, START_PATIENCE)
    if pods and (s.now - began).total_seconds() >= patience:
        # Perhaps the image is large, or a volume cannot be mounted. Only the pod's events say which of these it is.
        message = (
            f"pod {pods[0].name!r} has been starting since {reports.timestamp(began)}: kubectl describe pod says why."
        )
        return wait(s, Reason.POD_CANNOT_START, message, since)
    if not pods and job.uid in s.world.rejections:
        message = f"no pod of Job {job.name!r} is admitted: {sentence(s.world.rejections[job.uid])}"
        return wait(s, Reason.PODS_REJECTED, message, since)
    return None


def wait(s: Situation, reason: Reason, message: str, since: datetime | None = None) -> Move:
    """Reports the reason for which the run waits. If the reason lasts until its deadline, the Compilation is Stalled.

    Even then the run goes on when the reason is gone: its Jobs stay, and each later pass looks again. The deadline
    counts from `since`. Without `since`, it counts from the moment when a pass first saw the reason.
    """
    given = limits.current(s).pending_seconds
    limit = s.settings.pending_deadline if given is None else given
    since = since or first_seen(s.world, reason, s.now)
    end = since + timedelta(seconds=limit)
    left = (end - s.now).total_seconds()
    says = f"{message} The run goes on as soon as that changes."
    if left <= 0:
        stuck = Finding(
            State.STUCK, reason, f"{says} It has not for {limit:g} s. {wording.new_run(s)}", waiting_since=since
        )
        return Move(stuck, release(s.world.harvest.settled), s.settings.resync_interval)
    says += f" If it has not by {reports.timestamp(end)}, the Compilation is Stalled."
    waits = Finding(State.RUNNING, reason, says, waiting_since=since)
    return Move(waits, release(s.world.harvest.settled), min(left, s.settings.gather_interval))


def first_seen(world: World, reason: Reason, now: datetime) -> datetime:
    """Returns since when this reason has held up the run, according to the status."""
    status = world.compilation.status
    if status.waiting is None or (status.waiting.reason, status.run_id) != (reason, world.compilation.run_id):
        return now
    return min(now, datetime.fromisoformat(status.waiting.since))
