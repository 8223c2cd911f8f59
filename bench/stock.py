"""`python -m bench.stock CASE THREADS` runs stock DSPy with this many threads in a process of its own. CASE is JSON.

It prints what `tests/programs/stock.py` prints, and when each evaluation began and ended.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import dspy
from dspy.clients import execution
from dspy.utils.parallelizer import ParallelExecutor

import stock


def timed(execute: Callable[..., Any], waves: list[tuple[float, float]]) -> Callable[..., Any]:
    def wave(*arguments: Any, **named: Any) -> Any:
        began = time.time()
        try:
            return execute(*arguments, **named)
        finally:
            waves.append((began, time.time()))

    return wave


def counted(execute: Callable[..., Any], made: list[int]) -> Callable[..., Any]:
    def call(lm: Any, prepared: Any) -> Any:
        made.append(prepared.n)
        return execute(lm, prepared)

    return call


def main() -> None:
    case, threads = json.loads(sys.argv[1]), int(sys.argv[2])
    waves: list[tuple[float, float]] = []
    made: list[int] = []
    ParallelExecutor.execute = timed(ParallelExecutor.execute, waves)
    execution.execute = counted(execution.execute, made)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    student = dspy.LM("openai/small", api_base=case["url"], api_key="none")
    dspy.configure(lm=student, num_threads=threads)
    began = time.time()
    with contextlib.redirect_stdout(io.StringIO()):
        found = stock.script(case)
    seconds = time.time() - began
    print(json.dumps({**found, "calls": sum(made), "waves": waves, "seconds": seconds}, default=str))


if __name__ == "__main__":
    main()
