"""What operator and pods tell each other, as pydantic models with JSON in camelCase.

Payloads (pickled tasks and results) are opaque bytes here: they travel in record bodies, not in these models.
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
    """That the run was kept to."""

    def holds(self, limits: Limits) -> bool:
        """Whether the same limits are in force."""
        return self.limits.model_copy(update={"publish_partial": limits.publish_partial}) == limits


STORED = "stored"
"""In the header of a record whose body is not with it: Stored."""


class Stored(Message):
    """Where the body of a record is kept: in the run's depot."""

    name: str
    """Of an object, within the depot."""
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    digest: Digest
    """The first 32 hex digits of the body's sha256."""


class RunRequest(Message):
    """REQUEST_FILE: what a run is about. Written once, read by every pod of the run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    name: str
    namespace: str = ""
    requested_at: str | None = None
    """The annotation that it answers: what one request has paid for is used in all its runs, and in no other's."""
    rerun_at: str | None = None
    """The annotation that asked for this one of the request's runs, if one did."""
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
    """Cells of one group are best run in one pod, which then pays once for what they ask alike. None: no preference."""


class Task(Message):
    """The request for one effect. `cells` holds only what the journal lacks."""

    digest: Digest
    kind: EffectKind
    payload: Digest
    """Key of the blob with the pickled function and settings."""
    items: Digest | None = None
    """Key of the blob with the pickled list of items, shared by waves over the same data."""
    cells: list[Cell] = Field(min_length=1)
    weight: int = Field(1, ge=1)
    """Cost of one cell in LM calls of one program run, roughly: a bootstrap is a sequence of them."""
    max_errors: int | None = Field(None, ge=1)
    """When so many of the cells have failed, nobody needs the others: the effect is an error. None: it bears any."""


class Outcome(StrEnum):
    OK = "ok"
    ERROR = "error"
    """The user's program or metric raised. The optimizer sees the exception, as it would in stock DSPy."""


class Result(Message):
    """Header of a RESULT record: one finished cell, or one LM call that the plan made itself."""

    key: Digest
    outcome: Outcome
    usage: Usage = Usage()
    """Of the calls that this record is the first to tell of: what CALL records told before is not in it."""
    calls: list[Digest] = Field([])
    """Keys of the LM calls whose answers the body carries; one at most."""
    calls_at: int | None = Field(None, ge=0)
    """Where in the body their answers begin, behind the outcome."""
    reused: list[Digest] = Field([])
    """Keys of the LM calls that an earlier run had paid for."""
    error: str | None = Field(None, max_length=500)
    """First line of what was raised, for people."""


class CallMade(Message):
    """Header of a CALL record: one finished LM call, of a cell that is still running or of the plan itself. Its key
    names the request. One without an answer says that its model has answered in this run: its key names the address.
    """

    key: Digest
    usage: Usage = Usage()
    cell: Digest | None = None
    """Key of the cell that made the call. None: the plan made it itself."""

    @property
    def identity(self) -> str:
        """Tells payments apart: a call that two cells made at the same time was paid twice, and counts twice."""
        return f"{self.key} {self.cell}" if self.cell else self.key


class PlanOutcome(StrEnum):
    BLOCKED = "blocked"
    """Results are missing: the tasks say which."""
    DONE = "done"
    """The compile script returned: an ARTIFACT record holds program and report."""
    PARTIAL = "partial"
    """A limit has ended the run: an ARTIFACT record holds the best program so far, if there is any."""


class Bound(Message):
    """Header of a BOUND record: what a journal belongs to."""

    binding: str
    """Digest of program source, data, installed distributions, image and hash seed."""
    packages: str = ""
    """Digest of Python and the installed distributions alone: others may not be able to read answers to LM calls."""


class PlanEnd(Bound):
    """Header of the PLAN record that closes a plan's output."""

    outcome: PlanOutcome
    round: int = Field(ge=0)
    """Number of the plan that says this, counted from 0."""
    tasks: list[Digest] = Field([])
    cells: int = Field(0, ge=0)
    """Cells in those tasks."""
    guesses: dict[Digest, int] = Field({})
    """Those of the tasks that are guesses, likely to be needed though a missing score may make it otherwise; and about
    how many runs of the program each takes."""
    scores: Scores = Scores()
    effects: int = 0
    """Effects that this plan needed, the missing one included."""
    ending: Ending | None = None
    """Of a partial plan."""
    failures: Failures | None = None
    """So far, without tracebacks."""
    notes: list[str] = Field([])
    """What people should know, a sentence each."""
    kept: list[str] | None = None
    """What program and metric change of what they can reach, and may: the rehearsal has shown that it does not count.
    None: they were not rehearsed."""


class ArtifactHeader(Message):
    """Header of the ARTIFACT record; its body is the JSON {"program": ..., "report": ...}."""

    sha256: str
    """Of the program file's bytes."""
    report: Report


class SliceRef(Message):
    """Some cells of one task."""

    task: Digest
    cells: list[int]
    """Positions in the task's list of cells."""


class Assignment(Message):
    """ASSIGNMENT_FILE: which slice each Job index has to do."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    round: int
    attempt: int
    slices: list[list[SliceRef]]


class Commit(Message):
    """The termination message: what a pod printed in all, and how it ended. At most 4,096 bytes of JSON."""

    schema_version: int = SCHEMA_VERSION
    nonce: str
    exit_code: int
    records: int = 0
    bytes: int = 0
    """Sum of the lengths of all frames."""
    digest: str = ""
    """sha256 over the record digests, in sequence."""
    reason: str | None = Field(None, max_length=64)
    """A documented CamelCase word when the process failed."""
    message: str | None = Field(None, max_length=2000)
    """For people: what went wrong, where, and what to write instead."""
    spent: Spending | None = None
    """What the pod spent, or at most may have."""
