"""Starts a plan, worker, download or model list process, in a pod or in a fork of the local driver's server."""

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from swarm_wire.names import ExitCode
from swarm_worker import hash_seed

if TYPE_CHECKING:
    from swarm_worker.pod.process import Process


def start(command: str) -> None:
    """Runs a command, which ends this process. "twin" is the second process of a run's first plan."""
    hash_seed.adopt()
    # A container's first process ignores signals without a handler, so a deleted pod would not end before `Process`
    # sets its handler. Until then, this process has no results to lose.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ExitCode.INTERRUPTED))
    COMMANDS[command]()


# Each command imports only what it needs, because every round waits for the start of its pods.


def _work() -> None:
    process = _process()

    from swarm_worker.pod import work

    work.main(process)


def _plan(is_twin: bool = False) -> None:
    from swarm_worker.determinism import twin

    other = twin.Line() if is_twin else twin.start()

    process = _process(at_once=True)

    from swarm_worker.pod import plan

    plan.main(process, other)


def _download() -> None:
    from swarm_worker.pod import download
    from swarm_worker.pod.process import Process

    download.main(Process(at_once=True))


def _train(step: str) -> None:
    process = _process()

    from swarm_worker.pod import train

    train.COMMANDS[step](process)


def _models() -> None:
    from swarm_worker.pod import model_list
    from swarm_worker.pod.process import Process

    model_list.main(Process(at_once=True))


COMMANDS: Final[Mapping[str, Callable[[], None]]] = {
    "plan": _plan,
    "twin": partial(_plan, is_twin=True),
    "work": _work,
    "stage": partial(_train, "stage"),
    "deliver": partial(_train, "deliver"),
    "train": partial(_train, "train"),
    "download": _download,
    "models": _models,
}
"""Functions by command. A pod's container has the command as its argument."""


def _process(*, at_once: bool = False) -> "Process":
    """Makes the Process. Ends it if this DSPy is not supported, before other modules import more of DSPy."""
    from swarm_worker.client import versions
    from swarm_worker.errors import BadInput
    from swarm_worker.pod.process import Process

    process = Process(at_once=at_once)
    try:
        versions.check()
    except BadInput as error:
        process.end(error)
    return process
