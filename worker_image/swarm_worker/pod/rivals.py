"""The published program, as a run compares it: with the winner, on today's model, or asked anew."""

import hashlib
from collections.abc import Callable

import dspy

from swarm_wire.messages import RunRequest
from swarm_worker.errors import BadInput
from swarm_worker.pod.script import Anew, Progress, Rival, Which
from swarm_worker.user import saved_models
from swarm_worker.user.models import Models
from swarm_worker.user.published import published_program


def rival(
    request: RunRequest, models: Models, student: dspy.Module, note: Callable[[str], object], may_ask: bool
) -> Rival | None:
    """Returns the published program if the report compares anything with it.

    Args:
        note: takes a sentence for the report.
        may_ask: whether the run may ask the program anything anew. A run that a limit has ended may not.

    Raises BadInput if the program cannot be loaded, and the winner is to be compared with it.
    """
    spec = request.spec
    try:
        program = published_program(spec, student)
    except BadInput:
        if spec.compares_published:
            raise
        note("spec.drift compares nothing in this run: the program's code no longer fits the published program.")
        return None
    if program is None:
        return None
    before = saved_models.own(student)
    if spec.compare is None:
        where = "spec.gate.against" if spec.compares_published else "spec.drift"
        saved_models.connect(program, before, spec, models, where)
    else:  # the report moves the program from one model to another
        for name, predictor in program.named_predictors():
            predictor.lm = before.get(name)
    return Rival(
        program,
        today=models.by_name[spec.compare.current_model] if spec.compare else None,
        is_compared=spec.compares_published,
        anew=_anew(program, models.student, request.run_id, spec.drift.sample) if spec.drift and may_ask else None,
    )


def _anew(program: dspy.Module, student: dspy.LM, run_id: str, sample: int) -> Anew:
    copied, renewed = program.deepcopy(), dict[int, dspy.LM]()
    for predictor, original in zip(copied.predictors(), program.predictors(), strict=True):
        if (lm := original.lm) is not None:
            # Predictors that share a model must share the renewed one, too: BestOfN and Refine need that.
            predictor.lm = renewed.setdefault(id(lm), _renewed(lm, run_id))
    return Anew(copied, _renewed(student, run_id), sample)


def _renewed(lm: dspy.LM, run_id: str) -> dspy.LM:
    """Returns the same model, for which no answer of an earlier run counts. All plans of a run get an equal one.

    DSPy never sends the rollout id to the provider: it only makes equal requests differ.
    """
    found = lm.copy(rollout_id=int(hashlib.sha256(run_id.encode()).hexdigest()[:7], 16))
    # DSPy warns that its own cache ignores the id at temperature 0. The journal does not.
    found._warned_zero_temp_rollout = True
    return found


def current_model(request: RunRequest, progress: Progress) -> str:
    """Returns the model on which the published program runs today; empty if the report does not compare models."""
    spec = request.spec
    is_compared = spec.compare is not None and progress.against is Which.PUBLISHED
    return spec.models.by_role[spec.compare.current_model].model if spec.compare and is_compared else ""
