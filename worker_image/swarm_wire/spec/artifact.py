"""The destination of the winner."""

from pydantic import Field

from swarm_wire.spec.references import ConfigMapRef
from swarm_wire.spec.schema import SpecModel


class Artifact(SpecModel):
    """Where the winner goes. It always goes to a ConfigMap."""

    config_map: ConfigMapRef | None = Field(
        None,
        description="ConfigMap that the operator writes. The Compilation owns it. Default: the Compilation's name + "
        "'-artifact'.",
    )
