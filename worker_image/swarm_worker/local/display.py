"""Shows a local run on the terminal: a live line for each round, then a short report."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from swarm_engine.markdown import in_use, loading, saving
from swarm_wire.messages import CallMade, Result
from swarm_wire.names import PROGRAM_FILE, REPORT_FILE
from swarm_wire.report import VALIDATION_SET, Report, Scores
from swarm_wire.spending import Spending, Usage, price_clause
from swarm_wire.words import sentence
from swarm_worker.local.documents import Manifest
from swarm_worker.local.driver import Watcher

SHOWN = 5
"""How many candidates the terminal shows. The report has more."""


class Display(Watcher):
    """Draws the events of a run. If the output is not a terminal, prints one line for each step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=False,
        )
        self._lock = threading.Lock()
        self._task: TaskID | None = None
        self._usage, self._scores = Usage(), Scores()
        self._started = time.monotonic()

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, manifest: Manifest, journal: Path, resumed: int, usage: Usage) -> None:
        self._usage = usage
        optimizer = manifest.spec.optimizer.which.replace("_", " ")
        self._say(f"[bold]{manifest.name}[/bold]: {optimizer}, student {manifest.spec.models.student.model}")
        going_on = f", going on from {resumed} results" if resumed else ""
        self._say(f"journal {journal}{going_on}")

    def begin_anew(self, reason: str) -> None:
        self._end()
        self._usage, self._scores = Usage(), Scores()
        self._say(
            f"the journal is of another state ({reason}): a new run begins, and uses what it holds and is still valid"
        )

    def planning(self, round_: int, attempt: int = 1, why: str = "") -> None:
        self._end()
        self._again(f"round {round_}  plan", attempt, why)
        self._begin(f"round {round_}  plan", None)

    def planned(self, scores: Scores) -> None:
        self._scores = scores
        self._end()

    def scattering(self, round_: int, attempt: int, cells: int, processes: int, why: str = "") -> None:
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._end()
        self._again(f"round {round_}", attempt, why)
        self._begin(f"round {round_}  {processes} worker{'s' * (processes > 1)}{again}", cells)

    def waiting(self, messages: Sequence[str], until: datetime) -> None:
        self._end()
        when = f"{until.astimezone():%H:%M:%S}"
        self._console.print(f"waits until {when}: {'; '.join(messages)}", highlight=False, markup=False, soft_wrap=True)

    def gathered(self, result: Result) -> None:
        with self._lock:
            self._usage += result.usage
            if self._task is not None:
                self._progress.update(self._task, advance=1, note=self._note())

    def called(self, call: CallMade) -> None:
        with self._lock:
            self._usage += call.usage
            if self._task is not None:
                self._progress.update(self._task, note=self._note())

    def logged(self, label: str, line: str) -> None:
        """Shows a line that a process wrote to standard error."""
        self._console.print(f"{label}  {line}", highlight=False, markup=False, soft_wrap=True)

    def _note(self) -> str:
        parts = [f"{self._usage.calls} calls{price_clause(self._usage.micro_usd)}"]
        if self._scores.baseline is not None:
            parts.append(f"baseline {self._scores.baseline:.1f}")
        if self._scores.best is not None:
            parts.append(f"best {self._scores.best:.1f}")
        return "  ".join(parts)

    def _again(self, what: str, attempt: int, why: str) -> None:
        """Prints the reason for another attempt."""
        if attempt > 1 and why:
            self._console.print(
                f"{what}: attempt {attempt}, because of {sentence(why)}", highlight=False, markup=False, soft_wrap=True
            )

    def _begin(self, text: str, cells: int | None) -> None:
        with self._lock:
            if self._task is not None and cells is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(text, total=cells, note=self._note())
            if not self._console.is_terminal and cells is not None:
                self._console.print(f"{text}: {cells} cells, {self._note()}")

    def _end(self) -> None:
        with self._lock:
            if self._task is not None:
                task = self._progress.tasks[self._progress.task_ids.index(self._task)]
                if task.total is None:
                    self._progress.remove_task(self._task)
                else:
                    self._progress.update(self._task, completed=task.total)
                self._task = None

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def print_report(
    console: Console, report: Report, artifact: Path, entrypoint: str, seconds: float, before: int = 0
) -> None:
    """Prints the scores, the costs, where the artifact is, and how to load it.

    Args:
        seconds: duration of the command.
        before: how many LM calls the run had paid for when the command began.
    """
    _print_scores(console, report, artifact)
    _print_costs(console, report, seconds, before)
    for note in report.notes:
        console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if report.partial is not None:
        warning = f"partial: {report.partial}. This is the best program by then, not the optimizer's winner."
        console.print(f"[bold yellow]{escape(warning)}[/bold yellow]", highlight=False, soft_wrap=True)
    for text in report.refused:
        refusal = f"[bold yellow]not published[/bold yellow]: {escape(sentence(text))}"
        console.print(refusal, highlight=False, soft_wrap=True)
    if report.refused:
        console.print(f"\nThe winner is in {artifact}, for you to look at.", highlight=False, soft_wrap=True)
        return
    module, _, attribute = entrypoint.partition(":")
    console.print(f"\nThe artifact is in {artifact}. To use it:\n", highlight=False)
    console.print(f"    from {module} import {attribute.partition('.')[0]}", highlight=False)
    console.print(f"    program = {attribute}{'' if report.is_instance else '()'}", highlight=False)
    console.print(f'    program.load("{artifact / PROGRAM_FILE}")', highlight=False, soft_wrap=True)
    for line in loading(report):
        console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)


def _print_scores(console: Console, report: Report, artifact: Path) -> None:
    scores = report.scores
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, align in (("", "left"), ("baseline", "right"), ("winner", "right")):
        table.add_column(title, justify="right" if align == "right" else "left")
    row = "validation" if report.scored_on == VALIDATION_SET else "training"
    table.add_row(row, _percent(scores.baseline), f"[bold green]{_percent(scores.best)}[/bold green]")
    if scores.test_winner is not None:
        table.add_row(
            "test", _percent(scores.test_baseline), f"[bold green]{_percent(scores.test_winner)}[/bold green]"
        )
    console.print()
    console.print(table)
    console.print("scores are percentages: 100 is the metric's 1 on every example", highlight=False)
    if report.comparison is not None:
        against = "" if report.against == "baseline" else f", against {report.rival}: {_percent(report.published)}"
        console.print(f"{report.comparison} ({report.compared_on}{against})", highlight=False, soft_wrap=True)
    if report.retention is not None:
        kept = f"{report.retention} ({report.compared_on}; the teacher scores {_percent(report.teacher)})"
        console.print(kept, highlight=False, soft_wrap=True)
    for line in (*saving(report), *in_use(report)):
        console.print(line, highlight=False, soft_wrap=True)
    if report.scored_on != VALIDATION_SET:
        console.print(f"scored on {report.scored_on}: the spec names no data.validation", highlight=False)
    if report.failures is not None:
        console.print(f"failures: {report.failures}", highlight=False, markup=False, soft_wrap=True)
        for line in report.failures.lines:
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"  tracebacks: {artifact / REPORT_FILE}, failures.groups", highlight=False, soft_wrap=True)
    if report.candidates:
        told = [f"{each.name} {'≤ ' * each.bound}{each.score:.1f}" for each in report.candidates]
        best = ", ".join(told if len(told) <= SHOWN else [*told[:SHOWN], "…"])
        on = f" on {report.candidates_on}" if report.candidates_on != report.scored_on else ""
        console.print(f"{len(report.candidates)} candidates, best first{on}: {best}", highlight=False)


def _print_costs(console: Console, report: Report, seconds: float, before: int) -> None:
    usage = report.usage
    tokens = usage.prompt_tokens + usage.completion_tokens
    took = f"{usage.calls} LM calls, {tokens:,} tokens{price_clause(usage.micro_usd)}"
    now = f" by the run so far; {usage.calls - before} LM calls and {seconds:.0f} s now" if before else ""
    console.print(f"{took}, {report.rounds} rounds{now or f', {seconds:.0f} s in this run'}", highlight=False)
    console.print(f"waste: {_waste(report)}", highlight=False)
    if report.pruned.cells:
        console.print(
            f"saved: {report.pruned.cells:,} cells of {report.pruned.candidates} candidates that could not win any "
            "more",
            highlight=False,
        )
    if report.reused.calls:
        cells = f"; {report.reused.cells:,} cells were not run again" if report.reused.cells else ""
        console.print(
            f"reused: {report.reused.calls:,} LM calls that earlier runs had paid for{cells}", highlight=False
        )
    if report.repeated_calls:
        console.print(f"repeated after faults: {report.repeated_calls} LM calls at most", highlight=False)
    if report.spent is not None:
        console.print(f"spent: {_spent(report.spent)}", highlight=False)


def _waste(report: Report) -> str:
    wasted = report.wasted
    if not wasted.cells:
        return "none"
    share = 100 * wasted.calls / max(1, report.usage.calls)
    return f"{wasted.calls} LM calls ({share:.1f} %) for {wasted.cells} cells that were not needed"


def _spent(spent: Spending) -> str:
    money = price_clause(spent.micro_usd or None)
    return f"{spent.calls} LM calls, {spent.tokens:,} tokens{money}, by the books that keep the limits"


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
