"""The status of a trigger, which the operator writes, as pydantic models."""

from pydantic import Field

from swarm_operator.compilation.status import Condition, KindStatus, StatusModel

RUNS, MOST_RUNS = 10, 300
"""A status lists so many of the latest runs, and those of the last 24 hours, but not more than MOST_RUNS."""


KNOWN = 500
"""A status lists so many known models."""


class CauseStatus(StatusModel):
    """The newest cause, and what came of it."""

    cause: str = Field(description="The cause: its kind and its time.", max_length=200)
    time: str = Field(description="When the cause happened.", json_schema_extra={"format": "date-time"})
    outcome: str = Field(description="What came of it: Started, or why no run has begun.", max_length=64)
    message: str = Field("", description="Says more about it.", max_length=2000)


class RunStatus(StatusModel):
    """One run of the Compilation. It has no cause if a person has begun it."""

    run_id: str = Field(description="Id of the run.", max_length=64)
    compilation: str | None = Field(
        None, description="Name of its Compilation, if the run is for a new model.", max_length=253
    )
    cause: str = Field("", description="The cause of the run.", max_length=200)
    start_time: str = Field(description="When the run began.", json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(
        None, description="When the run ended.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field("", description="The reason of the Compilation's condition Ready.", max_length=1024)
    score: float | None = Field(None, description="Score of the winner in percent.")
    cost_usd: float | None = Field(None, alias="costUSD", description="What the run has spent, if prices are known.")
    limit_usd: float | None = Field(None, alias="limitUSD", description="The run's limits.costUSD.")


class WatchStatus(StatusModel):
    """Something that a trigger watches."""

    kind: str = Field(description="git, configMaps, drift or models.", max_length=64)
    watch: str | None = Field(None, description="Digest of what the spec says about it.", max_length=64)
    digest: str | None = Field(None, description="Digest of the watched content.", max_length=64)
    revision: str | None = Field(
        None,
        description="The commit, a part of the digest, or the run, with which this content was first seen.",
        max_length=64,
    )
    since: str | None = Field(
        None, description="When this content was first seen.", json_schema_extra={"format": "date-time"}
    )
    begun_digest: str | None = Field(
        None, description="Digest of the content for which a run has begun.", max_length=64
    )
    listed: list[str] = Field([], description="models: those of the last list that fit.", max_length=50)
    known: list[str] | None = Field(
        None,
        description="models: those that begin no run, since the first list had them, or since their run has begun.",
        max_length=KNOWN,
    )
    looks: int = Field(0, description="Number of the last look.")
    look_time: str | None = Field(
        None, description="When the last look began.", json_schema_extra={"format": "date-time"}
    )
    failures: int = Field(0, description="How many looks in a row have failed.")
    reason: str | None = Field(None, description="Why the last look has failed, or waits.", max_length=1024)
    message: str | None = Field(None, description="Says more about it.", max_length=2000)


class TriggerStatus(KindStatus):
    """What the operator says about a trigger."""

    conditions: list[Condition] = Field([], description="Conditions of the types Ready and Stalled.", max_length=8)
    next_time: str | None = Field(
        None, description="The next time of the schedules.", json_schema_extra={"format": "date-time"}
    )
    last: CauseStatus | None = Field(None, description="The newest cause, and what came of it.")
    watches: list[WatchStatus] = Field([], description="What the trigger watches.", max_length=8)
    look_requested_at: str | None = Field(
        None, description="When a webhook last asked for a look.", json_schema_extra={"format": "date-time"}
    )
    runs: list[RunStatus] = Field([], description="The latest runs, the newest first.", max_length=MOST_RUNS)
    spent_usd: float | None = Field(
        None,
        alias="spentUSD",
        description="What the runs that began in the last 24 hours have spent, if there is a budget.",
    )
