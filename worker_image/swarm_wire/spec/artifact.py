"""The destination of the winner."""

from pydantic import Field

from swarm_wire.spec.git import GitDestination
from swarm_wire.spec.references import ConfigMapRef
from swarm_wire.spec.schema import SpecModel


class Artifact(SpecModel):
    """Where the winner goes. It always goes to a ConfigMap, and also to git if `git` is set."""

    config_map: ConfigMapRef | None = Field(
        None,
        description="ConfigMap that the operator writes. The Compilation owns it. Default: the Compilation's name + "
        "'-artifact'.",
    )
    git: GitDestination | None = Field(
        None,
        description="Git repository to which the winner is committed, too. A pod that alone has the credentials "
        "pushes it. Default: none.",
    )
