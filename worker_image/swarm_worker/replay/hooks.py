"""Where stock DSPy hands its expensive steps to the engine.

Three attributes are replaced for the life of a plan process; the optimizer classes themselves are never touched:

    ParallelExecutor.execute    every evaluation wave and every collection of traces goes through it
    BootstrapFewShot.compile    whole bootstraps; also reached by optimizers that call or inherit it
    clients.execution.execute   the few LM calls that optimizers make themselves
"""

import inspect
from collections.abc import Callable
from typing import Any

import dspy
from dspy.clients import execution
from dspy.teleprompt.bootstrap import BootstrapFewShot
from dspy.utils.parallelizer import ParallelExecutor

from swarm_wire.messages import Outcome
from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput
from swarm_worker.exceptions import describe
from swarm_worker.replay.effects import Bootstrap, Wave
from swarm_worker.replay.engine import Engine

SUPPORTED = "dspy 3.4"
_SHAPES: tuple[tuple[Callable[..., Any], str], ...] = (
    (ParallelExecutor.execute, "(self, function, data)"),
    (BootstrapFewShot.compile, "(self, student, *, teacher=None, trainset)"),
    (execution.execute, "(lm, call)"),
)
_BOOTSTRAP_STEPS = (
    "_prepare_student_and_teacher",
    "_prepare_predictor_mappings",
    "_bootstrap",
    "_bootstrap_one_example",
    "_train",
)


def install(engine: Engine) -> None:
    """Replaces the three attributes in this process.

    Raises BadInput where the installed DSPy does not have the shape that the hooks were made for.
    """
    for function, shape in _SHAPES:
        if str(inspect.signature(function)) != shape:
            raise BadInput(
                WorkerReason.UNSUPPORTED_DSPY,
                f"dspy {dspy.__version__} is not supported: {function.__qualname__} is not {shape}. "
                f"Build the worker image with {SUPPORTED}.",
            )
    stock_compile, stock_call = BootstrapFewShot.compile, execution.execute
    stock_steps = [getattr(BootstrapFewShot, step) for step in _BOOTSTRAP_STEPS]

    def execute(executor: ParallelExecutor, function: Callable[[Any], Any], data: Any) -> list[Any]:
        values = engine.need(Wave(function, list(data)))
        results: list[Any] = [None] * len(values)
        for number, (outcome, value) in enumerate(values):
            if outcome is Outcome.OK:
                results[number] = value
            else:
                executor.error_count += 1
                executor.failed_indices.append(number)
                executor.exceptions_map[number] = value
                engine.failures.append(describe(value))
        if executor.error_count >= executor.max_errors:
            raise Exception("Execution cancelled due to errors or interruption.")
        return results

    def compile_bootstrap(
        optimizer: BootstrapFewShot, student: Any, *, teacher: Any = None, trainset: list[Any]
    ) -> Any:
        if [getattr(type(optimizer), step) for step in _BOOTSTRAP_STEPS] != stock_steps:
            # A subclass that bootstraps in its own way runs here; its LM calls are journaled one by one.
            return stock_compile(optimizer, student, teacher=teacher, trainset=trainset)
        outcome, value = engine.need(Bootstrap(optimizer, student, teacher, trainset))
        if outcome is Outcome.ERROR:
            engine.failures.append(describe(value))
            raise value
        demos, optimizer.error_count = value
        optimizer.trainset, optimizer.student = trainset, student.reset_copy()
        for name, predictor in optimizer.student.named_predictors():
            predictor.demos = demos[name]
        optimizer.student._compiled = True
        return optimizer.student

    def call(lm: Any, call: Any) -> Any:
        outcome, value = engine.call(lm, call, stock_call)
        if outcome is Outcome.ERROR:
            raise value
        return value

    ParallelExecutor.execute, BootstrapFewShot.compile, execution.execute = execute, compile_bootstrap, call
