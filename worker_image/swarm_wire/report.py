"""What is told about a finished compile, and while it runs."""

from pydantic import Field

from swarm_wire.message_base import Figure, Message, Score
from swarm_wire.spending import Spending, Usage


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
    groups: list[FailureGroup] = Field([])
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
    candidates: list[Candidate] = Field([])
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
    notes: list[str] = Field([])
    """What people should know: what the run did otherwise than they may expect, a sentence each."""
    hash_seed: int | None = None
    """PYTHONHASHSEED of all processes of the run."""
    origin: Origin | None = None
    """None: of a run before there were origins."""
    is_instance: bool = False
    """Whether the program's entrypoint names the program itself; otherwise calling it makes one."""
    partial: str | None = None
    """Why this is not what the optimizer would have come to: the limit that ended the run."""
