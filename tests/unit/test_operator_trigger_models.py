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
from swarm_operator.compilation.observe import objects
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import CAUSE, KIND, MODEL, TRIGGERS
from swarm_operator.trigger.read import key_of
from swarm_operator.trigger.reconcile import Reconciler
from swarm_wire.looks import ModelWatch, Watched
from swarm_wire.names import ENV_WATCH
from swarm_wire.spec.compilation import CompilationSpec

CURRENT, NEW, NEWER = "openai/small", "openai/small-2", "openai/small-3"
TRIAL = trial("triage", NEW)
PRICE = {"prompt": 1, "completion": 2}
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
        "runId": objects.compilation(found).run_id,
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
    assert name == TRIAL
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
    assert last["message"] == f"its run has begun in Compilation '{TRIAL}'."
    end_run(cluster, name)
    see(cluster, key, CURRENT, NEW)
    see(cluster, key, CURRENT)
    see(cluster, key, CURRENT, NEW)
    assert [*trials(cluster)] == [name]
    assert sum(f"create dspycompilations/{TRIAL}" in text for text in cluster.writes) == 1


def test_a_deleted_compilation_of_a_known_model_is_not_made_again() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT, NEW)
    cluster.remove(COMPILATIONS, TRIAL)
    see(cluster, key, CURRENT, NEW)
    assert trials(cluster) == {}


def test_new_models_are_tried_one_after_the_other() -> None:
    cluster, key = published_once()
    see(cluster, key, CURRENT, NEW, NEWER)
    assert [*trials(cluster)] == [TRIAL]
    assert status(cluster)["last"]["outcome"] == "StillRunning"
    end_run(cluster, TRIAL)
    look(cluster, key)
    assert [*trials(cluster)] == [TRIAL, trial("triage", NEWER)]


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
    models = {"pattern": "small*", "price": PRICE}
    cluster, key = published_once(spec(models={"student": student}), models=models)
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
    assert [*trials(cluster)] == [TRIAL]


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
    assert [*trials(cluster)] == [TRIAL]


def test_the_run_of_a_new_model_counts_in_the_budget_and_in_the_list_of_runs() -> None:
    student = {**spec()["models"]["student"], "parameters": {"maxTokens": 10}}
    models = {"pattern": "small*", "price": PRICE}
    cluster, key = published_once(spec(models={"student": student}), models=models, dailyBudgetUSD=5)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert found["spec"]["limits"] == {"costUSD": 5}
    end_run(cluster, TRIAL, costUSD=2.0)
    look(cluster, key)
    run = status(cluster)["runs"][0]
    assert (run["compilation"], run["costUSD"]) == (TRIAL, 2.0)
    assert status(cluster)["spentUSD"] == 2.0


def test_another_pattern_begins_with_a_first_list_again() -> None:
    cluster, key = published_once()
    cluster.of(TRIGGERS)[0]["spec"]["models"] = {"pattern": "large*"}
    look(cluster, key, 2)
    see(cluster, key, "openai/large", "openai/large-2")
    assert trials(cluster) == {}


def change_model(cluster: FakeCluster, model: str) -> None:
    """Writes another model into the template."""
    student = {**spec()["models"]["student"], "model": model}
    cluster.of(TRIGGERS)[0]["spec"]["template"]["spec"]["models"] = {"student": student}


def test_a_model_that_the_template_has_got_by_hand_is_not_new_also_when_the_template_gets_the_next_one() -> None:
    cluster, key = published_once()
    change_model(cluster, NEW)
    see(cluster, key, CURRENT, NEW)
    assert trials(cluster) == {}
    end_run(cluster)
    change_model(cluster, NEWER)
    see(cluster, key, CURRENT, NEW, NEWER)
    assert trials(cluster) == {}


def test_another_model_in_the_template_begins_a_run_before_any_new_model_is_compared() -> None:
    cluster, key = published_once()
    change_model(cluster, NEW)
    see(cluster, key, CURRENT, NEW, NEWER)
    [production] = cluster.of(COMPILATIONS)
    assert production["spec"]["models"]["student"]["model"] == NEW
    assert production["metadata"]["annotations"][CAUSE].startswith(f"models {NEW} ")
    assert status(cluster)["last"]["outcome"] == "StillRunning"
    end_run(cluster)
    look(cluster, key)
    assert [*trials(cluster)] == [trial("triage", NEWER)]


def test_a_deleted_compilation_of_the_trigger_is_not_made_again_by_its_model() -> None:
    cluster, key = published_once()
    cluster.remove(COMPILATIONS, "triage")
    look(cluster, key, 3)
    assert cluster.of(COMPILATIONS) == []


def _command(job: Object) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0]["args"][0])


def test_one_run_is_for_the_model_and_for_the_content_that_the_first_look_finds() -> None:
    source = {"url": "https://git.example/app.git", "ref": {"branch": "main"}, "path": "app"}
    program = {"entrypoint": "triage:Triage", "source": {"git": source}}
    cluster, key = prepared(spec(program=program), git={})
    look(cluster, key, 2)
    assert cluster.of(COMPILATIONS) == []
    assert len(under_way(cluster)) == 2
    [models] = [job for job in under_way(cluster) if _command(job) == "models"]
    models["status"] = {}
    end_look(cluster, Watched(commit="c" * 40, digest="d" * 64))
    del models["status"]
    look(cluster, key, 2)
    end_look(cluster, [CURRENT])
    look(cluster, key, 3)
    assert sum(text.startswith("apply dspycompilations/") for text in cluster.writes) == 1


def test_a_run_that_has_no_status_yet_may_spend_its_limit() -> None:
    student = {**spec()["models"]["student"], "parameters": {"maxTokens": 10}, "price": PRICE}
    models = {"pattern": "small*", "price": PRICE}
    cluster, key = published_once(spec(models={"student": student}), models=models, dailyBudgetUSD=5)
    see(cluster, key, CURRENT, NEW)
    cluster.of(TRIGGERS)[0]["spec"]["schedules"] = [{"cron": "* * * * *"}]
    look(cluster, key)
    cluster.now += timedelta(minutes=2)
    look(cluster, key)
    assert status(cluster)["last"]["outcome"] == "BudgetSpent"


def test_the_run_of_a_new_model_may_get_a_part_of_the_budget_and_delays_no_schedule() -> None:
    student = {**spec()["models"]["student"], "parameters": {"maxTokens": 10}, "price": PRICE}
    models = {"pattern": "small*", "price": PRICE, "costUSD": 2}
    template = spec(models={"student": student})
    cluster, key = published_once(template, models=models, dailyBudgetUSD=5, minIntervalSeconds=600)
    see(cluster, key, CURRENT, NEW)
    [found] = trials(cluster).values()
    assert found["spec"]["limits"] == {"costUSD": 2}
    cluster.of(TRIGGERS)[0]["spec"]["schedules"] = [{"cron": "* * * * *"}]
    look(cluster, key)
    cluster.now += timedelta(minutes=2)
    look(cluster, key)
    assert status(cluster)["last"]["outcome"] == "Started"
    [production] = cluster.of(COMPILATIONS, "triage")
    assert production["spec"]["limits"] == {"costUSD": 3}


def test_a_model_goes_on_waiting_after_a_change_of_the_pattern_and_those_that_did_not_fit_are_known() -> None:
    cluster, key = prepared()
    look(cluster, key, 2)
    end_run(cluster, published=False)
    see(cluster, key, CURRENT)
    see(cluster, key, CURRENT, NEW)
    cluster.of(TRIGGERS)[0]["spec"]["models"] = {"pattern": "*"}
    look(cluster, key, 2)
    see(cluster, key, CURRENT, NEW, "openai/large")
    end_run(cluster)
    look(cluster, key, 2)
    assert [*trials(cluster)] == [TRIAL]


def test_the_status_says_that_the_run_has_begun_even_if_the_operator_died_before_it_could() -> None:
    cluster, key = prepared()
    look(cluster, key, 2)
    end_run(cluster, published=False)
    see(cluster, key, CURRENT)
    see(cluster, key, CURRENT, NEW)
    end_run(cluster)
    cluster.now += timedelta(seconds=5)
    cluster.kill_at = len(cluster.writes), True
    with pytest.raises(Killed):
        look(cluster, key)
    look(cluster, key)
    assert status(cluster)["last"]["outcome"] == "Started"


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


def test_somebody_elses_compilation_is_not_overwritten_and_other_models_do_not_wait() -> None:
    cluster, key = published_once()
    cluster.compilation(spec(), name=TRIAL)
    see(cluster, key, CURRENT, NEW)
    last = status(cluster)["last"]
    assert last["outcome"] == "NotAllowed"
    assert f"{TRIAL} exists and is somebody else's. The operator tries again." in last["message"]
    see(cluster, key, CURRENT, NEW, NEWER)
    assert trial("triage", NEWER) in trials(cluster)
    assert status(cluster)["watches"][0]["known"] == [CURRENT, NEWER]
    end_run(cluster, trial("triage", NEWER))
    cluster.remove(COMPILATIONS, TRIAL)
    look(cluster, key, 2)
    assert status(cluster)["last"]["outcome"] == "Started"
    assert trials(cluster)[TRIAL]["metadata"]["annotations"][MODEL] == NEW


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"student": {"model": "bedrock/x"}}, "where bedrock lists its models is not known"),
        ({"student": {"model": "openai/x"}}, "write template.spec.models.student.apiKey"),
        (
            {"student": {"model": "openai/x", "endpoint": "http://x/v1"}, "current": {"model": "openai/y"}},
            "rename template.spec.models.current",
        ),
    ],
)
def test_a_trigger_that_cannot_look_for_models_says_so(models: dict[str, Any], says: str) -> None:
    cluster, key = prepared(spec(models=models))
    look(cluster, key)
    assert says in status(cluster)["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4.1-mini", "triage-gpt-4-1-mini-"),
        ("openrouter/x-ai/Grok_4", "triage-x-ai-grok-4-"),
        ("openai/a..b", "triage-a-b-"),
        ("openai/" + "x" * 90, "triage-" + "x" * 60 + "-"),
    ],
)
def test_a_trial_has_a_name_that_kubernetes_takes(model: str, name: str) -> None:
    assert trial("triage", model).startswith(name)
    assert len(trial("t" * 253, model)) <= 253
    assert trial("triage", model) != trial("triage", model.replace("openai/", "groq/").replace("openrouter/", "xai/"))
