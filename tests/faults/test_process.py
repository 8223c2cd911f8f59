"""A run survives faults of the operator's process: it dies, stops, is absent, runs twice, or has a clock that jumps."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import harm
from faults.kinds import case
from faults.process import OUR_FAULT, Operator
from faults.stage import A_POD, TRAIN, Stage
from support.cluster import OPERATOR_NAMESPACE, config_map
from support.sampling import of_the_day, paired, sample

STOPPED = 8.0
"""Seconds for which the operator is stopped. They are more than the time that a worker of the compile runs."""
MISSING = 5.0
"""Seconds for which a ConfigMap is missing. The clock jumps meanwhile, and `pending_deadline` is longer."""
SOME_CALLS = 30
"""After so many requests, worker pods are in the middle of their work."""


ROLES = ("plan", "work")


def killed(stage: Stage) -> None:
    stage.operator.kill()


def ended(stage: Stage) -> None:
    assert stage.operator.halt(signal.SIGTERM) == 0
    stage.operator.start()


def stopped(stage: Stage) -> None:
    stage.operator.send(signal.SIGSTOP)
    time.sleep(STOPPED)
    stage.operator.send(signal.SIGCONT)


def away(stage: Stage) -> None:
    stage.operator.halt(signal.SIGKILL)
    time.sleep(STOPPED)
    stage.operator.start()


@pytest.mark.parametrize(
    ("harm", "role", "phase"),
    [
        case(kind, harm, role, phase, id=f"{kind}, {role} {phase}")
        for (kind, harm), (role, phase) in [
            *paired(
                [("operator killed", killed)], [(role, phase) for role in ROLES for phase in ("Pending", "Running")]
            ),
            *paired(
                [
                    ("operator told to end", ended),
                    ("operator stopped and let go on", stopped),
                    ("operator away while pods end", away),
                ],
                [(role, "Running") for role in ROLES],
            ),
        ]
    ],
)
def test_a_run_survives_a_killed_stopped_or_absent_operator(
    stage: Stage, harm: Callable[[Stage], None], role: str, phase: str
) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod(role, phase)
    harm(stage)
    stage.holds()


@pytest.mark.fault("operator told to end within a write")
def test_a_run_survives_an_operator_that_is_replaced_during_a_write(stage: Stage) -> None:
    """The operator gets SIGTERM during every sixth write, as in repeated rolling updates."""
    rule = stage.proxy.add(
        lambda call: call.number % 6 == 5, harm.amid(lambda: stage.operator.send(signal.SIGTERM)), times=None
    )
    stage.begin()
    stage.over()
    rule.times = 0
    stage.holds()
    assert len(rule.hit) >= 4


@pytest.mark.fault("two operators at once")
def test_a_run_survives_two_operators_at_the_same_time(stage: Stage, second: Operator) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.holds()
    assert not second.exits
    assert OUR_FAULT not in second.log


PASSED = 8
"""The writes of the successor before the old write arrives. The successor is then some rounds ahead."""


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        case("an old operator's write arrives late", verb, resource, id=f"{verb} {resource}")
        for verb, resource in sample(
            [
                ("create", "jobs"),
                ("create", "configmaps"),
                ("patch", "dspycompilations/status"),
                ("patch", "pods"),
                ("delete", "jobs"),
            ],
            3,
        )
    ],
)
def test_a_run_survives_late_writes_of_a_disconnected_operator(
    stage: Stage, successor: Operator, verb: str, resource: str
) -> None:
    """The node of the old operator is disconnected during a write. A successor does the same write and continues.
    Then the old write arrives, and the old operator continues, too."""
    held = harm.Held()
    stage.proxy.add(lambda call: (call.verb, call.resource) == (verb, resource), held)
    stage.slow(0.3)
    stage.begin()
    stage.when(held.came.is_set)
    stage.operator.is_probed = False
    stage.operator.send(signal.SIGSTOP)
    before = len(stage.proxy.writes)
    successor.start()
    stage.when(lambda: len(stage.proxy.writes) >= before + PASSED)
    held.let_go()
    stage.operator.send(signal.SIGCONT)
    stage.holds()
    assert not successor.exits
    assert OUR_FAULT not in successor.log


@pytest.fixture
def second(stage: Stage, tmp_path: Path) -> Iterator[Operator]:
    """Starts a second operator, whose requests pass the same proxy."""
    folder = tmp_path / "second"
    folder.mkdir()
    stage.operators = 2
    with stage.operator.twin(folder) as found:
        yield found


@pytest.fixture
def successor(stage: Stage, tmp_path: Path) -> Iterator[Operator]:
    """Yields another operator, which the case starts."""
    folder = tmp_path / "successor"
    folder.mkdir()
    stage.operators = 2
    with stage.operator.twin(folder).prepared() as found:
        yield found


@pytest.mark.fault("Compilation deleted while the operator is away")
@pytest.mark.parametrize("role", of_the_day(ROLES))
def test_a_compilation_deleted_while_no_operator_runs_leaves_nothing(stage: Stage, role: str) -> None:
    stage.slow()
    stage.begin()
    stage.pod(role)
    stage.operator.halt(signal.SIGKILL)
    stage.delete()
    stage.when(lambda: stage.find() is None)
    stage.operator.start()
    stage.gone()
    stage.rests()


@pytest.mark.fault("Compilation replaced while the operator is away")
def test_a_compilation_can_be_replaced_while_no_operator_runs(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.operator.halt(signal.SIGKILL)
    stage.delete()
    stage.when(lambda: stage.find() is None)
    stage.operator.start()
    paid = stage.requests()
    stage.begin()
    assert paid
    # The provider also counts late calls of the old Compilation's pods.
    stage.holds(lost=stage.reference.requests if stage.reference else 0, unseen=True)


@pytest.mark.parametrize(
    "jump",
    [
        case("clock jumps an hour ahead", "+3600"),
        case("clock jumps an hour back", "-3600"),
        case("clock goes to and fro", "3600"),
    ],
)
def test_a_run_survives_a_clock_that_jumps(stage: Stage, tmp_path: Path, jump: str) -> None:
    """The clock jumps while the operator waits for a ConfigMap, and during a grace period and the run's limit of time.
    No deadline passes early, and no wait is endless."""
    stage.operator.halt(signal.SIGKILL)
    folder = tmp_path / "skewed"
    folder.mkdir()
    content = stage.api.get(f"{stage.core('configmaps')}/triage-data")["data"]
    data = config_map(f"{stage.name}-data", content)

    def source(file: str) -> dict[str, Any]:
        return {"configMap": {"name": data["metadata"]["name"], "key": f"{file}.jsonl"}, "limit": TRAIN}

    with stage.operator.twin(folder, module="faults.skewed", environment={"SKEW": jump}) as skewed:
        stage.slow(0.3)
        stage.begin(
            data={"inputs": ["ticket"], "train": source("train"), "validation": source("validation")},
            limits={"wallClock": 600},
        )
        time.sleep(MISSING)
        stage.api.send("POST", stage.core("configmaps"), data)
        pod = stage.pod("work")["metadata"]["name"]
        stage.paid(SOME_CALLS)
        stage.drop("pods", pod, gracePeriodSeconds=30)
        stage.holds(lost=A_POD)
        stage.drop("configmaps", data["metadata"]["name"])
        assert not skewed.exits
        assert "a fault of ours" not in skewed.log


@pytest.mark.fault("an old operator goes on beside its successor")
def test_an_operator_that_lost_its_lease_writes_nothing(stage: Stage, tmp_path: Path) -> None:
    """An operator that lost its Lease never writes again. It ends."""
    stage.operators = 2
    stage.operator.halt(signal.SIGTERM)
    with with_lease(stage, tmp_path / "old") as old:
        stage.slow(0.3)
        stage.begin()
        stage.pod("plan")
        with with_lease(stage, tmp_path / "new") as new:
            stage.when(lambda: "waits for" in new.log)
            old.send(signal.SIGSTOP)
            former = holder(stage)
            stage.when(lambda: holder(stage) != former)
            old.send(signal.SIGCONT)
            stage.when(lambda: old.exits == [1])
            stage.holds()
            assert not new.exits


def holder(stage: Stage) -> str:
    """Returns the holder of the Lease."""
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases"
    return str(stage.api.get(f"{leases}/{OPERATOR_NAMESPACE}")["spec"]["holderIdentity"])


def with_lease(stage: Stage, folder: Path) -> Operator:
    """Returns another operator, which writes only while it holds the chart's Lease."""
    folder.mkdir()
    lease = f"{OPERATOR_NAMESPACE}/{OPERATOR_NAMESPACE}"
    return stage.operator.twin(folder, environment={"SWARM_OPERATOR_LEASE": lease})
