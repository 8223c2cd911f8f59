"""Simulated providers, one process for each seed; a server of forks for each pytest process."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from simulated_provider.testing import running_provider
from support import forks
from support.compiles import KNOWLEDGE, PATHS


@pytest.fixture(scope="session", autouse=True)
def server_of_forks() -> None:
    forks.start(os.pathsep.join(map(str, PATHS)))


@pytest.fixture(scope="session")
def providers() -> Iterator[Any]:
    """seed -> a running provider; requests are counted from its last reset."""
    running: dict[int, Any] = {}
    contexts = []

    def provider(seed: int) -> Any:
        if seed not in running:
            context = running_provider(seed=seed, knowledge=KNOWLEDGE, varied=True)
            contexts.append(context)
            running[seed] = context.__enter__()
        running[seed].reset()
        return running[seed]

    yield provider
    for context in contexts:
        context.__exit__(None, None, None)
