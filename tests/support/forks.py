"""A server of forks, which has imported DSPy, since the import takes longer than most compiles of the tests.

The server is that of the local driver (`swarm_worker.local.launcher`), but it lives as long as the tests do. With it,
the driver runs in the tests' process, and stock DSPy runs in a fork.
"""

import importlib
import io
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

_PRELOADED = ["numpy", "optuna", "gepa", "swarm_worker.local.preloaded"]
_started: list[bool] = []


def start(paths: str) -> None:
    """Starts the server unless it runs.

    Args:
        paths: the PYTHONPATH of its imports.
    """
    if _started:
        return
    _started.append(True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with surroundings({**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": paths}, Path.cwd()):
        fork(int)


def are_there() -> bool:
    return bool(_started)


def fork(target: Callable[..., Any], *arguments: Any) -> int | None:
    """Runs a function in a fork of the server until it ends. Returns the exit code."""
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


def pod(command: str, environment: Mapping[str, str], folder: Path, output: Path, errors: Path) -> None:
    """Runs `python -m swarm_worker COMMAND` in this fork and this folder. Its output goes to files."""
    for path, number in ((output, 1), (errors, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    _set({"PYTHONHASHSEED": "0", **environment})
    os.chdir(folder)
    sys.path[:0] = [str(folder), *environment["PYTHONPATH"].split(os.pathsep)]
    sys.argv = ["swarm_worker", command]
    start = importlib.import_module("swarm_worker.pod.start")
    start.start(command)


def swarm(arguments: list[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Runs `python -m swarm_worker` in this process. Returns its exit code and its output."""
    from swarm_worker.__main__ import main

    said = io.StringIO()
    with surroundings(environment, folder), redirect_stdout(said), redirect_stderr(said):
        status = main(arguments)
    return status, said.getvalue()


@contextmanager
def surroundings(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Gives this process the environment and folder of a new process, and undoes all changes at the end."""
    before, handlers = dict(os.environ), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    here = Path.cwd()
    _set(environment)
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        os.chdir(here)
        _set(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _set(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
