"""`python -m swarm_git fetch`, `... publish` and `... watch` are the commands of pods."""

import sys

from swarm_git.pod import COMMANDS, run


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m swarm_git {' | '.join(COMMANDS)}", file=sys.stderr)  # noqa: T201
        return 2
    return run(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
