"""An operator with every restriction compiles. After an uninstall, a documented command removes the pods'
finalizers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import testbed
from faults.stage import Stage
from support.cluster import ROOT, Manifest, Namespace, condition, is_over, is_true
from support.e2e import catch, triage, triage_namespace
from support.uninstall import LINE
from testbed import CommandError
from testbed.shell import run

HOME, TEAM, NAME = "own-operator", "own-team", "own-dspy-swarm"
MANAGED: dict[str, Any] = {"app.kubernetes.io/managed-by": "dspy-swarm"}
OPERATOR = f"system:serviceaccount:{HOME}:{NAME}"


@pytest.fixture(scope="module")
def team(cluster: testbed.Cluster) -> Iterator[Namespace]:
    """Yields a namespace that a second release of the chart serves, with a Role and without a ClusterRole.

    The namespaces of release and runs enforce the restricted Pod Security Standard.
    """
    home = Namespace(cluster, HOME)
    home.delete()
    home.create()
    choices = {
        "operator.image.tag": "dev",
        "worker.image.tag": "dev",
        "operator.gatherInterval": 1,
        "operator.allowedImages": ["registry.example/team/*"],
        "watchNamespaces": [TEAM],
        "crds.install": False,
        "admissionPolicy.enabled": True,
        "networkPolicy.enabled": True,
    }
    arguments = [part for key, value in choices.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    with triage_namespace(cluster, TEAM) as found:
        helm(cluster, *arguments)
        yield found
        cluster.helm("uninstall", "own", "--namespace", HOME, "--wait")
    home.delete(wait=False)


def helm(cluster: testbed.Cluster, *arguments: str) -> None:
    options = ("--install", "--namespace", HOME, "--wait", "--timeout", "180s")
    cluster.helm("upgrade", "own", ROOT / "charts" / "dspy-swarm", *options, *arguments)


def may(namespace: Namespace, *what: str) -> bool:
    try:
        return namespace.kubectl("auth", "can-i", *what, "--as", OPERATOR).strip() == "yes"
    except CommandError:
        return False


@pytest.mark.some
def test_a_restricted_operator_has_rights_only_in_the_namespaces_that_it_serves(team: Namespace) -> None:
    elsewhere, home = Namespace(team.cluster, "default"), Namespace(team.cluster, HOME)
    for right in (
        ("create", "jobs"),
        ("patch", "pods"),
        ("get", "pods", "--subresource=log"),
        ("delete", "configmaps"),
        ("patch", "dspycompilations"),
    ):
        assert [may(where, *right) for where in (team, elsewhere, home)] == [True, False, False], right
    for what in (
        *((verb, "secrets") for verb in ("get", "list", "watch", "create")),
        *((verb, "pods") for verb in ("create", "delete")),
        ("create", "pods", "--subresource=exec"),
        ("create", "serviceaccounts", "--subresource=token"),
        ("create", "rolebindings"),
        ("delete", "dspycompilations"),
        ("patch", "dspycompilationtriggers"),
        ("list", "namespaces"),
    ):
        assert not any(may(where, *what) for where in (team, elsewhere, home)), what
    assert may(home, "patch", f"leases/{NAME}")
    assert not may(home, "patch", "leases/another")
    assert not may(team, "get", "leases")


@pytest.mark.some
def test_an_image_that_the_administrator_does_not_allow_never_runs(team: Namespace) -> None:
    team.apply(triage("foreign", image="registry.example/other/worker:1"))
    ended = condition(team.wait_for("foreign", is_over), "Stalled")
    assert ended is not None
    assert ended["reason"] == "Restricted"
    assert "registry.example/team/*" in ended["message"]
    assert team.list("jobs") == team.list("pods", **MANAGED) == []


@pytest.mark.some
def test_an_operator_under_an_admission_policy_compiles_and_can_change_only_its_own_objects(team: Namespace) -> None:
    team.reset_provider()
    team.set_faults(latency="constant:0.5")
    team.apply(triage("allowed", swarm={"pods": 2, "threadsPerPod": 4}))
    pod = catch(team, "allowed", "work")["metadata"]["name"]
    for change in (
        ("annotate", "pod", pod, "mine=true"),
        ("label", "pod", pod, "mine=true"),
        ("patch", "pod", pod, "--patch", json.dumps({"spec": {"activeDeadlineSeconds": 1}})),
        ("delete", "configmap", "triage-data"),
        ("patch", "configmap", "triage-data", "--patch", json.dumps({"data": {"train.jsonl": ""}})),
    ):
        with pytest.raises(CommandError, match="the operator of dspy-swarm may change"):
            team.kubectl(*change, "--as", OPERATOR)
    team.set_faults()
    compilation = team.wait_for("allowed", is_over)
    assert is_true("Ready")(compilation), compilation["status"]
    team.kubectl("delete", "dspyc", "--all", "--timeout=60s")
    for kind in ("jobs", "pods"):
        team.wait_gone(kind, **MANAGED)


@pytest.mark.fault("operator upgraded while a run is under way")
def test_an_upgrade_of_the_operator_during_a_run_repeats_no_call(team: Namespace) -> None:
    """An upgrade with another setting replaces the operator's pod, and the new pod resumes the run."""
    programs, requests = [], []
    for name in ("alone", "upgraded"):
        team.reset_provider()
        team.set_faults(latency="constant:0.5")
        team.apply(triage(name, swarm={"pods": 2, "threadsPerPod": 4}))
        catch(team, name, "work")
        if name == "upgraded":
            helm(team.cluster, "--reuse-values", "--set-json", "operator.gatherInterval=2")
        team.set_faults()
        compilation = team.wait_for(name, is_over)
        assert is_true("Ready")(compilation), compilation["status"]
        program = json.loads(team.get("configmap", f"{name}-artifact")["data"]["program.json"])
        program.pop("metadata")
        programs.append(program)
        requests.append(team.requests())
    assert programs[0] == programs[1]
    assert requests[0] == requests[1]


@pytest.mark.alone
@pytest.mark.some
@pytest.mark.fault("operator gone for good, with pods under way")
def test_the_documented_uninstall_command_frees_pods_of_the_operators_finalizer(
    stage: Stage, cluster: testbed.Cluster
) -> None:
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.operator.halt()
    stage.delete()
    held = stage.when(
        lambda: not stage.ours("jobs") and (pods := stage.ours("pods")) and all(map(is_held, pods)) and pods
    )
    run("bash", "-euc", LINE, env={**cluster.setup.env, "KUBECONFIG": str(cluster.kubeconfig)})
    assert held
    stage.gone()


def is_held(pod: Manifest) -> bool:
    """Returns whether only finalizers keep a deleted pod, whose containers have ended."""
    return "deletionTimestamp" in pod["metadata"] and pod["status"]["phase"] in ("Succeeded", "Failed")
