"""The spec of a trigger, as pydantic models."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, ValidationError, field_validator, model_validator

from swarm_operator.trigger import trials
from swarm_operator.trigger.trials import NewModels
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.git import GitSource
from swarm_wire.spec.problems import problems
from swarm_wire.spec.providers import model_list
from swarm_wire.spec.schema import PATH, Rule, SpecModel

_SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)


class TemplateMetadata(SpecModel):
    """Labels and annotations of the Compilation."""

    labels: dict[str, str] = Field({}, description="Labels of the Compilation, for example of Kueue.")
    annotations: dict[str, str] = Field({}, description="Annotations of the Compilation.")


class Template(SpecModel):
    """The Compilation whose runs the trigger begins. It has the trigger's name and namespace."""

    metadata: TemplateMetadata | None = Field(None, description="Labels and annotations of the Compilation.")
    spec: CompilationSpec = Field(description="The spec of the Compilation. A change takes effect with the next cause.")


class Schedule(SpecModel):
    """Times at which a run begins."""

    cron: str = Field(
        min_length=9,
        max_length=200,
        description='Minute, hour, day of the month, month, day of the week: "0 2 * * *" is 02:00 each day.',
    )
    time_zone: str = Field(
        "UTC", min_length=1, max_length=64, description='Time zone of these times, such as "Europe/Berlin".'
    )

    @field_validator("cron")
    @classmethod
    def _has_times(cls, cron: str) -> str:
        if len(cron.split()) != 5:
            raise ValueError('write five fields, for example "0 2 * * *"')
        try:
            next(CronSim(cron, _SOME_DAY))
            next(CronSim(cron, _SOME_DAY, reverse=True))
        except CronSimError as error:
            raise ValueError(f'{error}: write five fields, for example "0 2 * * *"') from None
        except StopIteration:
            raise ValueError("no time ever fits these fields") from None
        return cron

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError('there is no such time zone: write a name such as "Europe/Berlin"') from None
        return name


class GitWatch(SpecModel):
    """A change of files in the branch of template.spec.program.source.git begins a run.

    A pod with the credentials of that field looks at the branch. Files that a run publishes to git
    (template.spec.artifact.git) are not watched.
    """

    paths: list[Annotated[str, Field(pattern=PATH, max_length=1024)]] = Field(
        [],
        max_length=100,
        description="Files and folders in the repository. A commit that changes none of them begins no run. Default: "
        "the folder in program.source.git.path.",
    )
    interval_seconds: int = Field(
        300, ge=30, le=86400, description="Time between two looks. A webhook may ask for a look at once."
    )


HAS_CAUSES: Final = Rule(
    fields=("schedules", "git", "config_maps", "models"),
    message="nothing begins a run: write schedules, git, configMaps or models",
    cel="(has(self.schedules) && size(self.schedules) > 0) || has(self.git) || has(self.models) || "
    "(has(self.configMaps) && self.configMaps)",
    holds=lambda _: True,  # `_has_causes` checks it, since these fields have values where they are not set
)


class TriggerSpec(SpecModel):
    """Begins runs of a DSPyCompilation by itself."""

    rules = (HAS_CAUSES,)

    template: Template = Field(description="The Compilation whose runs the trigger begins.")
    schedules: list[Schedule] = Field([], max_length=32, description="Times at which a run begins.")
    git: GitWatch | None = Field(None, description="Begins a run when files in the program's git branch change.")
    config_maps: bool = Field(
        False,
        description="true: a change of a ConfigMap whose content the template uses as program or data begins a run.",
    )
    models: NewModels | None = Field(None, description="Begins a run for each new model of the student's provider.")
    recompile_on_drift: bool = Field(
        False,
        description="true: if a run finds that the published program scores worse than before (template.spec.drift), "
        "another run begins that asks the models anew.",
    )
    reuse: Literal["answers", "none"] = Field(
        "answers",
        description="answers: a run reuses what earlier runs have paid for and what still holds, so a run of the same "
        "program with the same data makes no LM call. none: each run asks the models anew.",
    )
    concurrency_policy: Literal["Forbid", "Replace"] = Field(
        "Forbid",
        description="What happens if the run before is still under way. Forbid: a time of a schedule begins no run, "
        "and a change waits. Replace: the new run stops it, and reuses its results so far (reuse: answers).",
    )
    starting_deadline_seconds: int | None = Field(
        None,
        ge=1,
        description="A time of a schedule begins no run if the operator sees it more than so many seconds late. "
        "Default: however late it is, the newest time begins a run.",
    )
    min_interval_seconds: int = Field(
        0,
        ge=0,
        description="Least time between the beginnings of two runs. In this time, a time of a schedule begins no run, "
        "and a change waits.",
    )
    daily_budget_usd: float | None = Field(
        None,
        alias="dailyBudgetUSD",
        ge=0.000001,
        le=1e9,
        description="Most that the runs that began in the last 24 hours may cost together, in USD. Each run gets what "
        "is left as its limits.costUSD.",
    )
    suspend: bool = Field(False, description="true: no cause begins a run. A run under way goes on.")

    @property
    def source(self) -> GitSource | None:
        """Returns the repository that the template's program comes from; None if it comes from elsewhere."""
        source = self.template.spec.program.source
        return source.git if source else None

    @model_validator(mode="after")
    def _has_causes(self) -> Self:
        if not self.schedules and self.git is None and not self.config_maps and self.models is None:
            raise ValueError(HAS_CAUSES.message)
        if self.git is not None and self.source is None:
            raise ValueError("git watches the repository of template.spec.program.source.git, which is not set")
        if self.git is not None and self.source and self.source.ref and self.source.ref.commit:
            raise ValueError(
                "git cannot watch one commit: write ref: {branch: main} in place of ref.commit in "
                "template.spec.program.source.git"
            )
        drift, test = self.template.spec.drift, self.template.spec.data.test
        if drift is not None and self.reuse == "none":
            raise ValueError(
                "template.spec.drift compares with what earlier runs have asked, and reuse: none leaves that out: "
                "write reuse: answers"
            )
        if self.recompile_on_drift and drift is None:
            raise ValueError("recompileOnDrift is true, and template.spec.drift is not set: write drift: {sample: 50}")
        if self.recompile_on_drift and test is None:
            raise ValueError(
                "recompileOnDrift needs template.spec.data.test: on the examples that chose the winner, its score "
                "falls by itself when they are asked again"
            )
        if self.config_maps and not self.template.spec.config_maps():
            raise ValueError("configMaps is true, and template.spec takes neither program nor data from a ConfigMap")
        return self

    @model_validator(mode="after")
    def _new_models_can_be_tried(self) -> Self:
        if self.models is None:
            return self
        student = self.template.spec.models.student
        if model_list(student) is None:
            raise ValueError(
                f"models: where {student.provider} lists its models is not known. Write "
                "template.spec.models.student.endpoint, if its /models is such a list, or remove models"
            )
        if student.endpoint is None and student.api_key is None:
            raise ValueError(
                "models: the list needs a key, and the pod that reads it gets no variable of env: write "
                "template.spec.models.student.apiKey"
            )
        is_limited = self.daily_budget_usd or self.template.spec.limits.cost_usd or self.models.cost_usd
        if is_limited and self.models.price is None:
            raise ValueError(
                "models: a limit in USD needs the price of new models, which DSPy's list may lack: write models.price"
            )
        if trials.CURRENT in self.template.spec.models.by_role:
            raise ValueError(
                f"models: a run for a new model gives the name {trials.CURRENT} to today's model: rename "
                f"template.spec.models.{trials.CURRENT}"
            )
        made = trials.spec_for(self.template.spec.as_written(), "trigger", f"{student.provider}/new", self.models)
        try:
            CompilationSpec.model_validate(made, by_alias=True, by_name=False)
        except ValidationError as error:
            told = "; ".join(map(str, problems(error)))
            raise ValueError(
                f"models: the Compilation for a new model, which has compare, would not be valid: {told}"
            ) from None
        return self

    @model_validator(mode="after")
    def _can_be_limited(self) -> Self:
        """With a budget, each run has a limits.costUSD. So the template must be valid with one."""
        if self.daily_budget_usd is not None:
            written = self.template.spec.as_written()
            limits = {**written.get("limits", {}), "costUSD": self.daily_budget_usd}
            CompilationSpec.model_validate({**written, "limits": limits}, by_alias=True, by_name=False)
        return self
