"""Storage for results that are too large for ConfigMaps."""

from typing import Self

from pydantic import Field, model_validator

from swarm_wire.spec.references import SecretKeyRef
from swarm_wire.spec.schema import STORE, Name, SpecModel, Union, only_with


class ClaimRef(SpecModel):
    """A PersistentVolumeClaim in the Compilation's namespace."""

    claim_name: Name = Field(description="Of the claim.")


class StorageOptions(SpecModel):
    """Where the options of an fsspec file system are kept."""

    secret: SecretKeyRef = Field(
        description='A JSON object, for example {"key": "...", "secret": "..."}. The operator never reads it.'
    )


class JournalStorage(Union):
    """Where a run keeps results that are too large for ConfigMaps."""

    others = ("options",)
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
