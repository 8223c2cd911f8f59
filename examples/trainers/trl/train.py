"""A trainer for dspy-swarm: TRL's SFTTrainer, on GPUs and on CPUs. README.md says how to use it.

docs/trainers.md has the contract: rows and parameters are in $SWARM_FINETUNE_DIR, and results go to $SWARM_OUT_DIR.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from parameters import RefusedError, Request


def main() -> int:
    """Trains once. Returns 0 if there is a result, or if there never can be one."""
    given, out = Path(os.environ["SWARM_FINETUNE_DIR"]), Path(os.environ["SWARM_OUT_DIR"])
    if (given / "delivered").exists():
        return 0
    try:
        request = Request.read(given / "params.json")

        from training import train  # it imports PyTorch, which takes seconds

        metrics = train(request, given / "data.jsonl", out)
    except RefusedError as error:
        (out / "refused").write_text(f"{error}\n", encoding="utf-8")
        print(f"refused: {error}", file=sys.stderr)
        return 0
    (out / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
