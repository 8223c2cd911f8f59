"""Runs stock DSPy's BetterTogether, which improves prompts and fine-tunes in turn.

Where stock does something else than the user means, this module does not:

- If a step raises, stock returns the best program so far as if nothing had happened. Here the run ends.
- Optimizers that reset the student forget its model, so stock improves the prompts of a tuned student for
  `dspy.settings.lm`, the untuned one. Here that is the student's model during such a step.
- The teacher of stock is a program with prompts of its own. Here each fine-tune has a copy of the student, as it is by
  then, for a teacher, so rows have the prompts of the tuned program.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final

import dspy
from dspy.teleprompt import BetterTogether
from dspy.teleprompt.teleprompt import Teleprompter
from pydantic.alias_generators import to_camel

from swarm_wire.names import WorkerReason
from swarm_wire.spec import optimizers as api
from swarm_worker.errors import BadInput, CompileFailed, SwarmError
from swarm_worker.finetuning import tuning
from swarm_worker.replay.blame import exhausted
from swarm_worker.user import finetuning
from swarm_worker.user.data import Data
from swarm_worker.user.finetuning import Note

FEW: Final = 50
"""With fewer validation examples than this, a note says that more would be better."""
RESETTING: Final = frozenset(
    {
        "bootstrap_few_shot",
        "bootstrap_few_shot_with_optuna",
        "bootstrap_few_shot_with_random_search",
        "labeled_few_shot",
    }
)
"""Optimizers whose candidates are reset copies of the student, without its model."""
Run = Callable[[dspy.Module, list[Any], list[Any] | None], dspy.Module]
"""A function (student, trainset, valset) -> program."""


def divided(given: api.BetterTogether, data: Data) -> Data:
    """Returns the data as stock divides them: without a validation set, it takes the first training examples."""
    if data.validation is not None:
        return data
    number = int(given.valset_ratio * len(data.train))
    return replace(data, train=data.train[number:], validation=data.train[:number] or None)


def check(given: api.BetterTogether, data: Data, adapter: dspy.Adapter | None, note: Note) -> None:
    """Raises BadInput for what no LM call is needed to find out, and notes what is surprising.

    Args:
        data: as the spec has them.
    """
    parts = divided(given, data)
    count = len(parts.validation or ())
    where = "spec.data.validation" if data.validation is not None else f"the first {count} of spec.data.train"
    finetuning.check(given.w, parts, adapter, note, where)
    if count == 0 and data.validation is None and given.valset_ratio:
        raise BadInput(
            WorkerReason.OPTIMIZER_INVALID,
            f"spec.optimizer.betterTogether.valsetRatio: {given.valset_ratio:g} of {len(data.train)} training examples "
            f"is less than one. Write {1 / max(1, len(data.train)):.3g} or more, or 0 to score no step.",
        )
    if count == 0:
        note("no step of betterTogether is scored, so the last program wins: add data.validation.")
    elif data.validation is None:
        note(
            f"data.validation is not set, so the first {count} of {len(data.train)} training examples score the steps "
            "of betterTogether, and the others train."
        )
    if 0 < count < FEW:
        note(f"{count} validation examples choose among the steps of betterTogether: {FEW} or more are reliable.")


class Judge:
    """A metric that asks the model which is the default outside of the steps.

    Within a step of an optimizer that forgets models, the default is the model of the student.
    """

    def __init__(self, metric: Callable[..., Any], default: dspy.LM) -> None:
        self._metric, self._default = metric, default

    def __call__(self, *given: Any, **named: Any) -> Any:
        with dspy.context(lm=self._default):
            return self._metric(*given, **named)


def judge(given: api.BetterTogether, metric: Callable[..., Any], default: dspy.LM) -> Callable[..., Any]:
    """Returns the metric of the prompt optimizer."""
    return Judge(metric, default) if given.p.which in RESETTING else metric


class _Failed(BaseException):
    """A step has raised its cause. Stock would pass over an Exception."""


class _Step(Teleprompter):
    """An optimizer of the strategy."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def compile(self, student: dspy.Module, *, trainset: list[Any], valset: list[Any] | None = None) -> dspy.Module:
        try:
            return self._run(student, trainset, valset)
        except Exception as error:
            raise _Failed from error


def better(
    student: dspy.Module,
    *,
    given: api.BetterTogether,
    prompts: partial[dspy.Module],
    data: Data,
    metric: Callable[..., Any],
    note: Note,
    tuned: dict[str, Any],
) -> dspy.Module:
    """Returns the program of the best step, as stock DSPy does.

    Args:
        prompts: a call of the `compile` of the prompt optimizer. It is called anew for each step p.
        data: as the spec has them.
        tuned: arguments of `finetuning.finetuned`.

    Raises:
        BadInput: a gate of a fine-tune does not hold, or the prompt optimizer cannot work for several models.
        CompileFailed: a step has raised an exception.
    """
    for predictor in student.predictors():
        if predictor.lm is None:
            predictor.lm = tuned["small"]
        tuning.here().order(predictor.lm, [])
    _check_models(student, given)
    begun: list[str] = []
    teachers: dict[str, dspy.Module | None] = {}

    def improve(student: dspy.Module, trainset: list[Any], valset: list[Any] | None) -> dspy.Module:
        begun.append(f"p, {to_camel(given.p.which)}")
        sets = {"trainset": trainset, "valset": valset}
        passed = {name: examples for name, examples in sets.items() if name in prompts.keywords}
        with dspy.context(lm=student.predictors()[0].lm) if given.p.which in RESETTING else nullcontext():
            return prompts(student, **passed)

    def tune(student: dspy.Module, trainset: list[Any], valset: list[Any] | None) -> dspy.Module:
        begun.append("w")
        made = finetuning.finetuned(student, **{**tuned, "trainset": trainset})
        teachers.update({predictor.lm.model: tuned["arms"].teacher for predictor in made.predictors()})
        return made

    optimizer = BetterTogether(metric=metric, p=_Step(improve), w=_Step(tune))
    try:
        winner: dspy.Module = optimizer.compile(
            student,
            trainset=data.train,
            valset=data.validation,
            max_errors=given.max_errors,
            seed=given.seed,
            valset_ratio=given.valset_ratio,
            shuffle_trainset_between_steps=given.shuffle_trainset_between_steps,
            strategy=given.strategy,
        )
    except _Failed as failed:
        error = failed.__cause__
        assert isinstance(error, Exception), "a step has raised it"
        if isinstance(error, SwarmError):
            raise error from None
        if (fault := exhausted(error)) is not None:
            raise fault from error
        raise CompileFailed(f"{_told(given, begun)}: {type(error).__name__}: {error}") from error
    if winner.flag_compilation_error_occurred:
        raise CompileFailed(f"{_told(given, begun)}: its program cannot be evaluated. The log of the plan says why.")
    used, unused = tuning.made(winner)
    if unused and not used:
        note("the winner has no tuned model: no program with one scores higher. The fine-tune was paid for.")
    if used:
        tuned["arms"].teacher = teachers.get(used[0].model, tuned["arms"].teacher)
    return winner


def _told(given: api.BetterTogether, begun: list[str]) -> str:
    return f"betterTogether: step {len(begun)} of {given.strategy!r} ({begun[-1]})"


def _check_models(student: dspy.Module, given: api.BetterTogether) -> None:
    """Raises BadInput if a prompt optimizer that forgets models would have to know several of them."""
    models = {repr(predictor.lm.dump_state()) for predictor in student.predictors()}
    names = sorted({predictor.lm.model for predictor in student.predictors()})
    follows = "p" in given.strategy.partition("w")[2]
    several = len(models) > 1 or (follows and not given.w.multitask and len(student.predictors()) > 1)
    if "p" in given.strategy and given.p.which in RESETTING and several:
        raise BadInput(
            WorkerReason.OPTIMIZER_INVALID,
            f"spec.optimizer.betterTogether: the predictors have models of their own ({', '.join(names)}), or get them "
            f"by w: {{multitask: false}}, and {to_camel(given.p.which)} forgets which has which. Write miprov2, gepa, "
            "simba or copro for p.",
        )
