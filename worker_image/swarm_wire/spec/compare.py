"""Comparisons that a report shows in addition to that of baseline and winner."""

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class Compare(SpecModel):
    """Shows what a new model changes: for the program that is published, and for the winner.

    `models.student` is the new model. The run evaluates the published program on it, and on the model on which the
    program runs today. It reuses answers for which earlier runs have paid, so today's model is usually not asked.
    """

    current_model: str = Field(
        min_length=1,
        max_length=32,
        description="Name of a model in spec.models: the one on which the published program runs today.",
    )
