"""Hooks by which stock DSPy passes its expensive steps to the engine.

In a plan process, they replace these methods of DSPy until the process ends:

    ParallelExecutor.execute    runs every evaluation wave and every collection of traces
    BootstrapFewShot.compile    runs whole bootstraps, also for optimizers that call or inherit it
    Predict.forward             gives scouts placeholder texts for the answers to LM calls
    LM.finetune                 begins a fine-tune

`calls.install` hooks LM calls in the same way, before user code is loaded. `versions` checks the replaced methods when
the process starts. Within a cell, the hooks call the stock methods.
"""

from collections.abc import Callable
from typing import Any

import dspy
from dspy.predict.predict import Predict
from dspy.teleprompt.bootstrap import BootstrapFewShot
from dspy.utils.parallelizer import ParallelExecutor

from swarm_wire.messages import Outcome
from swarm_wire.names import WorkerReason
from swarm_worker.content import stand_ins
from swarm_worker.errors import BadInput
from swarm_worker.exceptions import Raised, describe
from swarm_worker.finetuning import tuning
from swarm_worker.lookahead import placeholder
from swarm_worker.replay import evidence, recorded
from swarm_worker.replay.calls import current
from swarm_worker.replay.effects.bootstrap import Bootstrap
from swarm_worker.replay.effects.finetune import FineTune, TrainingJob
from swarm_worker.replay.effects.wave import wave
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.evidence import Recorded
from swarm_worker.replay.own_calls import Missing, may_stand_in

_BOOTSTRAP_STEPS = (
    "_prepare_student_and_teacher",
    "_prepare_predictor_mappings",
    "_bootstrap",
    "_bootstrap_one_example",
    "_train",
)


def install(engine: Engine, before: Callable[[], None] = lambda: None) -> None:
    """Replaces the methods in this process.

    Args:
        before: called before each effect.
    """

    def begin() -> None:
        before()
        recorded.leave()

    stand_ins.put(ParallelExecutor, "execute", _executing(engine, begin))
    stand_ins.put(BootstrapFewShot, "compile", _bootstrapping(engine, begin))
    stand_ins.put(Predict, "forward", _predicting(engine))
    stand_ins.put(dspy.LM, "finetune", _finetuning(engine, begin))
    for name in ("launch", "kill"):
        stand_ins.put(dspy.LM, name, _serving(getattr(dspy.LM, name)))


def _executing(engine: Engine, begin: Callable[[], None]) -> Callable[..., Any]:
    stock = ParallelExecutor.execute

    def execute(executor: ParallelExecutor, function: Callable[[Any], Any], data: Any) -> list[Any]:
        if current() is not None:
            return list(stock(executor, function, data))
        begin()
        records = evidence.is_collected()
        with engine.output.ending():
            effect = wave(Recorded(function) if records else function, list(data), executor.max_errors)
        values = engine.need(effect)
        engine.tally.evaluated(engine.results.headers(effect))
        results: list[Any] = [None] * len(values)
        for number, (outcome, value) in enumerate(values):
            if outcome is Outcome.OK:
                results[number] = evidence.collected(value) if records else value
            else:
                executor.error_count += 1
                executor.failed_indices.append(number)
                executor.exceptions_map[number] = value
                engine.tally.failed(Raised.of(value), effect.items[number])
        if executor.error_count and executor.error_count >= executor.max_errors:
            raise Exception("Execution cancelled due to errors or interruption.")
        if executor.error_count and records:
            raise BadInput(
                WorkerReason.OPTIMIZER_INVALID,
                "the optimizer collects evidence of decisions, and goes on without that of examples that fail: "
                f"{describe(next(reversed(executor.exceptions_map.values())))}. Let the program and the metric not "
                "raise.",
            )
        return results

    return execute


def _bootstrapping(engine: Engine, begin: Callable[[], None]) -> Callable[..., Any]:
    stock, stock_steps = BootstrapFewShot.compile, [getattr(BootstrapFewShot, step) for step in _BOOTSTRAP_STEPS]

    def compile_bootstrap(
        optimizer: BootstrapFewShot, student: Any, *, teacher: Any = None, trainset: list[Any]
    ) -> Any:
        if current() is not None or [getattr(type(optimizer), step) for step in _BOOTSTRAP_STEPS] != stock_steps:
            # A subclass that overrides a step runs in the plan, which journals its LM calls one by one.
            return stock(optimizer, student, teacher=teacher, trainset=trainset)
        begin()
        with engine.output.ending():
            bootstrap = Bootstrap(optimizer, student, teacher, trainset)
        outcome, value = engine.need(bootstrap)
        if outcome is Outcome.ERROR:
            engine.tally.failed(Raised.of(value))
            raise value
        demos, optimizer.error_count, *failed = value
        engine.tally.bootstrapped(trainset, *failed)
        optimizer.trainset, optimizer.student = trainset, student.reset_copy()
        for name, predictor in optimizer.student.named_predictors():
            predictor.demos = demos[name]
        optimizer.student._compiled = True
        return optimizer.student

    return compile_bootstrap


def _finetuning(engine: Engine, begin: Callable[[], None]) -> Callable[..., Any]:
    def finetune(lm: Any, train_data: Any, train_data_format: Any, train_kwargs: Any = None) -> TrainingJob:
        if engine.scouting.scout is not None:
            engine.scouting.scout.end()
        begin()
        with engine.output.ending():
            effect = FineTune(tuning.here().order(lm, train_data))
        engine.want(effect)
        return TrainingJob(lm, effect.order, engine.need)

    return finetune


def _serving(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method that begins or ends a local server, which nobody needs before a fine-tune elsewhere."""

    def serve(*given: Any, **named: Any) -> Any:
        return None if tuning.is_set() else stock(*given, **named)

    return serve


def _predicting(engine: Engine) -> Callable[..., Any]:
    stock = Predict.forward

    def forward(predictor: Predict, **arguments: Any) -> Any:
        if current() is not None:
            return stock(predictor, **arguments)
        signature = arguments.get("signature") or predictor.signature
        token = may_stand_in.set(_has_text_outputs(signature))
        try:
            return stock(predictor, **arguments)
        except Missing as missing:
            lm, config, signature, _, inputs = predictor._forward_preprocess(**arguments)
            count = config.get("n") or lm.kwargs.get("n") or 1
            rows = placeholder.completions(engine.scouting.letter, missing.digest, list(signature.output_fields), count)
            return predictor._forward_postprocess(rows, signature, **inputs)
        finally:
            may_stand_in.reset(token)

    return forward


def _has_text_outputs(signature: Any) -> bool:
    fields = getattr(signature, "output_fields", {"": None})
    return all(field is not None and field.annotation is str for field in fields.values())
