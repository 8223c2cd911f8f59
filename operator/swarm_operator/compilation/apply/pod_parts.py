"""Builds parts of pods that several kinds of pods have (pure)."""

from collections.abc import Mapping

from swarm_operator.compilation.apply.metadata import Manifest
from swarm_wire.spec.swarm import Swarm
from swarm_wire.spec.trainer import Trainer


def plain(values: Mapping[str, str]) -> list[Manifest]:
    """Returns environment variables with these values."""
    return [{"name": name, "value": value} for name, value in values.items()]


def placement(given: Swarm | Trainer) -> Manifest:
    """Returns the fields of a pod's spec that say on which nodes it may run."""
    made: Manifest = {}
    if given.node_selector:
        made["nodeSelector"] = dict(given.node_selector)
    if given.tolerations:
        made["tolerations"] = [toleration.as_written() for toleration in given.tolerations]
    return made
