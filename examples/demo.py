"""`make demo` compiles examples/triage on this machine, against the simulated provider. `make demo-distill` compiles
examples/distill: it has a small model fine-tuned on the answers of a large one.

No request leaves the machine. The provider behaves like a small and a large language model: better prompts get better
answers.
"""

import subprocess
import sys
from pathlib import Path

from simulated_provider.testing import running_provider

HERE = Path(__file__).parent


def main(which: str = "triage", *more: str) -> int:
    knowledge, distills = HERE / "triage" / "knowledge.jsonl", which == "distill"
    models = {"small": 0.05, "large": 0.95} if distills else {}
    file = HERE / "distill" / "compilation.yaml" if distills else HERE / which
    with running_provider(knowledge=knowledge, latency="lognormal:0.15:0.4", model=models) as provider:
        print(f"A simulated provider answers at {provider.url}, each call in about 0.15 s.\n", flush=True)
        provider.set_tuning(queue=6, training=6)
        command = [sys.executable, "-m", "swarm_worker", "run", "-f", str(file), "--workers", "4"]
        status = subprocess.run([*command, "--endpoint", provider.url, *more], check=False).returncode
        print(f"\nThe provider answered {provider.stats()['requests']} requests.")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
