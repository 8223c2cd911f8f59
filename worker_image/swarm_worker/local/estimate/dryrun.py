"""Runs a compile by the local driver in a temporary folder, with imaginary models and assumed scores."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from swarm_wire.messages import Result
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Report
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Usage
from swarm_worker.imaginary.mode import Imagination
from swarm_worker.local.documents import Manifest
from swarm_worker.local.driver import Driver, Watcher
from swarm_worker.local.estimate.figures import Printed
from swarm_worker.local.fetching import with_data, with_files
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.processes import Ended, Processes


@dataclass(frozen=True)
class Ran:
    """The records and figures of a completed dry run.

    Attributes:
        printed: all records of all processes, in order; only those of plans have bodies.
        asked: usage of each model, by its name.
        by_agents: how many LM calls agents made. Agents decide themselves when they end, so real runs may differ.
        report: the artifact's report.
        unscored: the ways in which the metric failed, as sentences.
    """

    printed: list[Printed]
    asked: dict[str, Usage]
    by_agents: int
    report: Report
    unscored: list[str]


@contextmanager
def dry_run(
    manifest: Manifest, workers: int, say: Callable[[str], None], *, pass_rate: float, tool_calls: int
) -> Iterator["DryRun"]:
    """Yields a run that is ready to start. The run's folder is deleted after the block."""
    with tempfile.TemporaryDirectory() as scratch:
        imagination = Imagination(pass_rate, tool_calls, Path(scratch) / "calls")
        with with_data(with_files(manifest), Path(scratch)) as complete:
            yield DryRun(_tolerant(complete), imagination, Path(scratch), workers, say)


class DryRun(Watcher):
    def __init__(
        self, manifest: Manifest, imagination: Imagination, scratch: Path, workers: int, say: Callable[[str], None]
    ) -> None:
        self._log, self._say, self._workers = imagination.log, say, workers
        self._folder = JournalFolder(scratch / "journal")
        self._request = self._folder.open(manifest)
        self.processes = _Listening(self._folder, manifest, imagination)
        self._round = self._cells = self._done = 0

    def run(self) -> Ran:
        """Runs to the end. Raises RunFailed. Raises Stopped after `processes.stop`."""
        driver = Driver(self._folder, self._request, self.processes, self, workers=self._workers)
        artifact = driver.run()
        asked: dict[str, Usage] = defaultdict(Usage)
        by_agents, unscored = 0, dict[str, str]()
        for line in self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else ():
            told = json.loads(line)
            if (kind := told.pop("metric", None)) is not None:
                unscored.setdefault(kind, told["text"])
            else:
                by_agents += told.pop("byAgent")
                asked[told.pop("model")] += Usage.model_validate(told)
        report = Report.model_validate(artifact.header["report"])
        return Ran(self.processes.printed, dict(sorted(asked.items())), by_agents, report, [*unscored.values()])

    # The methods below override those of Watcher.

    def planning(self, round_: int, attempt: int = 1, why: str = "") -> None:
        self._say(f"round {round_}: plan")

    def scattering(self, round_: int, attempt: int, cells: int, processes: int, why: str = "") -> None:
        self._round, self._cells, self._done = round_, cells, 0

    def gathered(self, result: Result) -> None:
        self._done += 1
        self._say(f"round {self._round}: {self._done} of {self._cells} cells")


class _Listening(Processes):
    """Runs processes with imaginary models, and keeps the records that they print."""

    def __init__(self, folder: JournalFolder, manifest: Manifest, imagination: Imagination) -> None:
        super().__init__(folder, manifest)
        self._extra = imagination.environment()
        self.printed: list[Printed] = []

    def run(self, command: str, label: str, extra: Mapping[str, str], on_record: Callable[[Record], None]) -> Ended:
        def heard(record: Record) -> None:
            body = record.body if record.kind is RecordKind.PLAN else b""
            self.printed.append(Printed(round_, command == "plan", replace(record, body=body)))
            on_record(record)

        round_ = int(label.split("-")[1])
        return super().run(command, label, {**extra, **self._extra}, heard)


def _tolerant(manifest: Manifest) -> Manifest:
    """Returns the manifest without limits, maxErrors and pruning.

    Invented answers cost nothing. A program may fail on them more often than on real answers. What pruning saves with
    invented scores says nothing about real scores.
    """
    written = {name: value for name, value in manifest.spec.as_written().items() if name != "limits"}
    written["swarm"]["pruning"] = "off"
    [optimizer] = written["optimizer"].values()
    for parameters in optimizer, *optimizer.get("p", {}).values():
        parameters.pop("maxErrors", None)
    return replace(manifest, spec=CompilationSpec.model_validate(written))
