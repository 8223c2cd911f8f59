"""Limits on the cost of a run."""

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class Limits(SpecModel):
    """What a run may cost. Each limit holds for all pods together, and a run never exceeds it. Default: no limit."""

    lm_calls: int | None = Field(None, ge=1, description="Number of LM calls that providers answer.")
    total_tokens: int | None = Field(
        None,
        ge=1,
        description="Number of prompt and completion tokens together. Every model must have parameters.maxTokens.",
    )
    cost_usd: float | None = Field(
        None,
        ge=0.000001,
        le=1e9,
        alias="costUSD",
        description="Cost in USD, by models.*.price, or else by DSPy's list. Every model must have "
        "parameters.maxTokens.",
    )
    cell_seconds: int = Field(
        1800,
        ge=1,
        description="Longest time of a cell, in seconds; a bootstrap has eight times as much. A cell that takes "
        "longer runs again. After its last attempt, it counts as an error of the program.",
    )
    pending_seconds: int | None = Field(
        None,
        ge=0,
        description="Longest time, in seconds, that pods may wait for a node, an image, or something that they mount, "
        "before the Compilation is Stalled. The run goes on when pods can start. Default: the operator's setting.",
    )
    wall_clock: int | None = Field(None, ge=1, description="Longest time of the run, in seconds from its start.")
    publish_partial: bool = Field(
        False,
        description="true: if a limit ends the run, the operator publishes the best program so far. false: the run "
        "fails. In both cases, its journal is kept, and the run goes on with a higher limit.",
    )
