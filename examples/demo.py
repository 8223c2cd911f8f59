"""`make demo` compiles examples/triage on this machine, against the simulated provider.

No request leaves the machine. The provider behaves like a small and a large language model: better prompts get better
answers.
"""

import subprocess
import sys
from pathlib import Path

from simulated_provider.testing import running_provider

HERE = Path(__file__).parent


def main() -> int:
    knowledge = HERE / "triage" / "knowledge.jsonl"
    with running_provider(knowledge=knowledge, latency="lognormal:0.15:0.4") as provider:
        print(f"A simulated provider answers at {provider.url}, each call in about 0.15 s.\n", flush=True)
        command = [sys.executable, "-m", "swarm_worker", "run", "-f", str(HERE / "triage"), "--workers", "4"]
        status = subprocess.run([*command, "--endpoint", provider.url, *sys.argv[1:]], check=False).returncode
        print(f"\nThe provider answered {provider.stats()['requests']} requests.")
    return status


if __name__ == "__main__":
    sys.exit(main())
