"""The replay tests use one simulated provider for each seed, and one server of forks in each pytest process."""

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
    """Yields a function that returns the running provider of a seed. It counts requests since its last reset."""
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
