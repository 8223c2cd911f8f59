"""Flux applies a Compilation and a trigger from a real Gitea, waits for them, and sees no drift afterwards."""

import json
import time
from collections.abc import Callable
from typing import Any

import yaml

from support.cluster import ROOT, Manifest, Namespace, condition
from support.e2e import TRIAGE, little
from support.kstatus import kstatus
from support.real_gitea import RealGitea
from testbed import flux
from testbed.flux import Flux

REFERENCES = ROOT / "schema" / "kustomize-name-references.yaml"
KUSTOMIZATION = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["compilation.yaml", "trigger.yaml"],
    "configMapGenerator": [
        {"name": "program", "files": ["triage.py"]},
        {"name": "data", "files": ["train.jsonl", "validation.jsonl"]},
    ],
    "configurations": ["kustomize-name-references.yaml"],
}


def compilation(**spec: Any) -> Manifest:
    made = little("by-flux")
    made["spec"] |= spec
    made["spec"]["program"]["source"]["configMap"]["name"] = "program"
    for part in ("train", "validation"):
        made["spec"]["data"][part]["configMap"]["name"] = "data"
    return made


def trigger() -> Manifest:
    return {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilationTrigger",
        "metadata": {"name": "each-year"},
        "spec": {"schedules": [{"cron": "0 2 1 1 *"}], "template": {"spec": compilation()["spec"]}},
    }


def files(**changed: str) -> dict[str, str]:
    found = {
        "kustomization.yaml": yaml.safe_dump(KUSTOMIZATION),
        "kustomize-name-references.yaml": REFERENCES.read_text(encoding="utf-8"),
        "compilation.yaml": yaml.safe_dump(compilation()),
        "trigger.yaml": yaml.safe_dump(trigger()),
        "triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8"),
        **{name: (TRIAGE / "data" / name).read_text(encoding="utf-8") for name in ("train.jsonl", "validation.jsonl")},
    }
    return {f"deploy/{name}": text for name, text in {**found, **changed}.items()}


def flux_objects(namespace: Namespace, url: str) -> list[Manifest]:
    """Returns the objects of Flux, with short intervals and deadlines."""
    source = {"interval": "3s", "url": url, "ref": {"branch": "main"}, "secretRef": {"name": "gitea"}}
    kustomization = {
        "interval": "10s",
        "retryInterval": "3s",
        "sourceRef": {"kind": "GitRepository", "name": "app"},
        "path": "./deploy",
        "targetNamespace": namespace.name,
        "prune": True,
        "wait": True,
        "timeout": "3m",
    }
    return [
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "app"},
            "spec": source,
        },
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "app"},
            "spec": kustomization,
        },
    ]


class Watcher:
    """Waits for states of the Kustomization. At each look, our kstatus must say what Flux's library says."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.seen: set[tuple[str, str]] = set()

    def objects(self) -> list[Manifest]:
        """Returns the Compilation and the trigger, if they exist."""
        found = json.loads(self._namespace.kubectl("get", "dspyc,dspyct", "-o", "json"))["items"]
        said = [kstatus(each) for each in found]
        assert flux.kstatus(found) == said
        self.seen |= {(each["kind"], status) for each, status in zip(found, said, strict=True)}
        return list(found)

    def kustomization(self) -> Manifest:
        return json.loads(self._namespace.kubectl("get", "kustomization", "app", "-o", "json"))  # type: ignore[no-any-return]

    def wait(self, what: str, until: Callable[[Manifest, Manifest], bool], seconds: float = 180) -> Manifest:
        """Waits until `until` is true of the Ready condition of the Kustomization, and of the Kustomization itself."""
        deadline = time.monotonic() + seconds
        while True:
            self.objects()
            found = self.kustomization()
            ready = condition(found, "Ready") or {}
            if until(ready, found):
                print(f"{what}: Ready {ready['status']} {ready['reason']}: {ready['message'][:300]}")
                return found
            assert time.monotonic() < deadline, f"{what}: {json.dumps(found.get('status'), indent=1)}"
            time.sleep(0.5)

    def applied(self, commit: str) -> Manifest:
        """Waits until the Kustomization is Ready with this commit, and returns the Compilation."""
        self.wait(
            f"commit {commit[:12]}",
            lambda ready, found: (
                ready.get("status") == "True" and str(found["status"].get("lastAppliedRevision")).endswith(commit)
            ),
        )
        [found] = [each for each in self.objects() if each["kind"] == "DSPyCompilation"]
        return found


def test_flux_waits_for_a_run_sees_no_drift_and_mends_a_mistake(
    namespace: Namespace, host: RealGitea, controllers: Flux
) -> None:
    watcher = Watcher(namespace)
    commit = host.commit(files())
    namespace.apply(*flux_objects(namespace, host.url))
    first = watcher.applied(commit)
    assert (condition(first, "Ready") or {})["reason"] == "Published"

    # Flux applies the same objects again. It finds nothing to change, and no run begins.
    before = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in watcher.objects()}
    asked = str(time.time())
    namespace.kubectl("annotate", "kustomization", "app", f"reconcile.fluxcd.io/requestedAt={asked}", "--overwrite")
    watcher.wait("again", lambda ready, found: found["status"].get("lastHandledReconcileAt") == asked)
    assert {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in watcher.objects()} == before

    # A commit that changes the spec begins one run.
    changed = compilation(optimizer={"labeledFewShot": {"k": 2}})
    commit = host.commit({"deploy/compilation.yaml": yaml.safe_dump(changed)})
    second = watcher.applied(commit)
    assert second["status"]["runId"] != first["status"]["runId"]

    # A commit that changes a file gives the ConfigMap another name, and so begins a run, too.
    program = f"{(TRIAGE / 'triage.py').read_text(encoding='utf-8')}# A comment.\n"
    commit = host.commit({"deploy/triage.py": program})
    third = watcher.applied(commit)
    assert third["status"]["runId"] != second["status"]["runId"]

    # A mistake fails the Kustomization, and the commit that mends it makes it Ready.
    broken = compilation()
    broken["spec"]["program"]["source"]["configMap"]["name"] = "not-there"
    host.commit({"deploy/compilation.yaml": yaml.safe_dump(broken)})
    watcher.wait("a mistake", lambda ready, _: "Failed" in str(ready.get("message")) and ready["status"] == "False")
    commit = host.commit({"deploy/compilation.yaml": yaml.safe_dump(compilation())})
    watcher.applied(commit)

    assert watcher.seen >= {
        ("DSPyCompilation", "InProgress"),
        ("DSPyCompilation", "Current"),
        ("DSPyCompilation", "Failed"),
        ("DSPyCompilationTrigger", "Current"),
    }
    print(f"seen: {sorted(watcher.seen)}")
    # With prune, Flux deletes what leaves git.
    without = {**KUSTOMIZATION, "resources": ["compilation.yaml"]}
    commit = host.commit({"deploy/kustomization.yaml": yaml.safe_dump(without)})
    watcher.applied(commit)
    assert [each["kind"] for each in watcher.objects()] == ["DSPyCompilation"]
    print(controllers.logs[flux.KUSTOMIZE].read_text(encoding="utf-8")[-2000:])
