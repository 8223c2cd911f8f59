"""Describes the kind DSPyCompilationTrigger to the runtime."""

from typing import Final

from swarm_operator.compilation.observe import objects
from swarm_operator.runtime.kinds import Kind
from swarm_operator.trigger.api import TRIGGERS
from swarm_operator.trigger.read import key_of
from swarm_operator.trigger.reconcile import Reconciler

TRIGGER: Final = Kind(TRIGGERS, "", objects.own_key, key_of, Reconciler)
