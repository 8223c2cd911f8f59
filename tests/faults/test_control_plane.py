"""A run survives parts of Kubernetes that die or freeze on the node. No other case runs at the same time."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults import node
from faults.kinds import case
from faults.stage import A_POD, PODS, PUBLISHED, UNREAD, Stage, conditions
from support.api import Refused
from support.cluster import config_map
from support.sampling import paired
from testbed import Cluster
from testbed.shell import CommandError, run

pytestmark = pytest.mark.alone

PARTS = ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kubelet", "containerd"]
LOST = dict.fromkeys(("kubelet", "containerd"), PODS * (A_POD + UNREAD))
"""The calls repeated after the failure of a part, if any. A restarted kubelet may end pods that it does not know."""
STILL = 15.0
"""Seconds for which a part stands still. They are more than the time that a worker of the compile runs."""


def process(cluster: Cluster, part: str) -> int | None:
    """Returns the process id of a part of Kubernetes on this machine, or None while the part restarts."""
    try:
        processes = run("docker", "top", node.name(cluster), "-eo", "pid,args", env=cluster.setup.env)
    except CommandError:
        # A control group disappeared while docker listed its processes.
        return None
    for line in processes.splitlines()[1:]:
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


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def stand_still(pid: int) -> None:
    with standing_still(pid):
        time.sleep(STILL)


@pytest.mark.parametrize(
    ("part", "act"),
    [
        case(f"{part} {what}", part, act)
        for part, (what, act) in paired(PARTS, [("killed", kill), ("standing still", stand_still)])
    ],
)
def test_a_run_survives_the_failure_of_a_part_of_kubernetes(
    stage: Stage, cluster: Cluster, part: str, act: Callable[[int], None]
) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod("work" if act is kill else "plan")
    pid = process(cluster, part)
    assert pid is not None
    act(pid)
    stage.when(lambda: process(cluster, part) not in (pid if act is kill else None, None))
    stage.holds(lost=LOST.get(part, 0))


ALARM = """
import json, ssl, sys, urllib.request

context = ssl.create_default_context(cafile=sys.argv[2])
context.load_cert_chain(sys.argv[3], sys.argv[4])
body = json.dumps({"action": sys.argv[1], "memberID": 0, "alarm": "NOSPACE"}).encode()
urllib.request.urlopen(urllib.request.Request(sys.argv[5], body), context=context, timeout=10).read()
"""


@contextmanager
def out_of_space(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Makes etcd refuse writes within the block, as if etcd had used up its quota of space."""
    files = []
    for name in ("ca.crt", "healthcheck-client.crt", "healthcheck-client.key"):
        text = node.on_node(cluster, "cat", f"/etc/kubernetes/pki/etcd/{name}")
        (folder / name).write_text(text + "\n", encoding="ascii")
        files.append(str(folder / name))
    addresses = node.on_node(cluster, "hostname", "--ip-address").split()
    address = next(each for each in addresses if "." in each)

    def alarm(action: str) -> None:
        # The node does not have etcd's own tool, but etcd also accepts HTTP.
        run(sys.executable, "-c", ALARM, action, *files, f"https://{address}:2379/v3/maintenance/alarm")

    alarm("ACTIVATE")
    try:
        yield
    finally:
        alarm("DEACTIVATE")


@pytest.mark.fault("etcd out of space for a while")
def test_a_run_survives_a_full_etcd(stage: Stage, cluster: Cluster, tmp_path: Path) -> None:
    stage.slow(0.3)
    stage.begin()
    stage.pod("work")
    with out_of_space(cluster, tmp_path):
        with pytest.raises(Refused, match="database space exceeded"):
            stage.api.send("POST", stage.core("configmaps"), config_map("one-more", {}))
        time.sleep(STILL)
    stage.holds()


LIMIT = 100
"""A limit of LM calls: more than the run needs, but fewer than it would make if a lost pod's spending did not count."""


@pytest.mark.fault("kubelet standing still while a pod is deleted, under a limit")
def test_the_spending_of_a_pod_counts_even_if_its_log_is_lost(stage: Stage, cluster: Cluster) -> None:
    """Nobody can read the log of this pod, but its spending counts."""
    stage.slow(2)
    stage.begin(limits={"lmCalls": LIMIT})
    stage.paid(20)
    pod = stage.pod("work")
    pid = process(cluster, "kubelet")
    assert pid is not None
    with standing_still(pid):
        stage.drop("pods", pod["metadata"]["name"], gracePeriodSeconds=1)
        time.sleep(90)
    stage.when(lambda: stage.requests() > 0)  # waits until the node's pods are reachable again
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
