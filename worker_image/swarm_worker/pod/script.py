"""The script of a compile, as a user would write it with stock DSPy: baseline, compile, winner, scores."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isfinite
from numbers import Real
from typing import Any, NamedTuple

import dspy
from dspy.evaluate.evaluate import EvaluationResult
from dspy.utils.callback import BaseCallback

from swarm_wire.messages import Result
from swarm_wire.names import WorkerReason
from swarm_wire.report import Candidate, Scores
from swarm_wire.words import sentence
from swarm_worker.errors import BadInput
from swarm_worker.replay.pruning import Bound
from swarm_worker.replay.score import WRITE, check_all, defined_at
from swarm_worker.user.finetuning import Arms
from swarm_worker.user.optimizer import Compile

UNKNOWN = "no earlier run has asked the published program these examples with these models and this code"
FIXED = "the program asks only models that it holds itself, and none of them can be asked anew"
"""Why a run looks for no drift."""


class Which(StrEnum):
    """A program that the report scores."""

    BASELINE = "baseline"
    PUBLISHED = "published"
    SWITCHED = "switched"
    """The published program on the new model, if spec.compare is set. PUBLISHED then runs on today's model."""
    TEACHER = "teacher"
    """The program with models.teacher, which made the rows of a fine-tune."""
    PROMPTED = "prompted"
    """The teacher's prompts with models.student, before the fine-tune."""
    WINNER = "winner"


class Arm(NamedTuple):
    """One of the report's own evaluations: of a program, on the scored examples or the test set."""

    program: Which
    on_test: bool


class Drifted(NamedTuple):
    """Scores of the published program for each example of a sample, in percent."""

    before: list[float]
    now: list[float]


@dataclass
class Progress(BaseCallback):
    """The scores known so far. A plan reports them even if it ends before the compile does.

    Attributes:
        validation: the examples to score on.
        keeps_best: whether to keep a copy of the program with the best score so far on the whole validation set.
        published: score of the published program, on the test set if there is one, else on the scored examples.
        switched: likewise, on the new model.
        teacher: likewise, of the teacher of a fine-tune.
        prompted: likewise, of the teacher's prompts with the student's model.
        against: the program that the winner is compared with.
        is_for_teacher: whether the optimizer works for the teacher's model. Its scores are then no progress of the
            student, and are not beside the baseline.
        by_example: scores of the report's own evaluations, by example, in percent.
        drift: scores of the published program, as they were and asked anew.
        latest: returns the results of the latest evaluation, as `Tally.latest` has them.
        was_known: whether earlier runs have asked all LM calls of the latest evaluation.
        note: takes a sentence for the report.
        results: what `latest` returned after each of the report's own evaluations.
    """

    baseline: float | None = None
    best: float | None = None
    test_baseline: float | None = None
    test_winner: float | None = None
    published: float | None = None
    switched: float | None = None
    teacher: float | None = None
    prompted: float | None = None
    against: Which = Which.BASELINE
    is_for_teacher: bool = False
    compiling: bool = False
    validation: list[Any] = field(default_factory=list)
    keeps_best: bool = False
    best_program: Any = None
    best_score: float = -inf
    by_example: dict[Arm, list[float]] = field(default_factory=dict)
    drift: Drifted | None = None
    latest: Callable[[], Sequence[Result]] = lambda: ()
    was_known: Callable[[], bool] = lambda: True
    note: Callable[[str], object] = lambda text: None
    results: dict[Arm, Sequence[Result]] = field(default_factory=dict)
    _open: dict[str, Any] = field(default_factory=dict)

    def scores(self) -> Scores:
        return Scores(
            baseline=self.baseline, best=self.best, test_baseline=self.test_baseline, test_winner=self.test_winner
        )

    def resume(self, scores: Scores) -> None:
        """Begins with the scores of an earlier plan, until this plan has its own."""
        self.baseline, self.best = scores.baseline, scores.best
        self.test_baseline, self.test_winner = scores.test_baseline, scores.test_winner

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        devset = inputs.get("devset") or instance.devset
        if self.compiling and self._is_validation(devset):
            self._open[call_id] = inputs["program"]

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        program = self._open.pop(call_id, None)
        if program is not None and exception is None and not _is_cut_short(outputs.results):
            if not self.is_for_teacher:
                self.best = outputs.score if self.best is None else max(self.best, outputs.score)
            self.keep(program, outputs.score)

    def _is_validation(self, examples: Any) -> bool:
        """Whether these are the validation examples, in any order. MIPROv2 shuffles them."""
        return len(examples) == len(self.validation) and sorted(map(repr, examples)) == sorted(
            map(repr, self.validation)
        )

    def keep(self, program: Any, score: float) -> None:
        """Keeps a program that was scored on the whole validation set, if it is the best so far."""
        if self.keeps_best and score > self.best_score:
            # The optimizer may change the program later. InferRules even changes signature classes, which copies share.
            # So the copy gets classes of its own.
            self.best_score, self.best_program = score, program.deepcopy()
            for predictor in self.best_program.predictors():
                predictor.signature = predictor.signature.with_instructions(predictor.signature.instructions)


@dataclass(frozen=True)
class Rival:
    """Another program to compare the winner with.

    Attributes:
        today: the model on which the program runs today, if the run has a new one.
        is_compared: whether the winner is compared with it.
        anew: the same program, to be asked some examples anew, if the run looks for a drift.
    """

    program: dspy.Module
    today: dspy.LM | None = None
    is_compared: bool = True
    anew: "Anew | None" = None


@dataclass(frozen=True)
class Anew:
    """The published program with models for which no earlier answer counts, and the number of examples to ask."""

    program: dspy.Module
    lm: dspy.LM
    sample: int


def run(
    compile_program: Compile,
    student: dspy.Module,
    metric: Callable[..., Any],
    scored: list[Any],
    test: list[Any],
    progress: Progress,
    published: Rival | None = None,
    arms: Arms | None = None,
) -> dspy.Module:
    """Runs the script and returns the winner; scores go into `progress`.

    Args:
        scored: the examples that student and winner are scored on.
        test: further examples to score on, if any, which the optimizer never sees.
        published: the published program, if the report compares anything with it.
        arms: has the programs that the report scores beside a tuned one, once the compile is over.

    Raises:
        BadInput: the metric's values cannot be added up.
        CompileFailed: the optimizer raised an exception.
    """
    progress.validation = scored
    progress.against = Which.PUBLISHED if published is not None and published.is_compared else Which.BASELINE
    examples = list(scored)

    def score(program: dspy.Module, arm: Arm) -> float:
        result = _evaluate(program, metric, test if arm.on_test else scored)
        if in_order := _in_order(result.results, test if arm.on_test else examples):
            progress.by_example[arm] = in_order
        progress.results[arm] = progress.latest()
        return float(result.score)

    progress.baseline = score(student, Arm(Which.BASELINE, on_test=False))
    progress.keep(student, progress.baseline)
    if test:
        progress.test_baseline = score(student, Arm(Which.BASELINE, on_test=True))
    progress.compiling = True
    winner = compile_program(student)
    progress.compiling = False
    progress.best = score(winner, Arm(Which.WINNER, on_test=False))
    if test:
        progress.test_winner = score(winner, Arm(Which.WINNER, on_test=True))
    # These evaluations are the last ones, so the compile is the same with and without them.
    if published is not None and published.is_compared:
        with dspy.context(lm=published.today) if published.today else nullcontext():
            progress.published = score(published.program, Arm(Which.PUBLISHED, on_test=bool(test)))
        if published.today is not None:
            progress.switched = score(published.program, Arm(Which.SWITCHED, on_test=bool(test)))
    if arms is not None and arms.teacher is not None:
        progress.teacher = score(arms.teacher, Arm(Which.TEACHER, on_test=bool(test)))
    if arms is not None and arms.prompted is not None:
        progress.prompted = score(arms.prompted, Arm(Which.PROMPTED, on_test=bool(test)))
    if published is not None and published.anew is not None:
        _look_for_drift(published.program, published.anew, metric, test or examples, progress)
    return winner


def _look_for_drift(
    program: dspy.Module, anew: Anew, metric: Callable[..., Any], examples: list[Any], progress: Progress
) -> None:
    """Asks the published program a sample anew, if it is known what it has scored on the sample before."""
    sample = examples[: anew.sample]
    before = _in_order(_evaluate(program, metric, sample).results, sample)
    if not progress.was_known():
        progress.note(f"spec.drift compares nothing in this run: {UNKNOWN}.")
        return
    with dspy.context(lm=anew.lm):
        now = _in_order(_evaluate(anew.program, metric, sample).results, sample)
    if progress.was_known():
        progress.note(f"spec.drift compares nothing: {FIXED}.")
    elif before is not None and now is not None:
        progress.drift = Drifted(before, now)


def candidates(winner: dspy.Module, hundred: float = 100) -> list[Candidate]:
    """Returns the optimizer's list of scored candidates, best first; empty if stock DSPy keeps none.

    Args:
        hundred: the score that means 100 % to the optimizer.
    """
    listed = getattr(winner, "candidate_programs", None)
    # A program may have another attribute of that name.
    found = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    made = [
        Candidate(
            name=_name_of(entry, number),
            score=100 / hundred * float(score),
            bound=any(isinstance(score, Bound) for score in entry.get("subscores", ())),
        )
        for number, entry in enumerate(found)
        if isinstance(score := entry.get("score"), Real) and isfinite(score)
    ]
    return sorted(made, key=lambda candidate: -candidate.score)


def _name_of(entry: Mapping[str, Any], number: int) -> str:
    """Returns the name of an optimizer's candidate: its seed, or the steps that have made it."""
    if "strategy" in entry:
        return str(entry["strategy"] or "the student")
    return f"seed {entry['seed']}" if "seed" in entry else f"candidate {number}"


def _is_cut_short(results: list[Any]) -> bool:
    return any(isinstance(score, Bound) for *_, score in results)


def _in_order(results: list[Any], examples: list[Any]) -> list[float] | None:
    """Returns the scores of these examples, in percent. None: the optimizer has replaced examples.

    An optimizer may change the list that it gets. MIPROv2 shuffles it.
    """
    scores: dict[int, list[float]] = {}
    for example, _, score in results:
        scores.setdefault(id(example), []).append(round(float(100 * sum([score])), 6))
    try:
        return [scores[id(example)].pop(0) for example in examples]
    except (KeyError, IndexError):
        return None


def _evaluate(program: dspy.Module, metric: Callable[..., Any], examples: list[Any]) -> EvaluationResult:
    # This evaluation is only for the report. So no number of errors ends it: stock DSPy would complete the compile.
    evaluate = dspy.Evaluate(devset=examples, metric=metric, max_errors=len(examples) + 1)
    try:
        result = evaluate(program)
    except (TypeError, ValueError) as error:
        raise BadInput(
            WorkerReason.EVALUATION_FAILED,
            f"the values of the metric ({defined_at(metric)}) cannot be added up: {sentence(str(error))} {WRITE}",
        ) from error
    check_all(float(result.score), metric)
    return result
