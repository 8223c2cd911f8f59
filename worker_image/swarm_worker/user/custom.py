"""Loads a user's own optimizer: a function (student, trainset, valset, metric) -> program."""

import inspect
from collections.abc import Callable
from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput
from swarm_worker.user.data import Data
from swarm_worker.user.entrypoint import load
from swarm_worker.user.models import Models

_WHERE, _REASON = "spec.optimizer.custom.entrypoint", WorkerReason.OPTIMIZER_INVALID
_SHAPE = "(student, trainset, valset, metric)"


def load_custom(
    entrypoint: str, metric: Callable[..., Any], data: Data, models: Models
) -> Callable[[dspy.Module], dspy.Module]:
    """Returns a function that takes the student and returns the winner.

    The user's function gets its arguments by name. It also gets models, if it has parameters for them.

    Raises:
        BadInput: the function cannot be imported or called. The compile raises it if the function returns no program.
    """
    function = load(entrypoint, _WHERE, _REASON)
    if not callable(function):
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{entrypoint}" is a {type(function).__name__}. Name a function {_SHAPE} that returns the '
            "compiled program.",
        )
    arguments = {"trainset": data.train, "valset": data.validation, "metric": metric}
    signature = inspect.signature(function)
    offered = {"prompt_model": models.prompt, "teacher_model": models.teacher}
    arguments |= {name: model for name, model in offered.items() if name in signature.parameters}
    try:
        signature.bind(student=None, **arguments)
    except TypeError:
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{entrypoint}" must take {_SHAPE} by these names, and may take prompt_model and teacher_model; '
            f"it takes {signature}.",
        ) from None

    def compile_program(student: dspy.Module) -> dspy.Module:
        winner = function(student=student, **arguments)
        if not isinstance(winner, dspy.Module):
            raise BadInput(
                _REASON,
                f'{_WHERE}: "{entrypoint}" returned a {type(winner).__name__}, not a dspy.Module. Return the compiled '
                "program.",
            )
        return winner

    return compile_program
