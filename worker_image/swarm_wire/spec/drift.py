"""Finds out whether a model has changed behind its name."""

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class Drift(SpecModel):
    """Each run asks the published program some examples anew, and compares its scores with those of before.

    If they are worse, the model has probably changed behind its name. The run says so, and goes on as usual.
    """

    sample: int = Field(
        50,
        ge=10,
        le=10_000,
        description="Number of examples: the first ones of data.test, or of the examples that choose the winner if "
        "there is no test set. Each run pays for them.",
    )
