"""Makes a small valid spec with changes."""

import copy
from typing import Any

_SMALLEST: dict[str, Any] = {
    "program": {"entrypoint": "triage:Triage"},
    "metric": {"entrypoint": "triage:exact"},
    "data": {
        "inputs": ["ticket"],
        "train": {"entrypoint": "triage:train"},
        "validation": {"entrypoint": "triage:validation"},
    },
    "models": {"student": {"model": "openai/small", "endpoint": "http://127.0.0.1:1/v1"}},
    "optimizer": {"labeledFewShot": {}},
}


def a_spec(**changes: Any) -> dict[str, Any]:
    """Returns the smallest spec as JSON values. Each change sets the field at a dotted path."""
    spec = copy.deepcopy(_SMALLEST)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = spec
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return spec
