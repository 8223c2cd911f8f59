"""Parts of Kubernetes die, or stand still, on the node; nothing runs beside these cases."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults.kinds import case
from faults.stage import A_PLAN, A_POD, PODS, Stage
from testbed import Cluster
from testbed.shell import run

pytestmark = pytest.mark.alone

PARTS = ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kubelet", "containerd"]
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
    # A node whose kubelet comes back may end pods that it does not know any more.
    stage.holds(lost=PODS * A_POD + A_PLAN)


@pytest.mark.parametrize("part", [case(f"{part} standing still", part) for part in PARTS])
def test_standing_still(stage: Stage, cluster: Cluster, part: str) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod("plan")
    pid = process(cluster, part)
    assert pid is not None
    with standing_still(pid):
        time.sleep(STILL)
    stage.holds(lost=PODS * A_POD + A_PLAN)
