"""A change of what a trigger watches begins one run, however many looks see it and whenever the operator dies."""

import asyncio
import itertools
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import sampling
from support.fake_cluster import NAMESPACE, FakeCluster, Killed, Object
from support.looks import end_look, under_way, watch_of
from support.operator_specs import spec
from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS, PODS
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, REQUESTED_AT, RERUN_AT
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import CAUSE, KIND, TRIGGERS
from swarm_operator.trigger.read import key_of
from swarm_operator.trigger.reconcile import Reconciler
from swarm_wire.looks import Watched

URL = "https://git.example/app.git"
SOURCE = {"url": URL, "ref": {"branch": "main"}, "path": "app", "secret": {"name": "git"}}
OURS = ["out/program.json", "out/report.json", "out/report.md"]


def template(source: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    program = {"entrypoint": "triage:Triage", "source": source or {"git": SOURCE}}
    return {"spec": {**spec(), "program": program, **changes}}


def prepared(**fields: Any) -> tuple[FakeCluster, Key]:
    """Returns a cluster with a trigger that watches git, unless `fields` say otherwise."""
    cluster = FakeCluster()
    given = {"git": {}, "template": template(), **fields}
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "triage", "generation": 1},
        "spec": {name: value for name, value in given.items() if value is not None},
    }
    found = cluster.put(TRIGGERS, body)
    return cluster, Key(NAMESPACE, "triage", found["metadata"]["uid"])


def look(cluster: FakeCluster, key: Key, passes: int = 1) -> float | None:
    """Makes passes, each in a new process, since the operator may have died before."""
    wake_up = None
    for _ in range(passes):
        reconciler = Reconciler(cluster, Settings(git_image="git:1"), lambda: cluster.now)
        wake_up = asyncio.run(reconciler(key))
    return wake_up


def status(cluster: FakeCluster) -> Object:
    found: Object = cluster.of(TRIGGERS)[0]["status"]
    return found


def begun(cluster: FakeCluster) -> int:
    """Returns how many runs have begun."""
    return sum(text.startswith("apply dspycompilations/") for text in cluster.writes)


def cause(cluster: FakeCluster) -> str:
    [found] = cluster.of(COMPILATIONS)
    return str(found["metadata"]["annotations"][CAUSE])


def content(number: int) -> Watched:
    return Watched(commit=f"{number:040x}", digest=f"{number:064x}")


def end_run(cluster: FakeCluster) -> None:
    """Gives the Compilation the status of a run that has published its artifact."""
    [found] = cluster.of(COMPILATIONS)
    now, began = f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}", cause(cluster).split()[-1]
    condition = {"observedGeneration": 1, "lastTransitionTime": now, "reason": "Published", "message": "m"}
    found["status"] = {
        "runId": f"r{begun(cluster)}",
        "startTime": began,
        "completionTime": now,
        "observedGeneration": 1,
        "conditions": [
            {"type": "Ready", "status": "True", **condition},
            {"type": "Succeeded", "status": "True", **condition},
        ],
    }


def see(cluster: FakeCluster, key: Key, number: int, minutes: int = 6) -> None:
    """Lets time pass, and a look find this content."""
    cluster.now += timedelta(minutes=minutes)
    look(cluster, key, 2)
    end_look(cluster, content(number))
    look(cluster, key, 2)


# The look


def test_the_job_of_a_look_alone_mounts_the_credentials_and_says_what_is_watched() -> None:
    cluster, key = prepared(
        template=template(
            artifact={"git": {"url": "https://git.example/app", "branch": "main", "path": "out"}},
            swarm={"nodeSelector": {"pool": "a"}, "imagePullSecrets": [{"name": "registry"}]},
        )
    )
    look(cluster, key)
    [job] = cluster.of(JOBS)
    made = job["spec"]["template"]["spec"]
    [container] = made["containers"]
    assert (container["image"], container["args"]) == ("git:1", ["watch"])
    assert [volume["secret"]["secretName"] for volume in made["volumes"] if "secret" in volume] == ["git"]
    assert made["automountServiceAccountToken"] is False
    assert (made["nodeSelector"], made["imagePullSecrets"]) == ({"pool": "a"}, [{"name": "registry"}])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    watch = watch_of(job)
    assert (watch.source.url, watch.paths, watch.without) == (URL, ["app"], OURS)
    assert key_of(job) == key
    assert not cluster.of(COMPILATIONS)


@pytest.mark.parametrize(
    ("git", "artifact", "paths", "without"),
    [
        ({}, {"git": {"url": "https://git.example/other.git", "branch": "main", "path": "out"}}, ["app"], []),
        ({"paths": ["lib", "a.py"]}, {}, ["lib", "a.py"], []),
    ],
    ids=["an artifact in another repository is not left out", "paths replace the program's folder"],
)
def test_paths_say_what_is_watched(
    git: dict[str, Any], artifact: dict[str, Any], paths: list[str], without: list[str]
) -> None:
    cluster, key = prepared(git=git, template=template(artifact=artifact))
    look(cluster, key)
    watch = watch_of(cluster.of(JOBS)[0])
    assert (watch.paths, watch.without) == (paths, without)


def test_the_first_look_begins_a_run_and_the_same_content_begins_no_other() -> None:
    cluster, key = prepared()
    look(cluster, key)
    end_look(cluster, content(1))
    look(cluster, key)
    assert cause(cluster) == f"git {1:040x} 2026-11-21T12:00:00Z"
    [found] = cluster.of(COMPILATIONS)
    assert found["metadata"]["annotations"][RERUN_AT] == cause(cluster)
    assert status(cluster)["last"]["outcome"] == "Started"
    look(cluster, key)
    assert cluster.of(JOBS) == [], "the result is in the status"
    end_run(cluster)
    for _ in range(3):
        see(cluster, key, 1)
    assert begun(cluster) == 1
    [watch] = status(cluster)["watches"]
    assert (watch["kind"], watch["looks"], watch["revision"]) == ("git", 4, f"{1:040x}")


def test_a_change_begins_a_run_and_each_look_waits_for_its_interval() -> None:
    cluster, key = prepared(git={"intervalSeconds": 60})
    see(cluster, key, 1, minutes=0)
    end_run(cluster)
    assert look(cluster, key) == 60
    cluster.now += timedelta(seconds=59)
    look(cluster, key)
    assert not under_way(cluster)
    cluster.now += timedelta(seconds=1)
    look(cluster, key)
    end_look(cluster, content(2))
    look(cluster, key)
    assert begun(cluster) == 2
    assert cause(cluster).startswith(f"git {2:040x} ")


def test_a_webhook_asks_for_a_look_at_once_but_not_more_often_than_each_ten_seconds() -> None:
    cluster, key = prepared()
    see(cluster, key, 1, minutes=0)
    cluster.now += timedelta(seconds=3)
    status(cluster)["lookRequestedAt"] = "2026-11-21T12:00:03Z"
    assert look(cluster, key) == 7
    assert not under_way(cluster)
    cluster.now += timedelta(seconds=7)
    look(cluster, key)
    end_look(cluster, content(2))
    look(cluster, key, 2)
    assert look(cluster, key) == 300, "the same request asks for one look"
    assert status(cluster)["lookRequestedAt"] == "2026-11-21T12:00:03Z"


def test_a_change_during_a_run_waits_and_begins_one_run_of_the_newest_content() -> None:
    cluster, key = prepared()
    see(cluster, key, 1)
    see(cluster, key, 2)
    assert status(cluster)["last"]["outcome"] == "StillRunning"
    events = [text for text in cluster.writes if text.startswith("create events/")]
    see(cluster, key, 2)
    assert [text for text in cluster.writes if text.startswith("create events/")] == events, "it was told"
    see(cluster, key, 3)
    assert begun(cluster) == 1
    end_run(cluster)
    look(cluster, key, 2)
    assert begun(cluster) == 2
    assert cause(cluster).startswith(f"git {3:040x} ")


@pytest.mark.parametrize(
    ("fields", "outcome", "after"),
    [
        ({"concurrencyPolicy": "Replace"}, "Started", 2),
        ({"minIntervalSeconds": 3600}, "TooSoon", 1),
    ],
)
def test_a_change_obeys_the_limits_of_the_trigger(fields: dict[str, Any], outcome: str, after: int) -> None:
    cluster, key = prepared(**fields)
    see(cluster, key, 1)
    end_run(cluster)
    see(cluster, key, 2)
    assert status(cluster)["last"]["outcome"] == outcome
    assert begun(cluster) == after
    cluster.now += timedelta(hours=1)
    look(cluster, key, 2)
    assert begun(cluster) == 2, "it was only delayed"


def test_a_suspended_trigger_does_not_look_and_begins_what_has_changed_when_it_is_resumed() -> None:
    cluster, key = prepared(suspend=True)
    look(cluster, key, 2)
    assert cluster.of(JOBS) == []
    cluster.of(TRIGGERS)[0]["spec"]["suspend"] = False
    see(cluster, key, 1)
    assert begun(cluster) == 1


def test_a_run_that_a_schedule_begins_is_for_the_change_too() -> None:
    cluster, key = prepared(schedules=[{"cron": "30 * * * *"}])
    see(cluster, key, 1)
    end_run(cluster)
    cluster.now += timedelta(minutes=25)
    look(cluster, key)
    assert cause(cluster) == "schedule 2026-11-21T12:30:00Z"
    end_run(cluster)
    assert begun(cluster) == 2
    end_look(cluster, content(1))
    look(cluster, key, 2)
    assert begun(cluster) == 2


# Failures


def test_a_mistake_stalls_the_trigger_at_once_and_a_later_look_ends_that() -> None:
    cluster, key = prepared()
    look(cluster, key)
    end_look(cluster, None, 64, "GitCredentialsRejected", "the server refuses the credentials.")
    look(cluster, key)
    assert {(each["type"], each["status"], each["reason"]) for each in status(cluster)["conditions"]} == {
        ("Ready", "False", "GitCredentialsRejected"),
        ("Stalled", "True", "GitCredentialsRejected"),
    }
    see(cluster, key, 1)
    assert [each["type"] for each in status(cluster)["conditions"]] == ["Ready"]
    assert begun(cluster) == 1


def test_a_server_that_is_away_stalls_the_trigger_after_three_looks() -> None:
    cluster, key = prepared()
    for number in range(3):
        assert [each["status"] for each in (status(cluster)["conditions"] if number else [])] == ["True"] * bool(number)
        look(cluster, key, 2)
        end_look(cluster, None, 1, "GitUnreachable", "no answer.")
        look(cluster, key, 2)
        cluster.now += timedelta(minutes=6)
    assert [each["reason"] for each in status(cluster)["conditions"]] == ["GitUnreachable"] * 2


def test_a_schedule_begins_runs_while_the_git_server_is_away() -> None:
    cluster, key = prepared(schedules=[{"cron": "30 * * * *"}])
    look(cluster, key)
    end_look(cluster, None, 64, "GitNotFound", "there is no branch main.")
    look(cluster, key, 2)
    cluster.now += timedelta(minutes=31)
    look(cluster, key)
    assert begun(cluster) == 1


@pytest.mark.parametrize("left", ["the Job has failed", "the pod waits for its image", "the Job is gone"])
def test_a_look_without_a_result_is_repeated(left: str) -> None:
    cluster, key = prepared()
    look(cluster, key)
    [job] = cluster.of(JOBS)
    if left == "the Job has failed":
        job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    elif left == "the Job is gone":
        cluster.remove(JOBS, job["metadata"]["name"])
    else:
        end_look(cluster, content(1))
        [pod] = cluster.of(PODS)
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"name": "worker", "state": {"waiting": waiting}}]}
        del job["status"]
    cluster.now += timedelta(minutes=2)
    look(cluster, key, 2)
    if left == "the pod waits for its image":
        assert status(cluster)["watches"][0]["message"] == "no such image."
    see(cluster, key, 1)
    assert begun(cluster) == 1


# ConfigMaps


def from_config_maps(**fields: Any) -> tuple[FakeCluster, Key]:
    source = {"configMap": {"name": "program"}}
    return prepared(git=None, configMaps=True, template=template(source), **fields)


def test_a_changed_config_map_begins_a_run_and_its_labels_do_not() -> None:
    cluster, key = from_config_maps()
    look(cluster, key)
    assert begun(cluster) == 0, "it waits for the ConfigMap"
    cluster.config_map("program", **{"triage.py": "v1"})
    cluster.config_map("triage-data", **{"train.jsonl": "t", "val.jsonl": "v", "unused": "u"})
    look(cluster, key, 2)
    assert begun(cluster) == 1
    end_run(cluster)
    [program] = cluster.of(CONFIG_MAPS, "program")
    program["metadata"]["labels"] = {"a": "b"}
    cluster.of(CONFIG_MAPS, "triage-data")[0]["data"]["unused"] = "v"
    look(cluster, key, 2)
    assert begun(cluster) == 1
    program["data"]["triage.py"] = "v2"
    look(cluster, key, 2)
    assert begun(cluster) == 2
    assert cause(cluster).startswith("configMaps ")


# Drift


TESTED = {**spec()["data"], "test": {"configMap": {"name": "triage-data", "key": "test.jsonl"}}}


def drifted(cluster: FakeCluster, verdict: str) -> None:
    """Ends the run with this finding about the published program."""
    end_run(cluster)
    figures = {"difference": -20.0, "low": -30.0, "high": -10.0, "examples": 50}
    cluster.of(COMPILATIONS)[0]["status"]["drift"] = {"verdict": verdict, **figures}


def test_a_drift_begins_one_run_that_asks_the_models_anew_and_later_runs_reuse_that() -> None:
    cluster, key = prepared(
        git=None,
        schedules=[{"cron": "0 * * * *"}],
        recompileOnDrift=True,
        template=template(drift={"sample": 50}, data=TESTED),
    )
    look(cluster, key)
    cluster.now += timedelta(hours=1)
    look(cluster, key)
    drifted(cluster, "Worse")
    look(cluster, key, 2)
    assert begun(cluster) == 2
    anew = cause(cluster)
    assert anew.startswith("drift r1 ")
    annotations = cluster.of(COMPILATIONS)[0]["metadata"]["annotations"]
    assert (annotations[REQUESTED_AT], annotations[RERUN_AT]) == (anew, anew)
    drifted(cluster, "Same")
    look(cluster, key, 3)
    assert begun(cluster) == 2
    cluster.now += timedelta(hours=1)
    look(cluster, key)
    annotations = cluster.of(COMPILATIONS)[0]["metadata"]["annotations"]
    assert (annotations[REQUESTED_AT], annotations[RERUN_AT]) == (anew, cause(cluster))
    assert cause(cluster).startswith("schedule ")


def test_a_run_for_a_drift_and_another_change_asks_the_models_anew() -> None:
    cluster, key = prepared(recompileOnDrift=True, template=template(drift={}, data=TESTED))
    see(cluster, key, 1)
    see(cluster, key, 2)
    drifted(cluster, "Worse")
    look(cluster, key, 2)
    annotations = cluster.of(COMPILATIONS)[0]["metadata"]["annotations"]
    assert annotations[REQUESTED_AT] == annotations[RERUN_AT] == cause(cluster)
    assert cause(cluster).startswith("git ")
    end_run(cluster)
    look(cluster, key, 2)
    assert begun(cluster) == 2


def test_a_drift_of_a_run_that_has_not_ended_stops_nothing() -> None:
    cluster, key = prepared(
        recompileOnDrift=True, concurrencyPolicy="Replace", template=template(drift={}, data=TESTED)
    )
    see(cluster, key, 1)
    drifted(cluster, "Worse")
    del cluster.of(COMPILATIONS)[0]["status"]["completionTime"]
    look(cluster, key, 2)
    assert begun(cluster) == 1


@pytest.mark.parametrize("verdict", ["Same", "Better", "Inconclusive"])
def test_only_a_worse_score_is_a_drift(verdict: str) -> None:
    cluster, key = prepared(recompileOnDrift=True, template=template(drift={}, data=TESTED))
    see(cluster, key, 1)
    drifted(cluster, verdict)
    look(cluster, key, 2)
    assert begun(cluster) == 1


# Deaths


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(8))
def test_an_operator_that_dies_before_or_after_any_write_begins_one_run_for_a_change(number: int, after: bool) -> None:
    cluster, key = prepared(concurrencyPolicy="Replace")
    cluster.kill_at = number, after
    for _ in range(6):
        try:
            look(cluster, key)
        except Killed:
            continue
        if under_way(cluster):
            end_look(cluster, content(1))
        cluster.now += timedelta(seconds=20)
    cluster.kill_at = None
    assert begun(cluster) == 1
    assert status(cluster)["last"]["outcome"] == "Started"
    assert cluster.of(JOBS) == []


def die_after_the_start(cluster: FakeCluster, key: Key) -> None:
    """Makes a pass that dies between the write of the Compilation and that of the status."""
    before = begun(cluster)
    cluster.kill_at = len(cluster.writes), True
    with pytest.raises(Killed):
        look(cluster, key)
    assert begun(cluster) == before + 1


def lose_looks(cluster: FakeCluster) -> None:
    for resource in (JOBS, PODS):
        for found in cluster.of(resource):
            cluster.remove(resource, found["metadata"]["name"])


def test_content_whose_run_began_when_the_operator_died_begins_no_other_if_the_look_is_lost() -> None:
    """The repeated look finds the same content in another commit: that of the winner."""
    cluster, key = prepared(concurrencyPolicy="Replace")
    look(cluster, key)
    end_look(cluster, content(1))
    die_after_the_start(cluster, key)
    lose_looks(cluster)
    end_run(cluster)
    look(cluster, key, 2)
    end_look(cluster, Watched(commit=f"{99:040x}", digest=content(1).digest))
    look(cluster, key, 3)
    assert begun(cluster) == 1


def test_another_change_after_the_operator_died_is_not_taken_for_begun() -> None:
    cluster, key = prepared(configMaps=True)
    look(cluster, key)
    end_look(cluster, content(1))
    die_after_the_start(cluster, key)
    cluster.config_map("triage-data", **{"train.jsonl": "t", "val.jsonl": "v"})
    end_run(cluster)
    look(cluster, key, 2)
    assert begun(cluster) == 2
    assert cause(cluster).startswith("configMaps ")


def test_a_time_of_a_schedule_after_the_operator_died_begins_its_run() -> None:
    cluster, key = prepared(schedules=[{"cron": "30 * * * *"}])
    look(cluster, key)
    end_look(cluster, content(1))
    die_after_the_start(cluster, key)
    end_run(cluster)
    cluster.now += timedelta(minutes=45)
    look(cluster, key)
    assert cause(cluster) == "schedule 2026-11-21T12:30:00Z"


def test_a_look_that_the_api_server_refuses_keeps_no_run_from_beginning() -> None:
    cluster, key = prepared(schedules=[{"cron": "30 * * * *"}])
    cluster.denied, cluster.denial = "create jobs/", errors.Forbidden("exceeded quota")
    cluster.now += timedelta(minutes=31)
    with pytest.raises(errors.Forbidden):
        look(cluster, key)
    assert begun(cluster) == 1
    assert status(cluster)["last"]["outcome"] == "Started"
    assert {each["reason"] for each in status(cluster)["conditions"]} == {"NotAllowed"}
    cluster.denied = ""
    look(cluster, key, 2)
    assert {each["reason"] for each in status(cluster)["conditions"]} == {"Waiting"}


def test_a_failed_look_is_repeated_soon_however_long_the_interval_is() -> None:
    cluster, key = prepared(git={"intervalSeconds": 86400})
    for seconds in (30, 60, 120):
        look(cluster, key)
        end_look(cluster, None, 1, "GitUnreachable", "no answer")
        look(cluster, key)
        assert look(cluster, key) == seconds
        cluster.now += timedelta(seconds=seconds)


def test_a_changed_spec_looks_at_once_and_the_result_of_an_older_look_does_not_count() -> None:
    cluster, key = prepared()
    look(cluster, key)
    old = under_way(cluster)[0]["metadata"]["name"]
    cluster.of(TRIGGERS)[0]["spec"]["git"] = {"paths": ["lib"]}
    end_look(cluster, content(1))
    look(cluster, key, 2)
    assert begun(cluster) == 0
    [job] = cluster.of(JOBS)
    assert job["metadata"]["name"] != old
    assert watch_of(job).paths == ["lib"]
    end_look(cluster, content(2))
    look(cluster, key, 2)
    assert cause(cluster).startswith(f"git {2:040x} ")


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [
        ("https://git.example/app.git", "https://git.example/app", True),
        ("https://git.example/Acme/App", "git@git.example:acme/app.git", True),
        ("https://git.example:443/a/b", "ssh://git@git.example:2222/a/b", True),
        ("https://git.example/a/b", "https://git.example/a/c", False),
        ("https://git.example/a/b", "https://other.example/a/b", False),
        ("https://git.example/a/b", "https://git.example:8443/a/b", False),
    ],
)
def test_the_files_of_the_artifact_are_not_watched_in_the_same_repository_by_any_url(
    source: str, target: str, same: bool
) -> None:
    secret = {"secret": {"name": "git"}}
    cluster, key = prepared(
        template=template(
            {"git": {"url": source, **secret}},
            artifact={"git": {"url": target, "branch": "main", "path": "out", **secret}},
        )
    )
    look(cluster, key)
    assert watch_of(cluster.of(JOBS)[0]).without == (OURS if same else [])


EVENTS = ["commit", "wait", "end", "die", "webhook", "lose the looks"]
STEPS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), min_size=4, max_size=40)


@example(
    # The operator dies after a run began, and then the look is lost that has begun it.
    steps=[("commit", 0), ("die", 3), ("die", 5), ("webhook", 0), ("wait", 1), ("commit", 0), ("lose the looks", 0)],
    crons=[],
    policy="Replace",
)
@settings(max_examples=200 if sampling.WHOLE else 60)
@given(
    steps=STEPS,
    crons=st.sampled_from([[], [{"cron": "*/20 * * * *"}]]),
    policy=st.sampled_from(["Forbid", "Replace"]),
)
def test_each_content_begins_one_run_at_most_and_the_newest_begins_one(
    steps: list[tuple[str, int]], crons: list[dict[str, str]], policy: str
) -> None:
    cluster, key = prepared(schedules=crons, concurrencyPolicy=policy)
    newest, causes, ended = 1, list[str](), 0
    commits = itertools.count()
    content_of: dict[str, int] = {}

    def finish_look() -> None:
        """Ends a look. The newest content may be in any commit, since other files change, too."""
        if under_way(cluster):
            commit = f"{next(commits):040x}"
            content_of[commit] = newest
            end_look(cluster, Watched(commit=commit, digest=content(newest).digest))

    def go() -> None:
        nonlocal ended
        with suppress(Killed):
            look(cluster, key)
        if cluster.of(COMPILATIONS) and cause(cluster) not in causes[-1:]:
            if policy == "Forbid":
                assert ended == len(causes), "the run before has ended"
            causes.append(cause(cluster))

    def end() -> None:
        nonlocal ended
        if cluster.of(COMPILATIONS) and ended < len(causes):
            end_run(cluster)
            ended = len(causes)

    for what, number in steps:
        match what:
            case "commit":
                newest += 1
            case "wait":
                cluster.now += timedelta(minutes=number)
            case "end":
                cluster.now += timedelta(seconds=1)
                end()
            case "die":
                cluster.kill_at = len(cluster.writes) + number // 2, bool(number % 2)
            case "webhook" if "status" in cluster.of(TRIGGERS)[0]:
                status(cluster)["lookRequestedAt"] = f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}"
            case "lose the looks":
                lose_looks(cluster)
        finish_look()
        go()
    cluster.kill_at = None
    for _ in range(8):
        cluster.now += timedelta(minutes=6)
        end()
        finish_look()
        go()
    of_git = [content_of[each.split()[1]] for each in causes if each.startswith("git ")]
    assert len(of_git) == len(set(of_git))
    assert begun(cluster) == len(causes)
    [watch] = status(cluster)["watches"]
    assert watch["begunDigest"] == content(newest).digest
    assert crons or of_git[-1] == newest
