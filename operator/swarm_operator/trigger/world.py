"""What a pass over a trigger has read, as immutable facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.world import Key
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import RunStatus, TriggerStatus
from swarm_wire.messages import Commit
from swarm_wire.spec.problems import problems


@dataclass(frozen=True)
class Owned:
    """The Compilation with the trigger's name.

    Attributes:
        is_ours: whether the trigger owns it.
        cause: value of its annotation CAUSE.
        is_over: whether the run that the annotation has requested has ended.
        drifted: id of its newest run, if that run has found that the published program scores worse than before.
        requested_at: value of its annotation requested-at; runs reuse only what was paid for since then.
        begun: digests of the watched content for which its newest run began, by kind, as its annotation BEGUN has them.
        run: what its status says about its current run; None before it has one.
        uid: its uid, with `resource_version` for a write that must not hit another Compilation.
        name: its name.
        has_published: whether a run has published a program.
    """

    is_ours: bool
    cause: str = ""
    is_over: bool = True
    run: RunStatus | None = None
    drifted: str = ""
    requested_at: str = ""
    begun: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    name: str = ""
    has_published: bool = False


@dataclass(frozen=True)
class LookJob:
    """A Job whose pod looks at a git repository, or lists models.

    Attributes:
        number: the trigger counts these Jobs from 1.
        watch: digest of what the pod looks at.
        is_over: whether the Job starts no more pods.
        pod: its pod; None before it has one, and after somebody has deleted it.
        commit: the pod's commit record; None before the pod has ended.
    """

    name: str
    uid: str
    number: int
    watch: str
    created_at: datetime
    is_over: bool
    pod: Pod | None = None
    commit: Commit | None = None


@dataclass(frozen=True)
class World:
    """A DSPyCompilationTrigger as it is in the cluster, and its Compilation.

    Attributes:
        given: the spec, as a user has written it.
        owned: None if there is no Compilation of this name.
        trials: the Compilations that the trigger owns for new models, by model.
        refused: why the API server has refused such a Compilation in this pass, by model.
        looks: the Jobs that look at the git repository, or list models.
        config_maps: digest of the watched ConfigMaps; None if the trigger watches none, or if one is missing.
    """

    key: Key
    resource_version: str
    generation: int
    created_at: datetime
    deleting: bool
    given: Mapping[str, Any]
    status: TriggerStatus
    owned: Owned | None = None
    trials: Mapping[str, Owned] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    looks: tuple[LookJob, ...] = ()
    config_maps: str | None = None

    @property
    def spec(self) -> TriggerSpec | None:
        """Returns the parsed spec, or None if the spec is invalid. Then `problems` says why."""
        return self._parsed if isinstance(self._parsed, TriggerSpec) else None

    @property
    def problems(self) -> str:
        """Returns the mistakes in the spec as clauses."""
        return self._parsed if isinstance(self._parsed, str) else ""

    @cached_property
    def _parsed(self) -> TriggerSpec | str:
        try:
            return TriggerSpec.model_validate(self.given, by_alias=True, by_name=False)
        except ValidationError as error:
            return "; ".join(map(str, problems(error, TriggerSpec)))
