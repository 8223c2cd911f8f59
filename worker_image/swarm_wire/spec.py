"""What a user writes in a DSPyCompilation. The CRD's schema is generated from these models.

They sit in the contract because both sides read them: the operator from the cluster, the pods from their request, the
local driver from a YAML file. Descriptions become `kubectl explain`.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""Name of a Kubernetes object."""
Key = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
"""Key in a ConfigMap or Secret."""
Entrypoint = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
        max_length=253,
        description='"module:attribute", for example "triage:Triage".',
    ),
]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=32)]
Percentage = Annotated[float, Field(ge=0, le=100)]


class SpecModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Union(SpecModel):
    """A model of which exactly one member is set; `which` names it."""

    members: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [to_camel(name) for name in self.members if getattr(self, name) is not None]
        if len(given) != 1:
            choices = ", ".join(to_camel(name) for name in self.members)
            raise ValueError(f"exactly one of {choices} must be set, not {', '.join(given) or 'none'}")
        return self

    @property
    def which(self) -> str:
        return next(name for name in self.members if getattr(self, name) is not None)


class ConfigMapRef(SpecModel):
    """A ConfigMap in the Compilation's namespace."""

    name: Name


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the Compilation's namespace."""

    name: Name
    key: Key


class SecretKeyRef(SpecModel):
    """One key of a Secret in the Compilation's namespace."""

    name: Name
    key: Key


class ProgramSource(Union):
    """Where the Python files of program and metric come from. Exactly one of its fields."""

    members = ("config_map",)
    config_map: ConfigMapRef | None = Field(
        None, description="Every key is a Python file; they are importable by their names."
    )


class Program(SpecModel):
    """The DSPy program to compile."""

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a dspy.Module, a Module class, or a function without arguments that returns '
        "one. It must come from a file that workers can import."
    )
    source: ProgramSource | None = Field(
        None, description="Where the program's and metric's files come from. Default: the worker image."
    )


class Metric(SpecModel):
    """The metric that scores predictions."""

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a function (example, prediction, trace=None) that returns a bool, or a '
        "float between 0 and 1."
    )


class DataSource(Union):
    """A list of examples. Exactly one of configMap, path, entrypoint."""

    members = ("config_map", "path", "entrypoint")
    config_map: ConfigMapKeyRef | None = Field(
        None, description="A JSONL (.jsonl) or CSV (.csv) file in a ConfigMap: one example a line, or row."
    )
    path: str | None = Field(
        None, min_length=1, max_length=1024, description="A JSONL or CSV file in the worker image: an absolute path."
    )
    entrypoint: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a function without arguments that returns a list of dspy.Example, or of '
        "dicts. It must return the same examples in the same order each time.",
    )
    limit: int | None = Field(None, ge=1, description="Use only the first so many examples.")


class Data(SpecModel):
    """The examples to learn from and to score on."""

    inputs: list[Annotated[str, Field(min_length=1, max_length=253)]] = Field(
        min_length=1,
        max_length=64,
        description="Fields of an example that the program receives; the others are for the metric.",
    )
    train: DataSource = Field(description="Examples that demonstrations are made from.")
    validation: DataSource = Field(description="Examples that candidates are scored on.")
    test: DataSource | None = Field(
        None, description="Examples that the optimizer never sees: baseline and winner are scored on them."
    )


class ApiKey(SpecModel):
    """Where an API key is kept."""

    secret: SecretKeyRef = Field(description="The operator never reads it: pods receive it as an environment variable.")


class Parameters(SpecModel):
    """Parameters of every call to a model."""

    temperature: float | None = Field(None, ge=0, le=2, description="Default: the provider's.")
    max_tokens: int | None = Field(None, ge=1, description="Most tokens of one answer. Default: the provider's.")
    top_p: float | None = Field(None, ge=0, le=1, description="Default: the provider's.")
    num_retries: int = Field(
        3, ge=0, le=20, description="Repeats of a call after a rate limit, a timeout or a server error."
    )
    timeout_seconds: int | None = Field(None, ge=1, le=3600, description="Longest wait for one answer. Default: 600.")


class Model(SpecModel):
    """A language model behind an OpenAI-compatible endpoint."""

    model: str = Field(
        pattern=r"^[^/\s]+/\S+$",
        max_length=253,
        description='"provider/model", as DSPy writes it: "openai/gpt-4o-mini".',
    )
    endpoint: str = Field(
        pattern=r"^https?://\S+$", max_length=1024, description='Base URL, for example "https://api.openai.com/v1".'
    )
    api_key: ApiKey | None = Field(None, description="Default: the endpoint wants no key.")
    parameters: Parameters = Field(default_factory=Parameters)


class Models(SpecModel):
    """The language models of a compile."""

    student: Model = Field(description="The model that the program is compiled for.")
    teacher: Model | None = Field(None, description="The model that makes demonstrations. Default: the student.")
    prompt: Model | None = Field(None, description="The model that writes instructions. Default: the student.")


class LabeledFewShot(SpecModel):
    """dspy.LabeledFewShot: demonstrations drawn from the training set. No LM calls."""

    k: int = Field(16, ge=0, description="Demonstrations for each predictor.")
    sample: bool = Field(True, description="Draw at random (a fixed seed), instead of taking the first k.")


class BootstrapFewShot(SpecModel):
    """dspy.BootstrapFewShot: demonstrations from runs of the teacher that the metric accepts."""

    max_bootstrapped_demos: int = Field(4, ge=0, description="Most demonstrations made by the teacher.")
    max_labeled_demos: int = Field(16, ge=0, description="Most demonstrations in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end the compile. DSPy's default: 10.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")


class BootstrapFewShotWithRandomSearch(SpecModel):
    """dspy.BootstrapFewShotWithRandomSearch: the best of several bootstrapped candidates."""

    max_bootstrapped_demos: int = Field(4, ge=1, description="Most demonstrations made by the teacher.")
    max_labeled_demos: int = Field(16, ge=0, description="Most demonstrations in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    num_candidate_programs: int = Field(
        16, ge=0, le=1000, description="Shuffled candidates, besides zero-shot, labeled and unshuffled few-shot."
    )
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end the compile. DSPy's default: 10.")
    stop_at_score: Percentage | None = Field(None, description="Stop at the first candidate that scores so much.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")
    labeled_sample: bool = Field(True, description="Draw the labeled candidate's demonstrations at random.")


class Optimizer(Union):
    """The stock DSPy optimizer, with DSPy's parameter names (in camelCase) and defaults. Exactly one of its fields."""

    members = ("bootstrap_few_shot_with_random_search", "bootstrap_few_shot", "labeled_few_shot")
    bootstrap_few_shot_with_random_search: BootstrapFewShotWithRandomSearch | None = None
    bootstrap_few_shot: BootstrapFewShot | None = None
    labeled_few_shot: LabeledFewShot | None = None


ResourceName = Literal["cpu", "memory", "ephemeral-storage"]


class Resources(SpecModel):
    """Compute resources of a pod."""

    requests: dict[ResourceName, Quantity] = {"cpu": "100m", "memory": "384Mi"}
    limits: dict[ResourceName, Quantity] = {"memory": "2Gi"}


class Toleration(SpecModel):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: str | None = Field(None, max_length=317)
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = Field(None, max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Swarm(SpecModel):
    """The pods that a round is scattered over."""

    pods: int = Field(8, ge=1, le=1000, description="Worker pods side by side.")
    threads_per_pod: int = Field(8, ge=1, le=256, description="Cells that one pod runs at the same time.")
    slice_size: int = Field(
        200, ge=1, le=5000, description="Most cells of one pod: the most that can be lost with its output."
    )
    max_attempts: int = Field(
        3, ge=1, le=10, description="Attempts of a cell whose pod ended without its result, each with smaller slices."
    )
    resources: Resources = Field(default_factory=Resources, description="Of each pod.")
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(default_factory=dict, max_length=32)
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32)
    image_pull_secrets: list[ConfigMapRef] = Field(
        default_factory=list, max_length=16, description="Secrets to pull the image with."
    )
    service_account_name: Name | None = Field(
        None, description="Of the pods; its token is never mounted. Default: the namespace's default."
    )


class Artifact(SpecModel):
    """Where the winner goes."""

    config_map: ConfigMapRef | None = Field(
        None, description="ConfigMap to write, owned by the Compilation. Default: the Compilation's name + '-artifact'."
    )


class CompilationSpec(SpecModel):
    """A DSPy compile: program, data, metric, models and optimizer in; the compiled program out."""

    program: Program
    metric: Metric
    data: Data
    models: Models
    optimizer: Optimizer
    swarm: Swarm = Field(default_factory=Swarm)
    image: str | None = Field(
        None, min_length=1, max_length=1024, description="Worker image. Default: the operator's setting."
    )
    artifact: Artifact = Field(default_factory=Artifact)
    suspend: bool = Field(False, description="Not supported yet: true is refused.")

    def config_maps(self) -> dict[str, set[str] | None]:
        """ConfigMaps that the pods mount: name -> keys that must be there (None: all keys are used)."""
        found: dict[str, set[str] | None] = {}
        source = self.program.source
        if source is not None and source.config_map is not None:
            found[source.config_map.name] = None
        for data in (self.data.train, self.data.validation, self.data.test):
            if data is not None and data.config_map is not None:
                keys = found.setdefault(data.config_map.name, set())
                if keys is not None:
                    keys.add(data.config_map.key)
        return found

    def secrets(self) -> dict[str, SecretKeyRef]:
        """API keys that the pods receive: model role -> Secret key."""
        roles: dict[str, Model | None] = {
            "student": self.models.student,
            "teacher": self.models.teacher,
            "prompt": self.models.prompt,
        }
        return {role: model.api_key.secret for role, model in roles.items() if model and model.api_key}

    def artifact_name(self, compilation: str) -> str:
        """Name of the artifact ConfigMap."""
        return self.artifact.config_map.name if self.artifact.config_map else f"{compilation}-artifact"

    def as_written(self) -> dict[str, Any]:
        """The spec as JSON values in camelCase."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
