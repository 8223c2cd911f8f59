"""Storage for results that are too large for ConfigMaps."""

from typing import Self

from pydantic import Field, model_validator

from swarm_wire.spec.references import ClaimRef, StorageOptions
from swarm_wire.spec.schema import STORE, Union, only_with


class JournalStorage(Union):
    """Where a run keeps results that are too large for ConfigMaps."""

    others = ("options",)
    rules = (only_with("options", "url"),)
    persistent_volume_claim: ClaimRef | None = Field(
        None, description="A volume to which all pods can write. With several nodes, it must be ReadWriteMany."
    )
    url: str | None = Field(
        None,
        pattern=STORE,
        max_length=1024,
        description='A folder, as a URL of fsspec: "s3://bucket/folder". The image must have fsspec\'s package for '
        "this URL (s3fs, gcsfs, adlfs).",
    )
    options: StorageOptions | None = Field(None, description="Credentials and endpoints for the url.")

    @model_validator(mode="after")
    def _outlives_a_pod(self) -> Self:
        scheme = (self.url or "").partition(":")[0]
        if scheme in ("file", "local", "memory"):
            raise ValueError(f"{scheme}: is within one pod; use persistentVolumeClaim, or a place that all pods reach")
        return self
