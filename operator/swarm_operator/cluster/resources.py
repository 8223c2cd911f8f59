"""Resources of an API server, such as pods, and their URL paths."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

MANAGER: Final = "dspy-swarm"
"""The operator's name as field manager, user agent, and value of the label managed-by."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OURS: Final = f"{LABEL_MANAGED_BY}={MANAGER}"
"""Label selector for the objects that the operator creates."""


@dataclass(frozen=True)
class Resource:
    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        root = "/api" if "/" not in self.api_version else "/apis"
        parts = [root, self.api_version]
        if namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


JOBS: Final = Resource("batch/v1", "jobs")
PODS: Final = Resource("v1", "pods")
CONFIG_MAPS: Final = Resource("v1", "configmaps")
EVENTS: Final = Resource("v1", "events")
