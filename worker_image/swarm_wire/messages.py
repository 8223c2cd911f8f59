"""Messages between operator and pods, as pydantic models with JSON in camelCase.

Payloads (pickled tasks and results) are not in these models: they travel as opaque bytes in the bodies of records.
"""

from enum import StrEnum

from pydantic import Field

from swarm_wire.message_base import Digest, Message
from swarm_wire.names import SCHEMA_VERSION
from swarm_wire.report import Failures, Report, Scores
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Spending, Usage


class Ending(Message):
    """Why a run ends before its compile does."""

    why: str
    """The limit, for people."""
    limits: Limits
    """The limits that were in force."""

    def holds(self, limits: Limits) -> bool:
        """Whether the same limits are in force."""
        return self.limits.model_copy(update={"publish_partial": limits.publish_partial}) == limits


STORED = "stored"
"""Header field of a record whose body is stored elsewhere. Its value: Stored."""


class Stored(Message):
    """Where in the run's depot the body of a record is."""

    name: str
    """Name of an object in the depot."""
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    digest: Digest
    """The first 32 hex digits of the body's sha256."""


class RunRequest(Message):
    """REQUEST_FILE: the definition of a run. Written once, read by every pod of the run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    name: str
    namespace: str = ""
    requested_at: str | None = None
    """Value of the annotation. Runs with the same value share what they paid for, and only they do."""
    rerun_at: str | None = None
    """Value of the annotation that requested this run, if it did."""
    spec: CompilationSpec


class EffectKind(StrEnum):
    WAVE = "wave"
    """An evaluation wave: one cell for each example."""
    BOOTSTRAP = "bootstrap"
    """A whole `BootstrapFewShot.compile`: one cell."""


class Cell(Message):
    """The smallest unit of work and of loss."""

    key: Digest
    item: int = Field(0, ge=0)
    """Position in the task's list of items."""
    group: str | None = Field(None, pattern=r"^[0-9a-f]{8}$")
    """A group's cells are best run in one pod, which pays for their common LM calls only once. None: no preference."""


class Task(Message):
    """The request for one effect. `cells` holds only what the journal lacks."""

    digest: Digest
    kind: EffectKind
    payload: Digest
    """Key of the blob with the pickled function and settings."""
    items: Digest | None = None
    """Key of the blob with the pickled list of items; waves over the same data share it."""
    cells: list[Cell] = Field(min_length=1)
    weight: int = Field(1, ge=1)
    """Roughly how many runs of the program a cell takes: a bootstrap is a sequence of them."""
    max_errors: int | None = Field(None, ge=1)
    """When so many cells have failed, the effect is an error, and the other cells are not needed. None: no limit."""


class Outcome(StrEnum):
    OK = "ok"
    ERROR = "error"
    """The user's program or metric raised. The optimizer sees the exception, as it would in stock DSPy."""


class Result(Message):
    """Header of a RESULT record: one finished cell, or one LM call that the plan made itself."""

    key: Digest
    outcome: Outcome
    usage: Usage = Usage()
    """Usage of the calls that no earlier CALL record has."""
    calls: list[Digest] = Field([])
    """Keys of the LM calls whose answers the body carries; one at most."""
    calls_at: int | None = Field(None, ge=0)
    """Where in the body their answers begin, after the outcome."""
    reused: list[Digest] = Field([])
    """Keys of the LM calls that an earlier run had paid for."""
    error: str | None = Field(None, max_length=500)
    """First line of the exception, for people."""


class CallMade(Message):
    """Header of a CALL record: a finished LM call of a running cell or of the plan itself. Its key identifies the
    request. A record without an answer says that a model has answered in this run; its key identifies the address.
    """

    key: Digest
    usage: Usage = Usage()
    cell: Digest | None = None
    """Key of the cell that made the call. None: the plan made it itself."""

    @property
    def identity(self) -> str:
        """Identifies a payment: a call that two cells made at the same time was paid twice, and counts twice."""
        return f"{self.key} {self.cell}" if self.cell else self.key


class PlanOutcome(StrEnum):
    BLOCKED = "blocked"
    """Results are missing; the tasks request them."""
    DONE = "done"
    """The compile script returned: an ARTIFACT record holds program and report."""
    PARTIAL = "partial"
    """A limit has ended the run: an ARTIFACT record holds the best program so far, if any."""


class Bound(Message):
    """Header of a BOUND record: the code and data that a journal belongs to."""

    binding: str
    """Digest of program source, data, installed distributions, image and hash seed."""
    packages: str = ""
    """Digest of Python and the installed distributions alone: other versions may fail to read answers to LM calls."""


class PlanEnd(Bound):
    """Header of the PLAN record that closes a plan's output."""

    outcome: PlanOutcome
    round: int = Field(ge=0)
    """Number of this plan, counted from 0."""
    tasks: list[Digest] = Field([])
    cells: int = Field(0, ge=0)
    """Cells in those tasks."""
    guesses: dict[Digest, int] = Field({})
    """Digest of a task that is a guess -> roughly how many runs of the program it takes. A guess is likely to be
    needed, but that depends on a missing score."""
    scores: Scores = Scores()
    effects: int = 0
    """Effects that this plan needed, including the missing one."""
    ending: Ending | None = None
    """Set by a partial plan."""
    failures: Failures | None = None
    """Failures so far, without tracebacks."""
    notes: list[str] = Field([])
    """Notes for people, one sentence each."""
    kept: list[str] | None = None
    """State that program and metric may change, because the rehearsal has shown that the change has no effect. None:
    there was no rehearsal."""


class ArtifactHeader(Message):
    """Header of the ARTIFACT record; its body is the JSON {"program": ..., "report": ...}."""

    sha256: str
    """sha256 of the program file's bytes."""
    report: Report


class SliceRef(Message):
    """Some cells of one task."""

    task: Digest
    cells: list[int]
    """Positions in the task's list of cells."""


class Assignment(Message):
    """ASSIGNMENT_FILE: the slice of each Job index."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    round: int
    attempt: int
    slices: list[list[SliceRef]]


class Commit(Message):
    """The termination message: how much a pod printed, and how it ended. At most 4,096 bytes of JSON."""

    schema_version: int = SCHEMA_VERSION
    nonce: str
    exit_code: int
    records: int = 0
    bytes: int = 0
    """Sum of the lengths of all frames."""
    digest: str = ""
    """sha256 over the record digests, in sequence."""
    reason: str | None = Field(None, max_length=64)
    """A WorkerReason, if the process failed."""
    message: str | None = Field(None, max_length=2000)
    """For people: what went wrong, where, and what to write instead."""
    spent: Spending | None = None
    """What the pod spent, or the most that it may have spent."""
