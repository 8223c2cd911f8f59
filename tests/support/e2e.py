"""Compilations for the end-to-end tests."""

import copy
from typing import Any

from support.cluster import Manifest

ENDPOINT = "http://provider:8000/v1"


def triage(name: str, **spec: Any) -> Manifest:
    """The triage example in a small size. `spec` replaces whole fields of the spec."""
    key = {"secret": {"name": "provider-key", "key": "api-key"}}

    def data(file: str, limit: int) -> dict[str, Any]:
        return {"configMap": {"name": "triage-data", "key": f"{file}.jsonl"}, "limit": limit}

    fields: dict[str, Any] = {
        "program": {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "triage-program"}}},
        "metric": {"entrypoint": "triage:metric"},
        "data": {"inputs": ["ticket"], "train": data("train", 24), "validation": data("validation", 16)},
        "models": {
            "student": {"model": "openai/small", "endpoint": ENDPOINT, "apiKey": key},
            "teacher": {"model": "openai/large", "endpoint": ENDPOINT, "apiKey": key},
        },
        "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 3, "maxLabeledDemos": 6}},
        "swarm": {"pods": 3, "threadsPerPod": 4},
    }
    return {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilation",
        "metadata": {"name": name},
        "spec": copy.deepcopy({**fields, **spec}),
    }
