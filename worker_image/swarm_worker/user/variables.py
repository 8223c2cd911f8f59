"""Provides the environment variables that a spec names for program, metric and data."""

from collections.abc import Mapping, MutableMapping
from dataclasses import replace

from swarm_wire.names import ENV_HIDDEN, WorkerReason, variable_prefix
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import Value, placed
from swarm_worker.content.masking import GUARDED_SECRET
from swarm_worker.errors import BadInput


def place(spec: CompilationSpec, environment: MutableMapping[str, str]) -> dict[str, Value]:
    """Sets the user's variables in the environment, without the prefixes of their sources, and returns them by name.

    Raises BadInput if a Secret or ConfigMap has a key with the name of a variable that this process itself needs.
    """
    try:
        found = placed(spec.env, spec.env_from, environment)
    except ValueError as error:
        raise BadInput(WorkerReason.INVALID_SPEC, str(error)) from None
    prefixes = tuple(variable_prefix(number) for number in range(len(spec.env_from) + 1))
    for name in [name for name in environment if name.startswith(prefixes)]:
        del environment[name]
    hidden = environment.pop(ENV_HIDDEN, "").split()
    found.update({name: replace(found[name], is_hidden=True) for name in hidden if name in found})
    environment.update({name: value.text for name, value in found.items()})
    return found


def secrets(variables: Mapping[str, Value]) -> dict[str, str]:
    """Returns the values to mask, by the names that replace them.

    It omits short values, which may be ordinary words.
    """
    return {
        f"value of {name}": value.text
        for name, value in variables.items()
        if (value.is_secret or value.is_hidden) and len(value.text) >= GUARDED_SECRET
    }
