"""A new model in a provider's list begins one run, in a Compilation of its own."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, FakeCluster, Killed, Object
from support.looks import end_look, under_way
from support.operator_specs import spec
from swarm_operator.cluster.resources import JOBS
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, RERUN_AT
from swarm_operator.compilation.model.object_names import trial
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import CAUSE, KIND, MODEL, TRIGGERS
from swarm_operator.trigger.read import key_of
from swarm_operator.trigger.reconcile import Reconciler
from swarm_wire.messages import ModelWatch
from swarm_wire.names import ENV_WATCH
from swarm_wire.spec.compilation import CompilationSpec

CURRENT, NEW, NEWER = "openai/small", "openai/small-2", "openai/small-3"
PULL_REQUEST = {
    "url": "https://git.example/app.git",
    "branch": "main",
    "path": "out",
    "secret": {"name": "git"},
    "pullRequest": {"provider": "gitea"},
}


def prepared(template: dict[str, Any] | None = None, **fields: Any) -> tuple[FakeCluster, Key]:
    """Returns a cluster with a trigger that looks for new models."""
    cluster = FakeCluster()
    given = {"models": {"pattern": "small*"}, "template": {"spec": template or spec()}, **fields}
    metadata = {"name": "triage", "generation": 1}
    found = cluster.put(TRIGGERS, {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": given})
    return cluster, Key(NAMESPACE, "triage", found["metadata"]["uid"])


def look(cluster: FakeCluster, key: Key, passes: int = 1) -> None:
    """Makes passes, each in a new process, since the operator may have died before."""
    for _ in range(passes):
        asyncio.run(_pass(cluster, key))


async def _pass(cluster: FakeCluster, key: Key) -> float | None:
    return await Reconciler(cluster, Settings(worker_image="worker:1"), lambda: cluster.now)(key)


def see(cluster: FakeCluster, key: Key, *models: str) -> None:
    """Lets the next look find these models."""
    if not under_way(cluster):
        cluster.now += timedelta(hours=2)
        look(cluster, key, 2)
    end_look(cluster, [*models])
    look(cluster, key, 3)


def end_run(cluster: FakeCluster, name: str = "triage", published: bool = True, **usage: Any) -> None:
    """Gives a Compilation the status of a run that has ended."""
    [found] = cluster.of(COMPILATIONS, name)
    now = f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}"
    condition = {"observedGeneration": 1, "lastTransitionTime": now, "reason": "Published", "message": "m"}
    found["status"] = {
        "runId": f"run-of-{name}",
        "startTime": now,
        "completionTime": now,
        "observedGeneration": 1,
        "usage": {"calls": 3, "promptTokens": 1, "completionTokens": 1, **usage},
        "conditions": [{"type": each, "status": "True", **condition} for each in ("Ready", "Succeeded")],
    }
    if published:
        found["status"]["artifact"] = {"runId": "r", "sha256": "0" * 64, "configMap": {"name": f"{name}-artifact"}}


def trials(cluster: FakeCluster) -> dict[str, Object]:
    return {found["metadata"]["name"]: found for found in cluster.of(COMPILATIONS, "triage-*")}


def status(cluster: FakeCluster) -> Object:
    found: Object = cluster.of(TRIGGERS)[0]["status"]
    return found


def published_once(template: dict[str, Any] | None = None, **fields: Any) -> tuple[FakeCluster, Key]:
    """Returns a cluster whose trigger has a published program, and has seen the list once."""
    cluster, key = prepared(template, **fields)
    look(cluster, key, 2)
    end_run(cluster)
    see(cluster, key, CURRENT)
    return cluster, key


def test_the_first_pass_begins_a_run_of_the_template_to_compare_with() -> None:
    cluster, key = prepared()
    look(cluster, key, 2)
    [found] = cluster.of(COMPILATIONS)
    assert found["metadata"]["name"] == "triage"
    assert found["metadata"]["annotations"][CAUSE].startswith(f"models {CURRENT} ")
    assert "compare" not in found["spec"]


def test_only_the_pod_of_the_look_gets_the_api_key_and_it_runs_the_worker_image() -> None:
    cluster, key = prepared()
    look(cluster, key, 2)
    [job] = cluster.of(JOBS)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["args"]) == ("worker:1", ["models"])
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["SWARM_API_KEY_STUDENT"]["valueFrom"] == {"secretKeyRef": {"name": "provider", "key": "key"}}
    watch = ModelWatch.model_validate_json(env[ENV_WATCH]["value"])
    assert (watch.base, watch.provider, watch.pattern) == ("http://provider/v1", "openai", "small*")


def test_models_of_the_first_list_begin_no_run() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT)
    assert trials(cluster) == {}
    assert status(cluster)["watches"][0]["known"] == [CURRENT]


def test_a_new_model_begins_one_run_in_a_compilation_of_its_own() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT, NEW)
    [(name, found)] = trials(cluster).items()
    assert name == "triage-small-2"
    assert key_of(found) == key
    assert found["metadata"]["annotations"][MODEL] == NEW
    made = CompilationSpec.model_validate(found["spec"], by_alias=True, by_name=False)
    assert made.models.student.model == NEW
    assert made.models.by_role["current"].model == CURRENT
    assert made.models.student.api_key == made.models.by_role["current"].api_key
    assert made.compare is not None
    assert made.compare.current_model == "current"
    assert made.predecessor is not None
    assert made.predecessor.name == "triage"
    last = status(cluster)["last"]
    assert last["outcome"] == "Started"
    assert last["message"] == "its run has begun in Compilation 'triage-small-2'."
    end_run(cluster, name)
    see(cluster, key, CURRENT, NEW)
    see(cluster, key, CURRENT)
    see(cluster, key, CURRENT, NEW)
    assert [*trials(cluster)] == [name]
    assert sum("create dspycompilations/triage-small-2" in text for text in cluster.writes) == 1


def test_a_deleted_compilation_of_a_known_model_is_not_made_again() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT, NEW)
    cluster.remove(COMPILATIONS, "triage-small-2")
    see(cluster, key, CURRENT, NEW)
    assert trials(cluster) == {}


def test_new_models_are_tried_one_after_the_other() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT, NEW, NEWER)
    assert [*trials(cluster)] == ["triage-small-2"]
    assert status(cluster)["last"]["outcome"] == "StillRunning"
    end_run(cluster, "triage-small-2")
    look(cluster, key)
    assert [*trials(cluster)] == ["triage-small-2", "triage-small-3"]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        pytest.param({"suspend": True}, "Suspended", id="suspended"),
        pytest.param({"minIntervalSeconds": 100_000}, "TooSoon", id="too soon after the run before"),
        pytest.param({"dailyBudgetUSD": 0.5}, "BudgetSpent", id="no budget left"),
    ],
)
def test_a_new_model_waits_for_what_any_cause_waits_for(fields: dict[str, Any], outcome: str) -> None:
    student = {**spec()["models"]["student"], "parameters": {"maxTokens": 10}}
    cluster, key = published_once(spec(models={"student": student}))
    end_run(cluster, costUSD=0.5)
    cluster.now += timedelta(hours=2)
    look(cluster, key, 2)
    cluster.of(TRIGGERS)[0]["spec"] |= fields
    end_look(cluster, [CURRENT, NEW])
    look(cluster, key, 2)
    assert trials(cluster) == {}
    assert status(cluster)["last"]["outcome"] == outcome
    cluster.of(TRIGGERS)[0]["spec"] |= {"suspend": False, "minIntervalSeconds": 0, "dailyBudgetUSD": 5}
    look(cluster, key)
    assert [*trials(cluster)] == ["triage-small-2"]


def test_a_new_model_waits_until_a_program_is_published() -> None:
    cluster, key = prepared()
    look(cluster, key, 2)
    end_run(cluster, published=False)
    see(cluster, key, CURRENT)
    see(cluster, key, CURRENT, NEW)
    assert trials(cluster) == {}
    assert status(cluster)["last"]["outcome"] == "NothingPublished"
    end_run(cluster)
    look(cluster, key)
    assert [*trials(cluster)] == ["triage-small-2"]


def test_the_run_of_a_new_model_counts_in_the_budget_and_in_the_list_of_runs() -> None:
    student = {**spec()["models"]["student"], "parameters": {"maxTokens": 10}}
    cluster, key = published_once(spec(models={"student": student}), dailyBudgetUSD=5)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert found["spec"]["limits"] == {"costUSD": 5}
    end_run(cluster, "triage-small-2", costUSD=2.0)
    look(cluster, key)
    run = status(cluster)["runs"][0]
    assert (run["compilation"], run["costUSD"]) == ("triage-small-2", 2.0)
    assert status(cluster)["spentUSD"] == 2.0


def test_another_pattern_begins_with_a_first_list_again() -> None:
    cluster, key = published_once()
    cluster.of(TRIGGERS)[0]["spec"]["models"] = {"pattern": "large*"}
    look(cluster, key, 2)
    see(cluster, key, "openai/large", "openai/large-2")
    assert trials(cluster) == {}


def test_a_model_that_the_template_has_got_by_hand_is_not_new() -> None:
    cluster, key = published_once()
    student = {**spec()["models"]["student"], "model": NEW}
    cluster.of(TRIGGERS)[0]["spec"]["template"]["spec"]["models"] = {"student": student}
    see(cluster, key, CURRENT, NEW)
    assert trials(cluster) == {}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(4))
def test_an_operator_that_dies_around_any_write_begins_one_run_for_a_new_model(number: int, after: bool) -> None:
    cluster, key = published_once()
    cluster.now += timedelta(hours=2)
    look(cluster, key, 2)
    end_look(cluster, [CURRENT, NEW])
    cluster.kill_at = len(cluster.writes) + number, after
    for _ in range(4):
        try:
            look(cluster, key)
        except Killed:
            cluster.kill_at = None
    assert cluster.kill_at is None, "it was killed"
    [found] = trials(cluster).values()
    assert "generation" in found["metadata"]
    assert found["metadata"]["annotations"][RERUN_AT] == found["metadata"]["annotations"][CAUSE]
    assert sum("create dspycompilations/" in text for text in cluster.writes) == 1
    assert status(cluster)["watches"][0]["known"] == [CURRENT, NEW]


def test_the_artifact_of_the_trigger_stays_and_a_pull_request_is_of_the_new_model() -> None:
    given = spec(artifact={"configMap": {"name": "production"}, "git": PULL_REQUEST}, drift={"sample": 20})
    cluster, key = published_once(given)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert found["spec"]["artifact"] == {"git": PULL_REQUEST}
    assert "drift" not in found["spec"]
    pushed = {name: value for name, value in PULL_REQUEST.items() if name != "pullRequest"}
    cluster, key = published_once(spec(artifact={"git": pushed}))
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert "artifact" not in found["spec"], "a push would replace the program of today's model"


def test_a_new_model_has_a_gate_and_a_price_of_its_own() -> None:
    student = {**spec()["models"]["student"], "price": {"prompt": 1, "completion": 2}}
    given = spec(models={"student": student}, gate={"minScore": 90})
    cluster, key = published_once(given)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert "gate" not in found["spec"]
    assert "price" not in found["spec"]["models"]["student"]
    assert found["spec"]["models"]["current"]["price"] == {"prompt": 1, "completion": 2}
    own = {"pattern": "small*", "gate": {"against": "published"}, "price": {"prompt": 3, "completion": 4}}
    cluster, key = published_once(given, models=own)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert found["spec"]["gate"]["against"] == "published"
    assert found["spec"]["models"]["student"]["price"] == {"prompt": 3, "completion": 4}


def test_somebody_elses_compilation_is_not_overwritten() -> None:
    cluster, key = published_once()
    cluster.compilation(spec(), name="triage-small-2")
    with pytest.raises(Exception, match="somebody else's"):
        see(cluster, key, CURRENT, NEW)
    assert {each["reason"] for each in status(cluster)["conditions"]} == {"NotAllowed"}
    assert "somebody else's" in status(cluster)["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"student": {"model": "bedrock/x"}}, "where bedrock lists its models is not known"),
        ({"student": {"model": "openai/x"}, "current": {"model": "openai/y"}}, "rename template.spec.models.current"),
    ],
)
def test_a_trigger_that_cannot_look_for_models_says_so(models: dict[str, Any], says: str) -> None:
    cluster, key = prepared(spec(models=models))
    look(cluster, key)
    assert says in status(cluster)["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4.1-mini", "triage-gpt-4.1-mini"),
        ("openrouter/x-ai/Grok_4", "triage-x-ai-grok-4-"),
        ("openai/a..b", "triage-a-b-"),
        ("openai/" + "x" * 90, "triage-" + "x" * 90),
    ],
)
def test_a_trial_has_a_name_that_kubernetes_takes(model: str, name: str) -> None:
    assert trial("triage", model).startswith(name)
    assert len(trial("t" * 253, model)) <= 253
