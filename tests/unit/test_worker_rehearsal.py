"""What a rehearsal sees in two processes with different hash seeds: what must be found, and what must not be."""

import json
import random
from typing import Any

import dspy
import pytest

from support.worker import module, run_python
from swarm_worker.loading import Compilation
from swarm_worker.rehearsal import CALLS, observe
from swarm_worker.twin import Difference, Observation, compare, explain
from swarm_worker.user.data import Data

BASE = """
import asyncio
import random
import time
from datetime import datetime

import dspy

WORDS = ["order", "invoice", "parcel", "password", "refund", "screen", "delivery", "account", "battery", "tax"]


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("ticket -> summary")
        self.classify = dspy.Predict("ticket, note -> category, urgent: bool")

    def forward(self, ticket):
        return self.classify(ticket=ticket, note="none")


def metric(example, prediction, trace=None):
    return example.category[:1] < prediction.category[:1]


def train():
    return [{"ticket": f"{word} {n}", "category": word} for n, word in enumerate(WORDS)]


validation = train
"""

DATA = "Sort what comes from a set or a folder, and draw samples with random.Random(0)."
PROGRAM = "Let prompts and decisions depend on the inputs alone"
METRIC = "Let the metric depend on the example and the prediction alone"

FOUND = {
    "a random branch": (
        """
class Program(Program):
    def forward(self, ticket):
        if random.random() < 0.5:
            self.draft(ticket=ticket)
        return super().forward(ticket)
""",
        "spec.program on validation example ",
        PROGRAM,
    ),
    "time in a prompt": (
        """
class Program(Program):
    def forward(self, ticket):
        return self.classify(ticket=ticket, note=f"It is {datetime.now().isoformat()}")
""",
        "spec.program on validation example 1, LM call 1 (predictor classify) ",
        PROGRAM,
    ),
    "a prediction by chance": (
        """
class Program(Program):
    def forward(self, ticket):
        super().forward(ticket)
        return dspy.Prediction(category=f"{random.choice(WORDS)} {random.random()}")
""",
        "spec.program on validation example 1, its prediction ",
        PROGRAM,
    ),
    "an exception by chance": (
        """
class Program(Program):
    def forward(self, ticket):
        if random.random() < 0.5:
            raise ValueError(ticket)
        return super().forward(ticket)
""",
        "spec.program on validation example ",
        PROGRAM,
    ),
    "what another example left behind": (
        """
class Program(Program):
    last = ""

    def forward(self, ticket):
        self.last, note = ticket, self.last
        return self.classify(ticket=ticket, note=note)
""",
        "spec.program on validation example 1, LM call 1 (predictor classify) ",
        PROGRAM,
    ),
    "instructions from a set": (
        """
class Program(Program):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict(dspy.Signature("ticket, note -> category", f"One of {set(WORDS)}."))
""",
        "spec.program, predictor classify ",
        PROGRAM,
    ),
    "an attribute from a set": (
        """
class Program(Program):
    def __init__(self):
        super().__init__()
        self.known = list(set(WORDS))
""",
        "spec.program, its attributes ",
        PROGRAM,
    ),
    "a metric by chance": (
        """
def metric(example, prediction, trace=None):
    return random.random() < 0.5
""",
        "spec.metric on validation example ",
        METRIC,
    ),
    "a metric by chance when it bootstraps": (
        """
def metric(example, prediction, trace=None):
    return trace is None or random.random() < 0.5
""",
        "its value with a trace ",
        METRIC,
    ),
    "a judge that is told the time": (
        """
judge = dspy.Predict("answer, time -> good: bool")


def metric(example, prediction, trace=None):
    return judge(answer=prediction.category, time=str(time.time())).good
""",
        "spec.metric on validation example 1, LM call 1 ",
        METRIC,
    ),
    "data from a set": (
        """
def train():
    return [{"ticket": word, "category": word} for word in set(WORDS)]
""",
        "spec.data.train, example 1 ",
        DATA,
    ),
    "an unseeded sample": (
        """
def validation():
    return random.sample(train(), 6)
""",
        "spec.data.validation, example ",
        DATA,
    ),
    "another number of examples": (
        """
def validation():
    return train()[: 4 + hash("x") % 5]
""",
        "spec.data.validation, example ",
        DATA,
    ),
}

QUIET = {
    "printing, drawing and sets, as they should be": """
class Program(Program):
    def forward(self, ticket):
        print("working on", ticket, time.time())
        words = ", ".join(sorted(set(ticket.split()) | set(WORDS)))
        if random.Random(ticket).random() < 0.5:
            self.draft(ticket=ticket)
        return self.classify(ticket=ticket, note=words)


def metric(example, prediction, trace=None):
    return random.Random(example.ticket).random()


def train():
    random.seed(7)
    return random.sample([{"ticket": word, "category": word} for word in sorted(set(WORDS))], 8)
""",
    "threads": """
class Program(Program):
    def forward(self, ticket):
        parallel = dspy.Parallel(num_threads=4, disable_progress_bar=True)
        notes = parallel([(self.draft, {"ticket": f"{ticket} {word}"}) for word in WORDS])
        return self.classify(ticket=ticket, note=notes[0].summary)
""",
    "tasks": """
class Program(Program):
    def forward(self, ticket):
        async def drafts():
            return await asyncio.gather(*(self.draft.acall(ticket=f"{ticket} {word}") for word in WORDS))

        return self.classify(ticket=ticket, note=asyncio.run(drafts())[0].summary)
""",
    "an agent, whose tools are not called": """
def look_up(word: str) -> str:
    return str(time.time())


class Program(Program):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("ticket -> note", tools=[look_up])

    def forward(self, ticket):
        return self.classify(ticket=ticket, note=self.agent(ticket=ticket).note)
""",
    "an exception whose text lists a set": """
def metric(example, prediction, trace=None):
    raise KeyError(f"none of {set(WORDS)}")
""",
    "a program that gives up on imaginary answers": """
class Program(Program):
    def forward(self, ticket):
        return dspy.Prediction(category=int(super().forward(ticket).category))
""",
    "a program that leaves": """
class Program(Program):
    def forward(self, ticket):
        raise SystemExit(3)
""",
    "a program that waits for an answer that never comes": """
class Program(Program):
    def forward(self, ticket):
        while True:
            try:
                if self.draft(ticket=ticket).summary == "the answer":
                    return
            except Exception:
                pass
""",
}

OBSERVE = """
import importlib, json, os, sys, dspy
from swarm_worker.loading import Compilation
from swarm_worker.rehearsal import observe
from swarm_worker.user.data import Data

dspy.configure(lm=dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none"), disable_history=True)

def seen(name):
    user = importlib.import_module(name)
    examples = lambda rows: [dspy.Example(row).with_inputs("ticket") for row in rows]
    loaded = Compilation(user.Program(), user.metric, Data(examples(user.train()), examples(user.validation()), []))
    return observe(loaded, backwards=os.environ["PYTHONHASHSEED"] != "0")

json.dump({name: seen(name) for name in sys.argv[1:]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name -> what each of two processes saw of a module; they see all modules, because a start takes long."""
    folder = tmp_path_factory.mktemp("modules")
    modules = {name: f"m{number}" for number, name in enumerate([*FOUND, *QUIET])}
    for name, file in modules.items():
        module(folder, BASE + (FOUND[name][0] if name in FOUND else QUIET[name]), f"{file}.py")
    code = OBSERVE.replace("sys.argv[1:]", repr(list(modules.values())))
    done = [run_python(code, folder, PYTHONHASHSEED=seed) for seed in ("0", "1")]
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
    told = [json.loads(process.stdout) for process in done]
    return {
        name: [[Observation(*observation) for observation in side[file]] for side in told]
        for name, file in modules.items()
    }


@pytest.mark.parametrize("name", FOUND)
def test_a_difference_is_found_and_told_with_what_to_do(seen: Any, name: str) -> None:
    _, place, advice = FOUND[name]
    difference = compare(*seen[name])
    assert difference is not None
    assert place in explain(difference)
    assert advice in explain(difference)
    assert difference.mine != difference.theirs


@pytest.mark.parametrize("name", QUIET)
def test_what_is_the_same_is_not_reported(seen: Any, name: str) -> None:
    mine, theirs = seen[name]
    assert compare(mine, theirs) is None
    assert len(mine) >= 40


def test_a_run_that_never_ends_is_ended(seen: Any) -> None:
    mine, _ = seen["a program that waits for an answer that never comes"]
    assert sum("example 1, LM call" in observation.place for observation in mine) == 2 * CALLS


# --- in one process -----------------------------------------------------------------------------------------------


class Memory(dspy.Module):
    """Leaves what traces it can."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.seen: list[str] = []

    def forward(self, question: str) -> Any:
        random.random()
        self.seen.append(question)
        return self.predict(question=question)


def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
    example.answer = "changed"
    return True


def loaded(count: int) -> Compilation:
    examples = [dspy.Example(question=str(n), answer=str(n)).with_inputs("question") for n in range(count)]
    return Compilation(Memory(), metric, Data(examples, examples, []))


def test_a_rehearsal_leaves_no_traces(capsys: pytest.CaptureFixture[str]) -> None:
    given, state = loaded(3), random.getstate()
    lm = dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none")
    with dspy.context(lm=lm), dspy.track_usage() as usage:
        observe(given)
    assert given.student.seen == []
    assert given.data.train[0].answer == "0"
    assert random.getstate() == state
    assert lm.history == []
    assert usage.get_total_tokens() == {}
    assert len(dspy.cache.memory_cache) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("examples", "runs"), [(1, 16), (3, 18), (8, 16), (50, 16)])
def test_few_examples_run_more_often(examples: int, runs: int) -> None:
    with dspy.context(lm=dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none")):
        told = observe(loaded(examples))
    assert sum("prediction" in observation.place for observation in told) == runs


# --- comparing ----------------------------------------------------------------------------------------------------

A, B = Observation("spec.data.train, example 1", "a", "one"), Observation("spec.data.train, example 2", "b", "two")
LONG = "x" * 500


@pytest.mark.parametrize(
    ("mine", "theirs", "difference"),
    [
        ([], [], None),
        ([A, B], [A, B], None),
        ([A, B], [A, B._replace(text="two, in other words")], None),
        ([A, B], [A, B._replace(digest="c", text="three")], (B.place, "two", "three")),
        ([A, B], [A, B._replace(digest="c")], (B.place, "two", "the same text of another content")),
        ([A, B], [A], (B.place, "two", "nothing")),
        ([A], [A, B], (B.place, "nothing", "two")),
        ([A, B], [B], (A.place, "one", f"{B.place}: two")),
        (
            [A._replace(text=LONG + "here" + LONG)],
            [A._replace(digest="c", text=LONG + "there")],
            (A.place, "…" + "x" * 40 + "here" + "x" * 76 + "…", "…" + "x" * 40 + "there"),
        ),
    ],
)
def test_the_first_difference_is_told_with_both_values(mine: Any, theirs: Any, difference: Any) -> None:
    assert compare(mine, theirs) == (Difference(*difference) if difference else None)
