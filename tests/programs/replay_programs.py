"""Programs that the replay tests compile, with metrics and an optimizer. Plans and workers import them by name."""

import asyncio
import functools
import hashlib
import os
import re
import signal
import time
from typing import Any

import dspy
import pydantic
from dspy.utils.exceptions import AdapterParseError

import rollouts
from triage import Category, Triage
from triage import metric as triage_metric

__all__ = [
    "Agent",
    "Async",
    "Bare",
    "Branching",
    "Broken",
    "Careful",
    "Checked",
    "Choosy",
    "Code",
    "Deadly",
    "Failing",
    "Guide",
    "Hopeless",
    "One",
    "Panel",
    "Poisoned",
    "Shy",
    "Slipping",
    "Stumbling",
    "Sure",
    "Switching",
    "Synced",
    "Tools",
    "Twice",
    "Two",
    "calibrated",
    "coder",
    "department",
    "exact",
    "fed_back",
    "feedback",
    "graded",
    "last_first",
    "noted",
    "objectives",
    "partial",
    "proposer",
    "relied",
    "rollouts",
    "triage_metric",
    "two_stages",
    "weighed",
]

# --- programs -----------------------------------------------------------------------------------------------------


class One(dspy.Module):
    """A program with one predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.ChainOfThought("ticket -> category")

    def forward(self, ticket: str) -> Any:
        return self.classify(ticket=ticket)


POISON = "You've billed me for express delivery al"
"""The 18th ticket of the validation set begins with these words."""


class Poisoned(One):
    """A program that fails on one ticket, in the way that the environment variable POISON names."""

    def forward(self, ticket: str) -> Any:
        found = super().forward(ticket)
        if ticket.startswith(POISON):
            match os.environ.get("POISON"):
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(3)
                case "hang":
                    time.sleep(3600)
                case "regex":
                    re.match("(a+)+$", "a" * 40 + "b")
            raise ValueError("this ticket is poison")
        return found


class Deadly(One):
    """A program that ends its process."""

    def forward(self, ticket: str) -> Any:
        os._exit(3)


Two = Triage
"""A program with two predictors. The second has reasoning and typed outputs."""


TEAMS = {
    "billing": "invoice, charged, card, payment, receipt",
    "subscription": "bean club, plan, pause, renewal, box",
    "shipping": "parcel, tracking, courier, delivery, address",
    "returns": "refund, send back, exchange, label, warranty",
    "hardware": "leaks, broken, noise, pump, grinder",
    "connectivity": "wifi, app, bluetooth, pairing, offline",
    "account": "password, login, email, profile, two-factor",
    "usage": "how, setting, descale, recipe, which",
    "feedback": "suggestion, love, wish, survey, idea",
}


def handbook(text: str) -> str:
    """The handbook's entries that share a word with a text."""
    words = set(re.findall(r"\w+", text.lower()))
    entries = [f"{team}: {signs}" for team, signs in TEAMS.items() if words & set(re.findall(r"\w+", signs))]
    return "\n".join(entries) or "no entry"


def tone(text: str) -> str:
    """How a customer sounds."""
    return "upset" if "!" in text or "still" in text else "calm"


class Verdict(pydantic.BaseModel):
    category: Category
    confidence: float


class Judge(dspy.Signature):
    """Decide which team answers the ticket."""

    ticket: str = dspy.InputField()
    verdict: Verdict = dspy.OutputField()
    evidence: list[str] = dspy.OutputField(desc="telling words of the ticket")


class Agent(dspy.Module):
    """A program with an agent that uses tools and has typed outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = dspy.ReAct(Judge, tools=[handbook, tone], max_iters=4)

    def forward(self, ticket: str) -> Any:
        found = self.judge(ticket=ticket)
        return dspy.Prediction(category=found.verdict.category, evidence=found.evidence, steps=len(found.trajectory))


def Tools() -> Any:
    """Returns a program that is only an agent of DSPy."""
    return dspy.ReAct("ticket -> category", tools=[handbook], max_iters=3)


class Async(One):
    """A program that runs its predictor in an event loop of its own."""

    async def aforward(self, ticket: str) -> Any:
        return await self.classify.acall(ticket=ticket)

    def forward(self, ticket: str) -> Any:
        return asyncio.run(self.aforward(ticket))


def Synced() -> Any:
    """Returns an async program that DSPy has made synchronous."""
    return dspy.syncify(Async(), in_place=False)


class Panel(dspy.Module):
    """A program that asks two predictors at the same time, and returns the answer with the higher confidence."""

    threads = 2

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.ChainOfThought("ticket -> category, confidence: float")
        self.second = dspy.Predict("ticket -> category, confidence: float")

    def forward(self, ticket: str) -> Any:
        question = dspy.Example(ticket=ticket).with_inputs("ticket")
        opinions = dspy.Parallel(num_threads=self.threads, disable_progress_bar=True)(
            [(self.first, question), (self.second, question)]
        )
        return max(opinions, key=lambda opinion: opinion.confidence)


class Queue(Panel):
    """A program that asks two predictors one after the other, in a thread that DSPy starts."""

    threads = 1


class Twice(One):
    """A program that calls its predictor twice. So a bootstrap has to choose between two traces of one example."""

    def forward(self, ticket: str) -> Any:
        self.classify(ticket=ticket + " (draft)")
        return self.classify(ticket=ticket)


class Branching(dspy.Module):
    """A program with two predictors. It asks the second only about some tickets."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.ChainOfThought("ticket -> category, confidence: float")
        self.review = dspy.Predict("ticket, category -> better_category")

    def forward(self, ticket: str) -> Any:
        found = self.classify(ticket=ticket)
        if found.confidence > 0.6:
            return found
        better = self.review(ticket=ticket, category=found.category).better_category
        return dspy.Prediction(category=better, confidence=found.confidence)


class Guide(dspy.Module):
    """A program as guides on distillation write it: its constructor does not call that of dspy.Module."""

    def __init__(self) -> None:
        self.classify = dspy.ChainOfThought("ticket -> category: str, confidence: float")

    def forward(self, ticket: str) -> Any:
        return self.classify(ticket=ticket)


class Switching(One):
    """A program that asks its predictor with another adapter than that of the settings."""

    def forward(self, ticket: str) -> Any:
        with dspy.context(adapter=dspy.JSONAdapter()):
            return self.classify(ticket=ticket)


class Failing(One):
    """A program that fails on about every sixth ticket."""

    def forward(self, ticket: str) -> Any:
        if hashlib.sha256(ticket.encode()).digest()[0] % 6 == 0:
            raise ValueError(f"cannot read {ticket[:12]!r}")
        return self.classify(ticket=ticket)


class Slipping(One):
    """A program with a bug that makes it fail on a third of the tickets."""

    def forward(self, ticket: str) -> Any:
        found = self.classify(ticket=ticket)
        if slips(ticket):
            found.note = ticket.split("no such word")[1]
        return found


def slips(ticket: str) -> bool:
    return len(ticket) % 3 == 0


class Shy(One):
    """A program that fails while it has no demonstration, as if DSPy could not read its answers."""

    def forward(self, ticket: str) -> Any:
        predict = self.classify.predictors()[0]
        if not predict.demos:
            raise AdapterParseError("ChatAdapter", predict.signature, "Well, that sounds nice.")
        return self.classify(ticket=ticket)


def Code() -> Any:
    """Returns a `dspy.Flex`, a program of code that GEPA rewrites."""
    return dspy.Flex("ticket -> category", interpreter_factory=dspy.LocalInterpreter)


class Checked(dspy.Module):
    """A program of a `dspy.Flex` and a predictor that checks the category that the `dspy.Flex` finds."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = Code()
        self.check = dspy.Predict("ticket, draft -> category")

    def forward(self, ticket: str) -> Any:
        return self.check(ticket=ticket, draft=self.draft(ticket=ticket).category)


def Bare() -> Any:
    """Returns a program that is only a predictor."""
    return dspy.Predict("ticket -> category")


def Sure() -> Any:
    """Returns a program with decisions of DSPy, which older versions of DSPy do not have."""
    from sure import Sure as Program

    return Program()


class Careful(dspy.Predict):
    """A predictor of the user's own class."""

    def __init__(self) -> None:
        super().__init__("ticket -> category")

    def forward(self, **given: Any) -> Any:
        return super().forward(**{**given, "ticket": given["ticket"].strip()})


class Stumbling(One):
    """A program that calls its predictor, and then fails on about every third ticket."""

    def forward(self, ticket: str) -> Any:
        found = super().forward(ticket)
        if hashlib.sha256(ticket.encode()).digest()[0] % 3 == 0:
            raise ValueError(f"cannot make anything of {found.category!r}")
        return found


class Hopeless(One):
    """A program that calls its predictor, and then fails on every ticket."""

    def forward(self, ticket: str) -> Any:
        raise ValueError(f"cannot make anything of {super().forward(ticket).category!r}")


class Choosy(One):
    """A program that calls its predictor, and then fails if it has more than one demonstration."""

    def forward(self, ticket: str) -> Any:
        found = super().forward(ticket)
        if len(self.classify.predict.demos) > 1:
            raise ValueError("too many demonstrations")
        return found


class Broken(One):
    """A program that fails on every ticket without an LM call."""

    def forward(self, ticket: str) -> Any:
        raise KeyError("no such field")


# --- metrics ------------------------------------------------------------------------------------------------------


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.category == prediction.category)


def judged(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Asks a model for its opinion, and ignores it."""
    dspy.Predict("ticket, category -> opinion")(ticket=example.ticket, category=prediction.category)
    return exact(example, prediction)


def partial(example: Any, prediction: Any, trace: Any = None) -> float:
    """Gives half a point for a category with the right first letter, so scores are not whole."""
    if example.category == prediction.category:
        return 1.0
    return 0.5 if str(prediction.category)[:1] == example.category[:1] else 0.0


DEPARTMENTS = (
    ("billing", "subscription", "account"),
    ("shipping", "returns"),
    ("hardware", "connectivity", "usage", "feedback"),
)


def department(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Returns whether the ticket reaches the right department, which is easier than the right team."""
    return any(example.category in teams and prediction.category in teams for teams in DEPARTMENTS)


def calibrated(example: Any, prediction: Any, trace: Any = None) -> float:
    """Scores how near a classifier's confidence is to the truth. A demonstration must be right."""
    right = float(example.category == prediction.category)
    return right if trace is not None else 1 - abs(right - float(prediction.confidence))


def graded(example: Any, prediction: Any, trace: Any = None) -> float:
    """Scores an agent by its category, by evidence that is in the ticket, and by few steps."""
    found = [word for word in prediction.evidence if word.lower() in example.ticket.lower()]
    evidence = len(found) / max(1, len(prediction.evidence))
    return 0.7 * float(example.category == prediction.category) + 0.2 * evidence + 0.1 * float(prediction.steps <= 8)


def feedback(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    """Returns a score and says what was wrong, for optimizers that reflect."""
    right = gold.category == pred.category
    said = "Right." if right else f"The right category is {gold.category}."
    return dspy.Prediction(score=float(right), feedback=said)


def objectives(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    """Returns feedback, and scores for two objectives."""
    near = partial(gold, pred)
    told = feedback(gold, pred)
    return dspy.Prediction(**told, objective_scores={"right": told.score, "near": near})


def relied(example: Any, prediction: Any, trace: Any = None) -> float:
    from sure import metric

    return metric(example, prediction)


def _noted(metric: Any) -> Any:
    """Decorates a metric, as users do to log or time it."""

    @functools.wraps(metric)
    def judged(*given: Any, **named: Any) -> Any:
        return metric(*given, **named)

    return judged


noted = _noted(exact)
fed_back = _noted(feedback)


def _weighed(weight: float, example: Any, prediction: Any, trace: Any = None) -> float:
    return weight * partial(example, prediction, trace)


weighed = functools.partial(_weighed, 0.8)


# --- functions of GEPA's --------------------------------------------------------------------------------------------


class Proposal(dspy.Signature):
    """Write a better instruction."""

    instruction: str = dspy.InputField()
    complaints: str = dspy.InputField()
    better: str = dspy.OutputField()


def proposer(candidate: Any, reflective_dataset: Any, components_to_update: list[str]) -> dict[str, str]:
    """Proposes instructions for GEPA: calls the reflection model with its own prompt."""
    propose = dspy.Predict(Proposal)
    return {
        name: propose(
            instruction=candidate[name],
            complaints="; ".join(str(seen["Feedback"]) for seen in reflective_dataset[name]),
        ).better
        for name in components_to_update
        if name in reflective_dataset
    }


def coder(
    candidate: Any,
    reflective_dataset: Any,
    components_to_update: list[str],
    task_descriptions: Any,
    context_blurbs: Any,
) -> dict[str, str]:
    """Proposes code for GEPA that calls the model for a hint, and then for the answer with the hint."""
    made = {}
    for name in components_to_update:
        hint = f"hint {len(candidate[name])}, {len(reflective_dataset[name])}"
        made[name] = (
            "class Hinted(dspy.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.predict = dspy.Predict(\n"
            f"            dspy.Signature('ticket: str -> category: str', 'Name the team ({hint}).')\n"
            "        )\n"
            "    def forward(self, **inputs):\n"
            "        return dspy.Prediction(category=self.predict(**inputs).category)\n"
        )
    return made


def last_first(
    state: Any, trajectories: Any, subsample_scores: list[float], candidate_idx: int, candidate: dict[str, str]
) -> list[str]:
    """Selects the last predictor in every second iteration of GEPA, and otherwise the first."""
    names = list(candidate)
    return [names[-1] if state.i % 2 == 0 else names[0]]


# --- an optimizer -------------------------------------------------------------------------------------------------


def two_stages(student: Any, trainset: list[Any], valset: list[Any], metric: Any) -> Any:
    """Compiles first by random search, which adds demonstrations. Then SIMBA adds rules and more demonstrations."""
    search = dspy.BootstrapFewShotWithRandomSearch(metric=metric, max_labeled_demos=4, num_candidate_programs=1)
    found = search.compile(student, trainset=trainset, valset=valset)
    return dspy.SIMBA(metric=metric, bsize=6, num_candidates=3, max_steps=2).compile(found, trainset=trainset)
