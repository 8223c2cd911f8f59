"""Data may come from a web server and from a volume."""

import json

from support.cluster import Manifest, Namespace
from support.compiles import StockRun
from support.e2e import finish, triage

SERVER: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "data", "labels": {"app": "data"}},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "data",
                "image": "dspy-swarm/worker:dev",
                "command": ["python", "-m", "http.server", "8080", "--directory", "/data"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "configMap": {"name": "triage-data"}}],
    },
}
SERVICE: Manifest = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "data"},
    "spec": {"selector": {"app": "data"}, "ports": [{"port": 8080}]},
}


def test_data_from_a_url_and_from_a_volume_lead_to_stocks_winner(
    namespace: Namespace, stock: StockRun, claim: str
) -> None:
    namespace.apply(SERVER, SERVICE)
    namespace.kubectl("wait", "--for=condition=Ready", "pod/data", "--timeout=120s")
    data = {
        "inputs": ["ticket"],
        "train": {"url": "http://data:8080/train.jsonl", "limit": 24},
        "validation": {"volume": {"claimName": claim, "path": "triage/validation.jsonl"}, "limit": 16},
    }
    namespace.apply(triage("elsewhere", data=data))
    finish(namespace, "elsewhere", stock)
    report = json.loads(namespace.get("configmap", "elsewhere-artifact")["data"]["report.json"])
    assert report["origin"]["files"]["train"]["url"] == "http://data:8080/train.jsonl"
