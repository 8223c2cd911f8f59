"""What a spec names in its Compilation's namespace."""

from swarm_wire.schema import Key, Name, SpecModel


class ConfigMapRef(SpecModel):
    """A ConfigMap in the Compilation's namespace."""

    name: Name


class ConfigMapKeyRef(SpecModel):
    """One key of a ConfigMap in the Compilation's namespace."""

    name: Name
    key: Key


class SecretRef(SpecModel):
    """A Secret in the Compilation's namespace."""

    name: Name


class SecretKeyRef(SpecModel):
    """One key of a Secret in the Compilation's namespace."""

    name: Name
    key: Key
