"""The command `python -m swarm_worker`: plan, work, download and models for pods; run, estimate and pack for people."""

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="swarm_worker", description="Plans, workers and the local driver of dspy-swarm."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which versions are installed")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("plan", help="replay a compile from its journal; print tasks or the artifact (in a plan pod)")
    commands.add_parser("work", help="run one slice of cells; print their results (in a worker pod)")
    commands.add_parser("stage", help="write what a trainer reads (in a pod that trains)")
    commands.add_parser("deliver", help="keep what a trainer has written; print where (in a pod that trains)")
    commands.add_parser("train")
    commands.add_parser("download", help="fetch the data that the spec names by URLs; print it (in a download pod)")
    commands.add_parser("models", help="list the models of a provider that fit a pattern (in a pod of a trigger)")
    commands.add_parser("twin")
    run = commands.add_parser("run", help="compile on this machine, without a cluster")
    estimate = commands.add_parser("estimate", help="say what a compile will cost, without a call")
    pack = commands.add_parser("pack", help="print a folder as a ConfigMap, for spec.program.source")
    wanted = (sys.argv[1:] if arguments is None else arguments)[:1]
    if wanted == ["run"]:
        from swarm_worker.local import command

        command.add_arguments(run)
        return command.run(parser.parse_args(arguments))
    if wanted == ["estimate"]:
        from swarm_worker.local.estimate import command as estimating

        estimating.add_arguments(estimate)
        return estimating.run(parser.parse_args(arguments))
    if wanted == ["pack"]:
        from swarm_worker.local import pack as packing

        packing.add_arguments(pack)
        return packing.run(parser.parse_args(arguments))
    from swarm_worker.pod import start

    start.start(parser.parse_args(arguments).command)
    return 0


class _Version(argparse.Action):
    """Looks up the versions only for `--version`, because the look-up would delay the start of every pod."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        def installed(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "is not installed"

        sys.stdout.write(f"dspy-swarm {installed('swarm-worker')}, DSPy {installed('dspy')}\n")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
