"""Tests and the demo use a namespace of a real cluster with an installed operator and a simulated provider."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from support.api import Api
from testbed import Cluster

ROOT = Path(__file__).parents[2]
OPERATOR_NAMESPACE = "dspy-swarm"
OPERATOR_PODS = "app.kubernetes.io/name=dspy-swarm"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"

POLL_SECONDS = 0.5
"""Seconds between two requests to the API server. kubectl would take a third of a CPU second for each request."""
RESOURCES = {
    "configmap": "api/v1 configmaps",
    "pod": "api/v1 pods",
    "job": "apis/batch/v1 jobs",
    "dspyc": "apis/dspy-swarm.dev/v1alpha1 dspycompilations",
    "dspyct": "apis/dspy-swarm.dev/v1alpha1 dspycompilationtriggers",
}

Manifest = dict[str, Any]


def install_operator(cluster: Cluster, tag: str = "dev", **values: str) -> None:
    """Installs or upgrades the chart of this checkout, and waits for the operator."""
    settings = {"operator.image.tag": tag, "worker.image.tag": tag, "git.image.tag": tag, **values}
    for part, name in (("operator", "operator"), ("limiter", "worker"), ("webhook", "operator")):
        if image := cluster.image_id(f"dspy-swarm/{name}:{tag}"):
            # The tag stays when the image changes. Without this annotation, Kubernetes would keep the old pod.
            settings[f"{part}.podAnnotations.image-id"] = image
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    cluster.helm(
        *("upgrade", "--install", "dspy-swarm", ROOT / "charts" / "dspy-swarm", "--namespace", OPERATOR_NAMESPACE),
        *("--create-namespace", "--wait", "--timeout", "180s", *arguments),
    )


@functools.cache
def api(kubeconfig: Path) -> Api:
    """Returns this process's connection to a cluster."""
    return Api(kubeconfig)


@dataclass(frozen=True)
class Namespace:
    """A namespace of a cluster."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def create(self) -> None:
        """Makes the namespace, which admits only pods that keep to the restricted Pod Security Standard."""
        self.cluster.kubectl("create", "namespace", self.name)
        self.cluster.kubectl("label", "namespace", self.name, RESTRICTED)

    def delete(self, wait: bool = True) -> None:
        self.cluster.kubectl("delete", "namespace", self.name, "--ignore-not-found", f"--wait={str(wait).lower()}")

    def apply(self, *manifests: Manifest) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(document))

    def get(self, kind: str, name: str) -> Manifest:
        """Returns an object by its kind, singular or plural, and its name. Raises LookupError if it does not exist."""
        found: Manifest | None = self._api.get(f"{self._path(kind)}/{name}")
        if found is None:
            raise LookupError(f"there is no {kind} {name} in the namespace {self.name}")
        return found

    def list(self, kind: str, **labels: str) -> list[Manifest]:
        """Returns all objects of a kind with these labels."""
        selector = urlencode({"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())})
        items: list[Manifest] = self._api.get(f"{self._path(kind)}?{selector}")["items"]
        return items

    @property
    def _api(self) -> Api:
        return api(self.cluster.kubeconfig)

    def _path(self, kind: str) -> str:
        group, plural = RESOURCES[kind.removesuffix("s")].split()
        return f"/{group}/namespaces/{self.name}/{plural}"

    def start_provider(self, knowledge: Path, *arguments: str) -> None:
        """Deploys the simulated provider as the Service `provider` on port 8000."""
        self.apply(config_map("triage-knowledge", {"knowledge.jsonl": knowledge.read_text(encoding="utf-8")}))
        self.kubectl("apply", "--server-side", "--filename", ROOT / "examples" / "provider" / "provider.yaml")
        if arguments:
            container = {"name": "provider", "args": list(arguments)}
            patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
            self.kubectl("patch", "deployment", "provider", "--patch", json.dumps(patch))
        self.kubectl("rollout", "status", "deployment/provider", "--timeout=120s")

    def provider(self, path: str) -> Any:
        """Returns the answer of the provider's admin endpoint, through the API server."""
        return self._api.send("GET", f"{self._provider}{path}")

    def set_faults(self, **faults: Any) -> None:
        """Sets these rules of the provider's faults, and all other rules to their defaults."""
        self._api.send("PUT", f"{self._provider}/admin/faults", faults)

    def add_models(self, **capabilities: float) -> None:
        """Adds models to the provider, or changes their capabilities."""
        self._api.send("PUT", f"{self._provider}/admin/models", capabilities)

    def set_tuning(self, **rules: Any) -> None:
        """Sets these rules of the provider's fine-tuning jobs, and all other rules to their defaults."""
        self._api.send("PUT", f"{self._provider}/admin/fine_tuning", rules)

    def advance_provider(self, seconds: float) -> None:
        """Puts the clock of the provider's fine-tuning jobs forward."""
        self._api.send("POST", f"{self._provider}/admin/clock", {"seconds": seconds})

    def reset_provider(self) -> None:
        """Lets the provider count requests from 0 again."""
        self._api.send("POST", f"{self._provider}/admin/reset", {})

    @property
    def _provider(self) -> str:
        return f"/api/v1/namespaces/{self.name}/services/provider:8000/proxy"

    def requests(self) -> int:
        """Returns the number of requests that the provider has answered so far."""
        return int(self.provider("/admin/stats")["requests"])

    def wait_for(self, name: str, until: Callable[[Manifest], bool], seconds: float = 300) -> Manifest:
        """Waits until `until` is true of the Compilation, and returns it. Raises TimeoutError with its status."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get("dspyc", name)
            if until(found):
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} after {seconds} s: {json.dumps(found.get('status'), indent=1)}")
            time.sleep(POLL_SECONDS)

    def wait_gone(self, kind: str, seconds: float = 120, **labels: str) -> None:
        """Waits until no object of the kind with these labels is left."""
        deadline = time.monotonic() + seconds
        while left := self.list(kind, **labels):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} {kind} are left: {[item['metadata']['name'] for item in left]}")
            time.sleep(POLL_SECONDS)


def condition(compilation: Manifest, kind: str) -> Manifest | None:
    """Returns the condition of a type, if there is one."""
    conditions = compilation.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), None)


def is_true(kind: str) -> Callable[[Manifest], bool]:
    """Returns a function that says whether a condition is True and is about the newest spec."""

    def holds(compilation: Manifest) -> bool:
        found = condition(compilation, kind)
        newest = compilation["metadata"]["generation"]
        return found is not None and found["status"] == "True" and found.get("observedGeneration") == newest

    return holds


def is_over(compilation: Manifest) -> bool:
    """Returns whether the run has ended, with an artifact or without. A run that waits for something goes on."""
    return is_true("Ready")(compilation) or (is_true("Stalled")(compilation) and not is_stuck(compilation))


def is_stuck(compilation: Manifest) -> bool:
    """Returns whether something outside of the run has kept it from going on for long."""
    succeeded = condition(compilation, "Succeeded")
    return is_true("Stalled")(compilation) and succeeded is not None and succeeded["status"] == "Unknown"


def config_map(name: str, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
