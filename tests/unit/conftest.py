"""These fixtures give every unit test the environment of a pod."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

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


@pytest.fixture
def only_modules_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Counts only modules in the test's folder as the user's. The modules of all tests take seconds to parse."""
    from swarm_worker import modules

    of_all = modules.users_modules

    def of_the_test() -> Iterator[tuple[str, ModuleType]]:
        return ((name, found) for name, found in of_all() if Path(str(found.__file__)).is_relative_to(tmp_path))

    monkeypatch.setattr(modules, "users_modules", of_the_test)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA whose certificate the git server has."""
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def git_server(tmp_path: Path, authority: Authority) -> Iterator[GitServer]:
    """A git server without a repository, which lets everybody read and write."""
    with https(tmp_path / "server", authority) as server:
        yield server
