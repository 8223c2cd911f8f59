"""`make demo-cluster` compiles examples/triage on a kind cluster, which it makes if there is none.

It installs chart and provider, runs `kubectl apply -k examples/triage`, and shows the artifact in its ConfigMap.
"""

import json
import sys
import time
from pathlib import Path

import testbed
from support.cluster import Namespace, condition, install_operator, is_over

TRIAGE = Path(__file__).parent / "triage"
NAMESPACE, NAME = "triage", "triage"


def main() -> int:
    began = time.monotonic()
    step("a cluster, and the images of this checkout")
    cluster = testbed.cluster()
    cluster.load(*testbed.project_images())

    step("the operator: helm install charts/dspy-swarm")
    install_operator(cluster)

    step(f"namespace {NAMESPACE} with a simulated provider")
    namespace = Namespace(cluster, NAMESPACE)
    namespace.delete()
    namespace.create()
    namespace.start_provider(TRIAGE / "knowledge.jsonl", "--latency=lognormal:0.3:0.3")

    step("kubectl apply -k examples/triage")
    applied = time.monotonic()
    namespace.kubectl("apply", "--server-side", "--kustomize", TRIAGE)
    compilation = watch(namespace)
    took = time.monotonic() - applied

    step(f"kubectl get dspyc   ({took:.0f} s after kubectl apply, {time.monotonic() - began:.0f} s in all)")
    print(namespace.kubectl("get", "dspyc", NAME))
    ready = condition(compilation, "Ready") or {}
    if ready.get("status") != "True":
        print(f"\n{ready.get('reason')}: {ready.get('message')}")
        return 1
    artifact = compilation["status"]["artifact"]["configMap"]["name"]
    report = json.loads(namespace.get("configmap", artifact)["data"]["report.json"])
    step(f"kubectl get configmap {artifact}")
    print(json.dumps(report, indent=2))
    print(f"\nThe provider answered {namespace.requests()} requests.")
    print(f"The cluster stays: export KUBECONFIG={cluster.kubeconfig}")
    print(
        f"The program: kubectl -n {NAMESPACE} get configmap {artifact} "
        "-o jsonpath='{.data.program\\.json}' > program.json"
    )
    return 0


def watch(namespace: Namespace) -> dict[str, object]:
    """Prints every change of the Compilation until its run is over. Returns the Compilation."""
    shown = ""
    while True:
        compilation = namespace.get("dspyc", NAME)
        line = namespace.kubectl("get", "dspyc", NAME, "--no-headers")
        if line.rsplit(maxsplit=1)[0] != shown:
            shown = line.rsplit(maxsplit=1)[0]
            print(f"    {line}", flush=True)
        if is_over(compilation):
            return compilation
        time.sleep(1)


def step(text: str) -> None:
    print(f"\n\033[1m── {text}\033[0m" if sys.stdout.isatty() else f"\n── {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
