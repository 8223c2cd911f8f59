"""The API server itself checks a DSPyCompilation, sets defaults, refuses invalid specs, and explains fields."""

import json
from typing import Any

import pytest

from support.cluster import Namespace
from support.e2e import triage
from testbed import CommandError

INVALID = [
    ("two optimizers", {"optimizer": {"labeledFewShot": {}, "bootstrapFewShot": {}}}, "exactly one of"),
    ("no optimizer", {"optimizer": {}}, "exactly one of"),
    ("no budget", {"optimizer": {"gepa": {}}}, "exactly one of auto, maxFullEvals, maxMetricCalls"),
    ("trials beside auto", {"optimizer": {"miprov2": {"auto": "light", "numTrials": 3}}}, "set auto, or both of"),
    ("trials alone", {"optimizer": {"miprov2": {"numTrials": 3}}}, "set auto, or both of"),
    ("an unknown field", {"swarm": {"podz": 3}}, "podz"),
    ("an entrypoint without a colon", {"metric": {"entrypoint": "triage.metric"}}, "must be .module:attribute."),
    ("an endpoint that is no URL", {"models": {"student": {"model": "openai/x", "endpoint": "localhost"}}}, "a URL"),
    ("no pods", {"swarm": {"pods": 0}}, "spec.swarm.pods"),
    ("a score above 100", {"optimizer": {"bootstrapFewShotWithRandomSearch": {"stopAtScore": 101}}}, "stopAtScore"),
    ("memory in no unit", {"swarm": {"resources": {"limits": {"memory": "2 gigabytes"}}}}, "a quantity"),
]


@pytest.mark.parametrize(("spec", "says"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_an_invalid_spec_is_refused(namespace: Namespace, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        namespace.apply(triage("invalid", **spec))
    assert "should match" not in str(refused.value)


@pytest.mark.parametrize(
    ("causes", "says"),
    [
        ({}, "nothing begins a run: write schedules, git, configMaps or models"),
        ({"schedules": []}, "nothing begins a run"),
        ({"git": {"intervalSeconds": 5}}, "intervalSeconds"),
        ({"configMaps": True, "models": {}}, "models"),
    ],
)
def test_an_invalid_trigger_is_refused(namespace: Namespace, causes: dict[str, Any], says: str) -> None:
    template = {"spec": triage("invalid")["spec"]}
    trigger = {**triage("invalid"), "kind": "DSPyCompilationTrigger", "spec": {**causes, "template": template}}
    with pytest.raises(CommandError, match=says):
        namespace.apply(trigger)


def dry_run(namespace: Namespace, name: str) -> dict[str, Any]:
    """Returns the object as the API server would store it."""
    printed = namespace.kubectl(
        "create", "--dry-run=server", "--output", "json", "--filename", "-", stdin=json.dumps(triage(name))
    )
    found: dict[str, Any] = json.loads(printed)
    return found


def test_the_api_server_sets_the_defaults_of_stock_dspy(namespace: Namespace) -> None:
    spec = dry_run(namespace, "defaults")["spec"]
    search = spec["optimizer"]["bootstrapFewShotWithRandomSearch"]
    assert (search["maxBootstrappedDemos"], search["maxRounds"], search["labeledSample"]) == (4, 1, True)
    assert "maxErrors" not in search
    assert spec["swarm"]["maxAttempts"] == 3
    assert spec["suspend"] is False


def test_a_new_compilation_has_the_status_unknown_until_the_operator_sees_it(namespace: Namespace) -> None:
    """Without this status, kstatus would call the object ready before the operator has seen it."""
    given = json.dumps(triage("new", suspend=True))
    printed = namespace.kubectl("create", "--output", "json", "--filename", "-", stdin=given)
    assert json.loads(printed)["status"]["observedGeneration"] == -1


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("spec", "A DSPy compile"),
        ("spec.program.entrypoint", "a dspy.Module"),
        ("spec.optimizer.bootstrapFewShotWithRandomSearch.numCandidatePrograms", "zero-shot"),
        ("spec.models.apiKey", "the operator never reads it"),
        ("status.conditions", "observedGeneration"),
    ],
)
def test_kubectl_explain_describes_fields_of_a_compilation(namespace: Namespace, field: str, says: str) -> None:
    assert says in " ".join(namespace.kubectl("explain", f"dspyc.{field}").split())


def test_the_operator_may_not_read_secrets(namespace: Namespace) -> None:
    operator = "system:serviceaccount:dspy-swarm:dspy-swarm"
    for verb in ("get", "list", "watch"):
        with pytest.raises(CommandError, match="no"):
            namespace.kubectl("auth", "can-i", verb, "secrets", "--as", operator)
    assert namespace.kubectl("auth", "can-i", "create", "jobs", "--as", operator).strip() == "yes"
