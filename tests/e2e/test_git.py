"""A program comes from a git server, and its winner goes there: as a commit that names the run."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from support.canary import traces
from support.cluster import OPERATOR_NAMESPACE, Manifest, Namespace, condition, is_over, is_true, secret
from support.compiles import StockRun
from support.e2e import TRIAGE, Outputs, catch, finish, little, told, triage
from support.git_in_cluster import PASSWORD, URL, USER, commit, files_of, git, slow, start_git, trailers
from support.installed import WEBHOOK_KEY

SECRET = {"secret": {"name": "git"}}
PROGRAM: dict[str, Any] = {
    "entrypoint": "triage:Triage",
    "source": {"git": {"url": URL, "ref": {"branch": "main"}, "path": "programs", **SECRET}},
}


def target(path: str, **more: Any) -> dict[str, Any]:
    return {"git": {"url": URL, "branch": "main", "path": path, **SECRET, **more}}


@pytest.fixture(scope="module")
def server(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """Returns the namespace, with a git server that has the program and its data."""
    lines = {
        name: (TRIAGE / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:most]
        for name, most in (("train", 24), ("validation", 16))
    }
    data = {f"programs/data/{name}.jsonl": "\n".join(rows) + "\n" for name, rows in lines.items()}
    program = (TRIAGE / "triage.py").read_text(encoding="utf-8")
    start_git(namespace, tmp_path_factory.mktemp("tls"), {"programs/triage.py": program, **data})
    return namespace


def data() -> dict[str, Any]:
    return {
        "inputs": ["ticket"],
        "train": {"path": "data/train.jsonl"},
        "validation": {"path": "data/validation.jsonl"},
    }


def test_a_program_from_git_ends_as_stocks_winner_in_a_commit(server: Namespace, stock: StockRun) -> None:
    before = git(server, "rev-parse", "main").strip()
    outputs = Outputs(server)

    def ended(compilation: Manifest) -> bool:
        outputs.look()
        return is_over(compilation)

    server.apply(triage("from-git", program=PROGRAM, data=data(), artifact=target("prompts/triage")))
    server.wait_for("from-git", ended)
    compilation = finish(server, "from-git", stock)
    status = compilation["status"]
    assert status["source"]["commit"] == before
    commit = git(server, "log", "-1", "--format=%H", "main", "--", "prompts/triage").strip()
    assert status["artifact"]["git"] == {"url": URL, "branch": "main", "commit": commit, "outcome": "Pushed"}
    artifact = server.get("configmap", "from-git-artifact")["data"]
    found = files_of(server, commit, "prompts/triage")
    assert found == {name: json.loads(artifact[name]) for name in ("program.json", "report.json")}
    assert found["report.json"]["origin"]["commit"] == before
    message = git(server, "log", "-1", "--format=%B", commit)
    print(message)
    said = trailers(message)
    assert said["DSPyCompilation"] == f"{server.name}/from-git"
    assert said["Run-Id"] == status["runId"]
    assert said["Artifact-SHA256"] == status["artifact"]["sha256"]
    everything = told(server, outputs)
    assert server.list("configmaps", **{"dspy-swarm.dev/kind": "snapshot"}), "the journal has the files"
    assert [text[:200] for text in everything.texts if any(trace in text for trace in traces(PASSWORD))] == []


def test_a_publish_pod_that_is_killed_makes_no_second_commit(server: Namespace) -> None:
    with slow(server):
        server.apply(little("killed", program=PROGRAM, artifact=target("prompts/killed")))
        pod = catch(server, "killed", "publish")["metadata"]["name"]
        server.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
    compilation = server.wait_for("killed", is_over)
    assert is_true("Ready")(compilation), compilation["status"]
    commits = git(server, "log", "--format=%H", "main", "--", "prompts/killed").split()
    assert commits == [compilation["status"]["artifact"]["git"]["commit"]]


def test_rejected_credentials_end_a_run_before_any_call(server: Namespace) -> None:
    server.reset_provider()
    server.apply(secret("wrong", {"username": "robot", "password": "not-the-password-4711", "ca.crt": _ca(server)}))
    source = {"git": {"url": URL, "path": "programs", "secret": {"name": "wrong"}}}
    server.apply(little("wrong", program={"entrypoint": "triage:Triage", "source": source}))
    stalled = condition(server.wait_for("wrong", is_over), "Stalled")
    assert stalled is not None
    print(stalled["message"])
    assert stalled["reason"] == "GitCredentialsRejected"
    assert "Secret wrong" in stalled["message"]
    assert server.requests() == 0


def test_a_secret_that_comes_later_is_found(server: Namespace) -> None:
    source = {"git": {"url": URL, "path": "programs", "secret": {"name": "later"}}}
    server.apply(little("later-git", program={"entrypoint": "triage:Triage", "source": source}))
    server.wait_for("later-git", lambda found: _reason(found) == "Retrying")
    server.apply(secret("later", {"username": USER, "password": PASSWORD, "ca.crt": _ca(server)}))
    assert is_true("Ready")(server.wait_for("later-git", is_over))


def test_a_pushed_commit_begins_a_run_and_the_commit_of_its_winner_begins_none(server: Namespace) -> None:
    template = {"spec": little("on-commit", program=PROGRAM, artifact=target("programs/compiled"))["spec"]}
    server.apply(
        {
            "apiVersion": "dspy-swarm.dev/v1alpha1",
            "kind": "DSPyCompilationTrigger",
            "metadata": {"name": "on-commit"},
            "spec": {"git": {}, "template": template},
        }
    )
    server.kubectl("wait", "--for=create", "dspyc/on-commit", "--timeout=120s")
    first = server.wait_for("on-commit", is_over)
    assert is_true("Ready")(first), first["status"]
    _look(server)
    assert server.get("dspyc", "on-commit")["status"]["runId"] == first["status"]["runId"], "its own commit"

    program = git(server, "show", "main:programs/triage.py")
    pushed = commit(server, {"programs/triage.py": f"{program}# A comment.\n", "README.md": "for people"})
    _look(server)
    second = server.wait_for("on-commit", lambda found: is_over(found) and _run(found) != _run(first))
    assert is_true("Ready")(second), second["status"]
    assert second["status"]["source"]["commit"] == pushed
    assert second["metadata"]["annotations"]["dspy-swarm.dev/cause"].startswith(f"git {pushed} ")
    print(server.kubectl("get", "dspyct"))
    print(server.kubectl("get", "events", "--field-selector=involvedObject.kind=DSPyCompilationTrigger"))
    status = server.get("dspyct", "on-commit")["status"]
    assert status["runs"][0]["cause"].startswith(f"git {pushed} ")
    assert status["watches"][0]["failures"] == 0


def _look(namespace: Namespace) -> None:
    """Sends a webhook, and waits for the end of the look that it asks for."""
    looks = namespace.get("dspyct", "on-commit")["status"]["watches"][0]["looks"]
    url = f"http://dspy-swarm-webhook.{OPERATOR_NAMESPACE}.svc/{namespace.name}/on-commit"
    signed = hmac.new(WEBHOOK_KEY.encode(), b"{}", hashlib.sha256).hexdigest()
    code = (
        "import urllib.request as r; "
        f"print(r.urlopen(r.Request({url!r}, b'{{}}', {{'X-Hub-Signature-256': 'sha256={signed}'}})).status)"
    )
    assert namespace.kubectl("exec", "pod/git", "--", "python", "-c", code).strip() == "202"
    wanted = f"--for=jsonpath={{.status.watches[0].looks}}={looks + 1}"
    namespace.kubectl("wait", "dspyct/on-commit", wanted, "--timeout=120s")


def _run(compilation: Manifest) -> str:
    return str(compilation["status"]["runId"])


def _ca(namespace: Namespace) -> str:
    return namespace.kubectl("exec", "pod/git", "--", "cat", "/srv/tls/ca.crt")


def _reason(compilation: dict[str, Any]) -> str | None:
    found = condition(compilation, "Reconciling")
    return None if found is None else str(found["reason"])
