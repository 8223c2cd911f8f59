"""The program to compile, and the metric that scores it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from swarm_wire.spec.adapters import Adapter
from swarm_wire.spec.git import GitSource
from swarm_wire.spec.references import ConfigMapKeyRef
from swarm_wire.spec.schema import PATH, Entrypoint, Key, Name, SpecModel, Union


class KeyToPath(SpecModel):
    """A key, and the file that it becomes, as in a volume of Kubernetes."""

    key: Key = Field(description="Key of the ConfigMap.")
    path: str = Field(
        pattern=PATH,
        max_length=253,
        description='Path of the file that has the key\'s value: "app/retrieval/search.py".',
    )


class SourceMap(SpecModel):
    """A ConfigMap in the Compilation's namespace, with the program's files."""

    name: Name = Field(description="Name of the ConfigMap.")
    items: list[KeyToPath] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="The keys that are used, and the path of each. Default: every key is a file of this name.",
    )


class ProgramSource(Union):
    """Where the Python files of program and metric come from. Exactly one field must be set."""

    config_map: SourceMap | None = Field(
        None,
        description="Every key is a file, and imports begin at the top. If a key ends in .tar.gz, .tgz or .zip, the "
        "pod unpacks this archive. `python -m swarm_worker pack` makes such a ConfigMap of a folder.",
    )
    git: GitSource | None = Field(
        None,
        description="Files of a git repository. A pod that alone has the credentials fetches them once per run.",
    )


class ProgramState(Union):
    """A compiled program, as `program.save` writes it. Exactly one field must be set."""

    config_map: ConfigMapKeyRef | None = Field(
        None,
        description="A key of a ConfigMap, such as program.json of an artifact.",
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="A JSON file. A relative path begins at the top of program.source. Without a source, it begins "
        "at the folder of the YAML, or in a cluster at the image's working directory.",
    )
    published: Literal[True] | None = Field(
        None,
        description="true: the program that this Compilation has published when the run begins. Without one, the "
        "student starts as its code makes it, and the report says so.",
    )


class Program(SpecModel):
    """The DSPy program to compile."""

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a dspy.Module, a Module class, or a function without arguments that '
        "returns a Module. It must come from a file that workers can import."
    )
    source: ProgramSource | None = Field(
        None, description="Where the program's and metric's files come from. Default: the worker image."
    )
    state: ProgramState | None = Field(
        None,
        description="A compiled program to start from: instructions and demonstrations of the student. It is the "
        "baseline, too. Default: the student as its code makes it.",
    )
    adapter: Adapter | None = Field(
        None,
        description="The adapter of all LM calls that set no other adapter. It wins over an adapter that the "
        "program's files configure. Default: the adapter that these files configure, or else DSPy's.",
    )


class ScoreRange(SpecModel):
    """The least and the greatest score that a metric returns."""

    min: float = Field(0, ge=-1e9, le=1e9, description="The lowest score.")
    max: float = Field(1, ge=-1e9, le=1e9, description="The highest score.")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min must be less than max, and {self.min:g} is not less than {self.max:g}")
        return self


class Metric(SpecModel):
    """The metric that scores predictions."""

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a function (example, prediction, trace=None) that returns a bool, a float '
        "between 0 and 1, or a dspy.Prediction(score=..., feedback=...). For gepa: (example, prediction, trace=None, "
        "pred_name=None, pred_trace=None)."
    )
    range: ScoreRange = Field(
        default_factory=ScoreRange,
        description="The range of the metric's values, on which swarm.pruning relies. If the optimizer is pruned, a "
        "score outside of the range ends the run.",
    )
