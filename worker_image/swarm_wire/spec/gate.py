"""Conditions on the winner."""

from typing import Literal

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class Gate(SpecModel):
    """Conditions that the winner must meet before it is published. They are checked on data.test, if the spec has it.

    Without data.test, they are checked on the examples that chose the winner, on which it looks better than it is.
    """

    min_score: float | None = Field(
        None, ge=-1e9, le=1e9, description="Least score of the winner, in percent. Default: any score."
    )
    min_improvement: float = Field(
        0,
        ge=-1e9,
        le=1e9,
        description="The lower end of the interval of the winner's improvement must be above this number of points. 0: "
        "the verdict must be Better. A negative number allows a winner that is at most so much worse.",
    )
    against: Literal["baseline", "published"] = Field(
        "baseline",
        description="The program that the winner must improve on. baseline: the program with which the compile begins. "
        "published: the program that is published when the run begins; without one, the baseline.",
    )
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="Confidence of the interval.")
    max_copied_tokens: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Longest sequence of words that the winner's new instructions may copy from a training example. "
        "Default: any; the report names the longest one.",
    )
    max_cost_usd: float | None = Field(
        None,
        alias="maxCostUSD",
        ge=0.000001,
        le=1e9,
        description="Most that the LM calls of the winner may cost for 1,000 examples, in USD. The calls of the metric "
        "do not count. Default: any cost.",
    )
    min_retention: float | None = Field(
        None,
        ge=0.01,
        le=2,
        description="Of a fine-tune: least part of the teacher's score that the winner must keep, with the confidence: "
        "0.95. Default: any; the report shows it against 0.95.",
    )
    when_inconclusive: Literal["hold", "publish"] = Field(
        "hold",
        description="What minRetention does if the examples do not decide. hold: the winner is not published. publish: "
        "it is published unless its retention is shown to be lower.",
    )
    min_cost_reduction: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of a fine-tune: least part of the teacher's cost that the winner must save: 0.5. Default: any.",
    )
    on_failure: Literal["keep", "fail"] = Field(
        "keep",
        description="What happens if the winner does not meet the conditions. keep: the artifact of an earlier run "
        "stays published, and Ready stays True; without one, the run fails. fail: the run fails.",
    )
