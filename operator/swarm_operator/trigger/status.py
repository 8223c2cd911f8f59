"""The status of a trigger, which the operator writes, as pydantic models."""

from pydantic import Field

from swarm_operator.compilation.status import Condition, KindStatus, StatusModel

RUNS, MOST_RUNS = 10, 300
"""A status lists so many of the latest runs, and those of the last 24 hours, but not more than MOST_RUNS."""


class CauseStatus(StatusModel):
    """The newest cause, and what came of it."""

    cause: str = Field(description="The cause: its kind and its time.", max_length=200)
    time: str = Field(description="When the cause happened.", json_schema_extra={"format": "date-time"})
    outcome: str = Field(description="What came of it: Started, or why no run has begun.", max_length=64)
    message: str = Field("", description="Says more about it.", max_length=2000)


class RunStatus(StatusModel):
    """One run that a cause has begun."""

    run_id: str = Field(description="Id of the run.", max_length=64)
    cause: str = Field("", description="The cause of the run.", max_length=200)
    start_time: str = Field(description="When the run began.", json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(
        None, description="When the run ended.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field("", description="The reason of the Compilation's condition Ready.", max_length=1024)
    score: float | None = Field(None, description="Score of the winner in percent.")
    cost_usd: float | None = Field(None, alias="costUSD", description="What the run has spent, if prices are known.")
    limit_usd: float | None = Field(None, alias="limitUSD", description="The run's limits.costUSD.")


class TriggerStatus(KindStatus):
    """What the operator says about a trigger."""

    conditions: list[Condition] = Field([], description="Conditions of the types Ready and Stalled.", max_length=8)
    next_time: str | None = Field(
        None, description="When the next cause happens.", json_schema_extra={"format": "date-time"}
    )
    last: CauseStatus | None = Field(None, description="The newest cause, and what came of it.")
    runs: list[RunStatus] = Field([], description="The latest runs, the newest first.", max_length=MOST_RUNS)
    spent_usd: float | None = Field(
        None,
        alias="spentUSD",
        description="What the runs that began in the last 24 hours have spent, if there is a budget.",
    )
