"""The operator passes whole runs on a cluster in memory: good runs, killed runs, and runs that fail."""

import asyncio
import base64
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatch
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import fake_cluster
from support.fake_cluster import (
    CALLS,
    CELLS,
    LOST,
    MICRO_USD,
    NAMESPACE,
    PROGRAM,
    ROUNDS,
    FakeCluster,
    Faults,
    Killed,
    StandIn,
)
from support.operator_specs import spec
from support.sampling import sample
from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, PODS, Resource
from swarm_operator.compilation.api import (
    COMPILATIONS,
    FINALIZER,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_ROUND,
    LABEL_RUN,
    LABEL_UID,
    REQUESTED_AT,
    RERUN_AT,
    ConditionType,
)
from swarm_operator.compilation.decide import retention
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.compilation.status import Status
from swarm_operator.settings import Settings
from swarm_wire.names import ExitCode
from swarm_wire.records import RecordKind
from swarm_wire.shards import unpack

pytestmark = pytest.mark.whole_runs

SETTINGS = Settings(status_interval=0, retry_delay=2, log_deadline=5, concurrent_logs=100)


class Operator:
    """Simulates the operator's process, which a test may kill. The next process inherits no memory.

    Attributes:
        allowed_once: the most LM calls that spec.limits allowed at an earlier time.
    """

    allowed_once = 0

    def __init__(self, cluster: FakeCluster, key: Key) -> None:
        self._cluster, self._key, self.starts = cluster, key, 0
        self._process = self._start()

    def _start(self) -> Reconciler:
        self.starts += 1
        return Reconciler(self._cluster, SETTINGS, clock=lambda: self._cluster.now)

    def look(self, again: bool = True) -> None:
        """Runs passes until none asks for another pass at once.

        Args:
            again: whether the next process continues at once after a kill.
        """
        assert_within_limits(self._cluster, self.allowed_once)
        for _ in range(20):
            try:
                wish = asyncio.run(_pass(self._process, self._key))
            except Killed:
                self._process = self._start()
                if not again:
                    return
                continue
            except errors.ApiError:
                return
            if wish != 0:
                return
        raise AssertionError("passes without end")


async def _pass(process: Reconciler, key: Key) -> float | None:
    return await process(key)


def assert_within_limits(cluster: FakeCluster, once: int) -> None:
    """Asserts that pods paid for no more calls than allowed. It counts calls in the pods, not in the journal."""
    for found in cluster.of(COMPILATIONS):
        most = found["spec"].get("limits", {}).get("lmCalls")
        run_id = Status.of(found["status"]).run_id or ""
        assert most is None or cluster.bill[run_id] <= max(most, once)


def prepared(cluster: FakeCluster | None = None, **changes: Any) -> tuple[FakeCluster, Operator]:
    cluster = cluster or FakeCluster()
    cluster.config_map("triage-program", **{"triage.py": "..."})
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    found = cluster.compilation(spec(**changes))
    return cluster, Operator(cluster, Key(NAMESPACE, "triage", found["metadata"]["uid"]))


def status(cluster: FakeCluster) -> Status:
    return Status.of(cluster.of(COMPILATIONS)[0]["status"])


def conditions(cluster: FakeCluster) -> dict[str, tuple[str, str]]:
    return {condition.type.value: (condition.status, condition.reason) for condition in status(cluster).conditions}


def mounted_by(job: Any) -> list[str]:
    """Returns the names of the shards that a Job's pods mount."""
    volumes = job["spec"]["template"]["spec"]["volumes"]
    return [
        source["configMap"]["name"] for volume in volumes for source in volume.get("projected", {}).get("sources", [])
    ]


def run(cluster: FakeCluster, operator: Operator, steps: int = 60, seconds: float = 1) -> None:
    """Steps cluster and operator until the run is over and the operator has deleted what it no longer needs."""
    for _ in range(steps):
        operator.look()
        if status(cluster).completion_time:
            break
        cluster.step(seconds)
    for _ in range(5):
        operator.look()
        cluster.step()


def assert_published(cluster: FakeCluster) -> None:
    """Asserts what the operator promises for the end of every good run, whatever happened during the run."""
    assert conditions(cluster) == {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}
    (artifact,) = cluster.of(CONFIG_MAPS, "*-artifact")
    assert artifact["data"]["program.json"] == PROGRAM
    found = status(cluster)
    assert found.observed_generation == cluster.of(COMPILATIONS)[0]["metadata"]["generation"]
    assert found.progress
    assert found.progress.text == f"{ROUNDS * CELLS}/{ROUNDS * CELLS}"
    assert found.scores
    assert (found.scores.baseline, found.scores.best) == (50.0, 87.5)
    assert found.usage
    assert found.usage.calls == CALLS * ROUNDS * CELLS + ROUNDS + 1, "also of cells that more than one pod worked on"
    assert found.usage.cost_usd == pytest.approx(found.usage.calls * MICRO_USD / 1e6)
    assert len(found.candidates) == 5
    assert not cluster.of(JOBS)
    assert not cluster.of(PODS)
    assert not cluster.of(CONFIG_MAPS, "*-w0-*"), "assignments and tasks are passing"
    assert "finalizers" not in cluster.of(COMPILATIONS)[0]["metadata"]


def test_a_run_publishes_an_artifact_and_pays_for_each_cell_once() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    assert_published(cluster)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS
    assert len(cluster.called) == len(set(cluster.called)) == ROUNDS * CELLS
    assert len(cluster.proposed) == len(set(cluster.proposed)) == ROUNDS + 1


def test_the_operator_writes_nothing_after_the_end_of_a_run() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    before = len(cluster.writes)
    for _ in range(5):
        cluster.step(60)
        operator.look()
    assert cluster.writes[before:] == []


def test_each_event_is_sent_once() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    told = [
        event["reason"] for event in sorted(cluster.of(EVENTS), key=lambda event: int(event["metadata"]["uid"][4:]))
    ]
    assert told == ["Planning", "Scattering", "Planning", "Scattering", "Planning", "Publishing", "Published"]


def killed_once(number: int, after: bool) -> FakeCluster:
    """Passes a run whose operator is killed before or after a write. Asserts that the run publishes its artifact."""
    cluster, operator = prepared()
    cluster.kill_at = (number, after)
    run(cluster, operator)
    assert operator.starts == 2
    assert_published(cluster)
    return cluster


def writes_of_a_run() -> int:
    cluster, operator = prepared()
    run(cluster, operator)
    return len(cluster.writes)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", sample(range(writes_of_a_run()), 2))
def test_an_operator_that_is_killed_before_or_after_any_write_resumes_the_run(number: int, after: bool) -> None:
    cluster = killed_once(number, after)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


@pytest.fixture
def merging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the operator merge as soon as there are two small shards."""
    monkeypatch.setattr(retention, "FEW", 1)


def merges_of_a_run() -> list[int]:
    """Returns the numbers of the writes of result ConfigMaps in a run that merges as often as possible."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "FEW", 1)
        cluster, operator = prepared()
        run(cluster, operator)
    return [number for number, text in enumerate(cluster.writes) if "configmaps/" in text and "-r" in text]


@pytest.mark.usefixtures("merging")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", merges_of_a_run()[::4])
def test_an_operator_that_is_killed_before_or_after_any_write_of_a_merge_resumes_the_run(
    number: int, after: bool
) -> None:
    cluster = killed_once(number, after)
    assert_paid_once(cluster)
    most = 2 * (ROUNDS + 1) + 1
    assert len(cluster.of(CONFIG_MAPS, "*-r[0-9]*-*")) <= most, "one for each round and plan, and the last one"


@pytest.mark.usefixtures("merging")
def test_a_run_with_many_merges_ends_although_the_operator_dies_after_each_write() -> None:
    cluster, operator = prepared()
    cluster.kills_always = True
    run(cluster, operator)
    cluster.kills_always = False
    run(cluster, operator)
    assert_published(cluster)
    assert_paid_once(cluster)


@pytest.mark.usefixtures("merging")
@pytest.mark.parametrize("steps", range(1, 16, 3))
def test_a_new_run_uses_merged_results_of_an_earlier_run(steps: int) -> None:
    cluster, operator = prepared()
    change_after(cluster, operator, steps)
    run(cluster, operator)
    assert_nothing_paid_twice(cluster)
    assert len(cluster.called) == len(set(cluster.called))


def test_the_next_run_uses_a_journal_that_became_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(s: Situation) -> int:
        return 2 if s.world.compilation.generation == 1 and len(s.world.journal.keys) > CELLS else 0

    monkeypatch.setattr(Situation, "journal_bytes", property(size))
    monkeypatch.setattr(Settings, "journal_bytes", property(lambda settings: 1))
    cluster, operator = prepared()
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "JournalTooLarge")
    assert cluster.paid
    edit(cluster, journal={"url": "s3://bucket/journals"})
    run(cluster, operator)
    assert_nothing_paid_twice(cluster)
    assert len(cluster.called) == len(set(cluster.called))


def test_journals_of_failed_runs_do_not_accumulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "journal_bytes", property(lambda settings: 10_000))
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: int(ExitCode.COMPILE_FAILED) if "-p1-" in job else 0)
    most = 0
    for night in range(8):
        cluster.of(COMPILATIONS)[0]["metadata"]["annotations"] = {REQUESTED_AT: str(night)}
        run(cluster, operator)
        assert conditions(cluster)["Ready"][0] == "False"
        most = max(most, len(cluster.of(CONFIG_MAPS, "*-run")))
    assert len(cluster.paid) == 8 * CELLS
    assert most < 6


def assert_paid_once(cluster: FakeCluster) -> None:
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS
    assert len(cluster.called) == len(set(cluster.called)) == ROUNDS * CELLS
    assert len(cluster.proposed) == len(set(cluster.proposed)) == ROUNDS + 1


def test_a_run_with_many_passes_keeps_its_records_in_few_config_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = 60
    monkeypatch.setattr(fake_cluster, "CELLS", cells)
    cluster, operator = prepared(swarm={"pods": 2, "threadsPerPod": 1, "sliceSize": 1})
    most = 0
    for _ in range(400):
        operator.look()
        most = max(most, len(cluster.of(CONFIG_MAPS, "*-r[0-9]*-*")))
        if status(cluster).completion_time:
            break
        cluster.step()
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * cells
    shards = [text for text in cluster.writes if "create configmaps/" in text and "-r" in text]
    assert len(shards) > 100
    assert most < 5 * retention.FEW
    assert len(cluster.of(CONFIG_MAPS, "*-r[0-9]*-*")) <= 3 * retention.FEW


@pytest.mark.parametrize("denial", [errors.Forbidden("no"), errors.Rejected("no"), errors.Conflict("no")], ids=repr)
def test_shards_that_cannot_be_deleted_delay_no_pod_and_are_mounted_by_no_pod(
    denial: errors.ApiError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_cluster, "CELLS", 40)
    cluster, operator = prepared(swarm={"pods": 2, "threadsPerPod": 1, "sliceSize": 1})
    cluster.denied, cluster.denial = "delete configmaps", denial
    mounted = 0
    for _ in range(300):
        operator.look()
        if status(cluster).completion_time:
            break
        mounted = max([mounted, *(len(mounted_by(job)) for job in cluster.of(JOBS))])
        cluster.step()
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.of(CONFIG_MAPS, "*-r[0-9]*-*")) > mounted + 2 * retention.FEW


def test_a_run_ends_although_the_operator_dies_after_each_write() -> None:
    cluster, operator = prepared()
    cluster.kills_always = True
    run(cluster, operator)
    cluster.kills_always = False
    run(cluster, operator)
    assert operator.starts > 20
    assert_published(cluster)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


def test_a_run_ends_although_the_operator_dies_in_every_pass() -> None:
    cluster, operator = prepared()
    for _ in range(60):
        operator.look()
        operator._process = operator._start()
        cluster.step()
    assert_published(cluster)


def test_a_pod_that_dies_halfway_loses_only_results_that_it_has_not_printed() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: 137 if job.endswith("w0-1") and index == 0 else 0)
    run(cluster, operator)
    assert_published(cluster)
    assert len(cluster.paid) == ROUNDS * CELLS
    assert len(cluster.called) == len(set(cluster.called)) == ROUNDS * CELLS, "the next attempt found them"
    assert any(event["reason"] == "Retrying" for event in cluster.of(EVENTS))


def test_the_cells_of_a_pod_with_a_lost_log_run_again() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(silent=lambda job, index: job.endswith("w0-1") and index == 0)
    # The interval is longer than a pod lives, so the operator reads each log only at the pod's end.
    operator._process = Reconciler(cluster, SETTINGS.model_copy(update={"gather_interval": 100}), lambda: cluster.now)
    run(cluster, operator)
    assert_published(cluster)
    assert sum(times > 1 for times in Counter(cluster.paid).values()) == 1, "the cell of that pod, and no other"


@pytest.mark.parametrize("code", [1, 75, 137])
def test_a_plan_that_dies_is_repeated_and_pays_no_call_twice(code: int) -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: code if job.endswith("p1-1") else 0)
    run(cluster, operator)
    assert_published(cluster)
    assert len(cluster.proposed) == len(set(cluster.proposed)) == ROUNDS + 1


def test_results_of_a_running_plan_are_journaled() -> None:
    cluster, operator = prepared()
    while not cluster.proposed:
        cluster.step()
        operator.look()
    cluster.remove(PODS, cluster.of(PODS, "*-p0-1-*")[0]["metadata"]["name"])
    run(cluster, operator)
    assert_published(cluster)
    assert len(cluster.proposed) == len(set(cluster.proposed)) == ROUNDS + 1, "its log was gone, its call was not"


def test_the_deletion_of_a_pod_by_hand_uses_up_no_attempt() -> None:
    cluster, operator = prepared(swarm={"pods": 3, "threadsPerPod": 2, "maxAttempts": 1})
    deleted = 0
    for _ in range(90):
        operator.look()
        for pod in cluster.of(PODS, "*-w0-*"):
            if pod["status"]["phase"] == "Running" and deleted < 4:
                deleted += 1
                cluster.remove(PODS, pod["metadata"]["name"])
        if status(cluster).completion_time:
            break
        cluster.step()
    run(cluster, operator, 5)
    assert deleted == 4
    assert_published(cluster)


def test_a_job_deleted_by_hand_is_recreated_for_the_missing_cells() -> None:
    cluster, operator = prepared()
    done = False
    for _ in range(60):
        operator.look()
        for job in cluster.of(JOBS, "*-w0-1"):
            if not done and any(cluster.paid):
                done = True
                cluster.remove(JOBS, job["metadata"]["name"])
        cluster.step()
    assert done
    assert_published(cluster)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


def test_a_cell_that_always_kills_its_pod_ends_the_run_when_its_attempts_are_used_up() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: 137 if "-w0-" in job else 0)
    run(cluster, operator, 200)
    assert conditions(cluster) == {
        "Ready": ("False", "AttemptsExhausted"),
        "Stalled": ("True", "AttemptsExhausted"),
        "Succeeded": ("False", "AttemptsExhausted"),
    }
    message = status(cluster).conditions[0].message
    assert "after 3 attempts" in message
    assert "exit code 137" in message
    assert "dspy-swarm.dev/rerun-at" in message
    assert not cluster.of(JOBS)
    assert not cluster.of(PODS)


def test_bad_input_ends_the_run_with_the_message_of_the_pod() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(
        exit_code=lambda job, index: 64,
        commit_reason="ProgramLoadFailed",
        commit_message='spec.program.entrypoint: module "triage" has no "Triage"',
    )
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "ProgramLoadFailed")
    assert 'has no "Triage"' in status(cluster).conditions[0].message
    assert len([name for name in cluster.writes if name.startswith("create jobs/")]) == 1


def test_an_unknown_reason_of_a_pod_becomes_worker_failed() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: 64, commit_reason="Hacked", commit_message="hello")
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "WorkerFailed")


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ({"reason": "CreateContainerConfigError", "message": 'secret "provider" not found'}, "MissingSecret"),
        ({"reason": "ImagePullBackOff", "message": "Back-off pulling image"}, "ImagePullFailed"),
        ({"reason": "CreateContainerError", "message": "no such device"}, "PodCannotStart"),
    ],
)
def test_a_pod_that_cannot_start_stalls_the_compilation_after_a_while_and_the_run_goes_on_when_it_can(
    waiting: Any, reason: str
) -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(stuck=lambda job, index: waiting)
    for _ in range(6):
        operator.look()
        cluster.step(5)
    assert conditions(cluster) == {
        "Ready": ("Unknown", reason),
        "Reconciling": ("True", reason),
        "Succeeded": ("Unknown", reason),
    }
    run(cluster, operator, 20, 60)
    assert conditions(cluster) == stalled(reason)
    assert len(cluster.of(JOBS)) == 1
    cluster.faults = Faults()
    run(cluster, operator)
    assert_published(cluster)


def test_a_run_continues_once_its_pods_can_start() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(stuck=lambda job, index: {"reason": "ErrImagePull", "message": "timeout"})
    for _ in range(5):
        operator.look()
        cluster.step(5)
    assert conditions(cluster)["Ready"] == ("Unknown", "ImagePullFailed")
    cluster.faults = Faults()
    run(cluster, operator)
    assert_published(cluster)
    assert status(cluster).waiting is None


def test_rejected_pods_stall_the_compilation_until_they_are_admitted() -> None:
    cluster, operator = prepared()
    cluster.rejected = 'pods "x" is forbidden: exceeded quota'
    run(cluster, operator, 20, 60)
    assert conditions(cluster) == stalled("PodsRejected")
    assert "exceeded quota" in status(cluster).conditions[0].message
    cluster.rejected = ""
    run(cluster, operator)
    assert_published(cluster)


@pytest.mark.parametrize(
    ("missing", "reason"), [("triage-data", "MissingConfigMap"), ("val.jsonl", "MissingConfigMapKey")]
)
def test_a_run_waits_for_a_missing_input(missing: str, reason: str) -> None:
    cluster, operator = prepared()
    if missing == "triage-data":
        cluster.remove(CONFIG_MAPS, missing)
    else:
        cluster.config_map("triage-data", **{"train.jsonl": "{}"})
    for _ in range(3):
        operator.look()
        cluster.step(10)
    assert conditions(cluster)["Reconciling"] == ("True", reason)
    assert not cluster.of(JOBS)
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    run(cluster, operator)
    assert_published(cluster)


def test_an_input_that_comes_long_after_the_deadline_begins_the_run() -> None:
    cluster, operator = prepared()
    cluster.remove(CONFIG_MAPS, "triage-data")
    run(cluster, operator, 60, 600)
    assert conditions(cluster) == stalled("MissingConfigMap")
    assert cluster.paid == []
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    run(cluster, operator)
    assert_published(cluster)


def test_the_message_about_an_invalid_spec_names_field_and_mistake() -> None:
    cluster, operator = prepared(data={"inputs": ["ticket"], "train": {}, "validation": {"path": "/v.jsonl"}})
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "InvalidSpec")
    assert (
        "spec.data.train: exactly one of configMap, path, volume, url, entrypoint"
        in status(cluster).conditions[0].message
    )


def stalled(reason: str) -> dict[str, tuple[str, str]]:
    """Returns the conditions of a run that something outside of it has kept from going on for long."""
    return {"Ready": ("False", reason), "Stalled": ("True", reason), "Succeeded": ("Unknown", reason)}


def edit(cluster: FakeCluster, **changes: Any) -> None:
    """Edits the spec as a user would. The API server then increases the generation."""
    found = cluster.of(COMPILATIONS)[0]
    found["spec"] = {**found["spec"], **changes}
    found["metadata"]["generation"] += 1


def test_a_compilation_created_suspended_starts_when_it_is_resumed() -> None:
    cluster, operator = prepared(suspend=True)
    run(cluster, operator, 3)
    assert conditions(cluster) == {"Ready": ("False", "Suspended"), "Succeeded": ("Unknown", "Suspended")}
    assert not cluster.of(JOBS)
    assert not cluster.of(CONFIG_MAPS, "*-run")
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert_published(cluster)


@pytest.mark.parametrize("steps", range(1, 14))
def test_a_run_that_is_suspended_at_any_moment_can_be_resumed(steps: int) -> None:
    cluster, operator = prepared()
    for _ in range(steps):
        operator.look()
        cluster.step()
    first = status(cluster)
    edit(cluster, suspend=True)
    run(cluster, operator, 6)
    assert not [pod for pod in cluster.of(PODS) if pod["status"]["phase"] in ("Pending", "Running")]
    assert not cluster.of(JOBS)
    winner_is_there = steps >= 10
    assert conditions(cluster)["Ready"] == (("True", "Published") if winner_is_there else ("False", "Suspended"))
    assert status(cluster).observed_generation == 2
    kept = set(cluster.paid)
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert_published(cluster)
    assert status(cluster).run_id == first.run_id
    assert status(cluster).observed_generation == 3
    assert len([key for key in kept if cluster.paid.count(key) > 1]) <= CELLS, "those in flight"


def test_suspending_a_finished_run_changes_only_the_generation() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    before, paid = status(cluster), len(cluster.paid)
    for suspend in (True, False):
        edit(cluster, suspend=suspend)
        run(cluster, operator)
        after = status(cluster)
        assert after.observed_generation == before.observed_generation + 1
        told = {"observed_generation": 0, "conditions": []}
        assert after.model_copy(update=told) == before.model_copy(update=told)
        assert [(c.type, c.status, c.reason, c.message, c.last_transition_time) for c in after.conditions] == [
            (c.type, c.status, c.reason, c.message, c.last_transition_time) for c in before.conditions
        ]
        before = after
    assert len(cluster.paid) == paid


def test_a_failed_run_stays_failed_when_it_is_suspended_and_resumed() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: int(ExitCode.COMPILE_FAILED))
    run(cluster, operator)
    before = conditions(cluster)
    assert before["Stalled"][0] == "True"
    cluster.faults = Faults()
    for suspend in (True, False):
        edit(cluster, suspend=suspend)
        run(cluster, operator)
        assert conditions(cluster) == before
    assert not cluster.of(JOBS)


def test_a_change_of_spec_suspend_together_with_another_field_starts_a_new_run() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    first = status(cluster)
    edit(cluster, suspend=True, swarm={"pods": 3})
    run(cluster, operator, 6)
    assert conditions(cluster) == {"Ready": ("True", "Suspended"), "Succeeded": ("Unknown", "Suspended")}
    assert status(cluster).artifact == first.artifact
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert conditions(cluster) == {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}
    assert status(cluster).run_id != first.run_id


def test_a_run_whose_artifact_would_overwrite_a_config_map_of_the_user_pays_nothing() -> None:
    cluster, operator = prepared()
    cluster.config_map("triage-artifact", mine="yes")
    run(cluster, operator, 20, 60)
    assert conditions(cluster) == stalled("ArtifactConflict")
    assert cluster.of(CONFIG_MAPS, "triage-artifact")[0]["data"] == {"mine": "yes"}
    assert cluster.paid == []


def test_the_second_of_two_compilations_with_the_same_artifact_makes_no_lm_call() -> None:
    cluster, operator = prepared()
    operator.look()
    [claimed] = cluster.of(CONFIG_MAPS, "triage-artifact")
    assert "data" not in claimed, "the name is taken before there is a program"
    found = cluster.compilation(spec(artifact={"configMap": {"name": "triage-artifact"}}), name="zebra")
    other = Operator(cluster, Key(NAMESPACE, "zebra", found["metadata"]["uid"]))
    run(cluster, other, 20, 60)
    ready = Status.of(cluster.of(COMPILATIONS)[1]["status"]).condition(ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "ArtifactConflict")
    assert not cluster.of(JOBS, "zebra-*")
    run(cluster, operator)
    assert_published(cluster)


def test_after_a_failed_run_another_compilation_may_use_the_name_of_its_artifact() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: int(ExitCode.COMPILE_FAILED) if "-p1-" in job else 0)
    operator.look()
    assert cluster.of(CONFIG_MAPS, "triage-artifact")
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("False", "CompileFailed")
    assert not cluster.of(CONFIG_MAPS, "triage-artifact")


def test_the_annotation_requested_at_starts_a_run_that_replaces_artifact_and_journal() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    first = status(cluster)
    found = cluster.of(COMPILATIONS)[0]
    found["metadata"]["annotations"] = {REQUESTED_AT: "now"}
    operator.look()
    assert conditions(cluster)["Ready"] == ("Unknown", "Planning")
    assert status(cluster).artifact == first.artifact, "the last good artifact stays"
    run(cluster, operator)
    assert_published(cluster)
    second = status(cluster)
    assert second.run_id != first.run_id
    assert second.last_handled_requested_at == "now"
    assert second.artifact
    assert second.artifact.run_id == second.run_id
    assert not cluster.of(CONFIG_MAPS, f"*-{first.run_id}-*")


def test_a_change_of_the_spec_stops_the_pods_of_the_old_run() -> None:
    cluster, operator = prepared()
    change_after(cluster, operator, 7)
    old = status(cluster).run_id
    operator.look()
    assert conditions(cluster)["Ready"] == ("Unknown", "Superseded")
    assert (status(cluster).run_id, status(cluster).observed_generation) == (old, 2)
    for _ in range(int(SETTINGS.log_deadline) + 3):
        cluster.step()
        operator.look()
    assert not cluster.of(JOBS, f"*-{old}-*")
    assert not cluster.of(PODS, f"*-{old}-*")
    operator.look()
    assert status(cluster).run_id not in (None, old)


def assert_nothing_paid_twice(cluster: FakeCluster) -> None:
    assert conditions(cluster) == {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}
    assert not cluster.of(JOBS)
    assert not cluster.of(PODS)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


@pytest.mark.parametrize("change", [{"swarm": {"pods": 3}}, {"metric": {}}], ids=["another spec", "a wrong spec first"])
@pytest.mark.parametrize("steps", range(1, 16))
def test_a_run_after_a_change_of_the_spec_reuses_results_of_the_earlier_run(steps: int, change: dict[str, Any]) -> None:
    cluster, operator = prepared()
    for _ in range(steps):
        operator.look()
        cluster.step()
    before = cluster.of(COMPILATIONS)[0]["spec"]
    edit(cluster, **change)
    run(cluster, operator, 12)
    if "metric" in change:
        assert conditions(cluster)["Stalled"] == ("True", "InvalidSpec")
        edit(cluster, **before)
        run(cluster, operator)
    else:
        run(cluster, operator)
    assert_nothing_paid_twice(cluster)


@pytest.mark.parametrize("steps", [*range(1, 16, 2), 60])
def test_the_annotation_rerun_at_starts_a_run_that_reuses_results_of_the_earlier_run(steps: int) -> None:
    cluster, operator = prepared()
    for _ in range(steps):
        operator.look()
        cluster.step()
    first = status(cluster).run_id
    cluster.of(COMPILATIONS)[0]["metadata"]["annotations"] = {RERUN_AT: "now"}
    run(cluster, operator)
    assert status(cluster).run_id != first
    assert_nothing_paid_twice(cluster)
    second = status(cluster)
    cluster.of(COMPILATIONS)[0]["metadata"]["annotations"] = {}
    edit(cluster, suspend=False, ttlSecondsAfterFinished=1000)
    run(cluster, operator)
    assert status(cluster).run_id == second.run_id, "who takes the annotation off asks for nothing"


def test_a_rerun_after_a_changed_config_map_reuses_paid_calls() -> None:
    cluster, operator = prepared()
    cluster.faults = Faults(exit_code=lambda job, index: int(ExitCode.DRIFT) if "-p1-" in job else 0)
    run(cluster, operator)
    assert conditions(cluster)["Stalled"][0] == "True"
    assert cluster.paid
    cluster.faults = Faults()
    cluster.of(COMPILATIONS)[0]["metadata"]["annotations"] = {RERUN_AT: "now"}
    run(cluster, operator)
    assert_nothing_paid_twice(cluster)


def writes_of_a_change() -> range:
    cluster, operator = prepared()
    first = change_after(cluster, operator, 7)
    run(cluster, operator)
    return range(first, len(cluster.writes))


def change_after(cluster: FakeCluster, operator: Operator, steps: int) -> int:
    for _ in range(steps):
        operator.look()
        cluster.step()
    edit(cluster, swarm={"pods": 3})
    return len(cluster.writes)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", sample(writes_of_a_change(), 3))
def test_an_operator_that_is_killed_before_or_after_any_write_resumes_a_changed_compilation(
    number: int, after: bool
) -> None:
    cluster, operator = prepared()
    change_after(cluster, operator, 7)
    cluster.kill_at = (number, after)
    run(cluster, operator)
    assert operator.starts == 2
    assert_nothing_paid_twice(cluster)


def test_a_spec_that_is_changed_back_at_once_continues_its_run() -> None:
    cluster, operator = prepared()
    change_after(cluster, operator, 7)
    old = status(cluster).run_id
    operator.look()
    edit(cluster, swarm=spec()["swarm"])
    run(cluster, operator)
    assert_published(cluster)
    assert status(cluster).run_id == old


def test_journals_are_kept_for_later_runs_with_the_same_annotation_requested_at() -> None:
    cluster, operator = prepared()
    runs = []
    for pods in (2, 3, 4):
        edit(cluster, swarm={"pods": pods})
        run(cluster, operator)
        runs.append(status(cluster).run_id)
    assert len(set(runs)) == 3
    assert_nothing_paid_twice(cluster)
    assert cluster.of(CONFIG_MAPS, f"*-{runs[0]}-r*"), "what it paid for is in no other journal"
    cluster.of(COMPILATIONS)[0]["metadata"]["annotations"] = {REQUESTED_AT: "now"}
    run(cluster, operator)
    assert len(cluster.paid) == 2 * ROUNDS * CELLS, "whoever asks for a new run wants one"
    assert {found["metadata"]["labels"][LABEL_RUN] for found in cluster.of(CONFIG_MAPS, "*-r*")} == {
        status(cluster).run_id
    }


def test_a_deleted_compilation_leaves_nothing() -> None:
    cluster, operator = prepared()
    for _ in range(6):
        operator.look()
        cluster.step()
    assert any(FINALIZER in pod["metadata"].get("finalizers", []) for pod in cluster.of(PODS))
    cluster.remove(COMPILATIONS, "triage")
    operator.look()
    assert not cluster.of(JOBS), "pods of theirs would spend until Kubernetes comes to them"
    for _ in range(6):
        cluster.step()
        operator.look()
    left = {name for plural, name in cluster.objects if plural != EVENTS.plural}
    assert left == {"triage-program", "triage-data"}


def test_pods_that_wait_for_the_journal_do_not_delay_the_deletion_of_their_namespace() -> None:
    """Kubernetes first deletes the pods of the namespace, and then all other objects, including the Compilation."""
    cluster, operator = prepared()
    operator.look()
    while not cluster.of(PODS) or cluster.of(PODS)[0]["status"]["phase"] != "Succeeded":
        cluster.step()
    assert cluster.of(PODS)[0]["metadata"]["finalizers"] == [FINALIZER]
    cluster.terminating = True
    for _ in range(5):
        operator.look()
        cluster.step()
    assert not [pod for pod in cluster.of(PODS) if pod["metadata"].get("finalizers")]


def test_an_artifact_deleted_by_hand_is_published_again() -> None:
    cluster, operator = prepared()
    run(cluster, operator)
    cluster.remove(CONFIG_MAPS, "triage-artifact")
    operator.look()
    assert_published(cluster)


def test_the_operator_ignores_an_altered_shard_and_its_cells_run_again() -> None:
    cluster, operator = prepared()
    for _ in range(40):
        operator.look()
        shards = cluster.of(CONFIG_MAPS, "*-r0-0-*")
        if len(shards) > 1:
            break
        cluster.step()
    shard = max(shards, key=lambda shard: int(shard["metadata"]["resourceVersion"]))
    shard["metadata"]["annotations"]["dspy-swarm.dev/sha256"] = "0" * 64
    shard["metadata"]["resourceVersion"] = "altered"
    (data,) = shard["binaryData"].values()
    lost = {record.header["key"] for record in unpack(base64.b64decode(data)) if record.kind is RecordKind.RESULT}
    run(cluster, operator)
    assert_published(cluster)
    assert {key for key, times in Counter(cluster.paid).items() if times > 1} == lost


def test_the_next_plan_requests_tasks_again_whose_shards_are_lost() -> None:
    cluster, operator = prepared()
    for _ in range(40):
        operator.look()
        if cluster.of(JOBS, "*-w0-1"):
            break
        cluster.step()
    for shard in cluster.of(CONFIG_MAPS, "*-t0-*"):
        del cluster.objects["configmaps", shard["metadata"]["name"]]
    for job in cluster.of(JOBS, "*-w0-1"):
        cluster.remove(JOBS, job["metadata"]["name"])
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    plans = [write for write in cluster.writes if fnmatch(write, "create jobs/*-p*")]
    assert len(plans) == ROUNDS + 2, "one more than a run has from which nothing is taken"
    assert_nothing_paid_twice(cluster)


def test_the_operator_gives_up_a_pod_on_a_lost_node() -> None:
    cluster, operator = prepared()
    for _ in range(40):
        operator.look()
        if any(pod["status"]["phase"] == "Running" for pod in cluster.of(PODS, "*-w0-1-*")):
            break
        cluster.step()
    lost = cluster.of(PODS, "*-w0-1-0-*")[0]
    lost["status"]["phase"] = "Unknown"
    lost["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    cluster.logs.pop(lost["metadata"]["name"], None)
    for _ in range(120):
        operator.look()
        if status(cluster).completion_time:
            break
        cluster.step()
    assert conditions(cluster)["Ready"] == ("True", "Published")


@given(st.randoms(use_true_random=False), st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=4))
@settings(max_examples=8, deadline=None)
def test_a_run_with_any_mix_of_dead_pods_and_operators_publishes_the_same_artifact(
    chance: Random, kills: list[tuple[int, bool]]
) -> None:
    """Pods fail, are deleted or lose their logs. The operator dies again and again."""
    cluster, operator = prepared()
    fates: dict[tuple[str, int], int] = {}

    def exit_code(job: str, index: int) -> int:
        # The third attempt always succeeds. Otherwise a cell would exhaust its attempts.
        attempt = int(job.rpartition("-")[2])
        return fates.setdefault((job, index), chance.choice([0, 0, 1, 75, 137]) if attempt <= 2 else 0)

    def silent(job: str, index: int) -> bool:
        return job.endswith("-1") and chance.random() < 0.1

    cluster.faults = Faults(exit_code=exit_code, silent=silent)
    deletions = 8
    for _ in range(150):
        if kills and cluster.kill_at is None:
            gap, after = kills.pop()
            cluster.kill_at = (len(cluster.writes) + gap, after)
        if deletions and chance.random() < 0.1 and (running := cluster.of(PODS)):
            deletions -= 1
            cluster.remove(PODS, chance.choice(running)["metadata"]["name"])
        operator.look()
        if status(cluster).completion_time:
            break
        cluster.step(chance.choice([0.2, 1, 5]))
    cluster.kill_at = None
    for _ in range(8):
        operator.look()
        cluster.step()
    assert_published(cluster)


# --- limits of spending ------------------------------------------------------------------------------------------

NEEDED = CALLS * ROUNDS * CELLS + ROUNDS + 1
"""The LM calls of a run without faults."""


def raise_limit(cluster: FakeCluster, operator: Operator, calls: int = NEEDED) -> None:
    """Raises the limit of an ended run. Asserts that the run publishes its artifact."""
    edit(cluster, limits={"lmCalls": calls})
    run(cluster, operator, 100)
    assert conditions(cluster)["Ready"] == ("True", "Published")


@pytest.mark.parametrize("calls", [1, 2, 5, 9, 14, 20, NEEDED - 1])
def test_a_limit_ends_a_run_and_a_higher_limit_continues_it(calls: int) -> None:
    cluster, operator = prepared(limits={"lmCalls": calls})
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "LimitReached")
    raise_limit(cluster, operator)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS
    assert sum(cluster.bill.values()) == NEEDED


def test_a_run_finishes_the_round_that_a_limit_cut_short() -> None:
    cluster, operator = prepared(limits={"lmCalls": 5})
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "LimitReached")
    (tasks,) = of_kind(cluster, "tasks")
    edit(cluster, limits={"lmCalls": NEEDED})
    operator.look()
    (job,) = cluster.of(JOBS)
    assert tasks in mounted_by(job), "the plan asks for the rest of them"
    run(cluster, operator, 100)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert not of_kind(cluster, "tasks")


@pytest.mark.parametrize("gone", [False, True], ids=["there", "deleted"])
def test_a_new_plan_starts_under_a_higher_limit_if_the_round_is_complete_or_its_tasks_are_gone(gone: bool) -> None:
    cluster, operator = prepared(limits={"lmCalls": 5 if gone else 1 + CALLS * CELLS})
    run(cluster, operator)
    assert len(of_kind(cluster, "tasks")) == gone
    for name in of_kind(cluster, "tasks"):
        cluster.remove(CONFIG_MAPS, name)
    raise_limit(cluster, operator)
    assert sum(cluster.bill.values()) == NEEDED


def of_kind(cluster: FakeCluster, kind: str) -> list[str]:
    """Returns the names of the ConfigMaps of a kind."""
    found = (item["metadata"] for item in cluster.of(CONFIG_MAPS))
    return [metadata["name"] for metadata in found if (metadata.get("labels") or {}).get(LABEL_KIND) == kind]


@pytest.mark.parametrize("away", [0, 3, 30])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", sample(range(4), 2))
@pytest.mark.parametrize("partial", [False, True], ids=["", "published"])
def test_a_higher_limit_continues_a_run_whose_operator_is_killed_before_or_after_any_write(
    number: int, after: bool, away: int, partial: bool
) -> None:
    """While the operator is dead, pods go on with their work, so the status may be older than the work."""
    cluster, operator = prepared(limits={"lmCalls": 9, "publishPartial": partial})
    run(cluster, operator)
    edit(cluster, limits={"lmCalls": NEEDED, "publishPartial": partial})
    cluster.kill_at = (len(cluster.writes) + number, after)
    while operator.starts == 1:
        operator.look(again=False)
        cluster.step()
    for _ in range(away):
        cluster.step()
    run(cluster, operator, 100)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


@pytest.mark.parametrize("calls", [10, 20, NEEDED])
@pytest.mark.parametrize("steps", range(1, 12))
def test_a_run_suspended_at_any_moment_stays_within_its_limit(steps: int, calls: int) -> None:
    cluster, operator = prepared(limits={"lmCalls": calls})
    for _ in range(steps):
        operator.look()
        cluster.step()
    operator.look()
    edit(cluster, suspend=True)
    run(cluster, operator, 6)
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert status(cluster).completion_time


@pytest.mark.parametrize("steps", range(1, 12))
def test_a_run_stays_within_its_limit_when_a_job_is_deleted_at_any_moment(steps: int) -> None:
    cluster, operator = prepared(limits={"lmCalls": 15})
    for _ in range(steps):
        operator.look()
        cluster.step()
    operator.look()
    for job in cluster.of(JOBS):
        cluster.remove(JOBS, job["metadata"]["name"])
    run(cluster, operator)
    assert status(cluster).completion_time


@pytest.mark.parametrize("seconds", range(1, 10))
def test_when_its_time_is_used_up_a_run_waits_for_slow_pods_before_its_last_plan(seconds: int) -> None:
    cluster, operator = prepared(limits={"wallClock": seconds, "lmCalls": NEEDED})
    cluster.faults = Faults(lingers=4)
    run(cluster, operator)
    ended = conditions(cluster)["Succeeded"]
    assert ended in (("False", "LimitReached"), ("True", "Published"))
    spent = status(cluster).usage.spent  # type: ignore[union-attr]
    assert spent is not None
    assert spent.lm_calls == sum(cluster.bill.values()), "each account is closed"
    if ended[0] == "False":
        raise_limit(cluster, operator)
        assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "one by one"])
@pytest.mark.parametrize("most", range(4, NEEDED, 5))
def test_deleted_config_maps_of_accounts_do_not_let_a_run_spend_more(most: int, one_by_one: bool) -> None:
    """`Operator.look` asserts that the run keeps to its limit."""
    cluster, operator = prepared(limits={"lmCalls": most})
    for steps in (4, 4, 3, 2, 1):
        run(cluster, operator, steps)
        for found in cluster.of(CONFIG_MAPS, "*-r[0-9]*-*"):
            cluster.remove(CONFIG_MAPS, found["metadata"]["name"])
            if one_by_one:
                operator.look()
    run(cluster, operator)
    spent = status(cluster).usage.spent  # type: ignore[union-attr]
    assert spent is not None
    assert cluster.bill.total() <= spent.lm_calls <= most


def test_a_run_suspended_while_its_limit_is_raised_waits_until_it_is_resumed() -> None:
    cluster, operator = prepared(limits={"lmCalls": 9})
    run(cluster, operator)
    before = sum(cluster.bill.values())
    edit(cluster, limits={"lmCalls": NEEDED}, suspend=True)
    run(cluster, operator, 6)
    assert conditions(cluster)["Ready"] == ("False", "Suspended")
    assert sum(cluster.bill.values()) == before
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("kind", ["r", "t"])
def test_a_shard_that_is_deleted_while_pods_start_delays_no_pod(kind: str, starts: bool) -> None:
    """The operator waits for workers that already have their tasks, so the run pays for no call twice."""
    cluster, operator = prepared()
    while not cluster.of(JOBS, "*-w1-*"):
        cluster.step()
        operator.look()
    if starts:
        cluster.step()
    for found in cluster.of(CONFIG_MAPS, f"*-{kind}1-*"):
        cluster.remove(CONFIG_MAPS, found["metadata"]["name"])
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


def test_another_object_with_the_name_of_the_artifact_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, operator = prepared()
    create = cluster.create

    async def later(resource: Resource, namespace: str, body: Any) -> None:
        if body["metadata"]["name"] == "triage-artifact":
            cluster.config_map("triage-artifact", mine="yes")
        await create(resource, namespace, body)

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "create", later)
        run(cluster, operator, 5)
    assert cluster.of(CONFIG_MAPS, "triage-artifact")[0]["data"] == {"mine": "yes"}
    assert cluster.paid == []
    assert conditions(cluster)["Ready"] == ("Unknown", "ArtifactConflict")
    cluster.remove(CONFIG_MAPS, "triage-artifact")
    run(cluster, operator)
    assert_published(cluster)


def test_a_pod_of_another_compilation_is_not_released() -> None:
    cluster, operator = prepared()
    operator.look()
    cluster.step()
    writes, uid = cluster.writes.copy(), cluster.of(COMPILATIONS)[0]["metadata"]["uid"]
    Operator(cluster, Key(NAMESPACE, "another", uid)).look()
    assert cluster.writes == writes
    run(cluster, operator)
    assert_published(cluster)


def test_the_deletion_of_the_crd_leaves_neither_jobs_nor_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, operator = prepared()
    operator.look()
    cluster.step()
    select = cluster.select

    async def without_the_kind(resource: Resource, *given: Any, **options: Any) -> Any:
        if resource == COMPILATIONS:
            raise errors.Vanished("404 page not found")
        return await select(resource, *given, **options)

    monkeypatch.setattr(cluster, "select", without_the_kind)
    cluster.remove(COMPILATIONS, "triage")
    for _ in range(3):
        operator.look()
        cluster.step()
    assert not cluster.of(JOBS)
    assert not cluster.of(PODS)


def test_an_api_server_that_wrongly_reports_objects_as_missing_causes_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, operator = prepared()
    operator.look()
    cluster.step()
    writes = cluster.writes.copy()

    async def nothing(*_: object, **__: object) -> None:
        return None

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "get", nothing)
        operator.look()
    assert cluster.writes == writes


LABELS = (LABEL_MANAGED_BY, LABEL_UID, LABEL_RUN, LABEL_KIND, LABEL_ROUND, LABEL_ATTEMPT)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("kind", ["run", "r0-*", "t0-*", "w0-*"])
def test_changed_labels_of_an_object_cause_no_endless_loop(kind: str, label: str) -> None:
    """`Operator.look` fails if each pass asks for another pass."""
    cluster, operator = prepared()
    while not cluster.of(JOBS, "*-w0-*"):
        operator.look()
        cluster.step()
    for found in cluster.of(CONFIG_MAPS, f"*-{kind}"):
        found["metadata"]["labels"][label] = "7"
        found["metadata"]["resourceVersion"] += "0"
    run(cluster, operator)
    reason = conditions(cluster)["Ready"]
    if reason == ("Unknown", "NotAllowed"):
        assert "delete it" in status(cluster).conditions[0].message
        for found in cluster.of(CONFIG_MAPS, f"*-{kind}"):
            cluster.remove(CONFIG_MAPS, found["metadata"]["name"])
        run(cluster, operator)
        reason = conditions(cluster)["Ready"]
    assert reason in [("True", "Published"), ("False", "JournalDamaged")]
    assert len(cluster.paid) <= ROUNDS * CELLS + CELLS


# --- ended runs stay ended ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"lmCalls": 9}], ids=["published", "ended by a limit"])
@pytest.mark.parametrize("change", [{"suspend": True}, {"ttlSecondsAfterFinished": 9}, {"limits": {"wallClock": 9000}}])
def test_a_finished_run_whose_journal_expired_does_not_start_again(
    limits: dict[str, Any], change: dict[str, Any]
) -> None:
    cluster, operator = prepared(ttlSecondsAfterFinished=0, limits=limits)
    run(cluster, operator)
    assert not cluster.of(CONFIG_MAPS, "*-r0-*")
    before, bill = status(cluster), cluster.bill.copy()
    edit(cluster, **change)
    run(cluster, operator)
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert cluster.bill == bill
    now = status(cluster)
    assert (now.run_id, now.completion_time, now.usage) == (before.run_id, before.completion_time, before.usage)
    ready = now.condition(ConditionType.READY)
    assert ready is not None
    assert ("begins a new run" in ready.message) == bool(limits), "a higher limit is of no use now"
    assert "With higher limits" not in ready.message
    assert conditions(cluster) == {**conditions(cluster), "Succeeded": conditions(cluster)["Ready"]}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(0, 12, 2))
@pytest.mark.parametrize("partial", [False, True], ids=["", "published"])
def test_a_run_keeps_its_end_if_the_operator_dies_while_the_journal_expires(
    number: int, after: bool, partial: bool
) -> None:
    cluster, operator = prepared(limits={"lmCalls": 9, "publishPartial": partial}, ttlSecondsAfterFinished=100)
    run(cluster, operator)
    ended, bill = conditions(cluster), cluster.bill.copy()
    cluster.kill_at = (len(cluster.writes) + number, after)
    cluster.step(200)
    operator.look(again=False)
    run(cluster, operator)
    assert (conditions(cluster), cluster.bill) == (ended, bill)
    assert not cluster.of(CONFIG_MAPS, "*-r[0-9]*-*")


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("partial", [False, True], ids=["", "published"])
def test_a_run_spends_nothing_twice_when_its_limit_is_raised_and_lowered_again(steps: int, partial: bool) -> None:
    """`Operator.look` asserts that the run has kept to the highest limit so far."""
    cluster, operator = prepared(limits={"lmCalls": 13, "publishPartial": partial})
    run(cluster, operator)
    for _ in range(3):
        edit(cluster, limits={"lmCalls": 20, "publishPartial": partial})
        for _ in range(steps):
            operator.look()
            cluster.step()
        operator.allowed_once = 20
        edit(cluster, limits={"lmCalls": 13, "publishPartial": partial})
        run(cluster, operator)
        spent = status(cluster).usage.spent  # type: ignore[union-attr]
        assert spent is not None
        assert cluster.bill.total() <= spent.lm_calls <= 20
    raise_limit(cluster, operator)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


def test_a_run_that_a_limit_ended_stays_ended_when_its_journal_is_damaged() -> None:
    cluster, operator = prepared(limits={"lmCalls": 9})
    run(cluster, operator)
    bill = cluster.bill.copy()
    for found in cluster.of(CONFIG_MAPS, "*-r*-*"):
        cluster.remove(CONFIG_MAPS, found["metadata"]["name"])
    run(cluster, operator)
    assert cluster.bill == bill
    assert conditions(cluster)["Ready"] == ("False", "LimitReached")


# --- answers of the API server -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errors.Forbidden("no"), errors.Rejected("no"), errors.Unavailable("no")], ids=repr)
@pytest.mark.parametrize("code", [0, int(ExitCode.COMPILE_FAILED)])
def test_a_run_stays_ended_even_if_its_objects_cannot_be_deleted(code: int, error: errors.ApiError) -> None:
    def prepare() -> tuple[FakeCluster, Operator]:
        cluster, operator = prepared(ttlSecondsAfterFinished=0)
        cluster.faults = Faults(exit_code=lambda job, index: code)
        return cluster, operator

    undisturbed, operator = prepare()
    run(undisturbed, operator)
    told = max(number for number, write in enumerate(undisturbed.writes) if "dspycompilations" in write)
    cluster, operator = prepare()
    cluster.answers = dict.fromkeys(range(told + 1, told + 5), error)
    run(cluster, operator)
    assert conditions(cluster) == conditions(undisturbed)
    assert status(cluster).completion_time == status(undisturbed).completion_time
    assert cluster.paid == undisturbed.paid
    assert not cluster.answers
    run(cluster, operator)
    assert not cluster.of(CONFIG_MAPS, "*-r0-*")
    assert not cluster.of(JOBS)
    assert not cluster.of(PODS)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.Forbidden("exceeded quota (HTTP 403)"), [(1, "NotAllowed")]),
        (errors.NameTaken("jobs x exists and is not this Compilation's"), [(1, "NotAllowed")]),
        # The status does not show a failure that happens only once.
        (errors.Unavailable("the webhook is away (HTTP 500)"), [(1, "Planning"), (2, "APIUnavailable")]),
    ],
    ids=repr,
)
def test_the_status_shows_a_write_that_keeps_failing(error: errors.ApiError, told: list[tuple[int, str]]) -> None:
    cluster, operator = prepared()
    cluster.denied, cluster.denial = "create jobs", error
    looks = 0
    for number, reason in told:
        while looks < number:
            operator.look()
            cluster.step(2)
            looks += 1
        assert conditions(cluster)["Ready"] == ("Unknown", reason)
        assert (str(error) in status(cluster).conditions[0].message) == (reason != "Planning")
    assert conditions(cluster)["Reconciling"] == ("True", reason)
    cluster.denied = ""
    run(cluster, operator)
    assert_published(cluster)


def test_deletes_denied_by_a_webhook_do_not_delay_a_run() -> None:
    cluster, operator = prepared()
    cluster.denied = "delete"
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS
    cluster.denied = ""
    run(cluster, operator, 5)
    assert_published(cluster)


ANSWERS = st.sampled_from(
    [LOST, errors.Unavailable("503"), errors.Conflict("the object has been modified"), errors.Forbidden("401")]
)


@given(st.dictionaries(st.integers(0, 60), ANSWERS, max_size=8), st.sampled_from([12, NEEDED]))
@settings(max_examples=10, deadline=None)
def test_no_error_of_a_write_makes_a_run_pay_twice(answers: dict[int, Any], calls: int) -> None:
    cluster, operator = prepared(limits={"lmCalls": calls})
    cluster.answers = answers
    run(cluster, operator)
    cluster.answers = {}
    run(cluster, operator, 10)
    if calls < NEEDED:
        assert conditions(cluster)["Stalled"] == ("True", "LimitReached")
        raise_limit(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert sum(cluster.bill.values()) == NEEDED


def test_a_pod_that_fails_the_run_loses_no_finished_results_of_other_pods() -> None:
    cluster, operator = prepared(swarm={"pods": 2, "threadsPerPod": 3})
    cluster.faults = Faults(
        exit_code=lambda job, index: int(ExitCode.DRIFT) if "-w0-" in job and index == 0 else 0, lingers=3
    )
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "DigestDrift")
    cluster.faults = Faults()
    edit(cluster, swarm={"pods": 3})
    run(cluster, operator)
    assert_nothing_paid_twice(cluster)


def content(shard: dict[str, Any]) -> bytes:
    return b"".join(base64.b64decode(text) for text in shard["binaryData"].values())


class Watched(FakeCluster):
    """A cluster that records the reads of the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def get(self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False) -> Any:
        self.read.append(f"{resource.plural}/{name}{'' if metadata_only else ', whole'}")
        return await super().get(resource, namespace, name, metadata_only=metadata_only)

    async def select(self, resource: Resource, namespace: str | None, **options: Any) -> Any:
        self.read.append(resource.plural)
        return await super().select(resource, namespace, **options)


def watched() -> tuple[Watched, Operator]:
    cluster, operator = prepared(cluster=Watched())
    assert isinstance(cluster, Watched)
    return cluster, operator


def test_the_operator_lists_jobs_before_pods_and_pods_before_the_journal() -> None:
    """If pods were listed first, a Job that starts and ends between the lists would seem to have had no pod."""
    cluster, operator = watched()
    operator.look()
    lists = [name for name in cluster.read if "/" not in name]
    assert lists[:3] == ["jobs", "pods", "configmaps"]


def test_the_operator_does_not_read_the_journal_of_a_finished_run() -> None:
    cluster, operator = watched()
    run(cluster, operator)
    cluster.read.clear()
    operator._process = operator._start()
    operator.look()
    assert [name for name in cluster.read if "-r0-" in name or name.startswith("configmaps/triage-data")] == []
    before = cluster.of(COMPILATIONS)[0]["status"]
    edit(cluster, limits={"wallClock": 7200})
    operator.look()
    after = cluster.of(COMPILATIONS)[0]["status"]
    assert after["observedGeneration"] == 2
    assert {**after, "observedGeneration": 1, "conditions": []} == {**before, "conditions": []}, (
        "all that was told stays"
    )
    cluster.remove(CONFIG_MAPS, "triage-artifact")
    operator._process = operator._start()
    operator.look()
    assert_published(cluster)
    cluster.remove(CONFIG_MAPS, "triage-artifact")
    cluster.config_map("triage-artifact", somebody="else's")
    cluster.read.clear()
    operator._process = operator._start()
    operator.look()
    assert [name for name in cluster.read if "-r0-" in name] == []


def test_a_record_that_is_too_large_does_not_lose_the_others() -> None:
    cluster, operator = prepared()
    large = set[str]()
    put = StandIn._print

    def printed(self: StandIn, count: int) -> None:
        for number, record in enumerate(self._records):
            if record.kind is RecordKind.RESULT and not self._is_plan and not large:
                large.add(record.header["key"])
                self._records[number] = replace(record, body=Random(0).randbytes(1_100_000))
        put(self, count)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StandIn, "_print", printed)
        run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "RecordTooLarge")
    kept = [record for shard in cluster.of(CONFIG_MAPS, "*-r0-0-*") for record in unpack(content(shard))]
    assert [record.header["key"] for record in kept if record.kind is RecordKind.CALL]
