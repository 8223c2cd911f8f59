"""Computes a run's costs, by round and by phase, from the records that its processes printed."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from swarm_wire.message_base import Message
from swarm_wire.messages import CallMade, EffectKind, Result, Task
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Waste
from swarm_wire.spending import Usage
from swarm_worker.journal.store import Store

MARGIN = 1.1


class Phase(StrEnum):
    """The purpose of a part of a run."""

    BASELINE = "baseline"
    BOOTSTRAPS = "bootstraps"
    EVALUATION = "evaluation"
    PROPOSALS = "proposals"
    """LM calls that the optimizer makes itself, in the plan."""
    TEST = "test"


class Printed(NamedTuple):
    """A record, and the process that printed it."""

    round: int
    by_plan: bool
    record: Record


class Part(Message):
    """A part of a run.

    Attributes:
        effects: number of effects in this part.
        cells: number of cells of its waves and bootstraps. These cells can run concurrently.
    """

    effects: int = 0
    cells: int = 0
    usage: Usage = Usage()

    def __add__(self, other: "Part") -> "Part":
        return Part(
            effects=self.effects + other.effects, cells=self.cells + other.cells, usage=self.usage + other.usage
        )


class ModelCost(Message):
    """The usage of one model, and its cost in USD. The cost is None if the model's price is unknown."""

    usage: Usage
    cost: float | None


class Estimate(Message):
    """The estimated cost of a compile.

    Attributes:
        phases: parts by Phase, without empty ones.
        models: costs by the name of the model.
        cost: total in USD; None if a model's price is unknown.
        at_most: LM calls with a margin: a tenth more, and one more evaluation of the student. Real scores may lead the
            optimizer to other steps. With gate.against: published, it has the published program's evaluation, too.
        wasted: the part of the total that is for guesses that the optimizer did not need.
        prunes: whether the real run prunes candidates. Evaluations then cost less than estimated.
        tool_calls: how many tool calls an agent is assumed to make before it finishes.
        by_agents: how many LM calls agents make.
        seconds: duration of the estimate.
        training: what the fine-tuning jobs cost, as a clause; empty without a fine-tune. They are no LM calls, so no
            table and no total has them.
        notes: notes on metric and program, as sentences.
        serial_seconds: how long stock DSPy with one thread takes, if each LM call takes `--latency`.
        swarm_seconds: how long the spec's swarm takes at least, if each LM call takes `--latency`.
    """

    name: str
    pass_rate: float
    rounds: list[Part]
    phases: dict[Phase, Part]
    models: dict[str, ModelCost]
    total: Part
    cost: float | None
    at_most: int
    wasted: Waste
    prunes: bool = False
    tool_calls: int = 1
    by_agents: int = 0
    seconds: float = 0.0
    training: str = ""
    notes: Sequence[str] = ()
    serial_seconds: float | None = None
    swarm_seconds: float | None = None


@dataclass
class Round:
    """The LM calls of one round.

    Attributes:
        cells: number of LM calls of each cell that workers run. A cell makes its calls one after the other.
        proposals: how many LM calls the plan makes for the optimizer.
        in_place: how many LM calls the plan makes in small waves, which it runs itself.
    """

    part: Part = field(default_factory=Part)
    cells: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    proposals: int = 0
    in_place: int = 0

    def seconds(self, latency: float, *, pods: int, threads: int) -> float:
        """Returns the approximate duration if each LM call takes `latency` seconds.

        The cells take as long as the longest of them, or as long as all their calls divided among the threads. The
        estimate assumes that proposals are made one after the other.
        """
        scattered = max([sum(self.cells.values()) / (pods * threads), *self.cells.values()])
        return latency * (scattered + self.proposals + self.in_place / threads)


@dataclass
class Figures:
    """Rounds and phases of a run."""

    rounds: list[Round]
    phases: dict[Phase, Part]

    @property
    def total(self) -> Part:
        return sum((round_.part for round_ in self.rounds), Part())

    @property
    def at_most(self) -> int:
        """Returns the LM calls with a margin, as in `Estimate.at_most`."""
        baseline = self.phases.get(Phase.BASELINE, Part())
        return math.ceil(self.total.usage.calls * MARGIN) + baseline.usage.calls


def figures(printed: Sequence[Printed], *, has_test: bool) -> Figures:
    """Returns the rounds and phases of a run.

    Args:
        printed: the records that the processes of a completed run printed, in order.
        has_test: whether student and winner are evaluated on a test set, too.
    """
    names = _Names([entry.record for entry in printed], has_test)
    rounds: dict[int, Round] = defaultdict(Round)
    phases: dict[Phase, Part] = defaultdict(Part)
    seen: set[str] = set()
    for number, by_plan, record in printed:
        for identity, phase, part in names.parts(record):
            if identity not in seen:
                seen.add(identity)
                rounds[number].part += part
                phases[phase] += part
                if phase is Phase.PROPOSALS:
                    rounds[number].proposals += part.usage.calls
                elif by_plan:
                    rounds[number].in_place += part.usage.calls
                else:
                    rounds[number].cells[names.cell(record)] += part.usage.calls
    # The last plan only prints the artifact, so its round is left out.
    made_something = [rounds[number] for number in sorted(rounds) if rounds[number].part != Part()]
    return Figures(made_something, {phase: phases[phase] for phase in Phase if phases[phase] != Part()})


class _Names:
    """Assigns records to phases, by the tasks of a run and the effects that its plans needed."""

    def __init__(self, records: Sequence[Record], has_test: bool) -> None:
        tasks = [Task.model_validate(record.header) for record in records if record.kind is RecordKind.TASK]
        self._tasks = {task.digest: task for task in reversed(tasks)}
        self._task_of = {cell.key: task.digest for task in reversed(tasks) for cell in task.cells}
        stream = Store.of(record for record in records if record.kind is RecordKind.PLAN).stream
        self._calls = {digest for kind, digest in stream if kind not in tuple(EffectKind)}
        # The script evaluates the student on validation and test set, compiles, and evaluates the winner on both.
        waves = [digest for kind, digest in stream if kind == EffectKind.WAVE]
        self._baseline, self._tests = waves[0], {waves[1], waves[-1]} if has_test else set()

    def parts(self, record: Record) -> Iterator[tuple[str, Phase, Part]]:
        """Yields the parts of a record, each with a name and its phase. Parts with the same name count once."""
        match record.kind:
            case RecordKind.TASK:
                task = Task.model_validate(record.header)
                yield f"task {task.digest}", self._phase(task.digest), Part(effects=1, cells=len(task.cells))
            case RecordKind.PLAN:
                # An effect without a task is one that the plan ran itself.
                for kind, digest in Store.of([record]).stream:
                    if digest not in self._tasks:
                        phase = Phase.EVALUATION if kind in tuple(EffectKind) else Phase.PROPOSALS
                        yield f"effect {digest}", phase, Part(effects=1)
            case RecordKind.RESULT:
                result = Result.model_validate(record.header)
                in_place = result.key not in self._task_of and result.key not in self._calls
                yield result.key, self._phase_of_cell(result.key), Part(cells=int(in_place), usage=result.usage)
            case RecordKind.CALL:
                call = CallMade.model_validate(record.header)
                phase = Phase.PROPOSALS if call.cell is None else self._phase_of_cell(call.cell)
                yield call.identity, phase, Part(usage=call.usage)

    def cell(self, record: Record) -> str:
        return str(record.header.get("cell") or record.header.get("key"))

    def _phase_of_cell(self, key: str) -> Phase:
        return Phase.PROPOSALS if key in self._calls else self._phase(self._task_of.get(key, ""))

    def _phase(self, wave_or_bootstrap: str) -> Phase:
        task = self._tasks.get(wave_or_bootstrap)
        if task is not None and task.kind is EffectKind.BOOTSTRAP:
            return Phase.BOOTSTRAPS
        if wave_or_bootstrap in self._tests:
            return Phase.TEST
        return Phase.BASELINE if wave_or_bootstrap == self._baseline else Phase.EVALUATION
