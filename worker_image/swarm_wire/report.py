"""The report on a finished compile, and those parts of it that a running compile has, too."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from swarm_wire.costs import ArmName, Cost
from swarm_wire.message_base import Figure, Message, Score
from swarm_wire.spending import Spending, Usage
from swarm_wire.tuned import Retention, TunedModel
from swarm_wire.words import would_decide


class Candidate(Message):
    """A program that the optimizer has scored, with its score in percent."""

    name: str
    score: float = Field(allow_inf_nan=False)
    bound: bool = False
    """Whether the score is only an upper bound, because pruning has left out some of the candidate's cells."""


class Scores(Message):
    """Scores in percent, as `dspy.Evaluate` computes them.

    None: there is no such score (yet), or it is not a number.
    """

    baseline: Score = None
    """Score of the unoptimized student on the examples that `Report.scored_on` names."""
    best: Score = None
    """Score of the best candidate so far, or of the winner, on the same examples as `baseline`."""
    test_baseline: Score = None
    test_winner: Score = None


class Verdict(StrEnum):
    """What a comparison of two programs shows."""

    BETTER = "Better"
    SAME = "Same"
    WORSE = "Worse"
    INCONCLUSIVE = "Inconclusive"


class Comparison(Message):
    """The second of two programs against the first, by their scores on the same examples. Scores are percentages.

    `swarm_engine.verdicts` makes it.
    """

    verdict: Verdict
    difference: float
    """Mean of the second program's scores, minus that of the first program's scores."""
    low: float
    """Lower end of the interval of `difference`."""
    high: float
    """Upper end of the interval of `difference`."""
    confidence: float
    """Confidence of the interval, between 0 and 1."""
    examples: Figure
    improved: Figure = 0
    """Number of examples on which the second program has the higher score."""
    worsened: Figure = 0
    """Number of examples on which the second program has the lower score."""
    needed: Figure | None = None
    """How many examples would probably decide; None if the verdict is decided, or if no number of examples would."""

    def __str__(self) -> str:
        interval = (
            f"{self.difference:+.1f} points ({100 * self.confidence:g}% interval {self.low:+.1f} to {self.high:+.1f})"
        )
        return f"{self.verdict}: {interval} on {self.examples} examples{would_decide(self.needed)}"


class ExampleScores(Message):
    """Scores of programs for each example of a set, in the order of the data. They are percentages."""

    name: str
    """Name of the set, as `Report.scored_on` has it."""
    baseline: list[float] = Field([])
    winner: list[float] = Field([])
    """The winner's scores; empty if the run has no winner."""
    published: list[float] = Field([])
    """Scores of the published program; empty if the winner is not compared with it on this set."""
    switched: list[float] = Field([])
    """Scores of the published program on the new model; empty without spec.compare."""
    teacher: list[float] = Field([])
    """Scores of the teacher; empty without a fine-tune."""
    prompted: list[float] = Field([])
    """Scores of the teacher's prompts with the student's model before the fine-tune; empty without spec.distill."""


class Demonstration(Message):
    """One demonstration in a predictor's prompt."""

    bootstrapped: bool
    """Whether a program made it by answering an example. If not, it is an example as the data has it."""
    example: str = ""
    """The example that it comes from, such as "training example 3"; empty if none of the data's examples fits."""


class Copied(Message):
    """The longest sequence of words that the winner's new instructions have in common with a training example."""

    tokens: Figure
    """Number of words."""
    text: str
    predictor: str
    example: str
    """The training example, such as "training example 3"."""


class Prompt(Message):
    """What the compile has changed in a predictor's prompt."""

    predictor: str
    before: str
    """Instructions of the student."""
    after: str
    """Instructions of the winner."""
    demonstrations: list[Demonstration] = Field([])
    """Demonstrations of the winner, in their order in the prompt."""


class Waste(Message):
    """Results for which the run has paid, and which the final plan has not used."""

    cells: int = Field(0, ge=0)
    calls: int = Field(0, ge=0)


class Reused(Message):
    """Results for which an earlier run has paid, so that this run has not."""

    cells: int = Field(0, ge=0)
    """Cells whose results were reused."""
    calls: int = Field(0, ge=0)
    """LM calls of the reused cells, and reused LM calls of cells that have run again."""


class Pruned(Message):
    """Candidates that pruning has stopped because they could no longer win, and the cells that it has saved."""

    candidates: int = Field(0, ge=0)
    cells: int = Field(0, ge=0)


class FailureGroup(Message):
    """Examples that failed with an exception of the same class at the same place."""

    exception: str
    """Class and text of the group's first exception."""
    place: str | None = None
    """File and line in the user's code; None if none of the user's code was running."""
    examples: Figure
    first: str | None = None
    """The group's first example, as a text for people; None if the failure is not that of an example."""
    answer: str | None = None
    """The beginning of the model's answer, if the program could not parse this answer."""
    traceback: str | None = None
    """Traceback of the group's first exception. Only the report has it."""

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        first = f"; first: {self.first}" if self.first else ""
        answer = f"; the answer that could not be read: {self.answer!r}" if self.answer else ""
        return f"{self.examples} × {self.exception}{place}{first}{answer}"


class Failures(Message):
    """Examples of the whole compile whose program or metric raised an exception."""

    failed: Figure
    """How many examples failed in evaluations. Each of them counts as 0, as in stock DSPy."""
    examples: Figure
    """How many examples ran in evaluations and bootstraps. An example counts once in each of these."""
    in_bootstraps: Figure = 0
    """How many examples failed in bootstraps. They give no demonstration, as in stock DSPy."""
    bootstrapped: Figure = 0
    """How many of `examples` ran in bootstraps."""
    groups: list[FailureGroup] = Field([])
    """Groups of failures. The largest group is first."""
    others: Figure = 0
    """Examples whose failures are in none of `groups`."""

    def __str__(self) -> str:
        evaluated = self.examples - self.bootstrapped
        found = [f"{self.failed} of {evaluated} examples failed in evaluations and count as 0"]
        if self.in_bootstraps:
            found.append(f"{self.in_bootstraps} of {self.bootstrapped} failed in bootstraps and give no demonstration")
        return f"{'; '.join(found)} (an example counts each time that it runs)"

    @property
    def lines(self) -> list[str]:
        """Returns one line for each group, for people."""
        others = [f"{self.others} × something else"] if self.others else []
        return [*map(str, self.groups), *others]

    @property
    def has_none_left(self) -> bool:
        """Whether all examples failed."""
        return self.failed + self.in_bootstraps >= self.examples

    def without_tracebacks(self) -> "Failures":
        groups = [group.model_copy(update={"traceback": None}) for group in self.groups]
        return self.model_copy(update={"groups": groups})


TEST_SET = "the test set"
VALIDATION_SET = "the validation set"
TRAINING_SET = "the training set"


class FetchedFile(Message):
    """A file of data that the run has fetched from a URL."""

    url: str
    """The URL without its query."""
    sha256: str
    """sha256 of the file, as `sha256sum` prints it."""
    revision: str = ""
    """What the server calls this state of the file, for example its ETag; empty if it has no name for it."""


class Origin(Message):
    """The inputs of an artifact. With them, a reader can check later whether the inputs are still the same.

    Attributes:
        run_id: id of the run, on a laptop, too.
        spec: sha256 of the spec as JSON with sorted keys.
        program: digest of the files from which the program was imported.
        commit: id of the git commit of these files; empty if they were not fetched from git.
        data: digest of all examples.
        files: files of data that came from URLs, by their fields in spec.data.
        packages: digest of Python and the installed packages.
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
    commit: str = ""
    files: dict[str, FetchedFile] = Field({})


class Report(Message):
    """The report on a finished compile."""

    version: int = 1
    """Version of this format. A change that breaks readers has a new version; new fields have not."""
    scores: Scores
    scored_on: str = VALIDATION_SET
    """Name of the examples on which `scores` are computed."""
    comparison: Comparison | None = None
    """The winner against the program that `against` names.

    None: the run has no winner, or the score of some example is not known.
    """
    against: Literal["baseline", "published"] = "baseline"
    """The other program of `comparison`.

    baseline: the student before the compile. published: the program that was published when the run began.
    """
    published: Score = None
    """Score of the published program on the examples of `comparison`; None if `against` is baseline.

    With spec.compare, it is the score on the model on which the program runs today.
    """
    switched: Score = None
    """Score of the published program on the new model, which is the student's; None without spec.compare."""
    switch: Comparison | None = None
    """The published program on the new model against the same program on today's model."""
    current_model: str = ""
    """The model on which the published program runs today; empty without spec.compare."""
    drift: Comparison | None = None
    """The published program on a sample, asked anew, against what it scored before; None without spec.drift.

    Both scores are those on the model of this run.
    """
    published_by: str = ""
    """Id of the run that has made the published program; empty if this run does not use one, or if it is not known."""
    teacher: Score = None
    """Score of the teacher on the examples of `comparison`; None without a fine-tune, or if it had no teacher."""
    prompted: Score = None
    """Score of the teacher's prompts with the student's model before the fine-tune; None without spec.distill."""
    retention: Retention | None = None
    """How much of the teacher's score the winner keeps; None without a teacher."""
    tuned: list[TunedModel] = Field([])
    """Models that the run has had fine-tuned, and that the winner uses."""
    unused: list[TunedModel] = Field([])
    """Models that the run has had fine-tuned, and that the winner does not use."""
    compared_on: str = VALIDATION_SET
    """Name of the examples of `comparison`: the test set, or the set that `scored_on` names if there is no test set."""
    costs: dict[ArmName, Cost] = Field({})
    """What the programs cost on the examples of `comparison`. A program is missing if its cost is not known."""
    copied: Copied | None = None
    """What the winner's new instructions copy from the training data; None if they copy nothing."""
    refused: list[str] = Field([])
    """Conditions of spec.gate that the winner does not meet, as texts for people. If there are any, the winner is not
    published."""
    failures: Failures | None = None
    """Failures of the compile; None if no example failed."""
    candidates: list[Candidate] = Field([])
    """Candidates, best first, in the order of the score by which the optimizer chose the winner."""
    candidates_on: str = VALIDATION_SET
    """Name of the examples on which the scores of `candidates` are computed."""
    usage: Usage = Usage()
    """All LM calls of the run, with those of unused results."""
    effects: int = 0
    """Number of effects that the optimizer needed."""
    rounds: int = 0
    failed_cells: int = 0
    """Number of cells that the optimizer needed, and whose program or metric raised an exception."""
    wasted: Waste = Waste()
    pruned: Pruned = Pruned()
    reused: Reused = Reused()
    repeated_calls: int = 0
    """Most LM calls for which the run paid twice, because their first answers were lost with processes."""
    spent: Spending | None = None
    """What the run has spent, if it has limits."""
    notes: list[str] = Field([])
    """Notes for people on unexpected behaviour of the run. Each note is one sentence."""
    hash_seed: int | None = None
    """PYTHONHASHSEED of all processes of the run."""
    origin: Origin | None = None
    """The inputs of the artifact; None if an older release without origins has made the run."""
    is_instance: bool = False
    """Whether the program's entrypoint names the program itself.

    If not, it names a callable that creates the program.
    """
    partial: str | None = None
    """The limit that ended the run. If it is set, the program is the best one so far, not the optimizer's winner."""
    by_example: list[ExampleScores] = Field([])
    """Scores by example. Only the report file has them."""
    prompts: list[Prompt] = Field([])
    """Prompts before and after the compile, in the order of the program's predictors. Only the report file has them."""

    @property
    def rival(self) -> str:
        """Returns what people call the program that the winner is compared with."""
        if self.against == "baseline":
            return "the baseline"
        return f"the published program on {self.current_model}" if self.current_model else "the published program"

    @property
    def saving(self) -> float | None:
        """Returns the part of the teacher's cost that the winner saves; None if one of the costs is not known."""
        teacher, winner = self._usd("teacher"), self._usd("winner")
        return None if not teacher or winner is None else 1 - winner / teacher

    @property
    def break_even(self) -> float | None:
        """Returns the number of examples after which the training has paid for itself; None if it never does, or if a
        price is not known.
        """
        teacher, winner = self._usd("teacher"), self._usd("winner")
        training = [model.usd for model in (*self.tuned, *self.unused)]
        if not self.tuned or teacher is None or winner is None or winner >= teacher:
            return None
        known = [usd for usd in training if usd is not None]
        return 1000 * sum(known) / (teacher - winner) if len(known) == len(training) else None

    def _usd(self, arm: Literal["teacher", "winner"]) -> float | None:
        cost = self.costs.get(arm)
        return cost.usd if cost is not None else None

    @property
    def summary(self) -> "Report":
        """Returns the report without the parts that grow with data and program."""
        return self.model_copy(update={"by_example": [], "prompts": []})

    def without(self, what: str, **emptied: Any) -> "Report":
        """Returns the report without some fields, and with a note that says so."""
        note = f"The report leaves out {what}, because it would not fit into one ConfigMap with them."
        return self.model_copy(update={**emptied, "notes": [*self.notes, note]})
