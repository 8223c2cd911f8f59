"""Specs of Compilations as users write them."""

import copy
from typing import Any

SPEC: dict[str, Any] = {
    "program": {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "triage-program"}}},
    "metric": {"entrypoint": "triage:metric"},
    "data": {
        "inputs": ["ticket"],
        "train": {"configMap": {"name": "triage-data", "key": "train.jsonl"}},
        "validation": {"configMap": {"name": "triage-data", "key": "val.jsonl"}},
    },
    "models": {
        "student": {
            "model": "openai/small",
            "endpoint": "http://provider/v1",
            "apiKey": {"secret": {"name": "provider", "key": "key"}},
        }
    },
    "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 4}},
    "swarm": {"pods": 3, "threadsPerPod": 2, "sliceSize": 4},
}


def spec(**changes: Any) -> dict[str, Any]:
    """Returns SPEC with other values for some fields at the top level. None removes a field."""
    made = {**copy.deepcopy(SPEC), **changes}
    return {key: value for key, value in made.items() if value is not None}
