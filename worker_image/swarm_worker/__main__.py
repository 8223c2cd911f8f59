"""`python -m swarm_worker plan | work | run`; and `twin`, which a plan starts."""

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="swarm_worker", description="Plans, workers and the local driver of dspy-swarm."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("plan", help="replay a compile from its journal; print tasks or the artifact (in a plan pod)")
    commands.add_parser("work", help="run one slice of cells; print their results (in a worker pod)")
    commands.add_parser("twin")
    run = commands.add_parser("run", help="compile on this machine, without a cluster")
    if "run" in (sys.argv[1:] if arguments is None else arguments)[:1]:
        from swarm_worker.local import command

        command.add_arguments(run)
        return command.run(parser.parse_args(arguments))
    given = parser.parse_args(arguments)
    # Each command imports only what it needs: a pod's start is part of every round.
    if given.command == "work":
        from swarm_worker import work
        from swarm_worker.process import Process

        work.main(Process())
    else:
        from swarm_worker import twin

        other = twin.start() if given.command == "plan" else twin.Line()

        from swarm_worker import plan
        from swarm_worker.process import Process

        plan.main(Process(), other)
    return 0


if __name__ == "__main__":
    sys.exit(main())
