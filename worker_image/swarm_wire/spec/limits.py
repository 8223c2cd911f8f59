"""Limits on the cost of a run."""

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class Limits(SpecModel):
    """What a run may cost. Each limit holds for all pods together, and a run never exceeds it. Default: no limit."""

    lm_calls: int | None = Field(None, ge=1, description="LM calls that providers answer.")
    total_tokens: int | None = Field(
        None, ge=1, description="Prompt and completion tokens together. Every model must have parameters.maxTokens."
    )
    cost_usd: float | None = Field(
        None,
        ge=0.000001,
        le=1e9,
        alias="costUSD",
        description="By models.*.price, or else DSPy's list. Every model must have parameters.maxTokens.",
    )
    cell_seconds: int = Field(
        1800,
        ge=1,
        description="Longest time of one run of program and metric; a bootstrap has eight times that. One that takes "
        "longer is tried again, and counts as an error of the program in the end.",
    )
    pending_seconds: int | None = Field(
        None,
        ge=0,
        description="Longest time that pods may wait for a node, an image, or something that they mount. Default: the "
        "operator's settings.",
    )
    wall_clock: int | None = Field(None, ge=1, description="Seconds from the run's start.")
    publish_partial: bool = Field(
        False,
        description="Publish the best program so far when a limit ends the run. Default: the run has failed, and its "
        "journal is kept; with a higher limit it goes on.",
    )
