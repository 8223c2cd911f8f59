"""How a model is fine-tuned."""

from typing import Self

from pydantic import Field, model_validator

from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.models import Price
from swarm_wire.spec.schema import NAME, SpecModel
from swarm_wire.spec.trainer import Trainer


class Distill(BootstrapFinetune):
    """After the optimizer: its winner, with models.teacher, makes training rows, and models.student is fine-tuned on
    them, by dspy.BootstrapFinetune. The optimizer then works for models.teacher.
    """


class Finetune(SpecModel):
    """A fine-tuning job, which may take hours and is paid for once. Without a trainer, it runs at the student's
    provider, by the protocol of OpenAI: files and jobs at its endpoint. It keeps no pod there.
    """

    trainer: Trainer | None = Field(
        None, description="Trains open weights in a pod. Default: the student's provider trains."
    )

    epochs: int | None = Field(None, ge=1, le=100, description="Passes over the rows. Default: the provider's.")
    batch_size: int | None = Field(None, ge=1, le=10_000, description="Rows of a step. Default: the provider's.")
    learning_rate_multiplier: float | None = Field(
        None, gt=0, le=100, description="Factor of the provider's learning rate. Default: the provider's."
    )
    suffix: str | None = Field(
        None,
        pattern=NAME,
        max_length=40,
        description="A part of the tuned model's name. Default: the provider's.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the job.")
    training_price: float | None = Field(
        None, ge=0, le=1e6, description="Price of training, in USD for a million tokens of rows and epochs."
    )
    price: Price | None = Field(
        None, description="Price of the tuned model, in USD for a million tokens. Default: that of the student."
    )
    min_model_lifetime_days: int = Field(
        90,
        ge=0,
        le=3650,
        description="The run ends before it pays for a job if the provider shows that it retires the base model in "
        "fewer days: a tuned model ends with its base. 0: the run never looks.",
    )
    deadline_seconds: int = Field(
        172_800, ge=60, le=2_592_000, description="Longest time of the job, in seconds from the first look at it."
    )

    @model_validator(mode="after")
    def _provider_has_its_own_fields(self) -> Self:
        for name in ("learning_rate_multiplier", "suffix"):
            if self.trainer is not None and getattr(self, name) is not None:
                field = type(self).model_fields[name].alias
                raise ValueError(f"{field} is for jobs at a provider: write it into trainer.parameters, or remove it")
        return self
