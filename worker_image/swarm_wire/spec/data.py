"""The examples and their sources."""

from typing import Annotated

from pydantic import Field

from swarm_wire.spec.references import ConfigMapKeyRef
from swarm_wire.spec.schema import Entrypoint, SpecModel, Union


class DataSource(Union):
    """A list of examples, which comes from exactly one place."""

    others = ("limit",)
    config_map: ConfigMapKeyRef | None = Field(
        None, description="A JSONL (.jsonl) or CSV (.csv) file in a ConfigMap: one example a line, or row."
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="A JSONL or CSV file: from the top of program.source; without one, from the folder of the YAML, or "
        "in a cluster from the image's working directory. Or an absolute path.",
    )
    entrypoint: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a function without arguments that returns a list of dspy.Example, or of '
        "dicts. It must return the same examples in the same order each time.",
    )
    limit: int | None = Field(None, ge=1, description="Use only the first so many examples.")


class Data(SpecModel):
    """The examples from which the optimizer learns, and on which it scores candidates."""

    inputs: list[Annotated[str, Field(min_length=1, max_length=253)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Fields of an example that the program receives; the others are for the metric. JSONL, CSV and "
        "dicts need it. Default: the inputs that each dspy.Example names by with_inputs.",
    )
    train: DataSource = Field(
        description="Examples to learn from: demonstrations are made of them; copro and simba score candidates on them."
    )
    validation: DataSource | None = Field(
        None,
        description="Examples that candidates are scored on, by most optimizers. Default: what stock DSPy does without "
        "a valset. miprov2 scores on the last 80 % of the training examples, inferRules on the last half, and both "
        "learn from the others; all other optimizers score on all training examples.",
    )
    test: DataSource | None = Field(
        None, description="Examples that the optimizer never sees: baseline and winner are scored on them."
    )
