"""Starts plan and work processes as forks of a server process that has imported DSPy already.

Importing DSPy takes longer than most plans. With quick LM calls, it takes longer than a whole round. The server loads
no user code, so each plan and worker imports program and data anew.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import BinaryIO

from swarm_worker.hash_seed import VARIABLE, hash_seed


@dataclass(frozen=True)
class Launched:
    """A running process.

    Attributes:
        output: its standard output.
    """

    output: BinaryIO
    _process: ForkServerProcess

    def terminate(self) -> None:
        """Sends SIGTERM if the process is still running."""
        if self._process.is_alive():
            self._process.terminate()

    def wait(self) -> None:
        """Waits for the end of the process."""
        wait([self._process.sentinel])

    def reap(self) -> int:
        """Returns the exit code of a process that has ended. It is negative after a signal.

        Do not call this while another thread starts, reaps or terminates a process. Each of these makes multiprocessing
        poll all its processes, and only the first reader finds a process's exit status.
        """
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        return 1 if code is None else code


class Launcher:
    """Starts processes as forks of one server process.

    Args:
        paths: folders of user modules, searched first. The working directory is searched only if it is among them.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["swarm_worker.local.preloaded"])
        # The server inherits this environment, and Python reads the hash seed only at its start.
        os.environ[VARIABLE] = str(hash_seed())

    def start(self, command: str, environment: Mapping[str, str], log: Path) -> Launched:
        """Starts `python -m swarm_worker COMMAND` in its own session, so that only the driver receives Ctrl-C.

        Args:
            environment: the complete environment.
            log: the file for standard error.
        """
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(command, dict(environment), self._paths, writer, str(log)))
        process.start()
        writer.close()
        output = os.fdopen(os.dup(reader.fileno()), "rb")
        reader.close()
        return Launched(output, process)


def _run(
    command: str, environment: dict[str, str], paths: list[str], output: "Connection[object, object]", log: str
) -> None:
    os.setsid()
    os.dup2(output.fileno(), 1)
    output.close()
    for path, flags, number in ((os.devnull, os.O_RDONLY, 0), (log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 2)):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    here = os.getcwd()  # noqa: PTH109
    # `python -m` has put the working directory first, and `paths` replace it.
    sys.path[:] = [*paths, *sys.path[1:]] if sys.path[:1] in ([""], [here]) else [*paths, *sys.path]
    sys.argv = ["swarm_worker", command]
    from swarm_worker.pod import start

    start.start(command)
