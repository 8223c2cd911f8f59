"""The report on a finished compile, and the parts of it that a running compile has, too."""

from pydantic import Field

from swarm_wire.message_base import Figure, Message, Score
from swarm_wire.spending import Spending, Usage


class Candidate(Message):
    """A program that the optimizer scored, with its percentage."""

    name: str
    score: float = Field(allow_inf_nan=False)
    bound: bool = False
    """Whether the score is only an upper bound, because the candidate could no longer win."""


class Scores(Message):
    """Percentages as `dspy.Evaluate` computes them; None if there is no such score (yet), or it is not a number."""

    baseline: Score = None
    """The unoptimized student's score on the validation set, or on the set that replaces it (`Report.scored_on`)."""
    best: Score = None
    """The score of the best candidate so far, or of the winner, on the same set."""
    test_baseline: Score = None
    test_winner: Score = None


class Waste(Message):
    """Results that were paid for and that the final plan did not use."""

    cells: int = Field(0, ge=0)
    calls: int = Field(0, ge=0)


class Reused(Message):
    """Results that an earlier run had paid for, so that this run did not."""

    cells: int = Field(0, ge=0)
    """Cells whose results were reused."""
    calls: int = Field(0, ge=0)
    """LM calls of these cells, and reused LM calls in cells that were run again."""


class Pruned(Message):
    """Candidates that were not evaluated further because they could no longer win, and cells saved so."""

    candidates: int = Field(0, ge=0)
    cells: int = Field(0, ge=0)


class FailureGroup(Message):
    """Examples that failed with an exception of the same class at the same place."""

    exception: str
    """Class and text of the first exception."""
    place: str | None = None
    """The user's file and line. None: none of the user's code was running."""
    examples: Figure
    first: str | None = None
    """The first example, for people. None: the failure is not that of an example."""
    answer: str | None = None
    """The beginning of the model's answer, if the program could not parse it."""
    traceback: str | None = None
    """Traceback of the first exception; only in the report."""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        first = f"; first: {self.first}" if self.first else ""
        answer = f"; the answer that could not be read: {self.answer!r}" if self.answer else ""
        return f"{self.examples} × {self.exception}{place}{first}{answer}"


class Failures(Message):
    """Examples on which program or metric raised, in the whole compile."""

    failed: Figure
    """How many failed in evaluations. Each counts as 0, as in stock DSPy."""
    examples: Figure
    """How many ran in evaluations and bootstraps; an example counts once in each."""
    in_bootstraps: Figure = 0
    """How many failed in bootstraps. They give no demonstration, as in stock DSPy."""
    bootstrapped: Figure = 0
    """How many of the examples were in bootstraps."""
    groups: list[FailureGroup] = Field([])
    """The largest first."""
    others: Figure = 0
    """Examples that failed in ways not in `groups`."""

    def __str__(self) -> str:
        evaluated = self.examples - self.bootstrapped
        found = [f"{self.failed} of {evaluated} examples failed in evaluations and count as 0"]
        if self.in_bootstraps:
            found.append(f"{self.in_bootstraps} of {self.bootstrapped} failed in bootstraps and give no demonstration")
        return f"{'; '.join(found)} (an example counts each time that it runs)"

    @property
    def lines(self) -> list[str]:
        """One line per group, for people."""
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
    """The inputs of an artifact, so that a later reader can check whether they are still the same.

    Attributes:
        run_id: id of the run, on a laptop, too.
        spec: sha256 of the spec as JSON, keys sorted.
        program: digest of the files from which the program was imported.
        data: digest of all examples.
        packages: digest of Python and the installed distributions.
        models: role -> model, as the spec names them.
        dspy: version of DSPy.
        image: image of the pods; empty on a laptop.
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
    """The report on a finished compile."""

    scores: Scores
    scored_on: str = VALIDATION_SET
    """The examples on which `scores` are computed."""
    failures: Failures | None = None
    """None: no example failed."""
    candidates: list[Candidate] = Field([])
    """The best first, by the score that decided."""
    candidates_on: str = VALIDATION_SET
    """The examples on which that score is computed."""
    usage: Usage = Usage()
    """All LM calls of the run, including those of unused results."""
    effects: int = 0
    """Effects that the optimizer needed."""
    rounds: int = 0
    failed_cells: int = 0
    """Needed cells in which program or metric raised."""
    wasted: Waste = Waste()
    pruned: Pruned = Pruned()
    reused: Reused = Reused()
    repeated_calls: int = 0
    """Most LM calls that were paid for twice, because their first answers were lost with processes."""
    spent: Spending | None = None
    """What the run spent, if it has limits."""
    notes: list[str] = Field([])
    """Notes for people on unexpected behaviour of the run, one sentence each."""
    hash_seed: int | None = None
    """PYTHONHASHSEED of all processes of the run."""
    origin: Origin | None = None
    """None: a run of a release without origins."""
    is_instance: bool = False
    """Whether the program's entrypoint names the program itself; otherwise it names a callable that creates it."""
    partial: str | None = None
    """The limit that ended the run, so that this is not the optimizer's winner."""
