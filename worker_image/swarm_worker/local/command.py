"""`python -m swarm_worker run`."""

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from swarm_wire.messages import Report, RunRequest
from swarm_worker.errors import SwarmError
from swarm_worker.local import manifests
from swarm_worker.local.display import Display, print_report
from swarm_worker.local.driver import Driver, Stopped
from swarm_worker.local.folder import JournalFolder, fingerprint
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
        help=f"where finished results are kept (default {JOURNALS}/NAME-FINGERPRINT, beside the journals of other "
        "states of the same compile: what is in them is used)",
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
    """The exit status: 0 with an artifact, 1 without, 130 after Ctrl-C."""
    console = Console(stderr=False)
    began = time.monotonic()
    try:
        manifest = manifests.read(given.file)
        if given.endpoint:
            manifest = manifests.with_endpoint(manifest, given.endpoint)
        mark = fingerprint(manifest)
        folder = JournalFolder(given.journal or JOURNALS / f"{manifest.name}-{mark}")
        request = RunRequest(run_id=mark, name=manifest.name, spec=manifest.spec)
        with folder.locked():
            folder.open(request, manifest)
            if given.journal is None:
                folder.link(JournalFolder(path) for path in JOURNALS.glob(f"{manifest.name}-{'[0-9a-f]' * 12}"))
            display = Display(console)
            processes = Processes(folder, manifest, display.logged if given.verbose else None)
            stop_on_signals(processes)
            with display:
                driver = Driver(folder, request, processes, display, workers=given.workers)
                display.start(manifest.name, manifest.spec, folder.root, driver.resumed, driver.known.usage)
                artifact = driver.run()
            target = given.output or folder.artifact
            target.mkdir(parents=True, exist_ok=True)
            for name, text in json.loads(artifact.body).items():
                (target / name).write_text(text, encoding="utf-8")
            report = Report.model_validate(artifact.header["report"])
            print_report(console, report, target, manifest.spec.program.entrypoint, time.monotonic() - began)
            if report.partial is None:  # otherwise it may go on from there
                shutil.rmtree(folder.root / "rounds", ignore_errors=True)
    except Stopped:
        console.print("\nStopped. Finished results are kept: the same command goes on from them.", highlight=False)
        return INTERRUPTED
    except SwarmError as error:
        console.print(f"[bold red]{error.reason}[/bold red]: {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    return 0


def stop_on_signals(processes: Processes) -> None:
    """Ctrl-C or SIGTERM: finish what is in flight, keep it, start nothing more. A second one ends at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if processes.is_stopped:
            sys.exit(INTERRUPTED)
        processes.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
