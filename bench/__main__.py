"""`python -m bench` measures cases, appends the figures to a file, and writes the tables of docs/benchmarks.md."""

import argparse
import sys
from collections.abc import Sequence

from bench import local, on_cluster, page
from bench.cases import CASES, BenchCase
from bench.measurements import RESULTS, Measurement, append, read
from bench.reference import reference, stock

PLACES = ("local", "cluster")
DEFAULT_SPECULATION = 4


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    places = given.on.split(",")
    cluster = on_cluster.installed() if "cluster" in places and not given.render else None
    for bench in [] if given.render else _cases(given.cases):
        known = reference(bench)
        note(bench, f"stock: {known.requests} requests ({known.calls} calls)")
        if given.stock:
            against = stock(bench, known)
            append(Measurement(bench.name, bench.latency, stock=against))
            note(bench, f"stock: {against.serial:.0f} s serial, {against.eight:.0f} s with 8 threads")
        for speculation in given.speculation:
            for place in places:
                if cluster and place == "cluster":
                    found = on_cluster.measure(cluster, bench, known.program, speculation)
                else:
                    found = local.measure(bench, known.program, speculation)
                append(Measurement(bench.name, bench.latency, swarm=found))
                note(bench, str(found))
    page.write(list(read()))
    print(f"{RESULTS} has the figures, {page.PAGE} the tables.")
    return 0


def note(bench: BenchCase, text: str) -> None:
    print(f"{bench.name}: {text}", flush=True)


def _cases(names: str) -> list[BenchCase]:
    return [CASES[name] for name in names.split(",")] if names else list(CASES.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--cases", type=_known(CASES), default="", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--on", type=_known(PLACES), default="local,cluster", help="local, cluster (default: both)")
    parser.add_argument(
        "--speculation", type=int, nargs="+", default=[DEFAULT_SPECULATION], help="most guesses per round (default 4)"
    )
    parser.add_argument("--no-stock", dest="stock", action="store_false", help="do not time stock DSPy")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the tables from the file")
    return parser


def _known(names: Sequence[str] | dict[str, BenchCase]) -> "type[str]":
    def checked(text: str) -> str:
        if unknown := [name for name in filter(None, text.split(",")) if name not in names]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(names)}")
        return text

    return checked  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
