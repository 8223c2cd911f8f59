"""The pods of a round."""

from typing import Annotated, Final, Literal

from pydantic import Field

from swarm_wire.spec.references import SecretRef
from swarm_wire.spec.schema import Name, Quantity, SpecModel, amount

ResourceName = Literal["cpu", "memory", "ephemeral-storage"]
USUAL_REQUESTS: Final[dict[ResourceName, Quantity]] = {"cpu": "100m", "memory": "384Mi"}
"""The requests of a pod if the spec sets none."""
MOST_ATTEMPTS = 10
"""Largest allowed value of maxAttempts."""


class Resources(SpecModel):
    """Compute resources of a pod."""

    requests: dict[ResourceName, Quantity] | None = Field(
        None,
        description="What a node must have to spare. Default: cpu 100m, memory 384Mi; less where limits are lower.",
    )
    limits: dict[ResourceName, Quantity] = Field({"memory": "2Gi"}, description="What a pod may take at most.")

    @property
    def requested(self) -> dict[ResourceName, Quantity]:
        """Returns the requests of a pod.

        If the spec has none, returns the usual requests, lowered to the pod's limits.
        """
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
    """The pods that compute the cells of a round."""

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
