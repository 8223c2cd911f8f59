"""The chart renders the right manifests for an administrator's choices. These tests install nothing."""

import json
from typing import Any

import pytest
import yaml

import testbed
from support.cluster import ROOT, Manifest
from testbed import CommandError

RELEASE = "own"
NAME = f"{RELEASE}-dspy-swarm"
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}


class Chart:
    """Renders the chart as a release in the namespace `ops`."""

    def __init__(self, cluster: testbed.Cluster) -> None:
        self._cluster = cluster

    def __call__(self, **values: Any) -> list[Manifest]:
        choices = [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
        folder = ROOT / "charts" / "dspy-swarm"
        printed = self._cluster.helm(
            "template", RELEASE, folder, "--namespace", "ops", "--kube-version", "1.35", *choices
        )
        return [found for found in yaml.safe_load_all(printed) if found]


@pytest.fixture(scope="module")
def chart(installed: testbed.Cluster) -> Chart:
    return Chart(installed)


def of(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [found for found in manifests if found["kind"] in kinds]


def names(manifests: list[Manifest]) -> list[tuple[str, str]]:
    """Returns the sorted pairs of namespace and name."""
    return sorted((found["metadata"].get("namespace", ""), found["metadata"]["name"]) for found in manifests)


# Rights


def test_the_receiver_of_webhooks_may_only_ask_triggers_to_look(chart: Chart) -> None:
    values = {"webhook.enabled": True, "webhook.secretName": "keys"}
    for namespaces, kind in (([], "ClusterRole"), (["a", "b"], "Role")):
        rendered = chart(watchNamespaces=namespaces, **values)
        roles = [found for found in of(rendered, kind) if found["metadata"]["name"] == f"{NAME}-webhook"]
        assert [found["metadata"].get("namespace", "") for found in roles] == (namespaces or [""])
        for role in roles:
            assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
                (["dspycompilationtriggers"], ["get"]),
                (["dspycompilationtriggers/status"], ["patch"]),
            ]
    [deployment] = [found for found in of(rendered, "Deployment") if found["metadata"]["name"] == f"{NAME}-webhook"]
    assert deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] == "keys"
    with pytest.raises(CommandError, match=r"webhook\.secretName must name the Secret"):
        chart(**{"webhook.enabled": True})


def test_by_default_the_operator_serves_the_whole_cluster(chart: Chart) -> None:
    rendered = chart()
    assert names(of(rendered, "ClusterRole")) == [("", NAME), ("", f"{NAME}-edit"), ("", f"{NAME}-view")]
    assert names(of(rendered, "ClusterRoleBinding")) == [("", NAME)]
    assert names(of(rendered, "Role", "RoleBinding")) == [("ops", f"{NAME}-lease")] * 2


def test_an_operator_that_serves_some_namespaces_has_rights_only_in_them(chart: Chart) -> None:
    """If the CRD exists, a person without cluster-wide rights can install the chart."""
    rendered = chart(watchNamespaces=["a", "b"], **{"crds.install": False})
    assert of(rendered, *CLUSTER_WIDE, "CustomResourceDefinition") == []
    expected = [("a", NAME), ("b", NAME), ("ops", f"{NAME}-lease")]
    assert names(of(rendered, "Role")) == names(of(rendered, "RoleBinding")) == expected
    assert {found["metadata"].get("namespace") for found in rendered} == {"a", "b", "ops"}


@pytest.mark.parametrize(
    ("values", "aggregates"),
    [
        ({}, True),
        ({"rbac.aggregate": False}, False),
        ({"watchNamespaces": ["a"]}, False),
        ({"watchNamespaces": ["a"], "rbac.aggregate": True}, True),
        ({"rbac.create": False}, False),
    ],
)
def test_the_values_of_the_chart_decide_whether_the_roles_view_edit_and_admin_cover_compilations(
    chart: Chart, values: dict[str, Any], aggregates: bool
) -> None:
    found = [role for role in of(chart(**values), "ClusterRole") if role["metadata"]["name"].endswith("-edit")]
    assert bool(found) == aggregates


def test_without_rbac_the_chart_makes_no_roles(chart: Chart) -> None:
    assert of(chart(**{"rbac.create": False}), *CLUSTER_WIDE, "Role", "RoleBinding") == []


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["a"]}])
def test_no_role_may_read_secrets_or_run_commands_in_pods(chart: Chart, values: dict[str, Any]) -> None:
    rules = [rule for role in of(chart(**values), "ClusterRole", "Role") for rule in role["rules"]]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert granted.isdisjoint({("secrets", "get"), ("pods/exec", "create"), ("pods", "create"), ("pods", "delete")})
    assert not any("*" in part for grant in granted for part in grant)


# Network policies


def test_network_policies_without_a_namespace_are_refused(chart: Chart) -> None:
    with pytest.raises(CommandError, match=r"networkPolicy.enabled needs networkPolicy.namespaces"):
        chart(**{"networkPolicy.enabled": True})


def test_every_namespace_with_pods_of_runs_gets_a_network_policy(chart: Chart) -> None:
    values = {"networkPolicy.enabled": True, "networkPolicy.namespaces": ["b", "c"]}
    policies = of(chart(watchNamespaces=["a", "b"], **values), "NetworkPolicy")
    assert names(policies) == [*((name, f"{NAME}-swarm") for name in "abc"), ("ops", f"{NAME}-limiter")]
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_pods_reach_dns_the_limiter_and_the_allowed_addresses(chart: Chart) -> None:
    provider = [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]
    values = {"networkPolicy.enabled": True, "networkPolicy.egress": provider}
    (policy,) = [
        found
        for found in of(chart(watchNamespaces=["a"], **values), "NetworkPolicy")
        if found["metadata"]["namespace"] == "a"
    ]
    assert "ingress" not in policy["spec"]
    dns, limiter, *rest = policy["spec"]["egress"]
    assert dns["to"][0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    assert {port["port"] for port in dns["ports"]} == {53}
    assert limiter["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ops"}
    assert rest == provider


def test_by_default_pods_cannot_reach_the_metadata_services_of_clouds(chart: Chart) -> None:
    rendered = chart(watchNamespaces=["a"], **{"networkPolicy.enabled": True, "limiter.enabled": False})
    (policy,) = of(rendered, "NetworkPolicy")
    assert policy["spec"]["egress"][-1]["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]


# Leases and admission policies


def test_the_operator_has_rights_to_the_lease_of_its_release(chart: Chart) -> None:
    rendered = chart()
    (operator,) = [found for found in of(rendered, "Deployment") if found["metadata"]["name"] == NAME]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert {"name": "SWARM_OPERATOR_LEASE", "value": f"ops/{NAME}"} in container["env"]
    (role,) = of(rendered, "Role")
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [NAME]]


def test_an_admission_policy_restricts_the_operator_to_its_own_objects_if_the_chart_says_so(chart: Chart) -> None:
    kinds = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
    assert of(chart(), *kinds) == []
    policy, binding = of(chart(**{"admissionPolicy.enabled": True}), *kinds)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert f"system:serviceaccount:ops:{NAME}" in policy["spec"]["matchConditions"][0]["expression"]
