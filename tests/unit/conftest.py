"""These fixtures give every unit test the environment of a pod."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git_server import Authority, GitServer, https


@pytest.fixture(autouse=True)
def no_cache_of_dspys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Turns DSPy's cache off before each test, even if the test before it has turned the cache on."""
    if request.config.getoption("--without-dspy"):
        return
    import dspy
    from dspy.clients.cache import Cache

    monkeypatch.setattr(dspy, "cache", Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=""))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA whose certificate the git server has."""
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def git_server(tmp_path: Path, authority: Authority) -> Iterator[GitServer]:
    """A git server without a repository, which lets everybody read and write."""
    with https(tmp_path / "server", authority) as server:
        yield server
