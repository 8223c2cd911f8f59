"""What stock DSPy's BootstrapFinetune is given, by itself, in BetterTogether, or after another optimizer."""

from pydantic import Field

from swarm_wire.spec.schema import SpecModel


class BootstrapFinetune(SpecModel):
    """dspy.BootstrapFinetune: fine-tunes the student on those runs of the teacher that the metric accepts. It needs
    spec.finetune.
    """

    multitask: bool = Field(
        True,
        description="true: one job trains one model for all predictors. false: a job for each predictor; each run of "
        "the teacher must then call each predictor once, in their order.",
    )
    exclude_demos: bool = Field(
        True,
        description="true: neither rows nor tuned program have demonstrations. false, DSPy's default: both have those "
        "of the program.",
    )
    min_score: float | None = Field(
        None, description="Lowest score of a run of the teacher that becomes rows. Default: any score but 0."
    )
    min_examples: int = Field(
        50, ge=10, description="The run ends before its first LM call if there are fewer training examples."
    )
    min_traces: int = Field(
        100,
        ge=10,
        description="The run ends before it pays for a job if fewer runs of the teacher are good.",
    )
    min_teacher_score: float | None = Field(
        None,
        ge=-1e9,
        le=1e9,
        description="The run ends before it pays for a job if the teacher has a lower mean score on the training "
        "examples that it answers, in percent. Default: any score.",
    )
