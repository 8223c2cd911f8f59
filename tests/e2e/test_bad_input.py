"""Bad input ends a run with a reason and a remedy in a condition, and the operator does not try again."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.cluster import Manifest, Namespace, condition, config_map, is_true
from support.e2e import ENDPOINT, triage
from support.sampling import sample

PROGRAM = """
import dspy

class Triage(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict("ticket -> category")

    def forward(self, ticket):
        return self.classify(ticket=ticket)

def metric(example, prediction, trace=None):
    return example.priority == prediction.category
"""


@dataclass(frozen=True)
class Bad:
    """A spec that cannot work, with the reason and the words that the message about it must contain."""

    name: str
    spec: dict[str, Any]
    reason: str
    says: list[str]
    files: dict[str, str] = field(default_factory=dict)


def source(name: str) -> dict[str, Any]:
    return {"entrypoint": "program:Triage", "source": {"configMap": {"name": name}}}


def data(**train: Any) -> dict[str, Any]:
    there = {"configMap": {"name": "triage-data", "key": "validation.jsonl"}, "limit": 8}
    return {"inputs": ["ticket"], "train": train, "validation": there}


def model(secret: str) -> dict[str, Any]:
    key = {"secret": {"name": secret, "key": "api-key"}}
    return {"student": {"model": "openai/small", "endpoint": ENDPOINT, "apiKey": key}}


BAD = [
    Bad(
        "does-not-import",
        {"program": source("does-not-import")},
        "ProgramLoadFailed",
        ["spec.program.entrypoint", "'no_such_library'", "is not installed"],
        {"program.py": "import no_such_library\n"},
    ),
    Bad(
        "syntax-error",
        {"program": source("syntax-error")},
        "ProgramLoadFailed",
        ["SyntaxError", "program.py, line 2"],
        {"program.py": "import dspy\ndef metric(:\n"},
    ),
    Bad(
        "no-attribute",
        {"program": {**source("no-attribute"), "entrypoint": "program:Traige"}},
        "ProgramLoadFailed",
        ['has no "Traige"', "Triage"],
        {"program.py": PROGRAM},
    ),
    Bad(
        "metric-raises",
        {"program": source("metric-raises"), "metric": {"entrypoint": "program:metric"}},
        "CompileFailed",
        ["Execution cancelled due to errors", "priority"],
        {"program.py": PROGRAM},
    ),
    Bad(
        "no-config-map",
        {"data": data(configMap={"name": "no-such-data", "key": "train.jsonl"})},
        "MissingConfigMap",
        ["no-such-data"],
    ),
    Bad(
        "no-key-in-config-map",
        {"data": data(configMap={"name": "triage-data", "key": "trian.jsonl"})},
        "MissingConfigMapKey",
        ["trian.jsonl", "triage-data"],
    ),
    Bad(
        "bad-data",
        {"data": data(configMap={"name": "bad-data", "key": "train.jsonl"})},
        "DataInvalid",
        ["line 2", "not JSON"],
        {"train.jsonl": '{"ticket": "a", "category": "b"}\n{"ticket": "a",\n'},
    ),
    Bad("no-secret", {"models": model("no-such-secret")}, "MissingSecret", ["no-such-secret"]),
    Bad("no-image", {"image": "dspy-swarm/no-such-image:dev"}, "ImagePullFailed", ["dspy-swarm/no-such-image:dev"]),
]


MAY_COME = {"MissingConfigMap", "MissingConfigMapKey", "MissingSecret", "ImagePullFailed"}
"""Reasons that may pass without a change of the spec."""


@pytest.mark.parametrize("bad", sample(BAD, 2), ids=lambda bad: bad.name)
def test_bad_input_ends_in_a_condition_with_reason_and_remedy(namespace: Namespace, bad: Bad) -> None:
    if bad.files:
        namespace.apply(config_map(bad.name, bad.files))
    namespace.apply(triage(bad.name, **bad.spec))
    compilation = namespace.wait_for(bad.name, is_true("Stalled"))

    told = {kind: condition(compilation, kind) for kind in ("Ready", "Stalled", "Succeeded")}
    assert {kind: (c["status"], c["reason"]) for kind, c in told.items() if c} == {
        "Ready": ("False", bad.reason),
        "Stalled": ("True", bad.reason),
        "Succeeded": ("Unknown" if bad.reason in MAY_COME else "False", bad.reason),
    }
    message = told["Stalled"]["message"]  # type: ignore[index]
    for part in bad.says:
        assert part in message
    print(f"{bad.name}: {bad.reason}: {message}")
    if bad.reason in MAY_COME:
        assert "The run goes on as soon as that changes." in message
        namespace.kubectl("delete", "dspyc", bad.name)
    else:
        assert_quiet(namespace, compilation)


def assert_quiet(namespace: Namespace, compilation: Manifest) -> None:
    """Asserts that a run that has ended has no Jobs, and that the operator does not write its status again."""
    name = compilation["metadata"]["name"]
    if run := compilation["status"].get("runId"):
        namespace.wait_gone("jobs", **{"dspy-swarm.dev/run": run})
    version = namespace.get("dspyc", name)["metadata"]["resourceVersion"]
    time.sleep(3)
    assert namespace.get("dspyc", name)["metadata"]["resourceVersion"] == version
