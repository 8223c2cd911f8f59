"""Answers questions about a World that several rules of `decide` ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from swarm_engine.slicing import has_failed
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import ROLES, Folder
from swarm_operator.compilation.model.world import World
from swarm_operator.settings import Settings
from swarm_wire.messages import Ending, PlanOutcome, Task
from swarm_wire.spec.swarm import Swarm


@dataclass(frozen=True)
class Situation:
    """The World of a pass, with facts derived from this World."""

    world: World
    now: datetime
    settings: Settings

    @cached_property
    def settled(self) -> State | None:
        """Returns how the run ended, if it is over. A run that a limit has ended goes on when its limits change."""
        compilation = self.world.compilation
        state = reports.settled(compilation.status, compilation.run_id)
        if state is None or compilation.spec is None or not reports.ended_by_limit(compilation.status):
            return state
        if self.live(self.pods):
            # These pods may still print results and spending, which the journal must have first.
            return None
        if not self.can_go_on:
            return state
        if self.partial is None:
            # The run has gone on, and the operator died before it wrote this to the status.
            return None
        limits = compilation.spec.limits
        best = self.world.journal.artifact
        wanted = state is State.PUBLISHED or not (limits.publish_partial and best and not best.report.refused)
        return state if self.partial.holds(limits) and wanted else None

    @property
    def can_go_on(self) -> bool:
        """Whether a run that a limit has ended still has its whole journal.

        The operator deletes a journal beginning with round 0. So a partly deleted journal lacks the first plans.
        """
        plans = self.world.journal.plans
        was_ended = any(plan.end.outcome is PlanOutcome.PARTIAL for plan in plans.values())
        return self.world.run is not None and was_ended and set(plans) == set(range(len(plans)))

    @property
    def partial(self) -> Ending | None:
        """Returns why the run has ended, if its last plan has published only the best program so far."""
        last = self.world.journal.plans.get(self.planned - 1)
        return last.end.ending if last and last.end.outcome is PlanOutcome.PARTIAL else None

    @property
    def artifact_name(self) -> str | None:
        """Returns the name of the ConfigMap for the run's artifact."""
        spec = self.world.run.spec if self.world.run else self.world.compilation.spec
        return spec.artifact_name(self.world.compilation.key.name) if spec else None

    @cached_property
    def pods(self) -> list[Pod]:
        """Returns the pods of this run."""
        return [pod for pod in self.world.pods if pod.run_id == self.world.compilation.run_id]

    @cached_property
    def jobs(self) -> list[Job]:
        """Returns the Jobs of this run."""
        return [job for job in self.world.jobs if job.run_id == self.world.compilation.run_id]

    @property
    def time_to_live(self) -> float | None:
        """Returns the seconds until the journal of a run that is over may be deleted; None if the journal is kept."""
        spec, status = self.world.compilation.spec, self.world.compilation.status
        if spec is None or spec.ttl_seconds_after_finished is None or not self.settled or not status.completion_time:
            return None
        end = datetime.fromisoformat(status.completion_time) + timedelta(seconds=spec.ttl_seconds_after_finished)
        return (end - self.now).total_seconds()

    @property
    def journal_bytes(self) -> int:
        """Returns the size of the run's shards."""
        return sum(shard.size for shard in self.world.journal.shards)

    @property
    def planned(self) -> int:
        """Returns the number of rounds whose plan is in the journal."""
        return len(self.world.journal.plans)

    @cached_property
    def tasks(self) -> list[Task] | None:
        """Returns the tasks of the last planned round."""
        return self.world.journal.tasks(self.planned - 1)

    @cached_property
    def missing(self) -> list[tuple[Task, int]]:
        """Returns the cells without results of the last planned round."""
        return self.world.journal.missing(self.planned - 1)

    @property
    def is_cut_short(self) -> bool:
        """Whether a failed task has ended the last planned round, while some of its cells may still run."""
        return any(has_failed(task, self.world.journal.failed) for task in self.tasks or ())

    @property
    def swarm(self) -> Swarm:
        return self.world.run.spec.swarm if self.world.run else Swarm()

    def pods_of(self, round_: int, *kinds: ObjectKind) -> list[Pod]:
        return [pod for pod in self.pods if pod.kind in kinds and pod.round == round_]

    def jobs_of(self, round_: int, *kinds: ObjectKind) -> dict[int, Job]:
        """Returns the Jobs of a round, by attempt. The attempts at its cells are counted over all job roles."""
        return {job.attempt: job for job in self.jobs if job.kind in kinds and job.round == round_}

    def live(self, pods: Iterable[Pod]) -> list[Pod]:
        """Returns the pods that may still print records."""
        settled = {pod.uid for pod in self.world.harvest.settled}
        return [
            pod
            for pod in pods
            if not pod.lost(self.now, self.settings.lost_after)
            and (not pod.ended or (pod.held and pod.uid not in settled))
        ]

    def stale(self, job: Job) -> bool:
        """Whether a Job is useless, for one of two reasons.

        Somebody has deleted or altered a shard that the Job's pods mount, so they cannot start. Or somebody has
        suspended the Job after it had finished some work. When resumed, it would pay for this work again.
        """
        live, journal = self.live(pod for pod in self.pods if pod.job_uid == job.uid), self.world.journal
        if any(pod.has_begun for pod in live):
            return False
        if not job.needed <= {shard.name for shard in journal.shards} | self.world.superfluous:
            return True
        if Folder.JOURNAL not in ROLES[job.kind].mounts:
            return False
        is_unfinished = any(shard.name not in job.mounted for shard in journal.of(ObjectKind.RESULTS))
        return job.suspended and not live and is_unfinished

    def over(self, job: Job) -> bool:
        """Whether the pods of a Job will print no more.

        Kubernetes may report a Job's end late, so this method looks at the Job's pods, too.
        """
        pods = [pod for pod in self.pods if pod.job_uid == job.uid]
        if self.live(pods):
            return False
        return job.finished or self.stale(job) or len({pod.index for pod in pods}) >= job.completions
