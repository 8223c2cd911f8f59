"""DSPyCompilations, for the runtime."""

from typing import Any, Final

from swarm_operator.compilation.api import COMPILATIONS, FINALIZER
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.observe import objects
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.runtime.kinds import Kind


def _key(found: Any) -> Key:
    metadata = found["metadata"]
    return Key(metadata["namespace"], metadata["name"], metadata["uid"])


COMPILATION: Final = Kind(COMPILATIONS, FINALIZER, _key, objects.key_of, Reconciler)
