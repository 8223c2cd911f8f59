"""Messages between operator and pods, as pydantic models with JSON in camelCase.

These models contain no pickled tasks and results, which travel as opaque bytes in the bodies of records.
"""

import re
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from swarm_wire.looks import MOST_LISTED, ListedModel, Watched
from swarm_wire.message_base import Digest, Figure, Message
from swarm_wire.names import SCHEMA_VERSION
from swarm_wire.report import Failures, Report, Scores
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Spending, Usage

COMMIT_ID = r"^[0-9a-f]{40,64}$"
"""Form of the id of a git commit."""
MOST_PARTS = 2048
"""Largest number of parts in which files travel."""


class Ending(Message):
    """Why a limit ends a run before its optimizer has finished."""

    why: str
    """The limit that ends the run, as a text for people."""
    limits: Limits
    """All limits that were in force when the run ended."""

    def holds(self, limits: Limits) -> bool:
        """Whether the same limits are still in force. `publish_partial` may differ, since it limits nothing."""
        return self.limits.model_copy(update={"publish_partial": limits.publish_partial}) == limits


STORED = "stored"
"""Field of a record's header that is set if the record's body is stored in the depot. Its value is a Stored."""


class Stored(Message):
    """Where in the run's depot the body of a record is. The depot is the storage that spec.journal names."""

    name: str
    """Name of the object in the depot."""
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    digest: Digest
    """First 32 hex digits of the sha256 of the body."""


class RunRequest(Message):
    """The content of REQUEST_FILE, which defines a run.

    The operator writes it once, and every pod of the run reads it.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    name: str
    namespace: str = ""
    requested_at: str | None = None
    """Value of the annotation requested-at. Runs reuse paid results only of runs with the same value."""
    rerun_at: str | None = None
    """Value of the annotation rerun-at that requested this run; None if that annotation did not request it."""
    unpublished: str | None = None
    """Why the run cannot use the published program although there was one, as a clause; None if there was none."""
    inherited: list[str] = Field([])
    """Ids of the runs of spec.predecessor whose results the run reuses, oldest first."""
    not_inherited: str | None = None
    """Why the run reuses no answers of spec.predecessor, as a clause; None if it does, or if the spec names none."""
    published_by: str = ""
    """Id of the run that has made the published program; empty if the run has none, or if its run is not known."""
    spec: CompilationSpec


class EffectKind(StrEnum):
    WAVE = "wave"
    """A wave: one cell for each example."""
    BOOTSTRAP = "bootstrap"
    """A bootstrap, which is one cell."""
    FINETUNE = "finetune"
    """A fine-tuning job, which is one cell. Its result comes hours later."""
    TRAIN = "train"
    """A training, which is one cell. A pod of its own computes it, with the user's trainer."""


class Cell(Message):
    """The smallest unit of work: one run of one program on one example, or one bootstrap."""

    key: Digest
    item: int = Field(0, ge=0)
    """Position of the cell's example in the task's list of items."""
    group: str | None = Field(None, pattern=r"^[0-9a-f]{8}$")
    """Cells of a group should run in one pod, which then pays for their common LM calls only once. None: no group."""


class Task(Message):
    """The request for one effect. `cells` has only the cells that the journal lacks."""

    digest: Digest
    kind: EffectKind
    payload: Digest
    """Key of the BLOB record with the pickled function and settings of the task."""
    items: Digest | None = None
    """Key of the BLOB record with the pickled list of items. Waves over the same data share this record."""
    cells: list[Cell] = Field(min_length=1)
    weight: int = Field(1, ge=1)
    """Approximate number of program runs in one cell of the task. A bootstrap runs the program many times."""
    max_errors: int | None = Field(None, ge=1)
    """With this many failed cells, the effect raises an error, and the other cells are not needed. None: no limit."""


class Outcome(StrEnum):
    OK = "ok"
    ERROR = "error"
    """The user's program or metric raised an exception. The optimizer gets this exception, as in stock DSPy."""


class Result(Message):
    """Header of a RESULT record, which has the result of one cell, or of one LM call that a plan made itself."""

    key: Digest
    outcome: Outcome
    usage: Usage = Usage()
    """Usage of the cell's LM calls. Calls that have a CALL record of their own are not counted here."""
    calls: list[Digest] = Field([])
    """Keys of the LM calls whose answers are in the body. There is at most one such call."""
    calls_at: int | None = Field(None, ge=0)
    """Position in the body at which these answers begin. The outcome comes before them."""
    reused: list[Digest] = Field([])
    """Keys of the LM calls for which an earlier run had paid."""
    needed: dict[str, Usage] | None = None
    """Usage of the calls that the program itself made for its example, by model and endpoint, whoever paid for them. It
    has no cost, because prices change. A metric's calls do not count. None: the cell is of no evaluation, or it has
    ended its process.
    """
    repeated: Figure | None = None
    """How many of the calls in `needed` asked again, because DSPy could not read an answer. None: nobody counted."""
    milliseconds: Figure | None = None
    """Time that providers took for the calls in `needed`, when they were made. None: that of a call is not known."""
    error: str | None = Field(None, max_length=500)
    """First line of the exception, for people. It begins with the name of its class."""


class Pending(Message):
    """Header of a PENDING record: a cell whose result a service outside of the cluster will have later.

    The pod that prints it ends, and another pod looks again later. The record with the highest number counts.
    """

    key: Digest
    number: int = Field(ge=1, le=1_000_000)
    """How often pods have looked, counted from 1."""
    retry_after: int = Field(ge=1, le=3600)
    """Seconds until the next pod looks, from the time at which the journal has the record."""
    handle: dict[str, str] = Field(max_length=20)
    """What the next pod has to know, such as the id of a job."""
    message: str = Field(max_length=500)
    """Tells people what the run waits for, as a clause."""


class CallMade(Message):
    """Header of a CALL record: one finished LM call of a running cell, or of a plan.

    The key identifies the LM request. A record without an answer only says that a model has answered in this run. The
    key of such a record identifies the model's address.
    """

    key: Digest
    usage: Usage = Usage()
    cell: Digest | None = None
    """Key of the cell that made the call; None if the plan made it."""

    @property
    def identity(self) -> str:
        """Returns what identifies this payment.

        If two cells make the same call at the same time, both pay for it, so the call counts twice.
        """
        return f"{self.key} {self.cell}" if self.cell else self.key


class PlanOutcome(StrEnum):
    BLOCKED = "blocked"
    """The plan has printed tasks, because results are missing."""
    DONE = "done"
    """The optimizer has finished, and an ARTIFACT record has program and report."""
    PARTIAL = "partial"
    """A limit has ended the run. An ARTIFACT record has the best program so far, if there is one."""


class Bound(Message):
    """Header of a BOUND record: the code and data to which a journal belongs."""

    binding: str
    """Digest of program files, data, installed packages, image and hash seed."""
    packages: str = ""
    """Digest of Python and the installed packages alone.

    Other versions of them may fail to read answers to LM calls.
    """


class PlanEnd(Bound):
    """Header of the PLAN record, which is the last record that a plan prints."""

    outcome: PlanOutcome
    round: int = Field(ge=0)
    """Number of the plan's round, counted from 0."""
    tasks: list[Digest] = Field([])
    cells: int = Field(0, ge=0)
    """Number of cells in the plan's tasks."""
    guesses: dict[Digest, int] = Field({})
    """Digest of each task that is a guess -> approximate number of program runs in the task."""
    scores: Scores = Scores()
    effects: int = 0
    """Number of effects that this plan needed, including the missing effect."""
    ending: Ending | None = None
    """Why the run ends; set only if the plan's outcome is PARTIAL."""
    failures: Failures | None = None
    """Failures of all rounds so far, without tracebacks."""
    notes: list[str] = Field([])
    """Notes for people. Each note is one sentence."""
    kept: list[str] | None = None
    """State that program and metric may change. The rehearsal has shown that the changes have no effect on the result.

    None: there was no rehearsal.
    """


PROGRAM_FILES: Final = ""
"""Value of `Snapshot.of` for the program's files."""


class Snapshot(Message):
    """Header of a SNAPSHOT record: one part of the files that a run has fetched.

    The bodies of all parts, in their order, are a .tar.gz archive of the program's files, or a file of data as it is.
    """

    of: Literal["", "train", "validation", "test"] = PROGRAM_FILES
    """The field of spec.data whose file this is; PROGRAM_FILES for the program's files."""
    url: str = Field(max_length=1024)
    """Where the files come from. It has no query, because a query may have a secret."""
    revision: str = Field("", max_length=256)
    """Id of the git commit. For data: what the server calls this state of the file; empty if it has no name for it."""
    part: int = Field(ge=0)
    """Number of the part, counted from 0."""
    parts: int = Field(ge=1, le=MOST_PARTS)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """sha256 of all bodies together: of the archive, or of the file of data."""
    files: Figure
    """Number of files."""
    notes: list[str] = Field([], max_length=20)
    """What the archive leaves out, as sentences for people."""

    @model_validator(mode="after")
    def _program_has_a_commit(self) -> Self:
        if self.of == PROGRAM_FILES and re.match(COMMIT_ID, self.revision) is None:
            raise ValueError("the program's files need the id of their commit as revision")
        return self


class PushOutcome(StrEnum):
    PUSHED = "Pushed"
    """A commit has the artifact."""
    UNCHANGED = "Unchanged"
    """The branch had the same bytes already, so there is no new commit."""


class Pushed(Message):
    """Header of a PUSHED record: where the artifact is in git."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """sha256 of the artifact's program file."""
    outcome: PushOutcome
    url: str = Field(max_length=1024)
    branch: str = Field(max_length=1024)
    commit: str = Field(pattern=COMMIT_ID)
    """Id of the commit that has the artifact."""
    pull_request: str | None = Field(None, max_length=2048)
    """URL of the pull request; None without one."""


class ArtifactHeader(Message):
    """Header of the ARTIFACT record.

    The body is JSON with the texts of PROGRAM_FILE, REPORT_FILE and MARKDOWN_FILE, by these names.
    """

    sha256: str
    """sha256 of the bytes of the program file."""
    report: Report


class SliceRef(Message):
    """Some cells of one task, as a part of a slice."""

    task: Digest
    cells: list[int]
    """Positions of the cells in the task's list of cells."""


class Assignment(Message):
    """The content of ASSIGNMENT_FILE: the slice of each Job index."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    round: int
    attempt: int
    slices: list[list[SliceRef]]
    trains: bool = False
    """Whether each slice is one training, for a pod with the user's trainer."""


class Commit(Message):
    """The commit record: how much a pod has printed, and how it ended. A pod leaves it as its termination message.

    It is JSON of at most 4,096 bytes.
    """

    schema_version: int = SCHEMA_VERSION
    nonce: str
    exit_code: int
    records: int = 0
    bytes: int = 0
    """Sum of the lengths of all frames that the pod printed."""
    digest: str = ""
    """sha256 over the digests of all records, in their sequence."""
    reason: str | None = Field(None, max_length=64)
    """A WorkerReason if the process failed; otherwise None."""
    message: str | None = Field(None, max_length=2000)
    """Tells people what went wrong, where, and what to write instead."""
    spent: Spending | None = None
    """What the pod has spent, or the most that it may have spent; None if it had no allowance."""
    watched: Watched | None = None
    """What a watch pod has found."""
    listed: list[ListedModel] | None = Field(None, max_length=MOST_LISTED)
    """The models that a look has found."""
