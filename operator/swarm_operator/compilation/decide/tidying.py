"""Finds the objects that can be deleted."""

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide import retention
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.moves import release
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import Action, DropJob, DropMap
from swarm_operator.compilation.model.roles import ROLES


def tidy(s: Situation) -> tuple[Action, ...]:
    """Returns actions that delete the objects on which no later decision depends."""
    if s.world.compilation.deleting:
        return ()
    current, last = s.world.compilation.run_id, s.planned - 1
    left = {shard.name for shard in s.world.journal.leftover}
    actions: list[Action] = []
    actions += release(pod for pod in s.world.pods if s.settled or pod.run_id != current)
    actions += release(pod for pod in s.pods if pod.lost(s.now, s.settings.lost_after))
    unread = {pod.job_uid for pod in s.pods if pod.ended and s.live([pod])}
    newest = max((attempt for round_, attempt in s.world.assignments if round_ == last), default=0)
    for job in s.world.jobs:
        is_complete = s.tasks is not None and not s.missing
        # A run that waits for a job outside of the cluster may make hundreds of attempts.
        is_past = not ROLES[job.kind].is_dealt or job.attempt < newest
        done = job.round < last or (job.round == last and (is_complete or is_past))
        if s.settled or job.run_id != current or (done and job.uid not in unread) or s.stale(job):
            actions.append(DropJob(job.name, job.uid))
    expired = s.time_to_live is not None and s.time_to_live <= 0
    # The journal of an older run stays until the new run has an artifact. It stays longer if a later run may use it.
    answered = s.settled is State.PUBLISHED and not reports.ended_by_limit(s.world.compilation.status)
    has_begun = s.world.run is not None or s.settled is not None
    kept, mounted = retention.kept(s, answered=answered), retention.mounted(s)
    for found in s.world.maps:
        if found.name in mounted:
            continue
        if found.kind == ObjectKind.ARTIFACT:
            # A ConfigMap without a run's label is empty, and only reserves the name of a later artifact.
            if not found.run_id and (s.settled in (State.FAILED, State.KEPT) or found.name != s.artifact_name):
                actions.append(DropMap(found.name, found.uid))
            continue
        passing = found.kind in (ObjectKind.TASKS, ObjectKind.ASSIGNMENT)
        if found.run_id == current:
            # The RunRequest is kept, because it has the run's spec. Without this spec, a change of the spec that needs
            # no new run would begin one.
            is_done = passing and found.name not in left and (s.settled is not None or found.round < last)
            gone = is_done or (expired and found.kind != ObjectKind.RUN)
        else:
            is_old = has_begun and (found.kind == ObjectKind.REFUSED or found.run_id not in kept)
            gone = expired or passing or is_old or found.kind == ObjectKind.SNAPSHOT
        if gone or found.name in s.world.superfluous:
            actions.append(DropMap(found.name, found.uid))
    return tuple(actions)
