"""Describes the kind DSPyCompilation to the runtime."""

from typing import Final

from swarm_operator.compilation.api import COMPILATIONS, FINALIZER
from swarm_operator.compilation.observe import objects
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.runtime.kinds import Kind

COMPILATION: Final = Kind(COMPILATIONS, FINALIZER, objects.own_key, objects.key_of, Reconciler)
