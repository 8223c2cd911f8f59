"""References to objects in a Compilation's namespace."""

from pydantic import Field

from swarm_wire.spec.schema import Key, Name, SpecModel


class CompilationRef(SpecModel):
    """Another Compilation in the same namespace."""

    name: Name = Field(description="Name of the Compilation.")


class ConfigMapRef(SpecModel):
    """A ConfigMap in the Compilation's namespace."""

    name: Name = Field(description="Name of the ConfigMap.")


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the Compilation's namespace."""

    name: Name = Field(description="Name of the ConfigMap.")
    key: Key = Field(description="Key whose value is used.")


class ClaimRef(SpecModel):
    """A PersistentVolumeClaim in the Compilation's namespace."""

    claim_name: Name = Field(description="Name of the claim.")


class SecretRef(SpecModel):
    """A Secret in the Compilation's namespace."""

    name: Name = Field(description="Name of the Secret.")


class SecretKeyRef(SpecModel):
    """One key of a Secret in the Compilation's namespace."""

    name: Name = Field(description="Name of the Secret.")
    key: Key = Field(description="Key whose value is used.")


class StorageOptions(SpecModel):
    """Where the options of an fsspec file system are kept."""

    secret: SecretKeyRef = Field(
        description='Key of a Secret that has a JSON object, for example {"key": "...", "secret": "..."}. The '
        "operator never reads it."
    )
