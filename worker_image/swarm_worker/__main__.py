"""`python -m swarm_worker plan | work | run`."""

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="swarm_worker", description="Plans, workers and the local driver of dspy-swarm."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("plan", help="replay a compile from its journal; print tasks or the artifact (in a plan pod)")
    commands.add_parser("work", help="run one slice of cells; print their results (in a worker pod)")
    run = commands.add_parser("run", help="compile on this machine, without a cluster")
    if "run" in (sys.argv[1:] if arguments is None else arguments)[:1]:
        from swarm_worker.local import command

        command.add_arguments(run)
        return command.run(parser.parse_args(arguments))
    given = parser.parse_args(arguments)
    # Each command imports only what it needs: a pod's start is part of every round.
    from swarm_worker.process import Process

    if given.command == "plan":
        from swarm_worker import plan

        plan.main(Process())
    else:
        from swarm_worker import work

        work.main(Process())
    return 0


if __name__ == "__main__":
    sys.exit(main())
