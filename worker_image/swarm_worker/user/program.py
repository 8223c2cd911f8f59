"""Loads the user's program and metric."""

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.words import sentence
from swarm_worker.errors import BadInput
from swarm_worker.user import saved_models
from swarm_worker.user.data import FILES
from swarm_worker.user.entrypoint import call, load
from swarm_worker.user.models import Models
from swarm_worker.user.sources import data_folder

_WHERE, _REASON = "spec.program.entrypoint", WorkerReason.PROGRAM_LOAD_FAILED


def is_instance(spec: CompilationSpec) -> bool:
    """Whether the entrypoint names an instance of dspy.Module, not a class or a factory."""
    return isinstance(load(spec.program.entrypoint, _WHERE, _REASON), dspy.Module)


def load_program(spec: CompilationSpec) -> dspy.Module:
    """Returns the student. The entrypoint names a dspy.Module, a Module class, or a function that returns a Module."""
    found = load(spec.program.entrypoint, _WHERE, _REASON)
    if not isinstance(found, dspy.Module):
        if not callable(found):
            raise BadInput(
                _REASON,
                f'{_WHERE}: "{spec.program.entrypoint}" is a {type(found).__name__}. Name a dspy.Module, a Module '
                f"class, "
                "or a function without arguments that returns one.",
            )
        found = call(found, spec.program.entrypoint, _WHERE, _REASON)
    if not isinstance(found, dspy.Module):
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{spec.program.entrypoint}" gave a {type(found).__name__}, not a dspy.Module. '
            "Return an instance of a class that derives from dspy.Module.",
        )
    if type(found).__module__ == "__main__":
        raise BadInput(
            _REASON, f"{_WHERE}: the program's class is defined in __main__. Move it into a module of its own."
        )
    if not found.named_predictors():
        _check_code(found, spec)
    return found


def state_file(spec: CompilationSpec, sources: Path) -> Path | None:
    """Returns the file with the compiled program that the student starts from.

    None: the spec names none, or it names the published program, and the run has none.

    Args:
        sources: the folder of ConfigMaps.
    """
    state = spec.program.state
    if state is None:
        return None
    file = FILES[state.which](state, sources, data_folder(spec, sources))
    return None if state.published and not file.is_file() else file


def begin_with_state(student: dspy.Module, spec: CompilationSpec, sources: Path, models: Models) -> None:
    """Gives the student the compiled program that the spec names, if it names one. Raises BadInput."""
    if (file := state_file(spec, sources)) is None:
        return
    advice = "It must be the program.json of an artifact of this program, or what its save method has written."
    if spec.program.state is not None and spec.program.state.published:
        advice = (
            "The program's code no longer fits it. Remove program.state for this run; its winner is published then."
        )
    before = saved_models.own(student)
    load_state(student, file, "spec.program.state", advice)
    saved = [predictor.lm.model for predictor in student.predictors() if predictor.lm is not None]
    if spec.finetune is not None and (tuned := next(filter(saved_models.is_tuned, saved), None)):
        raise BadInput(
            _REASON,
            f"spec.program.state: the program runs on {tuned!r}, a fine-tuned model, and a fine-tune begins with "
            "models.student. Start from a program without one.",
        )
    saved_models.connect(student, before, spec, models, "spec.program.state")


def load_state(program: dspy.Module, file: Path, where: str, advice: str) -> None:
    """Gives a program the instructions and demonstrations of a compiled program.

    Args:
        where: the field of the spec that asks for it.
        advice: what to do if it does not fit the program.

    Raises:
        BadInput: the file cannot be loaded into the program.
    """
    try:
        # Stock DSPy looks at the end of the name. The key of a ConfigMap may have another one.
        with tempfile.NamedTemporaryFile(suffix=".json") as copy:
            Path(copy.name).write_bytes(file.read_bytes())
            program.load(copy.name)
    except Exception as error:  # a module may have a `load_state` of its own
        raise BadInput(
            _REASON,
            f"{where}: {file.name} cannot be loaded: {type(error).__name__}: {sentence(str(error))} {advice}",
        ) from error


def _check_code(program: dspy.Module, spec: CompilationSpec) -> None:
    """Checks a program without predictors. Raises BadInput if it has no code that the optimizer rewrites, either."""
    kinds = tuple(filter(None, [getattr(dspy, "Flex", None)]))
    if not any(isinstance(part, kinds) for _, part in program.named_parameters()):
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{spec.program.entrypoint}" has no predictors, so there is nothing to compile. Set '
            "dspy.Predict, dspy.ChainOfThought or like as attributes in its __init__.",
        )
    if spec.optimizer.which not in ("gepa", "custom"):
        raise BadInput(
            _REASON,
            f'{_WHERE}: "{spec.program.entrypoint}" has no predictors but those in the code of a dspy.Flex, which only '
            "GEPA rewrites. Use spec.optimizer.gepa, or give the program a predictor of its own.",
        )


_METRIC_ARGUMENTS: dict[str, tuple[int, ...]] = {
    "gepa": (2, 3, 5),
    **dict.fromkeys(("labeled_few_shot", "copro", "simba", "re_anchor", "custom"), (2,)),
}
"""With how many arguments the metric is called, by optimizer. Evaluations pass two; the optimizer may pass more."""


def load_metric(spec: CompilationSpec) -> Callable[..., Any]:
    """Returns the metric. Raises BadInput if it does not take the arguments that the optimizer passes."""
    where, reason = "spec.metric.entrypoint", WorkerReason.METRIC_LOAD_FAILED
    found = load(spec.metric.entrypoint, where, reason)
    if not callable(found):
        raise BadInput(reason, f'{where}: "{spec.metric.entrypoint}" is a {type(found).__name__}, not a function.')
    both = spec.optimizer.better_together
    which = spec.optimizer.which if both is None else both.p.which
    gepa = which == "gepa"
    shape = "(example, prediction, trace=None" + (", pred_name=None, pred_trace=None)" if gepa else ")")
    try:
        signature = inspect.signature(found)
    except ValueError:  # a builtin may have no signature
        signature = None
    try:
        for count in _METRIC_ARGUMENTS.get(which, (2, 3)):
            if signature is not None:
                signature.bind(*[None] * count)
    except TypeError:
        raise BadInput(
            reason,
            f'{where}: "{spec.metric.entrypoint}" must take {shape}{" for gepa" if gepa else ""}, not {signature}.',
        ) from None
    metric: Callable[..., Any] = found
    return metric
