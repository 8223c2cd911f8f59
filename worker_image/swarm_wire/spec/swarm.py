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
        description="What a node must have free for a pod. Default: cpu 100m, memory 384Mi, or less if limits are "
        "lower.",
    )
    limits: dict[ResourceName, Quantity] = Field({"memory": "2Gi"}, description="What a pod may use at most.")

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

    key: str | None = Field(
        None, max_length=317, description="Key of the taint. Default: every taint, if operator is Exists."
    )
    operator: Literal["Exists", "Equal"] = Field(
        "Equal", description="Equal: the taint must have this value. Exists: the taint's value does not matter."
    )
    value: str | None = Field(None, max_length=63, description="Value of the taint, if operator is Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Default: every effect."
    )
    toleration_seconds: int | None = Field(
        None, description="Seconds for which a NoExecute taint is tolerated. Default: for ever."
    )


class Swarm(SpecModel):
    """The pods that compute the cells of a round."""

    pods: int = Field(8, ge=1, le=1000, description="Number of worker pods that run at the same time.")
    threads_per_pod: int = Field(8, ge=1, le=256, description="Number of cells that one pod runs at the same time.")
    slice_size: int = Field(
        200,
        ge=1,
        le=5000,
        description="Largest number of cells of one pod. If the pod's output is lost, at most these cells are lost.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=MOST_ATTEMPTS,
        description="Number of attempts at a cell whose pod ended without its result. Each attempt has smaller slices.",
    )
    speculation: int = Field(
        4,
        ge=0,
        le=1000,
        description="Largest number of guesses in a round. A guess is a likely effect that may depend on a missing "
        "score. 0: the run never pays for a guess.",
    )
    pruning: Literal["exact", "off"] = Field(
        "exact",
        description="exact: the run leaves out cells of candidates that can no longer win, if the optimizer keeps the "
        'best candidate and uses scores for nothing else. The winner is the same. "off" (in quotes): all '
        "cells are run.",
    )
    rehearsal_seconds: int = Field(
        10,
        ge=0,
        le=3600,
        description="Longest time of the rehearsal, in seconds. Before the first LM call, it runs program and metric "
        "on the first validation examples with invented answers, to find what differs between processes. "
        "One run of an example may take half of this time. 0: no rehearsal.",
    )
    resources: Resources = Field(default_factory=Resources, description="Compute resources of each pod.")
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints that the pods tolerate."
    )
    image_pull_secrets: list[SecretRef] = Field(
        default_factory=list, max_length=16, description="Secrets with which nodes pull the image."
    )
    service_account_name: Name | None = Field(
        None,
        description="Service account of the pods. Its token is never mounted. Default: the namespace's default "
        "service account.",
    )
