"""Parts of Kubernetes die, or stand still, on the node; nothing runs beside these cases."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults.kinds import case
from faults.stage import A_POD, PODS, PUBLISHED, UNREAD, Stage, conditions
from testbed import Cluster
from testbed.shell import run

pytestmark = pytest.mark.alone

PARTS = ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kubelet", "containerd"]
LOST = dict.fromkeys(("kubelet", "containerd"), PODS * (A_POD + UNREAD))
"""Calls that are paid for again; where others fail, none. A node whose kubelet comes back may end pods that it does not
know any more."""
STILL = 15.0
"""Seconds: longer than a worker of the compile runs."""


def process(cluster: Cluster, part: str) -> int | None:
    """The process of a part of Kubernetes, as this machine knows it."""
    node = f"{cluster.name}-control-plane"
    for line in run("docker", "top", node, "-eo", "pid,args", env=cluster.setup.env).splitlines()[1:]:
        pid, program, *_ = line.split()
        if program.rpartition("/")[2] == part:
            return int(pid)
    return None


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("part", [case(f"{part} killed", part) for part in PARTS])
def test_killed(stage: Stage, cluster: Cluster, part: str) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod("work")
    pid = process(cluster, part)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    stage.when(lambda: process(cluster, part) not in (pid, None))
    stage.holds(lost=LOST.get(part, 0))


@pytest.mark.parametrize("part", [case(f"{part} standing still", part) for part in PARTS])
def test_standing_still(stage: Stage, cluster: Cluster, part: str) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod("plan")
    pid = process(cluster, part)
    assert pid is not None
    with standing_still(pid):
        time.sleep(STILL)
    stage.holds(lost=LOST.get(part, 0))


LIMIT = 100
"""LM calls: more than the run needs, and less than it would take where a pod were given up and not counted."""


@pytest.mark.fault("kubelet standing still while a pod is deleted, under a limit")
def test_a_pod_that_was_given_up_and_goes_on(stage: Stage, cluster: Cluster) -> None:
    """What it spends counts, though nobody can read it any more."""
    stage.slow(2)
    stage.begin(limits={"lmCalls": LIMIT})
    stage.paid(20)
    pod = stage.pod("work")
    pid = process(cluster, "kubelet")
    assert pid is not None
    with standing_still(pid):
        stage.drop("pods", pod["metadata"]["name"], gracePeriodSeconds=1)
        time.sleep(90)
    stage.provider_faults()
    found = stage.over()
    stage.settles()
    assert stage.reference
    assert conditions(found)["Succeeded"][1] in ("Published", "LimitReached", "PublishedPartial"), found["status"]
    if conditions(found) == PUBLISHED:
        program = json.loads(stage.api.get(f"{stage.core('configmaps')}/{stage.name}-artifact")["data"]["program.json"])
        program.pop("metadata")
        assert program == stage.reference.stock.program
    assert len(stage.bill()) <= LIMIT
