"""The status of a Compilation, which the operator writes, as pydantic models."""

from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from swarm_operator.compilation.api import ConditionType
from swarm_wire.messages import Pushed
from swarm_wire.report import Comparison, Failures
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import MICRO, Spending

GROUPS: Final = 5
"""Largest number of groups of failures in a status."""
LONGEST: Final = 500
"""Largest number of characters in each text of such a group."""


class StatusModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A metav1.Condition of Kubernetes."""

    type: ConditionType = Field(description="Type of the condition: Ready, Reconciling, Stalled or Succeeded.")
    status: Literal["True", "False", "Unknown"] = Field(
        description="Whether the condition holds: True, False or Unknown."
    )
    observed_generation: int = Field(description="Generation of the spec that the condition describes.")
    last_transition_time: str = Field(
        description="When this condition's status last changed.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field(
        description="Why the condition has its status, as a documented CamelCase word.", max_length=1024
    )
    message: str = Field(description="Tells people what has happened, and what to do.", max_length=32768)


class ProgressStatus(StatusModel):
    """How many cells of the rounds planned so far have results. More rounds may follow."""

    cells_done: int = Field(0, description="Number of cells that have a result.")
    cells_total: int = Field(0, description="Number of cells of all rounds planned so far.")
    text: str = Field("0/0", description="The text cellsDone/cellsTotal.")


class ScoresStatus(StatusModel):
    """Scores in percent, as dspy.Evaluate computes them."""

    baseline: float | None = Field(
        None,
        description="Score of the baseline on the validation set, or on the training examples that replace it.",
    )
    best: float | None = Field(
        None, description="Score of the best candidate so far, later of the winner, on the same examples."
    )
    test_baseline: float | None = Field(None, description="Score of the baseline on the test set.")
    test_winner: float | None = Field(None, description="Score of the winner on the test set.")


class SpendingStatus(StatusModel):
    """What the run's pods have spent. A pod that could not say it counts with the most that it may have spent."""

    lm_calls: int = Field(0, description="Number of LM calls.")
    total_tokens: int = Field(0, description="Number of tokens in prompts and answers.")
    cost_usd: float | None = Field(None, alias="costUSD", description="Cost in USD. Set only if limits.costUSD is set.")


class AllowedStatus(StatusModel):
    """The limits of spec.limits that the operator last applied to the run."""

    lm_calls: int | None = Field(None, description="Largest number of LM calls.")
    total_tokens: int | None = Field(None, description="Largest number of tokens.")
    cost_usd: float | None = Field(None, alias="costUSD", description="Largest cost in USD.")
    wall_clock: int | None = Field(None, description="Longest duration of the run, in seconds.")

    @classmethod
    def of(cls, limits: Limits) -> Self | None:
        """Returns the limits that are set; None if no limit is set."""
        found = cls(
            lm_calls=limits.lm_calls,
            total_tokens=limits.total_tokens,
            cost_usd=limits.cost_usd,
            wall_clock=limits.wall_clock,
        )
        return found if found != cls() else None


class UsageStatus(StatusModel):
    """LM calls whose results are in the journal, and their tokens."""

    calls: int = Field(0, description="Number of LM calls that a provider answered.")
    prompt_tokens: int = Field(0, description="Number of tokens in prompts.")
    completion_tokens: int = Field(0, description="Number of tokens in answers.")
    cost_usd: float | None = Field(
        None,
        alias="costUSD",
        description="Cost in USD, by models.*.price or DSPy's price list. Absent if the price of a call is unknown.",
    )
    wasted_calls: int | None = Field(
        None, description="Number of LM calls whose results the optimizer did not need. Set at the end of the run."
    )
    reused_calls: int | None = Field(
        None,
        description="Number of LM calls for which an earlier run has paid. Set at the end of the run.",
    )
    repeated_calls: int | None = Field(
        None,
        description="Largest number of LM calls that may have been paid for twice, after a loss of their answers.",
    )
    spent: SpendingStatus | None = Field(
        None, description="What the run's pods have spent. Set only if spec.limits sets a limit."
    )
    allowed: AllowedStatus | None = Field(
        None, description="The limits of spec.limits that the operator last applied to the run."
    )


class CandidateStatus(StatusModel):
    """A program that the optimizer scored."""

    name: str = Field(description="Name of the candidate, such as candidate 2 or seed 3.")
    score: float = Field(description="Score in percent on the validation set.")
    bound: bool | None = Field(
        None,
        description="If true, pruning has stopped the candidate. The score is then only an upper bound.",
    )


class FailureGroupStatus(StatusModel):
    """Examples that failed with the same exception at the same place."""

    exception: str = Field(description="Class and text of the first example's exception.", max_length=1024)
    place: str | None = Field(
        None, description="File and line of the user's code that raised the exception.", max_length=1024
    )
    examples: int = Field(0, description="Number of examples that failed in this way.")
    first: str | None = Field(None, description="The first of these examples, as a text.", max_length=1024)


class FailuresStatus(StatusModel):
    """Examples whose program or metric raised an exception, in evaluations and bootstraps.

    Tracebacks are in the report.
    """

    failed: int = Field(
        0, description="Number of examples that failed in evaluations. Each counts as 0, as in stock DSPy."
    )
    examples: int = Field(
        0, description="Number of examples that ran. An example counts once in each evaluation and bootstrap."
    )
    in_bootstraps: int = Field(
        0, description="Number of examples that failed in bootstraps. They give no demonstration, as in stock DSPy."
    )
    groups: list[FailureGroupStatus] = Field(
        [], description="Failures by exception and place, the largest group first.", max_length=5
    )
    others: int = Field(0, description="Number of failed examples that are in none of the groups.")

    @classmethod
    def of(cls, failures: Failures | None) -> Self | None:
        """Returns the failures of a report in bounded size, because a pod may have printed any number of them."""
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


class DriftStatus(StatusModel):
    """The published program, asked anew, against what it scored before. Figures are points of the score."""

    verdict: str = Field(description="Better, Same, Worse or Inconclusive.", max_length=64)
    difference: float = Field(description="Mean of the scores now, minus that of the scores before.")
    low: float = Field(description="Lower end of the interval of the difference.")
    high: float = Field(description="Upper end of the interval of the difference.")
    examples: int = Field(description="Number of examples that were asked anew.")

    @classmethod
    def of(cls, found: Comparison | None) -> Self | None:
        if found is None:
            return None
        figures = {name: round(getattr(found, name), 2) for name in ("difference", "low", "high")}
        return cls(verdict=found.verdict.value, examples=found.examples, **figures)


class ArtifactConfigMap(StatusModel):
    """A ConfigMap with program.json and report.json."""

    name: str = Field(description="Name of the ConfigMap.")


class ArtifactGit(StatusModel):
    """A commit with program.json, report.json and report.md."""

    url: str = Field(description="URL of the repository.", max_length=1024)
    branch: str = Field(description="Branch that has the commit.", max_length=1024)
    commit: str = Field(description="Id of the commit.", max_length=64)
    outcome: str = Field(description="Pushed, or Unchanged if the branch had the same files already.", max_length=64)
    pull_request: str | None = Field(None, description="URL of the pull request.", max_length=2048)

    @classmethod
    def of(cls, pushed: Pushed | None) -> Self | None:
        if pushed is None:
            return None
        return cls.model_validate({**pushed.model_dump(exclude={"sha256"}), "outcome": pushed.outcome.value})


class SourceStatus(StatusModel):
    """The commit from which the run's program comes."""

    url: str = Field(description="URL of the repository.", max_length=1024)
    commit: str = Field(description="Id of the commit.", max_length=64)


class ArtifactStatus(StatusModel):
    """The published program, and its ConfigMap. A later run changes this only when it publishes a program itself."""

    run_id: str = Field(description="Id of the run that published the program.")
    sha256: str = Field(description="SHA-256 digest of program.json.")
    score: float | None = Field(None, description="Score of the program in percent, on the validation set.")
    config_map: ArtifactConfigMap | None = Field(None, description="The ConfigMap that holds the program.")
    git: ArtifactGit | None = Field(None, description="The commit that holds the program, if spec.artifact.git is set.")


class WaitingStatus(StatusModel):
    """The reason that keeps the run from going on, and when the operator first saw it."""

    reason: str = Field(description="Why the run waits. The conditions have the same reason.")
    since: str = Field(
        description="When the operator first saw this reason.", json_schema_extra={"format": "date-time"}
    )


class KindStatus(StatusModel):
    """What each kind's status has."""

    conditions: list[Condition] = Field([], description="Conditions of the object.", max_length=8)
    observed_generation: int = Field(-1, description="Generation of the spec that this status describes.")

    @classmethod
    def of(cls, value: Any) -> Self:
        """Returns the status found in the cluster, or an empty status if the found status is invalid."""
        try:
            return cls.model_validate(value or {})
        except ValidationError:
            return cls()

    def condition(self, type_: ConditionType) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type is type_), None)

    def as_written(self) -> dict[str, Any]:
        """Returns JSON values with camelCase names, without empty values.

        Server-side apply sets an object to null when the object loses all its fields. So empty objects are left out.
        """
        written = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {key: value for key, value in written.items() if value not in ({}, [])}


class Status(KindStatus):
    """What the operator says about a Compilation."""

    conditions: list[Condition] = Field(
        [], description="Conditions of the types Ready, Reconciling, Stalled and Succeeded.", max_length=8
    )
    run_id: str | None = Field(
        None, description="Id of the current run. Objects of the run have it as their label dspy-swarm.dev/run."
    )
    round: int | None = Field(
        None, description="Number of the round that is being planned or computed. The first round is 0."
    )
    progress: ProgressStatus | None = Field(None, description="How many cells are planned and have results so far.")
    scores: ScoresStatus | None = Field(None, description="Scores in percent, as far as they are known.")
    usage: UsageStatus | None = Field(None, description="LM calls and tokens of this run, and their cost.")
    failures: FailuresStatus | None = Field(None, description="Examples that failed so far. Absent if none failed.")
    candidates: list[CandidateStatus] = Field([], description="The best candidates, best first.", max_length=5)
    drift: DriftStatus | None = Field(None, description="What the published program scores now, with spec.drift.")
    artifact: ArtifactStatus | None = Field(None, description="The published program and its ConfigMap.")
    source: SourceStatus | None = Field(None, description="The commit of the program, if the run has fetched it.")
    waiting: WaitingStatus | None = Field(None, description="The reason that keeps the run from going on.")
    start_time: str | None = Field(None, description="When the run began.", json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(
        None, description="When the run published its artifact or failed.", json_schema_extra={"format": "date-time"}
    )
    last_handled_requested_at: str | None = Field(
        None, description="Value of the annotation dspy-swarm.dev/requested-at with which the current run began."
    )

    @property
    def spent(self) -> Spending:
        """Returns the spending in the status, or no spending if somebody has written impossible figures there."""
        told = (self.usage and self.usage.spent) or SpendingStatus()
        try:
            micro_usd = round((told.cost_usd or 0) * MICRO)
            return Spending(calls=told.lm_calls, tokens=told.total_tokens, micro_usd=micro_usd)
        except (ValueError, OverflowError):
            return Spending()
