"""One real Gitea for all tests of this tier. It is built from source if it was not built before."""

from collections.abc import Iterator

import pytest

from support.git_server import Authority
from support.real_gitea import RealGitea
from testbed import cache, gitea


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitea.Gitea]:
    authority = Authority.made(tmp_path_factory.mktemp("authority"))
    with cache.lock():
        gitea.program()
    with gitea.running(authority.ca, authority.certificate, authority.key) as running:
        yield running


@pytest.fixture(scope="session")
def host(server: gitea.Gitea) -> RealGitea:
    return RealGitea.made(server)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
