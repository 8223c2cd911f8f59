"""Digests of object graphs are equal in every process, unless a relevant part differs."""

import collections
import copy
import functools
import json
import re
import threading
import types
from collections.abc import Callable
from typing import Any

import dspy
import pydantic
import pytest

from support.worker import Program, Slotted, example, graphs, run_python, scorer
from swarm_worker.content.digest import Walk, combine
from swarm_worker.content.marks import mark


def digest(thing: Any) -> str:
    return Walk().digest(thing)


IN_ANOTHER_PROCESS = """
import json
from support.worker import graphs
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
codec = Codec({"student model's API key": "secret-key-1234"})
found = {}
for name, thing in graphs().items():
    walk, copied = Walk(), Walk()
    found[name] = [walk.digest(thing), copied.digest(codec.loads(codec.dumps(thing)))]
    found[name] += [len(walk.referables), len(copied.referables)]
print(json.dumps(found))
"""


def test_digests_are_the_same_in_every_process_and_after_serialization() -> None:
    found = []
    for seed in ("1", "2"):
        done = run_python(IN_ANOTHER_PROCESS, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    for name, (before, after, referables, copied) in found[0].items():
        assert before == after, name
        assert referables == copied, name
    distinct = {digests[0] for digests in found[0].values()}
    assert len(distinct) == len(found[0])
    assert set(found[0]) == set(graphs())


def changed(program: Program, change: Callable[[Any], object]) -> Program:
    change(program)
    return program


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("a demo", lambda it: it.predict.demos.append(example(question="q"))),
        ("a demo's value", lambda it: setattr(it.predict, "demos", [example(question="r")])),
        ("an instruction", lambda it: setattr(it.predict, "signature", it.predict.signature.with_instructions("No."))),
        ("a field", lambda it: setattr(it.predict, "signature", dspy.Signature("question -> answers"))),
        ("a field's type", lambda it: setattr(it.predict, "signature", dspy.Signature("question -> answer: int"))),
        ("the configuration", lambda it: it.predict.config.update(temperature=1.0)),
        ("a plain attribute", lambda it: setattr(it, "tag", "b")),
        ("a predictor's model", lambda it: setattr(it.predict, "lm", dspy.LM("openai/m"))),
        ("another predictor", lambda it: setattr(it, "second", dspy.Predict("question -> answer"))),
    ],
)
def test_every_change_that_may_change_an_answer_changes_the_digest_of_a_program(
    what: str, change: Callable[[Any], object]
) -> None:
    assert digest(Program()) == digest(Program())
    assert digest(changed(Program(), change)) != digest(Program()), what


REPORTS = ["candidate_programs", "mb_candidate_programs", "trial_logs", "total_calls", "simba_idx", "results_best"]


@pytest.mark.parametrize("name", ["stage", "history", "callbacks", *REPORTS])
def test_the_digest_contains_an_attribute_of_the_user_even_if_dspy_uses_its_name(name: str) -> None:
    one, other = Program(), Program()
    setattr(one, name, "a")
    setattr(other, name, "b")
    assert digest(one) != digest(other)
    one.predict, other.predict = dspy.Predict("a -> b"), dspy.Predict("a -> b")
    setattr(one, name, "same")
    setattr(other, name, "same")
    setattr(one.predict, name, 1)
    setattr(other.predict, name, 2)
    assert digest(one) != digest(other), "a predictor's, too"
    assert digest(example(**{name: 1})) != digest(example(**{name: 2}))
    assert digest({name: 1}) != digest({name: 2})


ENTRY = {"uuid": "u", "timestamp": "t", "outputs": ["a"], "prompt": "p"}
ROW = {"score": 50.0, "program": Program()}


@pytest.mark.parametrize(
    "reports",
    [
        {"history": [ENTRY]},
        {"candidate_programs": [{**ROW, "seed": 1}]},
        {"candidate_programs": [ROW], "mb_candidate_programs": [], "trial_logs": {1: {}}, "total_calls": 9},
        {"candidate_programs": [{**ROW, "instruction": "i", "prefix": "p", "depth": 0}], "total_calls": 9},
        {"candidate_programs": [ROW], "trial_logs": {0: {}}, "simba_idx": 3},
    ],
    ids=["LM calls", "random search", "MIPROv2", "COPRO", "SIMBA"],
)
def test_the_digest_leaves_out_attributes_that_dspy_and_its_optimizers_add_to_a_program(
    reports: dict[str, Any],
) -> None:
    program = Program()
    for name, report in reports.items():
        setattr(program, name, report)
    assert digest(program) == digest(Program())


def test_the_digest_leaves_out_random_values_that_dspy_gives_a_predictor() -> None:
    assert digest(dspy.Predict("a -> b")) == digest(dspy.Predict("a -> b"))
    assert digest(dspy.Retrieve(k=3)) == digest(dspy.Retrieve(k=3))
    assert digest(dspy.Retrieve(k=3)) != digest(dspy.Retrieve(k=4))


def lms(**changes: Any) -> Any:
    return dspy.LM(**{"model": "openai/m", "api_base": "http://m/v1", "api_key": "k", "temperature": 0.5, **changes})


def reordered() -> dict[str, int]:
    return {"b": 2, "a": 1}


def made(limit: int) -> Any:
    """Returns a program whose class is defined in a function."""

    class Made(dspy.Module):
        limits = (limit,)

        def forward(self, text: str) -> str:
            return text[:limit]

    return Made()


class OwnLM(dspy.LM):
    """An LM class with an attribute that the user added."""

    def __init__(self, style: str) -> None:
        super().__init__("openai/m")
        self.style = style


def answering(kind: Any) -> Any:
    return dspy.Signature({"a": (str, dspy.InputField()), "b": (list[kind], dspy.OutputField())})


def model_of(kind: Any) -> Any:
    return pydantic.create_model("Answer", __module__="m", value=(kind, ...))


def with_attribute(value: int) -> Any:
    def score(example: Any, prediction: Any) -> Any:
        return score

    vars(score)["threshold"] = value
    return score


DIFFERENT: list[tuple[str, Any, Any]] = [
    ("order of keys, as a prompt has it", {"a": 1, "b": 2}, reordered()),
    ("closure values", scorer(3), scorer(4)),
    ("code constants", lambda it: it + 1, lambda it: it + 2),
    ("names in code", lambda it: it.a, lambda it: it.b),
    ("inner functions", lambda: lambda: 1, lambda: lambda: 2),
    ("defaults", lambda it=1: it, lambda it=2: it),
    ("names of arguments", lambda one: 1, lambda other: 1),
    ("attributes of functions", with_attribute(1), with_attribute(2)),
    ("classes made in a function", made(1), made(2)),
    ("attributes of a user's LM", OwnLM("short"), OwnLM("long")),
    ("an LM's callbacks", lms(), lms(callbacks=[Slotted(1)])),
    ("types within a signature's types", answering(model_of(int)), answering(model_of(str))),
    (
        "further completions",
        dspy.Prediction.from_completions([{"a": "x"}, {"a": "y"}]),
        dspy.Prediction.from_completions([{"a": "x"}, {"a": "z"}]),
    ),
    ("keyword defaults", lambda *, it=1: it, lambda *, it=2: it),
    ("methods of different objects", Program("a").forward, Program("b").forward),
    ("input keys", example(question="q", x=1), example(question="q", x=1).with_inputs("x")),
    ("fields score", example(score=1), example(score=2)),
    ("an example and its fields", example(a=1), {"a": 1}),
    ("int and bool", 1, True),
    ("int and float", 1, 1.0),
    ("text and bytes", "a", b"a"),
    ("nothing and its name", None, "None"),
    ("set and list", {1}, [1]),
    ("sets", {1, 2}, {1, 3}),
    ("nesting", [[1], 2], [[1, 2]]),
    ("neighbours", ["ab", "c"], ["a", "bc"]),
    ("key and value", {"a": "b"}, {"b": "a"}),
    ("patterns", re.compile("a"), re.compile("b")),
    ("flags", re.compile("a"), re.compile("a", re.IGNORECASE)),
    ("factories", collections.defaultdict(list), collections.defaultdict(set)),
    ("contents of a dict's subclass", collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    ("partial arguments", functools.partial(scorer, 1), functools.partial(scorer, 2)),
    ("partial functions", functools.partial(scorer, 1), functools.partial(Slotted, 1)),
    ("slots", Slotted(1), Slotted(2)),
    ("builtins", len, sum),
    ("builtin methods of different objects", {"a"}.__contains__, {"b"}.__contains__),
    ("models", lms(), lms(model="openai/n")),
    ("endpoints", lms(), lms(api_base="http://n/v1")),
    ("temperatures", lms(), lms(temperature=0.6)),
    ("signatures' fields in another order", dspy.Signature("a, b -> c"), dspy.Signature("b, a -> c")),
    (
        "descriptions",
        dspy.Signature({"a": (str, dspy.InputField(desc="x"))}),
        dspy.Signature({"a": (str, dspy.InputField(desc="y"))}),
    ),
    (
        "pydantic schemas",
        pydantic.create_model("M", __module__="m", a=(int, ...)),
        pydantic.create_model("M", __module__="m", a=(str, ...)),
    ),
]


@pytest.mark.parametrize(("what", "one", "other"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_different_objects_have_different_digests(what: str, one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


EQUAL: list[tuple[str, Any, Any]] = [
    ("list and tuple", [1, 2], (1, 2)),
    ("equal closures", scorer(3), scorer(3)),
    ("API keys", lms(), lms(api_key="another")),
    ("a deep copy", graphs()["program"], copy.deepcopy(graphs()["program"])),
    ("sharing", (lambda it: [it, it])([1]), [[1], [1]]),
]


@pytest.mark.parametrize(("what", "one", "other"), EQUAL, ids=[row[0] for row in EQUAL])
def test_irrelevant_differences_do_not_change_a_digest(what: str, one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


def test_objects_that_contain_themselves_have_digests() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [2]
    other.append(other)
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_the_digest_of_a_lock_is_that_of_its_type() -> None:
    holder = types.SimpleNamespace(lock=threading.Lock(), text="a")
    assert digest(holder) == digest(types.SimpleNamespace(lock=threading.Lock(), text="a"))
    assert digest(holder) != digest(types.SimpleNamespace(lock=threading.Lock(), text="b"))
    assert digest(holder) != digest(types.SimpleNamespace(lock=threading.RLock(), text="a"))


@pytest.mark.parametrize(
    "within",
    [
        lambda text: text,
        lambda text: example(question=text),
        lambda text: dspy.Signature("a -> b", f"Say {text}."),
        lambda text: changed(Program(), lambda it: setattr(it.predict, "demos", [example(question=text)])),
        lambda text: {text: 1},
    ],
    ids=["text", "example", "instruction", "demo", "key"],
)
def test_a_placeholder_is_found_in_any_object_and_its_letter_does_not_change_the_digest(
    within: Callable[[str], Any],
) -> None:
    one, other, clean, third = Walk(), Walk(), Walk(), Walk()
    found = one.digest(within(mark("A", "1" * 32, "answer")))
    assert found == other.digest(within(mark("B", "1" * 32, "answer")))
    assert found != third.digest(within(mark("A", "2" * 32, "answer")))
    clean.digest(within("no mark"))
    assert (one.unresolved, other.unresolved, clean.unresolved) == (True, True, False)


def test_a_users_text_that_resembles_a_placeholder_is_not_a_placeholder() -> None:
    one, other = Walk(), Walk()
    assert one.digest("⟦A|x⟧") != other.digest("⟦B|x⟧")
    assert not one.unresolved


def test_objects_that_a_payload_may_refer_to_are_numbered_in_order_of_discovery() -> None:
    demo = example(question="q")
    program = changed(Program(), lambda it: setattr(it.predict, "demos", [demo]))
    walk = Walk()
    walk.digest([demo, program])
    assert [type(thing).__name__ for thing in walk.referables[:2]] == ["Example", "Predict"]
    assert walk.number(demo) == 0
    assert walk.referables[walk.number(program.predict.signature) or 0] is program.predict.signature
    assert walk.number(example(question="q")) is None, "an equal object is not the same"


def test_a_digest_of_several_texts_depends_on_where_each_text_ends() -> None:
    assert combine("a", "b") != combine("ab") != combine("a", "b", "")
    assert combine("1:a") != combine("a")


def search(query: str) -> str:
    return query


def find(query: str) -> str:
    return query + "!"


def test_the_digest_of_a_tool_depends_on_its_function() -> None:
    assert Walk().digest(dspy.Tool(search)) == Walk().digest(dspy.Tool(search))
    assert Walk().digest(dspy.Tool(search)) != Walk().digest(dspy.Tool(find))
    assert Walk().digest(dspy.ReAct("question -> answer", tools=[search])) != Walk().digest(
        dspy.ReAct("question -> answer", tools=[find])
    )
