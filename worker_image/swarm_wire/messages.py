"""What operator and pods tell each other, as pydantic models with JSON in camelCase.

Payloads (pickled tasks and results) are opaque bytes here: they travel in record bodies, not in these models.
"""

from collections.abc import Callable
from enum import StrEnum
from math import isfinite
from operator import add, sub
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from swarm_wire.names import SCHEMA_VERSION
from swarm_wire.spec import CompilationSpec, Limits

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""blake2b-128 of what it names, in hex."""


MICRO = 1_000_000
MOST = 2**53
"""Largest figure of a Usage or Spending: what JSON carries exactly, and more than anybody pays for. Sums stay there."""

Figure = Annotated[int, Field(ge=0, le=MOST)]


def _finite(score: Any) -> Any:
    """A score that is no number, of a metric that divided by zero, is told as none: no status could hold it."""
    return None if isinstance(score, float) and not isfinite(score) else score


Score = Annotated[float | None, BeforeValidator(_finite)]


class Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_header(self) -> dict[str, Any]:
        """As a record's header: JSON values, without what is not set."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


FiguresT = TypeVar("FiguresT", bound=Message)


def _each(what: Callable[[int, int], int], left: FiguresT, right: FiguresT) -> FiguresT:
    """What becomes of each figure and its like."""
    return type(left)(
        **{name: min(MOST, what(getattr(left, name), getattr(right, name))) for name in type(left).model_fields}
    )


class Usage(Message):
    """LM calls that a provider answered, and their tokens. Adds up.

    Attributes:
        micro_usd: millionths of a USD; None where the price of a call is not known.
    """

    calls: Figure = 0
    prompt_tokens: Figure = 0
    completion_tokens: Figure = 0
    micro_usd: Figure | None = None

    def __add__(self, other: Self) -> "Usage":
        costs = [each.micro_usd for each in (self, other) if each.calls]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            calls=min(MOST, self.calls + other.calls),
            prompt_tokens=min(MOST, self.prompt_tokens + other.prompt_tokens),
            completion_tokens=min(MOST, self.completion_tokens + other.completion_tokens),
            micro_usd=min(MOST, sum(known)) if known and len(known) == len(costs) else None,
        )


class Spending(Message):
    """What LM calls cost, or may cost. Adds up.

    Attributes:
        tokens: of prompts and completions together.
        micro_usd: millionths of a USD; 0 where nobody asked for it.
    """

    calls: Figure = 0
    tokens: Figure = 0
    micro_usd: Figure = 0

    def __add__(self, other: Self) -> "Spending":
        return _each(add, self, other)

    def __sub__(self, other: Self) -> "Spending":
        return _each(sub, self, other)

    def __or__(self, other: Self) -> "Spending":
        """The larger one, figure by figure."""
        return _each(max, self, other)

    def __and__(self, other: Self) -> "Spending":
        """The smaller one, figure by figure."""
        return _each(min, self, other)


class Allowance(Message):
    """The most that may be spent; None: as much as you like."""

    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    micro_usd: int | None = Field(None, ge=0)

    @classmethod
    def of(cls, limits: Limits) -> Self:
        usd = limits.cost_usd
        return cls(
            calls=limits.lm_calls, tokens=limits.total_tokens, micro_usd=None if usd is None else int(usd * MICRO)
        )

    @property
    def is_limited(self) -> bool:
        return self != Allowance()

    @property
    def all(self) -> Spending:
        """All of it, where it is limited."""
        return Spending(calls=self.calls or 0, tokens=self.tokens or 0, micro_usd=self.micro_usd or 0)

    def covers(self, spending: Spending) -> bool:
        figures = (self.calls, spending.calls), (self.tokens, spending.tokens), (self.micro_usd, spending.micro_usd)
        return all(most is None or figure <= most for most, figure in figures)

    def less(self, spending: Spending) -> "Allowance":
        """What is left of it."""
        return Allowance(
            calls=None if self.calls is None else max(0, self.calls - spending.calls),
            tokens=None if self.tokens is None else max(0, self.tokens - spending.tokens),
            micro_usd=None if self.micro_usd is None else max(0, self.micro_usd - spending.micro_usd),
        )

    def shared(self, parts: int) -> "Allowance":
        """One of so many equal parts."""
        return Allowance(
            calls=None if self.calls is None else self.calls // parts,
            tokens=None if self.tokens is None else self.tokens // parts,
            micro_usd=None if self.micro_usd is None else self.micro_usd // parts,
        )


UNLIMITED = Allowance()


class Ending(Message):
    """Why a run ends before its compile does."""

    why: str
    """The limit, for people."""
    limits: Limits
    """That the run was kept to."""

    def holds(self, limits: Limits) -> bool:
        """Whether the same limits are in force."""
        return self.limits.model_copy(update={"publish_partial": limits.publish_partial}) == limits


class Booked(Message):
    """Header of a BOOKED record: what one pod has spent; where it has an allowance, told before it is spent.

    Attributes:
        account: which pod; only in the journal, by whoever keeps it.
        final: this is what it came to; otherwise the pod may spend so much before it tells more.
        repeated: LM calls, at most, that were paid for and whose answers died with the pod: they are made again.
    """

    account: str = ""
    spent: Spending
    final: bool = False
    repeated: Figure = 0


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
    calls: list[Digest] = []
    """Keys of the LM calls whose answers the body carries; one at most."""
    calls_at: int | None = Field(None, ge=0)
    """Where in the body their answers begin, behind the outcome."""
    reused: list[Digest] = []
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


class Candidate(Message):
    """A program that the optimizer scored, with a percentage."""

    name: str
    score: float = Field(allow_inf_nan=False)
    bound: bool = False
    """Whether the score is only what it can have been at most: the candidate could no longer win."""


class Scores(Message):
    """Percentages as `dspy.Evaluate` gives them; None where there is no such figure (yet), or it is no number."""

    baseline: Score = None
    """The unoptimized student on the validation set, or on what is scored in its place (`Report.scored_on`)."""
    best: Score = None
    """The best candidate so far, or the winner, on the same."""
    test_baseline: Score = None
    test_winner: Score = None


class Waste(Message):
    """Results that were paid for and that the final plan did not use."""

    cells: int = Field(0, ge=0)
    calls: int = Field(0, ge=0)


class Reused(Message):
    """What an earlier run had paid for, and this one did not."""

    cells: int = Field(0, ge=0)
    """That were taken as they were."""
    calls: int = Field(0, ge=0)
    """For these cells, and in cells that were run again."""


class Pruned(Message):
    """What was not paid for, because it could not win any more."""

    candidates: int = Field(0, ge=0)
    cells: int = Field(0, ge=0)


class FailureGroup(Message):
    """Examples that failed alike: by an exception of one class, at one place."""

    exception: str
    """Class and text, as the first raised it."""
    place: str | None = None
    """The user's file and line. None: none of the user's code was running."""
    examples: Figure
    first: str | None = None
    """The first example, for people. None: it was no example that failed."""
    answer: str | None = None
    """How the model's answer begins that the program could not read, if that was why."""
    traceback: str | None = None
    """Of the first; only in the report."""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        first = f"; first: {self.first}" if self.first else ""
        answer = f"; the answer that could not be read: {self.answer!r}" if self.answer else ""
        return f"{self.examples} × {self.exception}{place}{first}{answer}"


class Failures(Message):
    """Examples on which program or metric raised, in the whole compile."""

    failed: Figure
    """In evaluations. Each counts as 0, as in stock."""
    examples: Figure
    """Of how many, in evaluations and bootstraps; an example counts once in each."""
    in_bootstraps: Figure = 0
    """How many failed in bootstraps besides. They give no demonstration, as in stock."""
    bootstrapped: Figure = 0
    """How many of the examples were in bootstraps."""
    groups: list[FailureGroup] = []
    """The largest first."""
    others: Figure = 0
    """Examples that failed in yet other ways."""

    def __str__(self) -> str:
        evaluated = self.examples - self.bootstrapped
        found = [f"{self.failed} of {evaluated} examples failed in evaluations and count as 0"]
        if self.in_bootstraps:
            found.append(f"{self.in_bootstraps} of {self.bootstrapped} failed in bootstraps and give no demonstration")
        return f"{'; '.join(found)} (an example counts each time that it runs)"

    @property
    def lines(self) -> list[str]:
        """For people, one for each group."""
        others = [f"{self.others} × something else"] if self.others else []
        return [*map(str, self.groups), *others]

    @property
    def has_none_left(self) -> bool:
        """Whether all examples failed."""
        return self.failed + self.in_bootstraps >= self.examples

    def without_tracebacks(self) -> "Failures":
        groups = [group.model_copy(update={"traceback": None}) for group in self.groups]
        return self.model_copy(update={"groups": groups})


VALIDATION_SET = "the validation set"
TRAINING_SET = "the training set"


class Origin(Message):
    """What made an artifact: whoever finds it later can tell whether it would come out the same today.

    Attributes:
        run_id: of the run; on a laptop, too.
        spec: sha256 of the spec as JSON, keys sorted.
        program: digest of the files that the program was imported from.
        data: digest of all examples.
        packages: digest of Python and the installed distributions.
        models: model by role, of those that the spec names.
        dspy: its version.
        image: of the pods; empty on a laptop.
    """

    run_id: str
    spec: str
    program: str
    data: str
    packages: str
    models: dict[str, str]
    dspy: str
    image: str = ""


class Report(Message):
    """What is told about a finished compile."""

    scores: Scores
    scored_on: str = VALIDATION_SET
    """Which examples `scores` are of."""
    failures: Failures | None = None
    """None: no example failed."""
    candidates: list[Candidate] = []
    """Best first, by the score that decided."""
    candidates_on: str = VALIDATION_SET
    """Which examples that score is of."""
    usage: Usage = Usage()
    """All LM calls of the run, those of unused results included."""
    effects: int = 0
    """Effects that the optimizer needed."""
    rounds: int = 0
    failed_cells: int = 0
    """Needed cells whose program or metric raised."""
    wasted: Waste = Waste()
    pruned: Pruned = Pruned()
    reused: Reused = Reused()
    repeated_calls: int = 0
    """LM calls, at most, that were paid for twice: their first answers died with processes."""
    spent: Spending | None = None
    """Where the run has limits."""
    notes: list[str] = []
    """What people should know: what the run did otherwise than they may expect, a sentence each."""
    hash_seed: int | None = None
    """PYTHONHASHSEED of all processes of the run."""
    origin: Origin | None = None
    """None: of a run before there were origins."""
    is_instance: bool = False
    """Whether the program's entrypoint names the program itself; otherwise calling it makes one."""
    partial: str | None = None
    """Why this is not what the optimizer would have come to: the limit that ended the run."""


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
    tasks: list[Digest] = []
    cells: int = Field(0, ge=0)
    """Cells in those tasks."""
    guesses: dict[Digest, int] = {}
    """Those of the tasks that are guesses, likely to be needed though a missing score may make it otherwise; and about
    how many runs of the program each takes."""
    scores: Scores = Scores()
    effects: int = 0
    """Effects that this plan needed, the missing one included."""
    ending: Ending | None = None
    """Of a partial plan."""
    failures: Failures | None = None
    """So far, without tracebacks."""
    notes: list[str] = []
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
