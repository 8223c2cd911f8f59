"""A rehearsal in two processes with different hash seeds finds harmful differences, and ignores harmless ones."""

import functools
import json
import logging
import os
import random
import re
import socket
import sys
import time
import types
from pathlib import Path
from typing import Any, ClassVar

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from dspy.utils.unbatchify import Unbatchify

from support.worker import module, run_python
from swarm_wire.names import WorkerReason
from swarm_worker.content import shared_state
from swarm_worker.content.shared_state import Kind, Place
from swarm_worker.determinism.rehearsal import CALLS, Rehearsal, rehearse
from swarm_worker.determinism.twin import Difference, Observation, compare, explain
from swarm_worker.errors import BadInput
from swarm_worker.forks import restart_batching
from swarm_worker.replay import attempts
from swarm_worker.user.data import Compilation, Data


@pytest.fixture(autouse=True)
def no_modules_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets only this module count as the user's. Otherwise the rehearsal would inspect all loaded test modules."""
    monkeypatch.setattr(shared_state, "users_modules", lambda: iter([(__name__, sys.modules[__name__])]))


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

DATA = "Sort what comes from a folder, and draw samples with random.Random(0)."
PROGRAM = "Let prompts and decisions depend on the inputs alone"
METRIC = "Let the metric depend on the example and the prediction alone"

FOUND = {
    "a random branch": (
        """
class Program(Program):
    def forward(self, ticket):
        for _ in range(random.randrange(20)):
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
            raise ValueError(f"{ticket} {random.random()}")
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
    return random.random()
""",
        "spec.metric on validation example ",
        METRIC,
    ),
    "a metric by chance when it bootstraps": (
        """
def metric(example, prediction, trace=None):
    return trace is None or random.random()
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
from swarm_worker.user.data import Compilation
from swarm_worker.determinism.rehearsal import observe, rehearse
from swarm_worker.user.data import Data

dspy.configure(lm=dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none"), disable_history=True)

def seen(name):
    user = importlib.import_module(name)
    examples = lambda rows: [dspy.Example(row).with_inputs("ticket") for row in rows]
    loaded = Compilation(user.Program(), user.metric, Data(examples(user.train()), examples(user.validation()), []))
    rehearsal = rehearse(loaded, backwards=os.environ["PYTHONHASHSEED"] != "0")
    return [*observe(loaded), *rehearsal.observations]

json.dump({name: seen(name) for name in sys.argv[1:]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns two processes' observations of each module. One process reads all modules, since starts are slow."""
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
def test_the_rehearsal_reports_a_difference_between_processes_with_a_remedy(seen: Any, name: str) -> None:
    _, place, advice = FOUND[name]
    difference = compare(*seen[name])
    assert difference is not None
    assert place in explain(difference, "the order")
    assert advice in explain(difference, "the order")
    assert difference.mine != difference.theirs


@pytest.mark.parametrize("name", QUIET)
def test_the_rehearsal_does_not_report_equal_behaviour(seen: Any, name: str) -> None:
    mine, theirs = seen[name]
    assert compare(mine, theirs) is None
    assert len(mine) >= 40


def test_the_rehearsal_ends_an_endless_run_of_an_example(seen: Any) -> None:
    mine, _ = seen["a program that waits for an answer that never comes"]
    assert sum("example 1, LM call" in observation.place for observation in mine) == 2 * CALLS


# --- state that a rehearsal or an example leaves behind -----------------------------------------------------------


class Remembers:
    """A metric that remembers the questions that it has seen."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        random.random()
        print("judged")
        LOG.append(example.question)
        self.seen.add(example.question)
        return True


LOG: list[str] = []
remembers = Remembers()


class Plain(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.predict(question=question)


def steady(example: Any, prediction: Any, trace: Any = None) -> bool:
    return True


def rehearsed(program: Any = None, metric: Any = steady, *, count: int = 3, **given: Any) -> Rehearsal:
    examples = [dspy.Example(question=str(n), answer=str(n)).with_inputs("question") for n in range(1, count + 1)]
    loaded = Compilation(program or Plain(), metric, Data(examples, examples, []))
    with dspy.context(lm=dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none")):
        return rehearse(loaded, **given)


def test_a_rehearsal_changes_nothing_in_its_process(capfd: pytest.CaptureFixture[str]) -> None:
    program, lm = Plain(), dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none")
    state = random.getstate()
    with dspy.context(lm=lm), dspy.track_usage() as usage:
        assert len(rehearsed(program, remembers).runs) == 18
    assert (remembers.seen, LOG) == (set(), [])
    assert random.getstate() == state
    assert lm.history == []
    assert usage.get_total_tokens() == {}
    assert len(dspy.cache.memory_cache) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("examples", "runs"), [(1, 16), (3, 18), (8, 16), (50, 16)])
def test_the_rehearsal_runs_each_example_more_often_if_there_are_few(examples: int, runs: int) -> None:
    assert len(rehearsed(count=examples).runs) == runs


class Program(Plain):
    """A program that runs a test's action on the second example."""

    act: Any = staticmethod(lambda program: None)

    def forward(self, question: str) -> Any:
        if question == "2":
            self.act()
        return super().forward(question)


def doing(act: Any) -> Any:
    return type("Program", (Program,), {"act": act})()


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda program: time.sleep(60), "it had not come to its end after "),
        (lambda program: os._exit(3), "its process ended after "),
    ],
    ids=["the example is slow", "the example ends its process"],
)
def test_an_endless_example_is_started_once_and_reported(act: Any, why: str, tmp_path: Path) -> None:
    def begun(program: Any) -> None:
        with (tmp_path / "begun").open("a") as file:
            file.write("x")
        act(program)

    said: list[str] = []
    told = rehearsed(doing(begun), seconds=4, say=said.append)
    assert set(told.runs) <= {1, 3}
    assert 1 in told.runs
    assert (tmp_path / "begun").read_text() == "x"
    [unseen] = [text for text in said if text.startswith("Validation example 2 is not rehearsed: ")]
    assert why in unseen


def test_a_long_rehearsal_reports_its_progress() -> None:
    said: list[str] = []
    rehearsed(doing(lambda program: time.sleep(1.5)), runs=[1, 2], say=said.append)
    assert said == [
        "Program and metric are being rehearsed, with imaginary models; validation example 2 is on.",
    ]


def test_a_rehearsal_can_be_turned_off() -> None:
    told = rehearsed(seconds=0)
    assert (told.runs, told.observations, told.changes) == ([], [], [])


@pytest.mark.parametrize("backwards", [False, True])
def test_a_twin_rehearses_only_the_examples_that_ended_in_the_plan(backwards: bool) -> None:
    told = rehearsed(runs=[1, 3, 1], backwards=backwards)
    assert told.runs == [1, 3, 1]
    places = [observation.place for observation in told.observations if "prediction" in observation.place]
    assert [place[len("spec.program on validation example ")] for place in places] == ["1", "3", "1"]


def raises(arguments: Any, prediction: Any) -> float:
    return float(prediction.answer)


@pytest.mark.parametrize("kind", [dspy.BestOfN, dspy.Refine])
def test_failed_attempts_do_not_carry_over_between_examples(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (dspy.BestOfN, dspy.Refine):
        monkeypatch.setattr(each, "forward", each.forward)
    attempts.install()
    program = kind(module=dspy.Predict("question -> answer"), N=3, reward_fn=raises, threshold=1.0)
    there, back = rehearsed(program), rehearsed(program, backwards=True)
    assert compare(there.observations, back.observations) is None
    assert there.changes == []


def test_a_fork_of_the_rehearsal_has_the_threads_that_a_retriever_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unbatchify, "__init__", Unbatchify.__init__)
    restart_batching()
    with Unbatchify(lambda items: [item.upper() for item in items]) as batched:
        told = rehearsed(doing(lambda program: batched("a")), seconds=30)
    assert len(told.runs) == 18


def test_a_fork_of_the_rehearsal_uses_no_connection_of_its_parent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        rehearsed(doing(lambda program: ours.send(b"from the fork")), runs=[2])
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)


class Counts(BaseCallback):
    def __init__(self) -> None:
        self.calls = 0

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.calls += 1


class Prints(BaseCallback):
    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        print(outputs)


class Notes:
    shared: ClassVar[list[str]] = []
    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = ""


counts, notes, CACHE, COUNT = Counts(), Notes(), {"known": [0]}, 0
LOGGER = logging.getLogger("test")


def count_up() -> None:
    global COUNT
    COUNT += 1


def calls_itself(example: Any, prediction: Any, trace: Any = None) -> bool:
    calls_itself.count = getattr(calls_itself, "count", 0) + 1  # type: ignore[attr-defined]
    return True


def closing_over() -> Any:
    seen = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        seen.append(example)
        return True

    return metric


closes = closing_over()


def by_default(example: Any, prediction: Any, trace: Any = None, seen: list[Any] = []) -> bool:  # noqa: B006
    seen.append(1)
    return True


class Bound:
    def __init__(self) -> None:
        self.inner = types.SimpleNamespace()
        self.table: dict[str, int] = {}

    def score(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        self.table[example.question] = 1
        return True


bound = Bound()


def sorts(example: Any, prediction: Any, trace: Any = None) -> bool:
    example.answer = "changed"
    return True


@functools.cache
def cached(question: str) -> str:
    return question


HERE = __name__


@pytest.mark.parametrize(
    ("program", "metric", "kind", "path"),
    [
        (lambda: Plain(), lambda: remembers, Kind.STATE, f"{HERE}.remembers.seen"),
        (lambda: Plain(), lambda: remembers, Kind.STATE, f"{HERE}.LOG"),
        (lambda: Plain(), lambda: calls_itself, Kind.STATE, f"{HERE}.calls_itself.count"),
        (lambda: Plain(), lambda: closes, Kind.STATE, f"{HERE}.closes, its variable seen"),
        (lambda: Plain(), lambda: by_default, Kind.STATE, f"{HERE}.by_default, its default of seen"),
        (lambda: Plain(), lambda: bound.score, Kind.STATE, f"{HERE}.bound.table"),
        (lambda: Plain(), lambda: sorts, Kind.EXAMPLE, "validation example 2, field answer"),
        (lambda: doing(lambda program: count_up()), None, Kind.STATE, f"{HERE}.COUNT"),
        (lambda: doing(lambda program: CACHE["known"].append(1)), None, Kind.STATE, f"{HERE}.CACHE"),
        (lambda: doing(lambda program: setattr(notes, "last", "x")), None, Kind.STATE, f"{HERE}.notes.last"),
        (lambda: doing(lambda program: Notes.shared.append("x")), None, Kind.STATE, f"{HERE}.Notes.shared"),
        (lambda: doing(lambda program: setattr(program, "memo", {})), None, Kind.STATE, f"{HERE}.Program().memo"),
        (
            lambda: doing(lambda program: program.predict.demos.append({"question": "q"})),
            None,
            Kind.STATE,
            f"{HERE}.Program().predict.demos",
        ),
    ],
)
def test_state_that_examples_leave_behind_is_reported_with_its_path(
    program: Any, metric: Any, kind: Kind, path: str
) -> None:
    told = rehearsed(program(), metric() if metric else steady, runs=[2])
    assert (kind, path) in {(place.kind, place.path) for place in told.changes}
    assert all(place.kind is Kind.EXAMPLE or place.file == __file__ for place in told.changes)


@pytest.mark.parametrize(
    "act",
    [
        lambda program: None,
        lambda program: cached("a"),
        lambda program: LOGGER.isEnabledFor(17),
        lambda program: setattr(program, "client", object()),
        lambda program: random.random(),
    ],
    ids=["nothing", "functools.cache", "a logger", "a client that is made at its first use", "the random generator"],
)
def test_state_that_no_code_reads_is_not_reported(act: Any) -> None:
    assert rehearsed(doing(act), runs=[2]).changes == []


def test_the_message_about_a_callback_with_state_names_the_callback() -> None:
    with dspy.context(callbacks=[Prints(), counts]):
        told = rehearsed(runs=[1])
    assert (told.changes[0].kind, told.changes[0].path) == (Kind.CALLBACK, f"{HERE}.counts.calls")


@pytest.mark.parametrize(
    ("kind", "custom", "told"),
    [
        (Kind.CALLBACK, False, "the callback m.x (m.py) changes while program and metric run on an example."),
        (Kind.EXAMPLE, False, "program or metric changes m.x."),
        (Kind.STATE, True, "m.x (m.py) changes while program and metric run on an example, and spec.optimizer.custom"),
        (Kind.STATE, False, None),
    ],
)
def test_state_that_other_examples_would_read_is_refused(kind: Kind, custom: bool, told: str | None) -> None:
    rehearsal = Rehearsal(changes=[Place(kind, "m.x", "m.py")])
    if told is None:
        return rehearsal.check(is_custom=custom)
    with pytest.raises(BadInput, match=re.escape(told)) as refused:
        rehearsal.check(is_custom=custom)
    assert refused.value.reason == WorkerReason.SIDE_EFFECT
    return None


# --- comparison of two processes ----------------------------------------------------------------------------------

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
def test_the_message_about_a_difference_contains_both_values(mine: Any, theirs: Any, difference: Any) -> None:
    assert compare(mine, theirs) == (Difference(*difference) if difference else None)
