"""The published program, as a run compares it: with the winner, on today's model, or asked anew."""

import hashlib

import dspy

from swarm_wire.messages import RunRequest
from swarm_worker.pod.script import Anew, Progress, Rival, Which
from swarm_worker.user.models import Models
from swarm_worker.user.published import published_program


def rival(request: RunRequest, models: Models, student: dspy.Module) -> Rival | None:
    """Returns the published program if the report compares anything with it. Raises BadInput if it cannot be loaded."""
    spec = request.spec
    if (program := published_program(spec, student)) is None:
        return None
    return Rival(
        program,
        today=models.by_name[spec.compare.current_model] if spec.compare else None,
        is_compared=spec.compares_published,
        anew=_anew(program, models.student, request.run_id, spec.drift.sample) if spec.drift else None,
    )


def _anew(program: dspy.Module, student: dspy.LM, run_id: str, sample: int) -> Anew:
    copied = program.deepcopy()
    for predictor in copied.predictors():
        if predictor.lm is not None:
            predictor.lm = _renewed(predictor.lm, run_id)
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
