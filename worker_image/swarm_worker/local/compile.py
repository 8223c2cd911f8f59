"""A compile on this machine, as a function."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swarm_wire.report import Report
from swarm_worker.local.documents import Manifest
from swarm_worker.local.driver import Driver, OfAnotherState, Watcher
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.processes import Processes


@dataclass(frozen=True)
class Compiled:
    """
    Attributes:
        artifact: the folder with the compiled program and its report.
        paid_before: LM calls that the run had paid for when this compile went on with it.
    """

    artifact: Path
    report: Report
    paid_before: int


def compile_here(
    manifest: Manifest,
    journal: Path,
    watcher: Watcher,
    *,
    workers: int = 2,
    output: Path | None = None,
    keep: int = 5,
    logged: Callable[[str, str], None] | None = None,
) -> Compiled:
    """Compiles in a journal's folder, or goes on there.

    Args:
        workers: worker processes side by side.
        output: where the artifact goes; None: into the journal.
        keep: how many earlier runs stay as they are.
        logged: is told each line that a process logs, with the process's label.

    Raises RunFailed, Stopped, or BadInput where the folder cannot be used.
    """
    folder = JournalFolder(journal)
    with folder.locked():
        processes = Processes(folder, manifest, logged)
        watcher.opened(processes)
        driver = Driver(folder, folder.open(manifest), processes, watcher, workers=workers)
        watcher.start(manifest, folder.root, driver.resumed, driver.journal.usage)
        try:
            artifact = driver.run()
        except OfAnotherState as found:
            watcher.begin_anew(found.reason)
            folder.retire()
            driver = Driver(folder, folder.open(manifest), processes, watcher, workers=workers)
            artifact = driver.run()
        target = output or folder.artifact
        target.mkdir(parents=True, exist_ok=True)
        for name, text in json.loads(artifact.body).items():
            (target / name).write_text(text, encoding="utf-8")
        report = Report.model_validate(artifact.header["report"])
        if report.partial is None:  # otherwise it may go on from there
            shutil.rmtree(folder.root / "rounds", ignore_errors=True)
        folder.prune(keep)
    return Compiled(target, report, driver.paid_before)
