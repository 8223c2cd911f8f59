"""Makes the adapter that the spec names."""

from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_wire.spec.adapters import Adapter
from swarm_worker.errors import BadInput
from swarm_worker.user.entrypoint import call, load

_WHERE, _REASON = "spec.program.adapter.entrypoint", WorkerReason.PROGRAM_LOAD_FAILED

_CLASSES = {
    "chat": dspy.ChatAdapter,
    "json_": dspy.JSONAdapter,
    "xml": dspy.XMLAdapter,
    "two_step": dspy.TwoStepAdapter,
}


def make_adapter(given: Adapter, extraction: dspy.LM) -> dspy.Adapter:
    """Returns a new instance of the adapter.

    Args:
        extraction: the model with which the two-step adapter reads answers.

    Raises:
        BadInput: the entrypoint names no adapter.
    """
    if given.entrypoint is not None:
        return _load(given.entrypoint)
    # Only changed options are passed, because an older DSPy lacks some options.
    options = getattr(given, given.which).model_dump(exclude_defaults=True)
    if given.two_step is not None:
        options["extraction_model"] = extraction
    adapter: dspy.Adapter = _CLASSES[given.which](**options)
    return adapter


def _load(entrypoint: str) -> dspy.Adapter:
    found: Any = load(entrypoint, _WHERE, _REASON)
    if not isinstance(found, dspy.Adapter) and callable(found):
        found = call(found, entrypoint, _WHERE, _REASON)
    if not isinstance(found, dspy.Adapter):
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{entrypoint}" gave a {type(found).__name__}. Name a dspy.Adapter, an Adapter class, or a '
            "function without arguments that returns one.",
        )
    return found
