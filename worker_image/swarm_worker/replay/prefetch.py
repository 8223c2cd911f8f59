"""Runs examples of a bootstrap ahead.

Stock DSPy's BootstrapFewShot walks through the training set, one example after the other, until it has enough
demonstrations. An example gives at most one demonstration. If the walk needs m demonstrations and has g, it runs at
least m - g more examples, or all that are left. This module runs these examples at once, each with a copy of the
teacher. The walk then finds their LM calls answered. The walk alone decides the result. This module makes only calls
that the walk would make, too. After the first error, this module runs nothing ahead, because errors may end the walk.

This module knows one optimizer's class. Without it, results would be the same, only slower.
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
    """Within the block, runs examples ahead that the optimizer will certainly run."""
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
                        # The teacher is copied now, because the walk changes the teacher's demos while it runs an
                        # example.
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
    """Runs the teacher on an example as the walk will. Stops at an uncached call, whose answer the walk could not use.

    Errors are ignored, because the walk will meet them, too.
    """
    with contextlib.suppress(Exception, NotShared), dspy.context(trace=[], **settings, **{AHEAD: True}):
        for predictor in teacher.predictors():
            predictor.demos = [demo for demo in predictor.demos if demo != example]
        teacher(**example.inputs())
