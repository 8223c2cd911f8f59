"""What a user writes in a DSPyCompilation. The CRD's schema is generated from these models.

They sit in the contract because both sides read them: the operator from the cluster, the pods from their request, the
local driver from a YAML file. Descriptions become `kubectl explain`.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from swarm_wire.optimizers import Optimizer
from swarm_wire.parameters import REGIONS, Parameters
from swarm_wire.references import ConfigMapKeyRef, ConfigMapRef, SecretKeyRef, SecretRef
from swarm_wire.schema import (
    MODEL,
    PATH,
    STORE,
    URL,
    Entrypoint,
    Key,
    Name,
    Quantity,
    SpecModel,
    Union,
    amount,
    only_with,
)
from swarm_wire.variables import Variable, VariablesFrom
from swarm_wire.words import is_slip_of


class KeyToPath(SpecModel):
    """A key, and the file that it becomes, as in a volume of Kubernetes."""

    key: Key = Field(description="Of the ConfigMap.")
    path: str = Field(pattern=PATH, max_length=253, description='Where its file is: "app/retrieval/search.py".')


class SourceMap(SpecModel):
    """A ConfigMap in the Compilation's namespace, with the program's files."""

    name: Name = Field(description="Of the ConfigMap.")
    items: list[KeyToPath] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Which keys are used, and where. Default: every key, by its name.",
    )


class ProgramSource(Union):
    """Where the Python files of program and metric come from. Exactly one of its fields."""

    members = ("config_map",)
    config_map: SourceMap | None = Field(
        None,
        description="Every key is a file, and imports begin at the top. What ends in .tar.gz or .zip is unpacked: "
        "`python -m swarm_worker pack` makes one of a folder.",
    )


class ChatAdapter(SpecModel):
    """dspy.ChatAdapter: fields under headings. Stock's own choice where nothing names an adapter."""

    use_native_function_calling: bool = Field(False, description="Give dspy.Tool inputs to the provider as its tools.")
    use_json_adapter_fallback: bool = Field(True, description="Ask again, for JSON, where an answer cannot be read.")
    parallel_tool_calls: bool | None = Field(None, description="Ask the provider for tool calls side by side.")


class JSONAdapter(SpecModel):
    """dspy.JSONAdapter: one JSON object, by a schema where the provider takes one."""

    use_native_function_calling: bool = Field(True, description="Give dspy.Tool inputs to the provider as its tools.")
    parallel_tool_calls: bool | None = Field(None, description="Ask the provider for tool calls side by side.")


class XMLAdapter(SpecModel):
    """dspy.XMLAdapter: fields as XML elements."""

    use_native_function_calling: bool = Field(False, description="Give dspy.Tool inputs to the provider as its tools.")
    use_json_adapter_fallback: bool = Field(True, description="Ask again, for JSON, where an answer cannot be read.")
    parallel_tool_calls: bool | None = Field(None, description="Ask the provider for tool calls side by side.")


class TwoStepAdapter(SpecModel):
    """dspy.TwoStepAdapter: the model answers in its own words, and models.extraction reads the fields out of them."""

    use_native_function_calling: bool = Field(False, description="Give dspy.Tool inputs to the provider as its tools.")
    parallel_tool_calls: bool | None = Field(None, description="Ask the provider for tool calls side by side.")


class Adapter(Union):
    """How a program's fields become a prompt, and an answer fields: dspy.configure(adapter=...)."""

    members = ("chat", "json_", "xml", "two_step", "entrypoint")
    chat: ChatAdapter | None = None
    json_: JSONAdapter | None = None
    xml: XMLAdapter | None = None
    two_step: TwoStepAdapter | None = None
    entrypoint: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a dspy.Adapter, an Adapter class, or a function without arguments that '
        "returns one.",
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
    adapter: Adapter | None = Field(
        None,
        description="The adapter of every LM call that sets no other. It wins over one that the program's files "
        "configure. Default: theirs, or else DSPy's.",
    )


class ScoreRange(SpecModel):
    """Between which scores a metric's values are."""

    min: float = Field(0, ge=-1e9, le=1e9, description="The least score.")
    max: float = Field(1, ge=-1e9, le=1e9, description="The greatest score.")

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
        description="Between which scores the metric's values are. swarm.pruning relies on it: a score outside ends "
        "the run.",
    )


class DataSource(Union):
    """A list of examples. Exactly one of configMap, path, entrypoint."""

    members = ("config_map", "path", "entrypoint")
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
    """The examples to learn from and to score on."""

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


class ApiKey(SpecModel):
    """Where an API key is kept."""

    secret: SecretKeyRef = Field(description="The operator never reads it: pods receive it as an environment variable.")


class Price(SpecModel):
    """USD for a million tokens."""

    prompt: float = Field(ge=0, le=1e6, description="Of the request.")
    completion: float = Field(ge=0, le=1e6, description="Of the answer.")


class ProviderLimits(SpecModel):
    """How fast a provider may be asked, by all pods together. None of it is passed in any minute."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests, repeated ones included.")
    tokens_per_minute: int | None = Field(
        None, ge=1, description="Prompt and completion tokens together. The model must have parameters.maxTokens."
    )
    concurrency: int | None = Field(None, ge=1, description="Requests under way at the same time.")
    group: Name | None = Field(
        None,
        description="What all models of this namespace's Compilations that name the same group keep to together; where "
        "they name other figures, to the smallest. Default: this model of this Compilation alone.",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_minute is self.tokens_per_minute is self.concurrency is None:
            raise ValueError("one of requestsPerMinute, tokensPerMinute and concurrency must be set")
        return self


class Model(SpecModel):
    """A language model of any provider that LiteLLM has."""

    model: str = Field(
        pattern=MODEL,
        max_length=253,
        description='"provider/model", as DSPy writes it: "openai/gpt-4o-mini".',
    )
    endpoint: str | None = Field(
        None,
        pattern=URL,
        max_length=1024,
        description='Base URL, for example "https://api.openai.com/v1". Default: the provider\'s own.',
    )
    api_key: ApiKey | None = Field(
        None,
        description="Default: none is wanted; or the provider's own environment variable has it (see env), or knows "
        "who asks from a service account or an instance's role.",
    )
    parameters: Parameters = Field(default_factory=Parameters)
    price: Price | None = Field(None, description="USD for a million tokens. Default: the price in DSPy's list.")
    limits: ProviderLimits | None = Field(
        None, description="How fast the provider may be asked. Default: as fast as the pods can, until it objects."
    )

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def address(self) -> str:
        """The endpoint; empty where it is the provider's own."""
        return (self.endpoint or "").rstrip("/")

    @model_validator(mode="after")
    def _region_has_a_use(self) -> Self:
        if self.parameters.region is not None and self.provider not in REGIONS:
            raise ValueError(f"parameters.region may be set only with {', '.join(REGIONS)}, not with {self.provider}")
        return self


_MODEL_NAME: Final = re.compile("[a-z][a-z0-9_]{0,31}")


class Models(SpecModel):
    """The language models of a compile. student must be there: the program is compiled for it. teacher makes
    demonstrations, prompt writes instructions (miprov2, copro, simba, gepa), and program.adapter.twoStep reads answers
    with extraction; each is the student where it is left out. Further ones have names of your own: swarm_worker.lm.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Model]

    student: Model = Field(description="The model that the program is compiled for.")
    teacher: Model | None = Field(None, description="The model that makes demonstrations. Default: the student.")
    prompt: Model | None = Field(
        None,
        description="The model that writes instructions (miprov2, copro, simba, gepa). Default: the student.",
    )

    extraction: Model | None = Field(
        None, description="The model that program.adapter.twoStep reads answers with. Default: the student."
    )

    @model_validator(mode="after")
    def _further_ones_have_names(self) -> Self:
        for name in self.__pydantic_extra__:
            if not _MODEL_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a model: write at most 32 lower-case letters, digits and _, a letter first"
                )
            if meant := next((role for role in type(self).model_fields if is_slip_of(name, role)), None):
                raise ValueError(
                    f"{name!r} is so like {meant!r} that it may be a slip: write {meant}, or give a further model a "
                    "name that is less like it"
                )
        return self

    @property
    def by_role(self) -> dict[str, Model]:
        """Those that the spec names, with the further ones by their names."""
        models = {role: getattr(self, role) for role in type(self).model_fields}
        return {role: model for role, model in models.items() if model is not None} | self.__pydantic_extra__

    def with_limits_of(self, other: "Models") -> "Models":
        """The same models, as fast as the others."""
        known = other.by_role
        found = {
            role: model.model_copy(update={"limits": known[role].limits})
            for role, model in self.by_role.items()
            if role in known
        }
        return self.model_copy(update=found)


ResourceName = Literal["cpu", "memory", "ephemeral-storage"]
USUAL_REQUESTS: Final[dict[ResourceName, Quantity]] = {"cpu": "100m", "memory": "384Mi"}
"""Of a pod, where the spec says nothing."""
MOST_ATTEMPTS = 10
"""Of a cell."""


class Resources(SpecModel):
    """Compute resources of a pod."""

    requests: dict[ResourceName, Quantity] | None = Field(
        None,
        description="What a node must have to spare. Default: cpu 100m, memory 384Mi; less where limits are lower.",
    )
    limits: dict[ResourceName, Quantity] = Field({"memory": "2Gi"}, description="What a pod may take at most.")

    @property
    def requested(self) -> dict[ResourceName, Quantity]:
        """The requests; where the spec has none, usual ones, which no limit is below."""
        if self.requests is not None:
            return self.requests
        return {name: min(usual, self.limits.get(name, usual), key=amount) for name, usual in USUAL_REQUESTS.items()}


class Toleration(SpecModel):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: str | None = Field(None, max_length=317, description="Of the taint. Default: every taint, with Exists.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Whether the taint's value counts.")
    value: str | None = Field(None, max_length=63, description="Of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Of the taint. Default: every effect."
    )
    toleration_seconds: int | None = Field(
        None, description="How long a NoExecute taint is tolerated. Default: for ever."
    )


class Swarm(SpecModel):
    """The pods that a round is scattered over."""

    pods: int = Field(8, ge=1, le=1000, description="Worker pods side by side.")
    threads_per_pod: int = Field(8, ge=1, le=256, description="Cells that one pod runs at the same time.")
    slice_size: int = Field(
        200, ge=1, le=5000, description="Most cells of one pod: the most that can be lost with its output."
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=MOST_ATTEMPTS,
        description="Attempts of a cell whose pod ended without its result, each with smaller slices.",
    )
    speculation: int = Field(
        4,
        ge=0,
        le=1000,
        description="Most guesses per round: effects that are likely, but may depend on a score that is missing. "
        "0: never pay for a guess.",
    )
    pruning: Literal["exact", "off"] = Field(
        "exact",
        description="exact: cells of a candidate that can no longer win are not run, where the optimizer keeps the "
        'best and uses scores for nothing else; the winner is the same. "off" (in quotes): all are run.',
    )
    rehearsal_seconds: int = Field(
        10,
        ge=0,
        le=3600,
        description="Longest time of the rehearsal before the first LM call: program and metric run on the first "
        "validation examples, with imaginary models, to find what differs between processes. One run may take half "
        "of it. 0: no rehearsal.",
    )
    resources: Resources = Field(default_factory=Resources, description="Of each pod.")
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints that the pods tolerate."
    )
    image_pull_secrets: list[SecretRef] = Field(
        default_factory=list, max_length=16, description="Secrets to pull the image with."
    )
    service_account_name: Name | None = Field(
        None, description="Of the pods; its token is never mounted. Default: the namespace's default."
    )


class Limits(SpecModel):
    """What a run may cost. Each limit is for all pods together, and is never passed; without one there is none."""

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


class Artifact(SpecModel):
    """Where the winner goes."""

    config_map: ConfigMapRef | None = Field(
        None, description="ConfigMap to write, owned by the Compilation. Default: the Compilation's name + '-artifact'."
    )


class ClaimRef(SpecModel):
    """A PersistentVolumeClaim in the Compilation's namespace."""

    claim_name: Name = Field(description="Of the claim.")


class StorageOptions(SpecModel):
    """Where the options of an fsspec file system are kept."""

    secret: SecretKeyRef = Field(
        description='A JSON object, for example {"key": "...", "secret": "..."}. The operator never reads it.'
    )


class JournalStorage(Union):
    """Where results are kept that are too many for ConfigMaps: exactly one of persistentVolumeClaim and url."""

    members = ("persistent_volume_claim", "url")
    rules = (only_with("options", "url"),)
    persistent_volume_claim: ClaimRef | None = Field(
        None, description="A volume that all pods can write to: ReadWriteMany, where there is more than one node."
    )
    url: str | None = Field(
        None,
        pattern=STORE,
        max_length=1024,
        description='A folder, as fsspec writes it: "s3://bucket/folder". The image must have the package that it '
        "takes (s3fs, gcsfs, adlfs).",
    )
    options: StorageOptions | None = Field(None, description="Credentials and endpoints for the url.")

    @model_validator(mode="after")
    def _outlives_a_pod(self) -> Self:
        scheme = (self.url or "").partition(":")[0]
        if scheme in ("file", "local", "memory"):
            raise ValueError(f"{scheme}: is within one pod; use persistentVolumeClaim, or a place that all pods reach")
        return self


class CompilationSpec(SpecModel):
    """A DSPy compile: program, data, metric, models and optimizer in; the compiled program out."""

    program: Program
    metric: Metric
    data: Data
    models: Models
    optimizer: Optimizer
    env: list[Variable] = Field(
        default_factory=list,
        max_length=128,
        description="Environment variables of program, metric and data, as in a pod. The operator reads no Secret.",
    )
    env_from: list[VariablesFrom] = Field(
        default_factory=list,
        max_length=16,
        description="Secrets and ConfigMaps whose keys are environment variables, as in a pod. env wins over them.",
    )
    swarm: Swarm = Field(default_factory=Swarm)
    image: str | None = Field(
        None, min_length=1, max_length=1024, description="Worker image. Default: the operator's setting."
    )
    artifact: Artifact = Field(default_factory=Artifact)
    journal: JournalStorage | None = Field(
        None,
        description="Where results are kept. Default: in ConfigMaps, up to the operator's journalMebibytes.",
    )
    limits: Limits = Field(default_factory=Limits)
    suspend: bool = Field(
        False, description="Ends all pods and starts none. Finished cells are kept: set to false, the run goes on."
    )

    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        description="Seconds after a run's end until its journal is deleted; artifact and status stay. Default: it is "
        "kept until the Compilation is deleted, or a run that answers a later request is published.",
    )

    @model_validator(mode="after")
    def _variables_are_set_once(self) -> Self:
        named = [variable.name for variable in self.env]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"env sets {name} more than once")
        return self

    @model_validator(mode="after")
    def _extraction_has_a_use(self) -> Self:
        adapter = self.program.adapter
        if self.models.extraction is not None and (adapter is None or adapter.two_step is None):
            raise ValueError("models.extraction may be set only with program.adapter.twoStep: nothing else asks it")
        return self

    @model_validator(mode="after")
    def _answers_are_bounded(self) -> Self:
        """Tokens are counted before they are spent, so the longest answer must be known."""
        limited = [name for name in ("total_tokens", "cost_usd") if getattr(self.limits, name) is not None]
        for role, model in self.models.by_role.items():
            if limited and model.parameters.max_tokens is None:
                field = Limits.model_fields[limited[0]].alias
                raise ValueError(
                    f"limits.{field} needs models.{role}.parameters.maxTokens: without it, one answer may be of any "
                    "length"
                )
        return self

    @model_validator(mode="after")
    def _provider_limits_agree(self) -> Self:
        """A request is known by its model and endpoint, so these have one limit."""
        known: dict[tuple[str, str], str] = {}
        for role, model in self.models.by_role.items():
            if model.limits is None:
                continue
            if model.limits.tokens_per_minute is not None and model.parameters.max_tokens is None:
                raise ValueError(
                    f"models.{role}.limits.tokensPerMinute needs models.{role}.parameters.maxTokens: without it, one "
                    "answer may be of any length"
                )
            other = known.setdefault((model.model, model.address), role)
            if model.limits != self.models.by_role[other].limits:
                raise ValueError(
                    f"models.{other}.limits and models.{role}.limits differ, and they are the same model at the same "
                    "endpoint: write the same limits, or write them once"
                )
        return self

    @property
    def prunes(self) -> bool:
        """Whether cells are left out that cannot change the winner."""
        return self.swarm.pruning == "exact" and self.optimizer.is_arg_max

    def config_maps(self) -> dict[str, set[str] | None]:
        """ConfigMaps that the pods mount: name -> keys that must be there (None: all keys are used)."""
        found: dict[str, set[str] | None] = {}
        source = self.program.source
        if source is not None and source.config_map is not None:
            items = source.config_map.items
            found[source.config_map.name] = None if items is None else {item.key for item in items}
        for data in (self.data.train, self.data.validation, self.data.test):
            if data is not None and data.config_map is not None:
                keys = found.setdefault(data.config_map.name, set())
                if keys is not None:
                    keys.add(data.config_map.key)
        return found

    def needed_config_maps(self) -> dict[str, set[str]]:
        """ConfigMaps without which a pod does not start, or lacks something: name -> keys that must be there."""
        found = {name: set(keys or ()) for name, keys in self.config_maps().items()}
        for source in self.env_from:
            if source.config_map_ref is not None:
                found.setdefault(source.config_map_ref.name, set())
        for variable in self.env:
            if variable.value_from is not None and (reference := variable.value_from.config_map_key_ref) is not None:
                found.setdefault(reference.name, set()).add(reference.key)
        return found

    def secrets(self) -> dict[str, SecretKeyRef]:
        """API keys that the pods receive: model role -> Secret key."""
        return {role: model.api_key.secret for role, model in self.models.by_role.items() if model.api_key}

    def artifact_name(self, compilation: str) -> str:
        """Name of the artifact ConfigMap."""
        return self.artifact.config_map.name if self.artifact.config_map else f"{compilation}-artifact"

    def as_written(self) -> dict[str, Any]:
        """The spec as JSON values in camelCase."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
