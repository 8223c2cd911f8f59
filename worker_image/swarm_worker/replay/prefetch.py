"""Runs ahead inside a bootstrap.

Stock DSPy's BootstrapFewShot walks through the training set, one program run after the other, until it has enough
demonstrations. One example gives one demonstration at most: with g of m found, it will run m - g examples more, or all
that are left. Those are run at once, each by a copy of the teacher, only so that their LM calls are answered when
stock's own walk gets there. What the bootstrap comes to is what the walk makes of the answers, as ever, and no call is
made that it would not make. Only errors change what it will do: after the first there is no running ahead.

This is knowledge of one optimizer's class; without it everything is the same, only slower.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
from dspy.teleprompt.bootstrap import BootstrapFewShot

from swarm_worker.replay.calls import AHEAD, NotShared


@contextlib.contextmanager
def running_ahead(optimizer: BootstrapFewShot, trainset: list[Any]) -> Iterator[None]:
    """Within the block, the optimizer finds LM calls of examples that it is sure to come to answered, or under way."""
    wanted, stock = optimizer.max_bootstrapped_demos, optimizer._bootstrap_one_example
    errors_before = optimizer.error_count
    at, begun, found = -1, 0, 0
    with ThreadPoolExecutor(max(1, wanted)) as pool:

        def one_example(example: Any, round_idx: int = 0) -> Any:
            nonlocal at, begun, found
            if round_idx == 0:
                at += 1
                sure = at + wanted - found
                if optimizer.error_count == errors_before:
                    for ahead in trainset[max(begun, at + 1) : sure]:
                        # Copied here: while the walk runs an example, that is not among the teacher's demos.
                        teacher = optimizer.teacher.deepcopy()
                        pool.submit(contextvars.copy_context().run, _run, teacher, optimizer.teacher_settings, ahead)
                begun = max(begun, sure)
            success = stock(example, round_idx)
            found += bool(success)
            return success

        optimizer._bootstrap_one_example = one_example
        try:
            yield
        finally:
            pool.shutdown(cancel_futures=True)


def _run(teacher: Any, settings: dict[str, Any], example: Any) -> None:
    """The teacher's run on an example, as the walk will make it, up to a call that would be made once more there.

    Whatever goes wrong will go wrong there.
    """
    with contextlib.suppress(Exception, NotShared), dspy.context(trace=[], **settings, **{AHEAD: True}):
        for predictor in teacher.predictors():
            predictor.demos = [demo for demo in predictor.demos if demo != example]
        teacher(**example.inputs())
