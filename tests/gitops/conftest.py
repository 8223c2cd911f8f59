"""Flux and Gitea beside the cluster, which are built from source if they were not built before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.cluster import Namespace
from support.e2e import triage_namespace
from support.installed import installed
from support.real_gitea import RealGitea, reachable
from testbed import Cluster, cache, flux, gitea
from testbed.flux import Flux

__all__ = ["installed"]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def namespace(installed: Cluster) -> Iterator[Namespace]:
    with triage_namespace(installed, "gitops") as found:
        yield found


@pytest.fixture
def host(namespace: Namespace, tmp_path: Path) -> Iterator[RealGitea]:
    with cache.lock():
        gitea.program()
    with reachable(namespace, tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def programs() -> Path:
    with cache.lock():
        return flux.programs()


@pytest.fixture
def controllers(installed: Cluster, namespace: Namespace, programs: Path) -> Iterator[Flux]:
    crds = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((programs / "crds").iterdir())]
    items = {"apiVersion": "v1", "kind": "List", "items": [crd for crd in crds if crd]}
    installed.kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(items))
    for crd in items["items"]:
        installed.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}", "--timeout=60s")
    with flux.running(installed.kubeconfig) as running:
        yield running
        # Flux's finalizers would keep the namespace after the controllers have ended.
        namespace.kubectl("delete", "kustomizations,gitrepositories", "--all", "--timeout=60s")
