"""How a model with open weights is trained by a program of the user."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from swarm_wire.spec.data import VolumeFile
from swarm_wire.spec.journal import JournalStorage
from swarm_wire.spec.references import ClaimRef
from swarm_wire.spec.schema import COMMIT, REPOSITORY, URL, SpecModel, Union
from swarm_wire.spec.swarm import Resources, Toleration
from swarm_wire.spec.variables import Variable


class WeightsFolder(VolumeFile):
    """A folder with weights on a PersistentVolumeClaim in the Compilation's namespace."""


class Base(Union):
    """The weights with which the training begins. A commit pins them. A folder must stay as it is."""

    others = ("name",)
    name: str = Field(
        pattern=REPOSITORY, max_length=200, description='Name of the weights: "Qwen/Qwen3-0.6B". Servers need it.'
    )
    revision: str | None = Field(
        None,
        pattern=COMMIT,
        max_length=40,
        description="Commit of the Hugging Face repository of that name, from which the trainer loads them.",
    )
    volume: WeightsFolder | None = Field(
        None, description="A folder on a volume. The pod mounts the volume read-only. A laptop cannot read it."
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="A folder in the trainer's image. On a laptop, a relative path begins at the folder of the YAML.",
    )


class TrainedStorage(JournalStorage):
    """Where trained weights go, into a folder with the name of their model. A complete one stays as it is. On a laptop,
    a claim is the folder models in the journal's folder.
    """


class Serving(SpecModel):
    """The server that answers for the trained model. It speaks OpenAI's protocol, and gets the student's API key."""

    endpoint: str | None = Field(
        None, pattern=URL, max_length=1024, description="Base URL of the server. Default: the student's endpoint."
    )
    load: Literal["vllm"] | None = Field(
        None,
        description="vllm: the run has the adapter loaded by vLLM's load_lora_adapter, which a server must allow "
        "(VLLM_ALLOW_RUNTIME_LORA_UPDATING). Default: the run waits until the server has the model.",
    )
    folder: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="Path of the output's folder in the server's container. load needs it.",
    )

    @model_validator(mode="after")
    def _loads_from_a_folder(self) -> Self:
        if (self.load is None) != (self.folder is None):
            raise ValueError("load and folder must be set together: the server reads the adapter from the folder")
        return self


class Trainer(SpecModel):
    """A program that trains a model from rows, in a pod of its own. docs/trainers.md has its contract: it reads
    data.jsonl and params.json, and writes an adapter or a model. It gets no API key.
    """

    image: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="Image of the trainer. Default: that of the worker pods. A laptop runs command, and no image.",
    )
    command: list[Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=list,
        max_length=64,
        description="Command with its arguments. Default: that of the image. A laptop needs it; it runs in the folder "
        "of the YAML.",
    )
    base: Base
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        max_length=64,
        description="Parameters of the training, by the trainer's names, such as method, rank and learningRate. They "
        "are passed on unchanged. Do not put keys here: anybody can read a spec.",
    )
    env: list[Variable] = Field(
        default_factory=list,
        max_length=64,
        description="Environment variables of the trainer, as in a pod's spec, such as HF_TOKEN. The operator reads no "
        "Secret.",
    )
    resources: Resources = Field(default_factory=Resources, description="Compute resources of the trainer.")
    gpus: int = Field(0, ge=0, le=64, description="Number of GPUs: the limit of nvidia.com/gpu.")
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have. Default: those of swarm."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints that the pod tolerates. Default: those of swarm."
    )
    output: TrainedStorage
    serving: Serving = Field(default_factory=Serving)

    @model_validator(mode="after")
    def _has_a_program(self) -> Self:
        if self.image is None and not self.command:
            raise ValueError("one of image and command must be set: the worker's image has no trainer")
        if given := sorted({"epochs", "batchSize"} & {*self.parameters}):
            raise ValueError(
                f"parameters may not have {given[0]}: write finetune.{given[0]}, which limits and price use"
            )
        named = [variable.name for variable in self.env]
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise ValueError(f"env sets {twice} more than once")
        return self

    def claims(self) -> dict[str, ClaimRef]:
        """Returns the claims that the trainer's pod mounts, by their use: base or output."""
        found = {"base": self.base.volume, "output": self.output.persistent_volume_claim}
        return {use: claim for use, claim in found.items() if claim is not None}
