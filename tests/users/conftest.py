"""Each pytest process has one provider and one server of forks."""

from collections.abc import Iterator

import pytest

from support.hashed import HashedProvider, hashed_provider
from support.users import start_forks


@pytest.fixture(scope="session")
def provider() -> Iterator[HashedProvider]:
    start_forks()
    with hashed_provider() as running:
        yield running
