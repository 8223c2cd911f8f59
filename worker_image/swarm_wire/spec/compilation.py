"""The spec of a DSPyCompilation, and checks that concern several of its parts."""

from typing import Final, Self

from pydantic import Field, model_validator

from swarm_wire.spec.artifact import Artifact
from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.compare import Compare
from swarm_wire.spec.data import Data
from swarm_wire.spec.drift import Drift
from swarm_wire.spec.finetune import Distill, Finetune
from swarm_wire.spec.gate import Gate
from swarm_wire.spec.journal import JournalStorage
from swarm_wire.spec.limits import Limits
from swarm_wire.spec.models import Models
from swarm_wire.spec.optimizers import Optimizer
from swarm_wire.spec.program import Metric, Program
from swarm_wire.spec.references import CompilationRef, SecretKeyRef
from swarm_wire.spec.schema import SpecModel, api_name
from swarm_wire.spec.swarm import Swarm
from swarm_wire.spec.trainer import Trainer
from swarm_wire.spec.variables import Variable, VariablesFrom

TRAINED: Final = ("openai", "hosted_vllm")
"""Providers in DSPy's names of models, with which a server of one's own is asked by OpenAI's protocol."""


class CompilationSpec(SpecModel):
    """A DSPy compile. It takes a program, data, a metric, models and an optimizer, and gives the compiled program."""

    program: Program
    metric: Metric
    data: Data
    models: Models
    optimizer: Optimizer
    distill: Distill | None = Field(
        None,
        description="Has models.student fine-tuned on what the optimizer's winner does with models.teacher. Default: "
        "the optimizer's winner for models.student is the result.",
    )
    finetune: Finetune | None = Field(
        None,
        description="How bootstrapFinetune, betterTogether and distill train the student. Default: not at all.",
    )
    env: list[Variable] = Field(
        default_factory=list,
        max_length=128,
        description="Environment variables of program, metric and data, as in a pod's spec. The operator reads no "
        "Secret.",
    )
    env_from: list[VariablesFrom] = Field(
        default_factory=list,
        max_length=16,
        description="Secrets and ConfigMaps whose keys become environment variables, as in a pod's spec. env wins "
        "over them.",
    )
    swarm: Swarm = Field(default_factory=Swarm)
    image: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="Image of plan and worker pods. Default: the operator's setting.",
    )
    artifact: Artifact = Field(default_factory=Artifact)
    gate: Gate | None = Field(
        None, description="Conditions on the winner. A winner that does not meet them is not published. Default: none."
    )
    compare: Compare | None = Field(
        None,
        description="Shows what a new model changes. The report then compares with the published program on the model "
        "on which it runs today. Default: no such comparison.",
    )
    drift: Drift | None = Field(
        None,
        description="Finds out whether a model has changed behind its name since the program was published. Default: "
        "not.",
    )
    predecessor: CompilationRef | None = Field(
        None,
        description="A Compilation whose paid results this one reuses, as those of its own earlier runs. Until this "
        "one has published a program, that one's published program counts as published. Default: none.",
    )
    journal: JournalStorage | None = Field(
        None,
        description="Where the pods keep results. Default: in ConfigMaps, up to the chart's value "
        "operator.journalMebibytes.",
    )
    limits: Limits = Field(default_factory=Limits)
    suspend: bool = Field(
        False,
        description="true: the operator ends all pods and starts none, and the journal keeps finished cells. false: "
        "the run goes on.",
    )

    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        description="Seconds from a run's end until the operator deletes its journal; artifact and status stay. "
        "Default: the journal stays until the Compilation is deleted, or until a run that answers a later "
        "request is published.",
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
    def _compared_model_exists(self) -> Self:
        if self.compare is not None and (name := self.compare.current_model) not in {*self.models.by_role} - {
            "student"
        }:
            raise ValueError(
                f"compare.currentModel is {name!r}: write the name of a model in models other than student. It is the "
                "model on which the published program runs today"
            )
        return self

    @model_validator(mode="after")
    def _tuning_has_a_job(self) -> Self:
        which = "distill" if self.distill is not None else api_name(self.optimizer.which)
        if self.rows is None:
            if self.finetune is not None:
                raise ValueError("only bootstrapFinetune, betterTogether and distill use finetune: remove it")
            return self
        if self.finetune is None:
            raise ValueError(f"{which} needs finetune: {{}}")
        if self.distill is not None and (self.optimizer.rows is not None or self.models.teacher is None):
            raise ValueError(
                "distill needs models.teacher, the model for which the optimizer works, and another optimizer than "
                "bootstrapFinetune and betterTogether, which distill by themselves"
            )
        if self.limits.publish_partial and self.optimizer.bootstrap_finetune is None:
            # The best program so far may be one for another model: the teacher's, or one that it does not name.
            raise ValueError(f"{which} cannot be combined with limits.publishPartial: remove that")
        state = self.program.state
        if (state is not None and state.published) or self.compare is not None:
            # The student would begin with a tuned model, and a tuned program would be moved to another model.
            raise ValueError(
                f"{which} cannot be combined with program.state.published and compare: a published program runs on its "
                "tuned model. Remove these"
            )
        if self.limits.cost_usd is not None and self.finetune.training_price is None:
            raise ValueError("limits.costUSD needs finetune.trainingPrice")
        if self.finetune.epochs is None and (self.limits.cost_usd is not None or self.limits.total_tokens is not None):
            raise ValueError("limits.totalTokens and limits.costUSD need finetune.epochs: it multiplies the price")
        student = self.models.student
        if self.finetune.trainer is not None:
            if student.provider not in TRAINED:
                raise ValueError(
                    f"finetune.trainer needs a student whose server speaks OpenAI's protocol: write "
                    f"models.student.model: openai/NAME, not {student.provider}/NAME"
                )
            if not self.tuned_address:
                raise ValueError(
                    "finetune.trainer needs trainer.serving.endpoint: the base URL of the server that answers for the "
                    "trained model"
                )
            both = self.optimizer.better_together
            if both is not None and both.strategy.count("w") > 1:
                raise ValueError(
                    "finetune.trainer cannot be combined with a betterTogether.strategy of several w: each training "
                    "begins with trainer.base. Write one w"
                )
        elif student.provider != "openai" and student.endpoint is None:
            raise ValueError(
                f"{which} needs models.student.endpoint with {student.provider}: the base URL of files and jobs by "
                "OpenAI's protocol"
            )
        return self

    @model_validator(mode="after")
    def _teacher_is_compared(self) -> Self:
        gate = self.gate or Gate()
        if gate.when_inconclusive == "publish" and gate.min_retention is None:
            raise ValueError("gate.whenInconclusive: publish needs gate.minRetention, whose verdict it is about")
        for field, given in (
            ("minRetention", gate.min_retention),
            ("minCostReduction", gate.min_cost_reduction),
        ):
            if given is not None and (self.rows is None or self.models.teacher is None):
                raise ValueError(
                    f"gate.{field} needs a fine-tune (bootstrapFinetune, betterTogether or distill) and models.teacher"
                )
        return self

    @model_validator(mode="after")
    def _both_models_are_read_alike(self) -> Self:
        adapter = self.program.adapter
        needs = self.compare is not None and adapter is not None and adapter.two_step is not None
        if needs and self.models.extraction is None:
            raise ValueError(
                "compare with program.adapter.twoStep needs models.extraction: without it, the new model would read "
                "the answers of today's model"
            )
        return self

    @model_validator(mode="after")
    def _answers_are_bounded(self) -> Self:
        """Checks that answers have a maximum length, because pods count an answer's tokens before they spend them."""
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
        """Checks that roles with the same model and endpoint have the same limits.

        The limiter cannot tell requests of such roles apart.
        """
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
    def rows(self) -> BootstrapFinetune | None:
        """Returns what the spec says of a fine-tune's training rows; None if nothing is trained."""
        return self.distill or self.optimizer.rows

    @property
    def trainer(self) -> Trainer | None:
        """Returns the program of the user that trains; None if a provider trains, or if nothing is trained."""
        return self.finetune.trainer if self.finetune is not None else None

    @property
    def tuned_address(self) -> str:
        """Returns the base URL at which tuned models answer; an empty text means the provider's own."""
        served = self.trainer.serving.endpoint if self.trainer is not None else None
        return (served or self.models.student.address).rstrip("/")

    @property
    def prunes(self) -> bool:
        """Whether pruning leaves out cells that cannot change the winner."""
        return self.swarm.pruning == "exact" and self.optimizer.is_arg_max and self.distill is None

    @property
    def needs_published(self) -> bool:
        """Whether a run needs the program that is published when the run begins."""
        state = self.program.state
        starts = state is not None and state.published is True
        return starts or self.compares_published or self.drift is not None

    @property
    def compares_published(self) -> bool:
        """Whether the winner is compared with the published program."""
        return self.compare is not None or (self.gate is not None and self.gate.against == "published")

    def config_maps(self) -> dict[str, set[str] | None]:
        """Returns the ConfigMaps that pods mount: name -> keys that must exist (None: pods use all keys)."""
        found: dict[str, set[str] | None] = {}
        source = self.program.source
        if source is not None and source.config_map is not None:
            items = source.config_map.items
            found[source.config_map.name] = None if items is None else {item.key for item in items}
        for file in (*self.data.sources.values(), self.program.state):
            if file is not None and file.config_map is not None:
                keys = found.setdefault(file.config_map.name, set())
                if keys is not None:
                    keys.add(file.config_map.key)
        return found

    def claims(self) -> set[str]:
        """Returns the names of the PersistentVolumeClaims with data, which pods mount."""
        return {source.volume.claim_name for source in self.data.sources.values() if source.volume is not None}

    def needed_config_maps(self) -> dict[str, set[str]]:
        """Returns the ConfigMaps that a pod needs to start with everything it uses: name -> keys that must exist."""
        found = {name: set(keys or ()) for name, keys in self.config_maps().items()}
        for source in self.env_from:
            if source.config_map_ref is not None:
                found.setdefault(source.config_map_ref.name, set())
        for variable in self.env:
            if variable.value_from is not None and (reference := variable.value_from.config_map_key_ref) is not None:
                found.setdefault(reference.name, set()).add(reference.key)
        return found

    def secrets(self) -> dict[str, SecretKeyRef]:
        """Returns the API keys that pods receive: role of the model -> key of a Secret."""
        return {role: model.api_key.secret for role, model in self.models.by_role.items() if model.api_key}

    def artifact_name(self, compilation: str) -> str:
        """Returns the name of the artifact's ConfigMap."""
        return self.artifact.config_map.name if self.artifact.config_map else f"{compilation}-artifact"
