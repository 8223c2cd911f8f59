"""The settings of an administrator: environment variables SWARM_OPERATOR_<NAME>.

The chart sets them from its values.
"""

import os
from collections.abc import Mapping
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

PREFIX: Final = "SWARM_OPERATOR_"
MEBIBYTE: Final = 1024 * 1024


class Settings(BaseModel):
    """Each field is the environment variable PREFIX + the field's name in capitals. Durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker_image: str = Field(
        "dspy-swarm/worker:dev", description="Image of plans and workers where a spec names none."
    )
    git_image: str = Field(
        "dspy-swarm/git:dev", description="Image of the pods that fetch a program from git, or publish a winner to it."
    )
    image_pull_policy: str = Field("", description="Of those images. Empty: Kubernetes' default.")
    allowed_images: tuple[str, ...] = Field(
        (),
        description="What spec.image and finetune.trainer.image may be, as patterns with * and ?, comma-separated; "
        "worker_image always may. Empty: anything.",
    )
    allowed_service_accounts: tuple[str, ...] = Field(
        (),
        description="What spec.swarm.serviceAccountName may be, likewise; none always may. Empty: anything.",
    )
    limiter: str = Field(
        "",
        pattern=r"^$|^[^\s:]+:[0-9]+$",
        description="host:port of the limiter, which keeps models.*.limits. Empty: there is none.",
    )
    journal_mebibytes: int = Field(
        64,
        ge=1,
        description="How large the journal of a run may grow, in MiB; those of earlier runs are kept within as much.",
    )
    namespaces: tuple[str, ...] = Field((), description="Namespaces to serve, comma-separated. Empty: all.")
    gather_interval: float = Field(5, gt=0, description="How often the output of running pods is read.")
    pending_deadline: float = Field(
        900,
        ge=0,
        description="How long a run waits for what is missing (a ConfigMap, a Secret, an image, a node) before its "
        "Compilation is Stalled.",
    )
    retry_delay: float = Field(
        10, ge=0, description="Wait before the second attempt; it doubles with each one, up to 5 minutes."
    )
    log_deadline: float = Field(60, ge=0, description="How long the output of a pod that ended is asked for.")
    lost_after: float = Field(
        30, ge=0, description="How long after its grace period a pod that does not end counts as lost with its node."
    )
    resync_interval: float = Field(60, gt=0, description="How often everything is looked at without a reason.")
    request_timeout: float = Field(30, gt=0, description="Longest wait for an answer of the API server.")
    log_timeout: float = Field(60, gt=0, description="Longest wait for a pod's output.")
    concurrent_passes: int = Field(8, ge=1, description="Compilations looked at side by side.")
    concurrent_logs: int = Field(8, ge=1, description="Pods whose output is read side by side.")
    status_interval: float = Field(1, ge=0, description="Least time between two status writes to one Compilation.")
    liveness_port: int = Field(8080, ge=0, le=65535, description="Port of /healthz. 0: none.")
    deaf_after: float = Field(
        300,
        gt=0,
        description="For how long, beside resync_interval, nothing may be heard of the cluster before readiness fails; "
        "and resyncs may cease, or find what no watch tells of, before liveness does.",
    )
    lease: str = Field(
        "",
        pattern=r"^$|^[^\s/]+/[^\s/]+$",
        description="namespace/name of the Lease that the operator holds while it writes. Empty: none, and no other "
        "operator may serve the same namespaces.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @property
    def journal_bytes(self) -> int:
        return self.journal_mebibytes * MEBIBYTE

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Reads the settings from the environment. Raises pydantic's ValidationError if a value is invalid."""
        given = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for name in cls.model_fields:
            if (value := given.get(PREFIX + name.upper())) is not None:
                is_list = isinstance(cls.model_fields[name].default, tuple)
                values[name] = tuple(filter(None, value.split(","))) if is_list else value
        return cls.model_validate(values)
