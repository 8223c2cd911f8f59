"""Pods and Jobs as facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.model.roles import ROLES, Retried
from swarm_wire.messages import Commit
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.spending import UNLIMITED, Allowance

OVERDUE: Final = "DeadlineExceeded"
"""The reason that Kubernetes gives for the end of a pod that exceeded its activeDeadlineSeconds."""


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not start, according to the scheduler or the kubelet."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Pod:
    """A pod of one of the operator's Jobs.

    Its labels say which slice it computes; its output is not trusted to say that.

    Attributes:
        held: whether the pod has the operator's finalizer.
        started: whether the pod's container runs or has run. Only then there may be output.
        prepares: whether a container that comes before it runs or has run.
        ended: whether the pod has ended, so that it prints nothing more.
        deleted_at: when the grace period of a deleted pod ends; None if nobody has deleted the pod.
        disrupted: whether Kubernetes ended the pod for a reason outside of the pod.
        allowance: what the pod may spend.
        failure: how the container ended, for people.
        commit: the commit record that the pod left; None if it left none.
    """

    name: str
    uid: str
    run_id: str
    kind: ObjectKind
    round: int
    attempt: int
    index: int
    job: str
    job_uid: str
    created_at: datetime
    held: bool = False
    started: bool = False
    prepares: bool = False
    ended: bool = False
    deleted_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    disrupted: bool = False
    failure: str = ""
    commit: Commit | None = None
    allowance: Allowance = UNLIMITED
    trouble: Trouble | None = None

    @property
    def account(self) -> str:
        """Returns the name of the journal's account for this pod's spending."""
        return f"{_account(self, self.job_uid, self.index)}-{self.uid}"

    @property
    def has_begun(self) -> bool:
        """Whether any of the pod's containers runs or has run."""
        return self.started or self.prepares

    @property
    def failed_on_its_own(self) -> bool:
        """Whether the end of this pod uses up an attempt, of the plan or of the pod's cells.

        If a plan hangs, its end uses up an attempt, whatever its exit code is. A pod that never started, until its time
        was over, waited for something outside of it.
        """
        if not self.has_begun and self.failure.startswith(OVERDUE):
            return False
        hung = ROLES[self.kind].retried is Retried.JOB and self.failure.startswith(OVERDUE)
        interrupted = self.exit_code == ExitCode.INTERRUPTED and not hung
        return self.ended and not (self.disrupted or self.deleted_at or interrupted)

    @property
    def ended_by_cell(self) -> bool:
        """Whether the pod's cells may have ended it, by a signal (such as out of memory) or by taking too long."""
        if self.commit is not None:
            return self.commit.reason == WorkerReason.CELL_TIMEOUT
        return self.failed_on_its_own and self.exit_code is not None

    def lost(self, now: datetime, after: float) -> bool:
        """Whether the pod should have ended long ago, so its node or its kubelet is gone."""
        return not self.ended and self.deleted_at is not None and now > self.deleted_at + timedelta(seconds=after)


@dataclass(frozen=True)
class Job:
    """A Job of the operator.

    Attributes:
        is_partial: whether a limit has ended the run. The Job's plan then prints the best program so far.
        suspended: whether somebody has suspended the Job. Then it has no pods, or its pods are ending.
        mounted: names of shards that the Job's pods mount if the shards exist.
        needed: names of shards without which none of the Job's pods starts.
        allowance: what each of the Job's pods may spend.
    """

    name: str
    uid: str
    run_id: str
    kind: ObjectKind
    round: int
    attempt: int
    completions: int
    created_at: datetime
    is_partial: bool = False
    suspended: bool = False
    mounted: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    allowance: Allowance = UNLIMITED
    finished: bool = False
    """Whether the Job has ended, so that it starts no more pods. The Job controller may report this a minute late."""

    def account(self, index: int) -> str:
        """Returns the account of the pod with this index, while nobody knows the uid of that pod."""
        return _account(self, self.uid, index)


def _account(of: Pod | Job, job_uid: str, index: int) -> str:
    # A Job that somebody has created again has the same name and another uid.
    return f"{of.kind}-{of.round}-{of.attempt}-{index}-{job_uid}"
