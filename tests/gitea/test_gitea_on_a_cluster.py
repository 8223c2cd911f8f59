"""A Compilation in a cluster takes its program from a real Gitea, and opens a pull request there."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Namespace, is_over, is_true, secret
from support.e2e import TRIAGE, little, triage_namespace
from support.git_server import Authority
from support.installed import installed
from support.real_gitea import RealGitea
from testbed import Cluster, gitea
from testbed.gitea import ADMIN

__all__ = ["installed"]

pytestmark = pytest.mark.cluster
RERUN = "dspy-swarm.dev/rerun-at"


@pytest.fixture
def namespace(installed: Cluster) -> Iterator[Namespace]:
    with triage_namespace(installed, "gitea") as found:
        yield found


@pytest.fixture
def host(namespace: Namespace, tmp_path: Path) -> Iterator[RealGitea]:
    """Yields a Gitea that the cluster's pods reach. Its repository has the program."""
    address = _address(namespace)
    authority = Authority.made(tmp_path, address)
    with gitea.running(authority.ca, authority.certificate, authority.key, address) as server:
        found = RealGitea.made(server)
        content = base64.b64encode((TRIAGE / "triage.py").read_bytes()).decode()
        file = {"branch": "main", "content": content, "message": "Add the program"}
        found.call("POST", f"{found.path}/contents/programs/triage.py", file)
        token = {"username": ADMIN, "password": found.token, "ca.crt": found.ca_file.read_text()}
        namespace.apply(secret("gitea", token))
        yield found


def test_a_run_opens_a_pull_request_and_the_next_run_updates_it(namespace: Namespace, host: RealGitea) -> None:
    repository = {"url": host.url, "secret": {"name": "gitea"}}
    source = {"git": {**repository, "ref": {"branch": "main"}, "path": "programs"}}
    target = {
        "git": {**repository, "branch": "main", "path": "prompts/triage", "pullRequest": {"provider": "gitea"}},
    }
    compilation = little("triage", program={"entrypoint": "triage:Triage", "source": source}, artifact=target)
    namespace.apply(compilation)
    ended = namespace.wait_for("triage", is_over)
    assert is_true("Ready")(ended), ended["status"]
    print(namespace.kubectl("get", "events", "-o", "custom-columns=REASON:.reason,MESSAGE:.message"))
    print(namespace.kubectl("get", "dspyc"))
    pushed = ended["status"]["artifact"]["git"]
    print(json.dumps(pushed, indent=2))

    head = f"dspy/{namespace.name}/triage"
    [opened] = host.open_pulls(head)
    assert opened.base == "main"
    assert opened.body.startswith("# Compiled program")
    assert pushed["pullRequest"] == f"{host.gitea.url}/{host.owner}/{host.name}/pulls/{opened.number}"
    assert _program(host, head) == namespace.get("configmap", "triage-artifact")["data"]["program.json"]

    compilation["spec"]["optimizer"] = {"labeledFewShot": {"k": 1}}
    namespace.apply(compilation)
    again = namespace.wait_for("triage", lambda found: is_over(found) and _run(found) != _run(ended))
    assert is_true("Ready")(again), again["status"]
    [updated] = host.open_pulls(head)
    assert updated.number == opened.number
    assert _run(again) in updated.body
    assert _program(host, head) == namespace.get("configmap", "triage-artifact")["data"]["program.json"]


def _address(namespace: Namespace) -> str:
    """Returns the address of this machine from which it reaches the cluster's nodes."""
    nodes = json.loads(namespace.kubectl("get", "nodes", "-o", "json"))["items"]
    [node] = [each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((node, 9))  # sends nothing
        return str(probe.getsockname()[0])


def _program(host: RealGitea, branch: str) -> str:
    found = host.call("GET", f"{host.path}/contents/prompts/triage/program.json?ref={branch}")
    return base64.b64decode(found["content"]).decode()


def _run(compilation: dict[str, Any]) -> str:
    return str(compilation["status"]["runId"])
