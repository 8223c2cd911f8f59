"""A Compilation in a cluster takes its program from a real Gitea, and opens a pull request there."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Namespace, is_over, is_true
from support.e2e import TRIAGE, little, triage_namespace
from support.installed import installed
from support.real_gitea import RealGitea, reachable
from swarm_operator.compilation.model.object_names import trial
from testbed import Cluster
from testbed.shell import free_port

__all__ = ["installed"]

pytestmark = pytest.mark.cluster
KEY = "a key of webhooks from Gitea"
PROGRAM = "programs/triage.py"


@pytest.fixture
def namespace(installed: Cluster) -> Iterator[Namespace]:
    with triage_namespace(installed, "gitea") as found:
        yield found


@pytest.fixture
def host(namespace: Namespace, tmp_path: Path) -> Iterator[RealGitea]:
    """Yields a Gitea whose repository has the program."""
    with reachable(namespace, tmp_path) as found:
        found.commit({PROGRAM: (TRIAGE / "triage.py").read_text(encoding="utf-8")}, "Add the program")
        yield found


def from_and_into(host: RealGitea, **more: Any) -> dict[str, Any]:
    """Returns the spec of a Compilation that takes its program from the repository, and opens a pull request there."""
    repository = {"url": host.url, "secret": {"name": "gitea"}}
    source = {"git": {**repository, "ref": {"branch": "main"}, "path": "programs"}}
    target = {
        "git": {**repository, "branch": "main", "path": "prompts/triage", "pullRequest": {"provider": "gitea"}},
    }
    program = {"entrypoint": "triage:Triage", "source": source}
    spec: dict[str, Any] = little("triage", program=program, artifact=target, **more)["spec"]
    return spec


def test_a_run_opens_a_pull_request_and_the_next_run_updates_it(namespace: Namespace, host: RealGitea) -> None:
    compilation = {**little("triage"), "spec": from_and_into(host)}
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
    assert host.read("prompts/triage/program.json", head) == _published(namespace)

    compilation["spec"]["optimizer"] = {"labeledFewShot": {"k": 1}}
    namespace.apply(compilation)
    again = namespace.wait_for("triage", lambda found: is_over(found) and _run(found) != _run(ended))
    assert is_true("Ready")(again), again["status"]
    [updated] = host.open_pulls(head)
    assert updated.number == opened.number
    assert _run(again) in updated.body
    assert host.read("prompts/triage/program.json", head) == _published(namespace)


def test_a_commit_opens_a_pull_request_and_neither_that_nor_its_merge_begins_a_run(
    namespace: Namespace, host: RealGitea, tmp_path: Path
) -> None:
    with receiver(namespace, tmp_path) as url:
        host.add_webhook(f"{url}/{namespace.name}/triage", KEY)
        trigger = {
            "apiVersion": "dspy-swarm.dev/v1alpha1",
            "kind": "DSPyCompilationTrigger",
            "metadata": {"name": "triage"},
            # Only webhooks ask for looks during the test.
            "spec": {"git": {"intervalSeconds": 86400}, "template": {"spec": from_and_into(host)}},
        }
        namespace.apply(trigger)
        namespace.kubectl("wait", "--for=create", "dspyc/triage", "--timeout=120s")
        first = namespace.wait_for("triage", is_over)
        assert is_true("Ready")(first), first["status"]
        head = f"dspy/{namespace.name}/triage"
        [opened] = host.open_pulls(head)
        print(namespace.kubectl("get", "dspyct,dspyc"))

        before = _looks(namespace)
        host.merge(opened.number)
        _wait_for_a_look(namespace, before)
        assert _run(namespace.get("dspyc", "triage")) == _run(first)
        assert host.read("prompts/triage/program.json") == _published(namespace)

        pushed = host.commit({PROGRAM: f"{host.read(PROGRAM)}# A comment.\n"}, "Explain the program")
        second = namespace.wait_for("triage", lambda found: is_over(found) and _run(found) != _run(first))
        assert is_true("Ready")(second), second["status"]
        assert second["status"]["source"]["commit"] == pushed
        assert _looks(namespace) > before + 1
        assert len(host.open_pulls(head)) <= 1
        print(namespace.kubectl("get", "dspyct,dspyc"))
        print(
            namespace.kubectl(
                *("get", "events", "--field-selector=involvedObject.kind=DSPyCompilationTrigger"),
                *("-o", "custom-columns=REASON:.reason,MESSAGE:.message"),
            )
        )
        print(json.dumps(namespace.get("dspyct", "triage")["status"], indent=2))


def _looks(namespace: Namespace) -> int:
    return int(namespace.get("dspyct", "triage")["status"]["watches"][0]["looks"])


def _wait_for_a_look(namespace: Namespace, before: int) -> None:
    """Waits until a look has ended after so many. The webhooks are for pushes to main only."""
    for _ in range(240):
        if _looks(namespace) > before:
            return
        time.sleep(0.5)
    raise TimeoutError("no webhook has asked for a look")


@contextmanager
def receiver(namespace: Namespace, folder: Path) -> Iterator[str]:
    """Runs the receiver of webhooks on this machine, and yields its URL."""
    keys = folder / "keys"
    keys.mkdir()
    (keys / "key").write_text(KEY, encoding="utf-8")
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "KUBECONFIG": str(namespace.cluster.kubeconfig),
        "SWARM_WEBHOOK_KEYS": str(keys),
        "SWARM_WEBHOOK_PORT": str(port),
    }
    with (folder / "webhook.log").open("wb") as log:
        process = subprocess.Popen((sys.executable, "-m", "swarm_operator.webhook"), env=environment, stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _published(namespace: Namespace) -> str:
    return str(namespace.get("configmap", "triage-artifact")["data"]["program.json"])


def _run(compilation: dict[str, Any]) -> str:
    return str(compilation["status"]["runId"])


def test_a_new_model_opens_a_pull_request_with_a_table_of_both_models(namespace: Namespace, host: RealGitea) -> None:
    trigger = {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilationTrigger",
        "metadata": {"name": "triage"},
        "spec": {
            "models": {"pattern": "small*", "intervalSeconds": 60},
            "template": {"spec": from_and_into(host)},
        },
    }
    namespace.apply(trigger)
    namespace.kubectl("wait", "--for=create", "dspyc/triage", "--timeout=120s")
    assert is_true("Ready")(namespace.wait_for("triage", is_over))
    before = _published(namespace)
    new = trial("triage", "openai/small-2")
    namespace.reset_provider()
    namespace.add_models(**{"small-2": 0.9})
    namespace.kubectl("wait", "--for=create", f"dspyc/{new}", "--timeout=240s")
    ended = namespace.wait_for(new, is_over)
    assert is_true("Ready")(ended), ended["status"]
    [opened] = host.open_pulls(f"dspy/{namespace.name}/{new}")
    assert "## From `openai/small` to `openai/small-2`" in opened.body
    assert namespace.provider("/admin/stats")["by_model"].keys() == {"small-2"}, "today's model costs no call"
    assert _published(namespace) == before
    print(opened.body)
    print(namespace.kubectl("get", "dspyct,dspyc"))
    print(json.dumps(namespace.get("dspyct", "triage")["status"]["watches"], indent=2))
