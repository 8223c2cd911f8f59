"""Runs stock DSPy's BootstrapFinetune, alone or after another optimizer.

It stops before a job is paid for that cannot be good.

Where stock DSPy would train on something else than the user means, this module says so and ends the run:

- An example that raises, or whose answer cannot be parsed, ends stock's compile after all calls. Here it is left out.
- A metric that returns a `dspy.Prediction` switches stock's filter off, because such an object is never false. Here its
  score counts.
- Without any row, stock begins a job all the same.
- With `multitask=False`, stock takes the n-th call of a run for the n-th predictor, whatever was called.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Any, Final

import dspy
from dspy.adapters.chat_adapter import ChatAdapter
from dspy.teleprompt import BootstrapFinetune, bootstrap_finetune
from dspy.teleprompt.bootstrap_trace import FailedPrediction

from swarm_wire.names import WorkerReason
from swarm_wire.spec import bootstrap_finetune as api
from swarm_worker.errors import BadInput
from swarm_worker.finetuning import tuning
from swarm_worker.user.data import Data

FEW: Final = 200
"""With fewer training examples than this, a note says that more would be better."""
Note = Callable[[str], object]


def check(
    given: api.BootstrapFinetune,
    data: Data,
    adapter: dspy.Adapter | None,
    note: Note,
    validation: str = "spec.data.validation",
) -> None:
    """Raises BadInput for what no LM call is needed to find out.

    Args:
        validation: where the validation examples are.
    """
    if len(data.train) < given.min_traces:
        raise BadInput(
            WorkerReason.TOO_FEW_EXAMPLES,
            f"there are {len(data.train)} training examples, so there cannot be {given.min_traces} training rows "
            "(minTraces). Add examples, or lower minTraces.",
        )
    if len(data.train) < given.min_examples:
        raise BadInput(
            WorkerReason.TOO_FEW_EXAMPLES,
            f"there are {len(data.train)} training examples, and a fine-tune with fewer than {given.min_examples} is "
            "seldom worth its price. Add examples to spec.data.train, or lower minExamples.",
        )
    _check_overlap(data, note, validation)
    used = adapter or dspy.settings.adapter or ChatAdapter()
    try:
        used.format_finetune_data(dspy.Signature("a -> b"), [], {"a": "a"}, {"b": "b"})
    except NotImplementedError:
        raise BadInput(
            WorkerReason.ADAPTER_UNSUPPORTED,
            f"DSPy makes no training rows with {type(used).__name__}. Write spec.program.adapter: {{chat: {{}}}} or "
            "{xml: {}}. It also replaces an adapter that the program's file configures.",
        ) from None


def _check_overlap(data: Data, note: Note, validation: str) -> None:
    """Raises BadInput if a tuned program would be scored on its own training examples."""
    seen = {_asked_of(example) for example in data.train}
    for name, examples in (validation, data.validation or []), ("spec.data.test", data.test):
        places = [number for number, example in enumerate(examples, 1) if _asked_of(example) in seen]
        if places:
            raise BadInput(
                WorkerReason.TRAIN_TEST_OVERLAP,
                f"{len(places)} of {len(examples)} examples of {name} have the same inputs as training "
                f"examples, the first at place {places[0]}. A tuned program has learned their answers, so its score "
                "would be too good. Remove them from one of the two.",
            )
    if not data.validation and not data.test:
        note("the tuned program is scored on examples on which it was trained: add spec.data.test.")


def _asked_of(example: Any) -> str:
    return repr(sorted(example.inputs().toDict().items()))


@dataclass
class Arms:
    """Programs that the report scores beside a tuned one.

    Attributes:
        teacher: the program that made the rows.
        prompted: the same program with the student's model, if it has other prompts than the student.
    """

    teacher: dspy.Module | None = None
    prompted: dspy.Module | None = None


def distilled(
    student: dspy.Module, *, compile_program: Callable[[dspy.Module], dspy.Module], arms: Arms, **given: Any
) -> dspy.Module:
    """Compiles for the large model, and has the small one fine-tuned on what the winner does.

    The pupil is a copy of the winner. So training rows have the prompts that the tuned program sends.

    Args:
        given: as `finetuned` takes it.
    """
    with dspy.context(lm=given["large"]):
        winner = compile_program(student)
    arms.prompted = taught_by(winner, given["small"])
    return finetuned(taught_by(winner, given["small"]), arms=arms, **given)


def taught_by(student: dspy.Module, large: dspy.LM) -> dspy.Module:
    """Returns a copy of the student with another model."""
    copied: dspy.Module = student.deepcopy()
    copied.set_lm(large)
    return copied


def finetuned(
    student: dspy.Module,
    *,
    given: api.BootstrapFinetune,
    metric: Callable[..., Any],
    trainset: list[Any],
    small: dspy.LM,
    large: dspy.LM,
    note: Note,
    arms: Arms,
) -> dspy.Module:
    """Returns the student with tuned models, as stock DSPy does. It is the same object.

    Args:
        small: the model of predictors that have none.
        large: the model of the teacher, which is a copy of the student. If it is `small`, the student teaches itself.
        arms: gets the teacher.

    Raises BadInput if there are too few rows, or if they are not what the tuned program will be asked.
    """
    for predictor in student.predictors():
        if predictor.lm is None:
            predictor.lm = small
    teacher = None if large is small else taught_by(student, large)
    arms.teacher = None if large is small else taught_by(student, large)
    if teacher is None:
        note("the student teaches itself: name a larger model in spec.models.teacher.")
    if len(trainset) < FEW:
        note(f"there are {len(trainset)} training examples: a fine-tune is reliable with {FEW} or more.")
    optimizer = BootstrapFinetune(
        metric=metric,
        multitask=given.multitask,
        exclude_demos=given.exclude_demos,
        num_threads=max(len(student.predictors()), dspy.settings.num_threads or 1),
    )
    with _collecting(given, student, note):
        return optimizer.compile(student, trainset=trainset, teacher=teacher)


@contextmanager
def _collecting(given: api.BootstrapFinetune, student: dspy.Module, note: Note) -> Iterator[None]:
    """Within the block, stock's collection of runs leaves out those that it could not use, and is checked."""
    stock = bootstrap_finetune.bootstrap_trace_data

    def collect(program: dspy.Module, dataset: list[Any], **more: Any) -> list[dict[str, Any]]:
        found = stock(program=program, dataset=dataset, raise_on_error=False, **more)
        out = Counter(raised=len(dataset) - len(found))
        kept, scores = [], list[float]()
        for item in found:
            if isinstance(item["prediction"], FailedPrediction):
                out["unparsed"] += 1
                continue
            scores.append(_number(item["score"]))
            if not _is_good(scores[-1], given.min_score):
                out["rejected"] += 1
            else:
                kept.append({**item, "score": True})
        note(
            f"{len(kept)} of {len(dataset)} runs of the teacher became training rows: the metric rejected "
            f"{out['rejected']}, {out['raised']} raised, and {out['unparsed']} could not be parsed."
        )
        good = [score for score in scores if _is_good(score, given.min_score)]
        if weak := [score for score in good if score < max(good)]:
            note(
                f"{len(weak)} of these {len(good)} runs have lower scores than the best ({min(weak):g} to "
                f"{max(good):g}). With minScore: {max(good):g}, they do not become rows."
            )
        if not tuning.is_imaginary():
            _check_teacher(given, scores)
            _check_rows(given, student, kept, len(dataset), note)
        return kept

    bootstrap_finetune.bootstrap_trace_data = collect
    try:
        yield
    finally:
        bootstrap_finetune.bootstrap_trace_data = stock


def _number(score: Any) -> float:
    return float(score["score"]) if isinstance(score, dspy.Prediction) else float(score)


def _is_good(score: float, least: float | None) -> bool:
    """Whether a run becomes rows. Without a least score, any score but 0 is good, as in stock DSPy."""
    return bool(score) if least is None else score >= least


def _check_teacher(given: api.BootstrapFinetune, scores: Sequence[float]) -> None:
    """Raises BadInput if the teacher's answers to the training examples have too low a mean score."""
    least, mean = given.min_teacher_score, 100 * fmean(scores) if scores else 0.0
    if least is not None and mean < least:
        raise BadInput(
            WorkerReason.TEACHER_BELOW_GATE,
            f"the teacher scores {mean:.1f} on the {len(scores)} training examples that it answered, and "
            f"minTeacherScore demands {least:g}. A student learns its mistakes, too. Improve the teacher's prompts by "
            "another optimizer with distill, name a better model in spec.models.teacher, or lower minTeacherScore.",
        )


def _check_rows(
    given: api.BootstrapFinetune, student: dspy.Module, kept: list[dict[str, Any]], of: int, note: Note
) -> None:
    """Raises BadInput if there are too few rows, or if they teach something else than the tuned program is asked."""
    predictors, rows = student.predictors(), Counter[str]()
    adapter = dspy.settings.adapter or ChatAdapter()
    for item in kept:
        if not given.multitask and not _is_in_order(item["trace"], predictors):
            raise BadInput(
                WorkerReason.OPTIMIZER_INVALID,
                "multitask is false, and a run of the teacher does not call each predictor "
                "once, in their order: stock DSPy would train a predictor on the rows of another. Write multitask: "
                "true.",
            )
        for called, inputs, outputs in item["trace"]:
            demos = [] if given.exclude_demos else called.demos
            row = adapter.format_finetune_data(called.signature, demos, inputs, outputs)["messages"]
            asking = [
                name
                for name, predictor in student.named_predictors()
                if row[:-1] == _asked(adapter, predictor, given.exclude_demos, inputs)
            ]
            if not asking:
                raise BadInput(
                    WorkerReason.PROMPT_SKEW,
                    "a training row has another prompt than the tuned program will send. One of these is the cause. "
                    "The program changes its signatures or demonstrations while it runs: let them stay as the "
                    "constructor makes them. A module of it is frozen (_compiled is true): do not freeze it. The "
                    "adapter hands fields to functions of the model, or the signature has outputs for decisions: DSPy "
                    "makes no rows of those.",
                )
            rows.update(asking)
    if len(kept) < given.min_traces:
        enough = f"About {ceil(given.min_traces * of / len(kept)):,} training examples would do. " if kept else ""
        raise BadInput(
            WorkerReason.TOO_FEW_TRACES,
            f"{len(kept)} of {of} runs of the teacher are good enough for training rows, and minTraces demands "
            f"{given.min_traces}. {enough}Add examples, improve the teacher, or lower minTraces.",
        )
    for name, _ in student.named_predictors():
        if rows[name] < given.min_traces:
            note(f"the predictor {name} has only {rows[name]} training rows, since the program seldom calls it.")


def _is_in_order(trace: Sequence[Any], predictors: Sequence[Any]) -> bool:
    called = [called.signature for called, _, _ in trace]
    return len(called) == len(predictors) and all(
        one.equals(predictor.signature) for one, predictor in zip(called, predictors, strict=True)
    )


def _makes_decisions(predictor: Any, adapter: Any) -> bool:
    """Whether DSPy 3.4 rewrites the prompts of a predictor, because it has outputs such as dspy.Choice."""
    try:
        from dspy.adapters.decision import resolve_adapter
    except ImportError:  # DSPy 3.3
        return False
    declared = predictor.signature
    found: bool = resolve_adapter(predictor.lm, adapter, declared, predictor.fields, declared) is not adapter
    return found


def _asked(adapter: Any, predictor: Any, without_demos: bool, inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the prompt that a predictor will send."""
    demos, declared = [] if without_demos else predictor.demos, predictor.signature
    used = {name: value for name, value in inputs.items() if name in declared.input_fields}
    if not used or _makes_decisions(predictor, adapter):
        return []
    try:
        signature = adapter._call_preprocess(predictor.lm, dict(predictor.config), declared, used)
        asked: list[dict[str, Any]] = adapter.format(signature, demos, used)
    except Exception:  # another predictor has been asked, and this one cannot be asked that
        return []
    return asked
