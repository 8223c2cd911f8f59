"""Finds the models of a run by role. Outside of a run, it finds none, and this module imports only DSPy."""

from collections.abc import Mapping
from typing import Any

_of_the_run: dict[str, Any] = {}


def install(models: Mapping[str, Any]) -> None:
    """Sets the run's models."""
    _of_the_run.update(models)


def find(name: str, otherwise: Any) -> Any:
    """Implements `swarm_worker.lm`."""
    import dspy

    if _of_the_run:
        if name not in _of_the_run:
            from swarm_wire.names import WorkerReason
            from swarm_worker.errors import BadInput

            raise BadInput(
                WorkerReason.INVALID_SPEC,
                f"swarm_worker.lm({name!r}): spec.models has no {name}. Add it there, or ask for one of "
                f"{', '.join(_of_the_run)}.",
            )
        return _of_the_run[name]
    found = otherwise or dspy.settings.lm
    if found is None:
        raise LookupError(
            f"swarm_worker.lm({name!r}) outside of a run: call dspy.configure(lm=...) first, or give the LM that is to "
            f"be used here: swarm_worker.lm({name!r}, dspy.LM(...))"
        )
    return found
