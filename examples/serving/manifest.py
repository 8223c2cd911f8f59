"""Prints what serves a tuned model, from the report of the run that has trained it:

    kubectl get configmap NAME-artifact -o jsonpath='{.data.report\\.json}' > report.json
    python examples/serving/manifest.py vllm report.json | kubectl apply -f -

`vllm` and `llama-cpp` print a Deployment and a Service. `ollama` prints a Modelfile.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
SERVERS = {"vllm": "vllm.yaml", "llama-cpp": "llama-cpp.yaml", "ollama": "Modelfile"}


class NotServable(Exception):
    """A report has no model that this script can have served."""


def manifest(server: str, report: Mapping[str, Any]) -> str:
    """Returns the text for one server, with a part for each tuned model. Raises NotServable."""
    tuned = [model for model in report.get("tuned") or () if model.get("weights")]
    if not tuned:
        raise NotServable("the report names no model whose weights a trainer has kept; a provider serves its own.")
    return "---\n".join(_filled(server, model) for model in tuned)


def _filled(server: str, model: Mapping[str, Any]) -> str:
    weights = model["weights"]
    scheme, _, place = weights["place"].partition("://")
    if scheme != "pvc":
        raise NotServable(f"the weights are at {weights['place']}: copy them to a volume, and write its claim here.")
    claim, _, folder = place.partition("/")
    is_adapter = weights["kind"] == "adapter"
    adapter = f"/weights/{folder}/adapter"
    serves = {
        "vllm": f"--enable-lora --lora-modules {_name(model)}={adapter}" if is_adapter else "",
        "llama-cpp": f"--lora {adapter}.gguf" if is_adapter else "",
        "ollama": f"ADAPTER {adapter}" if is_adapter else "",
    }
    whole = model["base"] if is_adapter else f"/weights/{folder}/model"
    text = (HERE / SERVERS[server]).read_text(encoding="utf-8")
    if not is_adapter:  # only an adapter needs the base
        text = "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith("# of the base"))
    return Template(text.replace("  # of the base", "")).substitute(
        name=_name(model),
        claim=claim,
        base=model["base"],
        served=model["base"] if is_adapter else _name(model),
        model=whole,
        gguf="/base/model.gguf" if is_adapter else f"/weights/{folder}/model.gguf",
        revision=f"--revision {weights['revision']}" if weights.get("revision") and is_adapter else "",
        adapter=serves[server],
        sha256=weights["sha256"],
    )


def _name(model: Mapping[str, Any]) -> str:
    return str(model["model"]).partition("/")[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("report", type=Path, help="report.json of the artifact")
    given = parser.parse_args()
    try:
        print(manifest(given.server, json.loads(given.report.read_text(encoding="utf-8"))), end="")
    except (OSError, ValueError, NotServable) as error:
        print(f"{given.report}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
