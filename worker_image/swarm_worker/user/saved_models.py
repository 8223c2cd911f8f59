"""The models of a saved program. A saved program names them, and has neither their keys nor their endpoints."""

from collections.abc import Mapping

import dspy

from swarm_wire.names import WorkerReason
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.user.models import Models

Own = Mapping[str, dspy.LM | None]
"""The model that the program's code gives each predictor, by the predictor's name."""


def own(program: dspy.Module) -> Own:
    """Returns the models of a program before a saved one is loaded into it."""
    return {name: predictor.lm for name, predictor in program.named_predictors()}


def connect(program: dspy.Module, before: Own, spec: CompilationSpec, models: Models, where: str) -> None:
    """Gives the predictors of a loaded program the models that it was saved with, as the spec has them now.

    Args:
        where: the field of the spec that asks for the program.

    Raises BadInput if a model was fine-tuned, and the spec no longer says how.
    """
    for name, predictor in program.named_predictors():
        predictor.lm = _connected(predictor.lm, before.get(name), spec, models, where)


def is_tuned(model: str) -> bool:
    """Whether the name of a model is one that fine-tuned models get."""
    return model.partition("/")[2].startswith(("ft:", "ft-"))


def _connected(
    saved: dspy.LM | None, own: dspy.LM | None, spec: CompilationSpec, models: Models, where: str
) -> dspy.LM | None:
    if saved is None or (own is not None and own.model == saved.model):
        return own
    for role, model in spec.models.by_role.items():
        if model.model == saved.model:
            return models.by_name[role]
    if spec.finetune is None:
        if is_tuned(saved.model):
            raise BadInput(
                WorkerReason.PROGRAM_LOAD_FAILED,
                f"{where}: the program runs on {saved.model!r}, which no field of spec.models names. If an earlier run "
                f"has fine-tuned it, put that run's spec.finetune back. Otherwise remove {where}.",
            )
        return own
    elsewhere = {"api_base": spec.tuned_address} if spec.trainer is not None else {}
    tuned: dspy.LM = (own or models.student).copy(model=saved.model, **elsewhere)
    return tuned
