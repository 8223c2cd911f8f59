"""`python -m simulated_provider.trainer` is a trainer by the contract of docs/trainers.md, for models of the simulated
provider. It trains nothing: its adapter has the rows, and the provider answers as far as they are right.

Parameters: maxLength, the most words of a row; seconds, which it takes; exitCode, with which it ends instead.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path

SIMULATED = "simulated.json"
"""File of an adapter that has the name of the base, and the rows."""
USUAL_LENGTH = 4096


def main() -> int:
    given, out = Path(os.environ["SWARM_FINETUNE_DIR"]), Path(os.environ["SWARM_OUT_DIR"])
    if (given / "delivered").exists():
        return 0
    asked = json.loads((given / "params.json").read_text(encoding="utf-8"))
    parameters = asked["parameters"]
    if unknown := sorted(parameters.keys() - {"epochs", "batchSize", "maxLength", "exitCode", "seconds"}):
        return _refuse(out, f"it knows no parameter {unknown[0]}.")
    with (given / "data.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line)["messages"] for line in file]
    lengths = [sum(len(message["content"].split()) for message in row) for row in rows]
    most = int(parameters.get("maxLength", USUAL_LENGTH))
    if long := [length for length in lengths if length > most]:
        return _refuse(
            out,
            f"{len(long)} of {len(rows)} rows have more than {most} tokens (maxLength), the longest {max(long)}. No "
            "row is cut. Write a larger maxLength, or shorter examples.",
        )
    time.sleep(float(parameters.get("seconds", 0)))
    if code := int(parameters.get("exitCode", 0)):
        print("the simulated trainer fails, as its parameters say", file=sys.stderr)
        return code
    adapter = out / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    adapter.joinpath(SIMULATED).write_text(json.dumps({"base": asked["base"]["name"], "rows": rows}), encoding="utf-8")
    adapter.joinpath("adapter_config.json").write_text(json.dumps({"base_model_name_or_path": asked["base"]["name"]}))
    adapter.joinpath("adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    epochs = int(parameters.get("epochs", 3))
    metrics = {"loss": 0.0, "tokens": sum(lengths) * epochs, "longest": max(lengths)}
    (out / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return 0


def _refuse(out: Path, why: str) -> int:
    (out / "refused").write_text(why, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
