"""What users see of the operator: the kind, its status, condition types, reasons, labels and annotations.

The spec's models are in `swarm_wire.spec`, because the pods read them too.
"""

from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from swarm_operator.cluster import resources
from swarm_operator.cluster.resources import Resource
from swarm_wire.names import WorkerReason
from swarm_wire.report import Failures
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import MICRO, Spending

GROUP: Final = "dspy-swarm.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "DSPyCompilation"
PLURAL: Final = "dspycompilations"
SINGULAR: Final = "dspycompilation"
SHORT_NAME: Final = "dspyc"
CATEGORY: Final = "dspy"
API_VERSION: Final = f"{GROUP}/{VERSION}"
COMPILATIONS: Final = Resource(API_VERSION, PLURAL)

FINALIZER: Final = f"{GROUP}/gather"
"""On our Jobs' pods, until their output is in the journal. Never on a Compilation."""

REQUESTED_AT: Final = f"{GROUP}/requested-at"
"""Annotation on a Compilation: a new value requests a new run of the same spec, which pays for everything again."""
RERUN_AT: Final = f"{GROUP}/rerun-at"
"""Like REQUESTED_AT, but the new run reuses paid results that are still valid. For a ConfigMap edited in place."""

LABEL_MANAGED_BY: Final = resources.LABEL_MANAGED_BY
LABEL_UID: Final = f"{GROUP}/compilation-uid"
LABEL_RUN: Final = f"{GROUP}/run"
LABEL_ROLE: Final = f"{GROUP}/role"
"""Of Jobs and pods: plan or work."""
LABEL_KIND: Final = f"{GROUP}/kind"
"""Of ConfigMaps: what they hold; see ObjectKind."""
LABEL_ROUND: Final = f"{GROUP}/round"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
ANNOTATION_COMPILATION: Final = f"{GROUP}/compilation"
"""Name of the Compilation; an annotation because names may be longer than labels."""
ANNOTATION_SHA256: Final = f"{GROUP}/sha256"
"""Of a shard's bytes; of the program file in the artifact."""
ANNOTATION_BYTES: Final = f"{GROUP}/bytes"
"""Of a shard: its size."""
ANNOTATION_ALLOWANCE: Final = f"{GROUP}/allowance"
"""Of Jobs and pods: what each pod may spend."""
ANNOTATION_PARTIAL: Final = f"{GROUP}/partial"
"""Of a plan Job: the limit that has ended the run; its plan publishes the best program so far."""
KUEUE_PREFIX: Final = "kueue.x-k8s.io/"
"""Prefix of a Compilation's labels (queue-name, priority-class) that its Jobs get, so that Kueue queues them."""
ANNOTATION_SCORE: Final = f"{GROUP}/score"


class ObjectKind(StrEnum):
    """Values of LABEL_ROLE (the first two) and LABEL_KIND."""

    PLAN = "plan"
    """Job and pods that plan a round."""
    WORK = "work"
    """Job and pods that run the slices of a round."""
    RUN = "run"
    """ConfigMap with the run's request."""
    RESULTS = "results"
    """ConfigMap with a journal shard: results, LM calls, ends of plans, the artifact's record."""
    TASKS = "tasks"
    """ConfigMap with a shard of one round's tasks and blobs."""
    ASSIGNMENT = "assignment"
    """ConfigMap with the assignment of slices to a Job's pods."""
    ARTIFACT = "artifact"
    """ConfigMap with the compiled program and its report."""


class ConditionType(StrEnum):
    """Types of conditions. At any time Ready is present, and at most one of Reconciling and Stalled."""

    READY = "Ready"
    """True: the artifact of this spec is published. Unknown: a run is under way. False: there is none."""
    RECONCILING = "Reconciling"
    """True while a run is under way, waits or retries; otherwise absent."""
    STALLED = "Stalled"
    """True when the run failed and waits for a person; otherwise absent."""
    SUCCEEDED = "Succeeded"
    """True: the run published its artifact. False: it failed. Unknown: it is under way."""


class Reason(StrEnum):
    """Why a condition is as it is: the same word in conditions, events and logs. `WorkerReason` has those of pods."""

    PLANNING = "Planning"
    """A plan pod replays the optimizer to find out what to compute next."""
    SCATTERING = "Scattering"
    """Worker pods compute the cells of a round."""
    RETRYING = "Retrying"
    """Pods ended without all of their results; another attempt computes the missing ones."""
    QUEUED = "Queued"
    """Somebody who queues Jobs, such as Kueue, has suspended a Job and must resume it."""
    SUPERSEDED = "Superseded"
    """A new run was requested. It waits until the earlier run's pods have ended, to keep what they paid for."""
    SUSPENDED = "Suspended"
    """spec.suspend is true: no pod runs, and what is finished is kept."""
    PUBLISHING = "Publishing"
    """The operator writes the winner to its ConfigMap."""
    PUBLISHED = "Published"
    """The artifact is in its ConfigMap."""
    PUBLISHED_PARTIAL = "PublishedPartial"
    """A limit has ended the run, and the best program so far is in the ConfigMap: spec.limits.publishPartial."""
    LIMIT_REACHED = "LimitReached"
    """One of spec.limits has ended the run. With a higher one it goes on."""

    INVALID_SPEC = "InvalidSpec"
    """The spec is invalid, or the API server refuses objects made from it."""
    MISSING_CONFIG_MAP = "MissingConfigMap"
    """The spec names a ConfigMap that does not exist."""
    MISSING_CONFIG_MAP_KEY = "MissingConfigMapKey"
    """The spec names a key that its ConfigMap does not have."""
    MISSING_SECRET = "MissingSecret"
    """The spec names a missing Secret or key. The kubelet reports this: the operator never reads Secrets."""
    RESTRICTED = "Restricted"
    """The operator's settings do not allow the spec's image or service account."""
    NO_LIMITER = "NoLimiter"
    """The spec has models.*.limits, and the operator was installed without a limiter."""
    ARTIFACT_CONFLICT = "ArtifactConflict"
    """A ConfigMap with the artifact's name exists, and it or its data is not ours. It is never overwritten."""
    ARTIFACT_TOO_LARGE = "ArtifactTooLarge"
    """Program and report do not fit into a ConfigMap."""
    RECORD_TOO_LARGE = "RecordTooLarge"
    """One result, task or blob does not fit into a ConfigMap."""

    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The node cannot pull the worker image."""
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pods."""
    PODS_REJECTED = "PodsRejected"
    """The API server admits no pod of a Job: a quota, pod security, or a webhook."""
    POD_CANNOT_START = "PodCannotStart"
    """The kubelet cannot start the container for another reason."""
    NOT_ALLOWED = "NotAllowed"
    """The API server forbids a write (quota, webhook, missing rights, a name that is taken). The operator retries."""
    API_UNAVAILABLE = "APIUnavailable"
    """The API server fails a write again and again. The operator retries."""

    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    """Cells, or a plan, have no result after spec.swarm.maxAttempts attempts."""
    JOURNAL_TOO_LARGE = "JournalTooLarge"
    """The run's results exceed the size that the operator's settings allow in the cluster."""
    NO_PROGRESS = "NoProgress"
    """A plan requests results that it already had, and would do so forever."""
    JOURNAL_DAMAGED = "JournalDamaged"
    """ConfigMaps of the journal were deleted or altered, and the run cannot go on without them."""


GROUPS: Final = 5
"""Most groups of failures in a status."""
LONGEST: Final = 500
"""Most characters of each."""

AnyReason = Reason | WorkerReason
"""Everything that a condition's reason may be: the operator's reasons and those of pods."""


class StatusModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A metav1.Condition."""

    type: ConditionType = Field(description="Ready, Reconciling, Stalled or Succeeded.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int = Field(description="The generation of the spec that this is about.")
    last_transition_time: str = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field(description="Why, as a documented CamelCase word.", max_length=1024)
    message: str = Field(description="For people: what is the case, and what to do.", max_length=32768)


class ProgressStatus(StatusModel):
    """How far the rounds planned so far are done. More rounds may follow."""

    cells_done: int = Field(0, description="Cells that have a result.")
    cells_total: int = Field(0, description="Cells of all rounds planned so far.")
    text: str = Field("0/0", description="cellsDone/cellsTotal.")


class ScoresStatus(StatusModel):
    """Percentages, as dspy.Evaluate gives them."""

    baseline: float | None = Field(
        None, description="The unoptimized student on data.validation, or on what is scored in its place."
    )
    best: float | None = Field(None, description="The best candidate so far, or the winner, on the same examples.")
    test_baseline: float | None = Field(None, description="The unoptimized student on the test set.")
    test_winner: float | None = Field(None, description="The winner on the test set.")


class SpendingStatus(StatusModel):
    """What pods have told that they spent, or, where they ended without a word, may have."""

    lm_calls: int = Field(0, description="LM calls.")
    total_tokens: int = Field(0, description="Prompt and completion tokens.")
    cost_usd: float | None = Field(None, alias="costUSD", description="Where limits.costUSD is set.")


class AllowedStatus(StatusModel):
    """spec.limits, as the run was kept to them last."""

    lm_calls: int | None = Field(None, description="Most LM calls.")
    total_tokens: int | None = Field(None, description="Most tokens.")
    cost_usd: float | None = Field(None, alias="costUSD", description="Most USD.")
    wall_clock: int | None = Field(None, description="Most seconds.")

    @classmethod
    def of(cls, limits: Limits) -> Self | None:
        """None where there is no limit."""
        found = cls(
            lm_calls=limits.lm_calls,
            total_tokens=limits.total_tokens,
            cost_usd=limits.cost_usd,
            wall_clock=limits.wall_clock,
        )
        return found if found != cls() else None


class UsageStatus(StatusModel):
    """LM calls whose results are in the journal, and their tokens."""

    calls: int = Field(0, description="LM calls that a provider answered.")
    prompt_tokens: int = Field(0, description="Tokens sent.")
    completion_tokens: int = Field(0, description="Tokens received.")
    cost_usd: float | None = Field(
        None,
        alias="costUSD",
        description="What they cost, by models.*.price, or else DSPy's list. None: the price of a call is not known.",
    )
    wasted_calls: int | None = Field(
        None, description="LM calls for results that turned out not to be needed. Known at the end."
    )
    reused_calls: int | None = Field(
        None, description="LM calls that earlier runs of the same request had paid for. Known at the end."
    )
    repeated_calls: int | None = Field(
        None, description="LM calls, at most, that were paid for twice: their first answers died with pods."
    )
    spent: SpendingStatus | None = Field(None, description="By the books that keep spec.limits, where there are any.")
    allowed: AllowedStatus | None = Field(None, description="The limits that the run is kept to.")


class CandidateStatus(StatusModel):
    """A program that the optimizer scored."""

    name: str = Field(description="As the optimizer numbers it.")
    score: float = Field(description="Percentage of the validation set.")
    bound: bool | None = Field(
        None, description="true: the score is only what it can have been at most; the candidate could no longer win."
    )


class FailureGroupStatus(StatusModel):
    """Examples that failed alike."""

    exception: str = Field(description="Class and text, as the first example raised it.", max_length=1024)
    place: str | None = Field(None, description="The user's file and line.", max_length=1024)
    examples: int = Field(0, description="How many.")
    first: str | None = Field(None, description="The first of them.", max_length=1024)


class FailuresStatus(StatusModel):
    """Examples on which program or metric raised, in evaluations and bootstraps. Tracebacks are in the report."""

    failed: int = Field(0, description="In evaluations: each counts as 0, as in stock DSPy.")
    examples: int = Field(0, description="Of how many. An example counts once in each evaluation and bootstrap.")
    in_bootstraps: int = Field(0, description="In bootstraps: they give no demonstration, as in stock DSPy.")
    groups: list[FailureGroupStatus] = Field([], description="By exception and place, the largest first.", max_length=5)
    others: int = Field(0, description="That failed in yet other ways.")

    @classmethod
    def of(cls, failures: Failures | None) -> Self | None:
        """Bounded, whatever a pod has said."""
        if failures is None:
            return None
        groups = [
            FailureGroupStatus(
                exception=group.exception[:LONGEST],
                place=group.place and group.place[:LONGEST],
                examples=group.examples,
                first=group.first and group.first[:LONGEST],
            )
            for group in failures.groups[:GROUPS]
        ]
        return cls(**failures.model_dump(exclude={"groups", "bootstrapped"}), groups=groups)


class ArtifactConfigMap(StatusModel):
    """A ConfigMap with program.json and report.json."""

    name: str = Field(description="Of the ConfigMap.")


class ArtifactStatus(StatusModel):
    """The published program, and where it is. It stays here while a later run is under way, or failed."""

    run_id: str = Field(description="The run that it came from.")
    sha256: str = Field(description="Of program.json.")
    score: float | None = Field(None, description="Percentage of the validation set.")
    config_map: ArtifactConfigMap | None = Field(None, description="The ConfigMap that has it.")


class WaitingStatus(StatusModel):
    """What keeps the run from going on, and since when."""

    reason: str = Field(description="The same word as the conditions' reason.")
    since: str = Field(description="When it was first seen.", json_schema_extra={"format": "date-time"})


class Status(StatusModel):
    """What the operator says about a Compilation."""

    conditions: list[Condition] = Field([], description="Ready, Reconciling, Stalled, Succeeded.", max_length=8)
    observed_generation: int = Field(-1, description="The generation of the spec that this status is about.")
    run_id: str | None = Field(None, description="The current run: label dspy-swarm.dev/run of its objects.")
    round: int | None = Field(None, description="The round that is planned or worked on, counted from 0.")
    progress: ProgressStatus | None = Field(None, description="Cells done and planned so far.")
    scores: ScoresStatus | None = Field(None, description="Percentages known so far.")
    usage: UsageStatus | None = Field(None, description="LM calls and tokens of this run.")
    failures: FailuresStatus | None = Field(None, description="Examples that failed so far. None: there are none.")
    candidates: list[CandidateStatus] = Field([], description="The best candidates, best first.", max_length=5)
    artifact: ArtifactStatus | None = Field(None, description="The published program.")
    waiting: WaitingStatus | None = Field(None, description="What keeps the run from going on.")
    start_time: str | None = Field(None, description="When the run began.", json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(
        None, description="When the run was published or failed.", json_schema_extra={"format": "date-time"}
    )
    last_handled_requested_at: str | None = Field(
        None, description="Value of the annotation dspy-swarm.dev/requested-at that the run answers."
    )

    @classmethod
    def of(cls, value: Any) -> Self:
        """The status found in the cluster; an empty status if it is invalid."""
        try:
            return cls.model_validate(value or {})
        except ValidationError:
            return cls()

    @property
    def spent(self) -> Spending:
        """The spending in the status; nothing if others have written impossible figures."""
        told = (self.usage and self.usage.spent) or SpendingStatus()
        try:
            micro_usd = round((told.cost_usd or 0) * MICRO)
            return Spending(calls=told.lm_calls, tokens=told.total_tokens, micro_usd=micro_usd)
        except (ValueError, OverflowError):
            return Spending()

    def condition(self, type_: ConditionType) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type is type_), None)

    def as_written(self) -> dict[str, Any]:
        """JSON values in camelCase, without empty ones: server-side apply nulls an object that loses its fields."""
        written = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {key: value for key, value in written.items() if value not in ({}, [])}
