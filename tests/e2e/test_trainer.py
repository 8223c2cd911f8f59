"""A trainer runs in a pod of its own, its adapter is kept on a volume, and a server loads it from there."""

import json
import time

import yaml

from support.cluster import POLL_SECONDS, ROOT, Manifest, Namespace, condition, is_over
from support.e2e import API_KEY, pods, triage

SERVER, FOLDER = "vllm", "/adapters"


def serve(namespace: Namespace, claim: str) -> None:
    """Deploys a second simulated provider, which loads adapters from the claim as vLLM does."""
    text = (ROOT / "examples" / "provider" / "provider.yaml").read_text(encoding="utf-8")
    deployment, service = yaml.safe_load_all(text.replace("name: provider", f"name: {SERVER}"))
    pod = deployment["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "adapters", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    pod["containers"][0]["volumeMounts"].append({"name": "adapters", "mountPath": FOLDER, "readOnly": True})
    namespace.apply(deployment, service)
    namespace.kubectl("rollout", "status", f"deployment/{SERVER}", "--timeout=120s")


def tuned(claim: str, **parameters: object) -> Manifest:
    trainer = {
        "image": "dspy-swarm/provider:dev",
        "command": ["python", "-m", "simulated_provider.trainer"],
        "base": {"name": "small", "revision": "0" * 40},
        "parameters": parameters,
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "output": {"persistentVolumeClaim": {"claimName": claim}},
        "serving": {"endpoint": f"http://{SERVER}:8000/v1", "load": "vllm", "folder": FOLDER},
    }
    rows = {"minExamples": 10, "minTraces": 10}
    # The volume may have the results of earlier tests, which a trainer would not train again.
    finetune = {"epochs": 2, "trainer": trainer, "seed": int(time.time())}
    return triage("trained", optimizer={"bootstrapFinetune": rows}, finetune=finetune)


def training(namespace: Namespace) -> str:
    """Waits until the trainer runs, and returns the name of its pod."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for pod in namespace.list("pods", **{"dspy-swarm.dev/role": "train"}):
            before = {each["name"]: each["state"] for each in pod["status"].get("initContainerStatuses", ())}
            if "running" in before.get("trainer", {}):
                return str(pod["metadata"]["name"])
        time.sleep(POLL_SECONDS)
    raise TimeoutError("no trainer ran")


def test_a_trainer_on_a_cluster_is_killed_once_and_its_adapter_is_served(namespace: Namespace, claim: str) -> None:
    namespace.reset_provider()
    serve(namespace, claim)
    namespace.apply(tuned(claim, seconds=4))
    name = training(namespace)
    pod = namespace.get("pod", name)
    assert API_KEY not in json.dumps(pod)
    assert "provider-key" not in json.dumps(pod), "no container of a training refers to the provider's key"
    print(namespace.kubectl("get", "dspyc,pods"))
    namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    ended = namespace.wait_for("trained", is_over)
    ready = condition(ended, "Ready")
    assert ready is not None
    assert ready["reason"] == "Published", ended["status"]
    print(namespace.kubectl("get", "dspyc", "trained"), ready["message"])
    artifact = namespace.get("configmap", "trained-artifact")["data"]
    report = json.loads(artifact["report.json"])
    [model] = report["tuned"]
    name = model["weights"]["place"].removeprefix(f"pvc://{claim}/")
    look = f"ls {FOLDER} && sha256sum {FOLDER}/{name}/manifest.json"
    listed = namespace.kubectl("exec", f"deployment/{SERVER}", "--", "sh", "-c", look)
    assert f"{model['weights']['sha256']}  {FOLDER}/{name}/manifest.json" in listed
    assert f"openai/{name}" == model["model"]
    assert model["model"] in artifact["program.json"]
    assert report["scores"]["best"] > report["scores"]["baseline"]
    assert namespace.provider("/admin/stats")["answered_again"] == 0, "the killed pod repeats no call"
    assert not pods(namespace, ended, "train")
    namespace.kubectl("delete", "dspyc", "trained")
    namespace.kubectl("delete", f"deployment/{SERVER}", f"service/{SERVER}")
