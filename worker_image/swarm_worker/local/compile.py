"""The local driver as a library function: compiles on this machine."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swarm_wire.names import PROGRAM_FILE
from swarm_wire.report import Report
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.local.documents import Manifest
from swarm_worker.local.driver import Driver, OfAnotherState, Watcher
from swarm_worker.local.fetching import with_data, with_files
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.processes import Processes
from swarm_worker.local.reasons import LocalReason


def _check_trainer(spec: CompilationSpec, base: Path) -> None:
    """Raises BadInput if this machine cannot run the trainer of a spec.

    Args:
        base: the folder in which its command runs.
    """
    trainer = spec.trainer
    if trainer is None:
        return
    program = trainer.command[0] if trainer.command else ""
    is_there = shutil.which(program, path=os.environ.get("PATH")) or (base / program).is_file()
    wrong = {
        "base.volume is on a volume of the cluster. To run here, write base.path.": trainer.base.volume is not None,
        "command is missing, and this machine runs no image. Write the trainer's command.": not program,
        f"command: there is no program {program}, neither on the PATH nor in {base}.": bool(program) and not is_there,
        "env.valueFrom is for clusters. To run here, set the variable in your shell, and remove it here.": any(
            variable.value_from for variable in trainer.env
        ),
        "output.options is for clusters. To run here, remove it, and give fsspec the credentials by its own variables "
        "and files.": trainer.output.options is not None,
    }
    for problem, is_so in wrong.items():
        if is_so:
            raise BadInput(LocalReason.NEEDS_CLUSTER, f"spec.finetune.trainer.{problem}")


@dataclass(frozen=True)
class Compiled:
    """The result of `compile_here`.

    Attributes:
        artifact: the folder with the compiled program and its report. If spec.gate has refused the winner, this folder
            is not that of published artifacts.
        is_published: whether this run has published an artifact, or has kept that of an earlier run.
        paid_before: how many LM calls the run had paid for before this call of `compile_here`.
    """

    artifact: Path
    report: Report
    paid_before: int
    is_published: bool


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
    """Compiles with a folder as journal. If the folder has an unfinished run, continues this run.

    Args:
        workers: number of concurrent worker processes.
        output: folder for the artifact. None: the artifact goes into the journal's folder.
        keep: number of earlier runs that stay unchanged.
        logged: receives a process's label and each line that the process logs.

    Raises RunFailed, Stopped, BadInput if the folder cannot be used or program or data cannot be fetched, and
    DataUnreachable if the server of data does not answer.
    """
    _check_trainer(manifest.spec, manifest.folder)
    manifest, folder = with_files(manifest), JournalFolder(journal)
    with folder.locked(), with_data(manifest, folder.root) as manifest:
        processes = Processes(folder, manifest, logged)
        watcher.opened(processes)

        def begin() -> Driver:
            return Driver(folder, folder.open(manifest, output), processes, watcher, workers=workers)

        driver = begin()
        watcher.start(manifest, folder.root, driver.resumed, driver.journal.usage)
        try:
            artifact = driver.run()
        except OfAnotherState as found:
            watcher.begin_anew(found.reason)
            folder.retire()
            driver = begin()
            artifact = driver.run()
        report = Report.model_validate(artifact.header["report"])
        place = output or folder.artifact
        target = folder.refused if report.refused else place
        target.mkdir(parents=True, exist_ok=True)
        for name, text in json.loads(artifact.body).items():
            (target / name).write_text(text, encoding="utf-8")
        if report.refused and output is None:
            folder.restore_artifact()
        if report.partial is None:  # after a partial artifact, the same command may continue the run
            shutil.rmtree(folder.root / "rounds", ignore_errors=True)
        folder.prune(keep)
    return Compiled(target, report, driver.paid_before, is_published=(place / PROGRAM_FILE).exists())
