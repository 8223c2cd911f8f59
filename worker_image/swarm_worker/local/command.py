"""The command `python -m swarm_worker run`."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from swarm_worker.errors import SwarmError
from swarm_worker.local import documents
from swarm_worker.local.compile import compile_here
from swarm_worker.local.display import Display, print_report
from swarm_worker.local.driver import Stopped
from swarm_worker.local.processes import Processes

INTERRUPTED = 130
JOURNALS = Path(".dspy-swarm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", type=Path, required=True, help="a DSPyCompilation, or a folder with a kustomization.yaml"
    )
    parser.add_argument(
        "--workers", type=positive, default=2, metavar="N", help="worker processes side by side (default 2)"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="DIR",
        help=f"where finished results are kept, and used by later runs (default {JOURNALS}/NAME)",
    )
    parser.add_argument(
        "--keep",
        type=not_negative,
        default=5,
        metavar="N",
        help="how many runs before this one are kept with their artifacts; of older ones only the answers to LM calls "
        "are (default 5)",
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="ask all models here instead: a rehearsal against a simulated provider"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="also show what plans and workers log; it is kept in the journal's logs/"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the artifact goes (default: into the journal)"
    )


def run(given: argparse.Namespace) -> int:
    """Returns the exit status: 0 with an artifact, 1 without an artifact, 130 after Ctrl-C.

    If spec.gate has refused the winner, the status is 0 only with gate.onFailure: keep and an earlier run's artifact.
    """
    console = Console(stderr=False)
    began = time.monotonic()
    try:
        manifest = documents.read(given.file)
        if given.endpoint:
            manifest = documents.with_endpoint(manifest, given.endpoint)
        with _Interruptible(console) as display:
            done = compile_here(
                manifest,
                given.journal or JOURNALS / manifest.name,
                display,
                workers=given.workers,
                output=given.output,
                keep=given.keep,
                logged=display.logged if given.verbose else None,
            )
        seconds = time.monotonic() - began
        print_report(console, done.report, done.artifact, manifest.spec.program.entrypoint, seconds, done.paid_before)
        if manifest.spec.artifact.git is not None:
            note = f"spec.artifact.git is for clusters: the artifact is in {done.artifact}, and nothing was pushed"
            console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
        gate = manifest.spec.gate
        fails = done.report.refused and gate is not None and gate.on_failure == "fail"
        return 0 if done.is_published and not fails else 1
    except Stopped:
        console.print("\nStopped. Finished results are kept: the same command goes on from them.", highlight=False)
        return INTERRUPTED
    except SwarmError as error:
        console.print(f"[bold red]{error.reason}[/bold red]: {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1


class _Interruptible(Display):
    def opened(self, processes: Processes) -> None:
        stop_on_signals(processes)


def stop_on_signals(processes: Processes) -> None:
    """After Ctrl-C or SIGTERM, the driver finishes work in flight and starts no more.

    A second signal ends the driver at once.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if processes.is_stopped:
            sys.exit(INTERRUPTED)
        processes.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def positive(text: str) -> int:
    return _at_least(1, text)


def not_negative(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}")
    return number
