"""The worker reads the user's files and settings. Its messages about them say what is wrong, where, and what to do."""

import os
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import dspy
import pytest

from support.wire_spec import a_spec
from support.worker import importable, module, run_python, spec_of
from swarm_wire.messages import RunRequest
from swarm_wire.report import Origin
from swarm_wire.spec import adapters
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.user.binding import binding, origin
from swarm_worker.user.data import load_data
from swarm_worker.user.entrypoint import add_sources
from swarm_worker.user.models import make_models, take_keys
from swarm_worker.user.program import load_metric, load_program

PROG = """
import dspy
import os.path

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
    def forward(self, question):
        return dspy.Prediction(answer=question)

class Needs(Program):
    def __init__(self, what):
        super().__init__()

class Empty(dspy.Module):
    pass

class Code(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Flex("question -> answer", interpreter_factory=dspy.LocalInterpreter)

def code():
    return Code().answer

def factory():
    return Program()

def failing():
    return {}["missing"]

def wrong():
    return "a text"

program = Program()
number = 3

class Programs:
    small = program
    def make():
        return Program()

def metric(example, prediction, trace=None):
    return True

def two(example, prediction):
    return True

def one(example):
    return True

def three(example, prediction, trace):
    return True

def five(example, prediction, trace=None, pred_name=None, pred_trace=None):
    return True

def strict_five(example, prediction, trace, pred_name, pred_trace):
    return True

def many(*values, **more):
    return True

class Judge:
    def __call__(self, example, prediction, trace=None):
        return True

judge = Judge()

def train():
    return [{"question": "q", "answer": "a"}, dspy.Example(question="r", answer="b")]

rows = [{"question": "q", "answer": "a"}]

def nothing():
    return []

def texts():
    return ["a text"]

def lacking():
    return [{"question": "q"}, {"answer": "a"}]

def own():
    return [dspy.Example(question="q", hint="h", answer="a").with_inputs("question", "hint")]

def own_question():
    return [dspy.Example(question="q", answer="a").with_inputs("question")]

def each_its_own():
    return [
        dspy.Example(question="q", hint="h").with_inputs("question"),
        dspy.Example(question="q", hint="h").with_inputs("hint", "question"),
        dspy.Example(question="q", hint="h").with_inputs(),
    ]

def some_own():
    return [*own(), dspy.Example(question="q", answer="a")]

def predictions():
    return [dspy.Prediction(question="q", answer="a")]
"""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    module(tmp_path, PROG, "prog.py")
    module(tmp_path, "import dspy\nimport no_such_library\n", "imports_missing.py")
    module(tmp_path, "x = 1\n1 / 0\n", "raises.py")
    module(tmp_path, "def broken(:\n", "syntax.py")
    module(tmp_path, "import sys\nsys.exit(3)\n", "exits.py")
    module(tmp_path / "package", "", "__init__.py")
    module(tmp_path / "package", PROG, "inner.py")
    with importable(tmp_path):
        yield tmp_path


def refused(load: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(BadInput) as error:
        load(*arguments)
    return error.value.reason, str(error.value)


# --- program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entrypoint",
    [
        "prog:Program",
        "prog:factory",
        "prog:program",
        "package.inner:Program",
        "prog:Programs.small",
        "package.inner:Programs.make",
    ],
)
def test_a_program_is_a_module_or_a_function_that_makes_a_module(files: Path, entrypoint: str) -> None:
    found = load_program(spec_of("prog", **{"program": {"entrypoint": entrypoint}}))
    assert isinstance(found, dspy.Module)
    assert list(dict(found.named_predictors())) == ["predict"]


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        ("missing:Program", [
            "there is no module 'missing'", 'A ConfigMap source needs a key "missing.py"', "raises.py",
        ]),
        ("package.missing:Program", ["there is no module 'package.missing'"]),
        ("missing.inner:Program", ["there is no module 'missing'"]),
        ("imports_missing:Program", ["'no_such_library', which is not installed", "imports_missing.py, line 2"]),
        ("raises:Program", ['importing "raises" raised ZeroDivisionError: division by zero (raises.py, line 2)']),
        ("syntax:Program", ["SyntaxError", "(syntax.py, line 1)"]),
        ("exits:Program", ['importing "exits" raised SystemExit: 3 (exits.py, line 2)']),
        ("prog:Missing", ['module "prog" has no "Missing". It has: Code, Empty, Judge, Needs, Program, Programs, ']),
        ("prog:Programs.large", ['"Programs" of module "prog" has no "large". It has: make, small.']),
        ("prog:number", ['"prog:number" is a int. Name a dspy.Module, a Module class, or a function']),
        ("prog:failing", ["calling \"prog:failing\" raised KeyError: 'missing' (prog.py, line "]),
        ("prog:Needs", ['calling "prog:Needs" raised TypeError', "required positional argument: 'what'"]),
        ("prog:wrong", ['"prog:wrong" gave a str, not a dspy.Module']),
        ("prog:Empty", ['"prog:Empty" has no predictors', "Set dspy.Predict, dspy.ChainOfThought or like"]),
    ],
)  # fmt: skip
def test_invalid_programs_are_refused(files: Path, entrypoint: str, says: list[str]) -> None:
    reason, message = refused(load_program, spec_of("prog", **{"program": {"entrypoint": entrypoint}}))
    assert reason == "ProgramLoadFailed"
    assert message.startswith("spec.program.entrypoint: ")
    for text in says:
        assert text in message


@pytest.mark.parametrize("entrypoint", ["prog:Code", "prog:code"])
@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ({"gepa": {"auto": "light"}}, None),
        ({"custom": {"entrypoint": "prog:factory"}}, None),
        ({"miprov2": {}}, "has no predictors but those in the code of a dspy.Flex, which only GEPA rewrites."),
    ],
)
def test_only_gepa_and_custom_optimizers_accept_a_program_that_is_a_dspy_flex(
    files: Path, entrypoint: str, optimizer: dict[str, Any], says: str | None
) -> None:
    spec = spec_of("prog", program={"entrypoint": entrypoint}, optimizer=optimizer)
    if says is None:
        assert load_program(spec).named_predictors() == []
    else:
        reason, message = refused(load_program, spec)
        assert (reason, says in message) == ("ProgramLoadFailed", True)


def test_a_config_map_makes_its_files_importable(tmp_path: Path) -> None:
    module(tmp_path / "code", PROG, "from_map.py")
    spec = spec_of("from_map", **{"program.source": {"configMap": {"name": "code"}}})
    with importable(tmp_path):
        add_sources(spec, tmp_path)
        assert isinstance(load_program(spec), dspy.Module)
    reason, message = refused(add_sources, spec, tmp_path / "elsewhere")
    assert (reason, message) == ("ProgramLoadFailed", "spec.program.source: the ConfigMap code is not there.")


# --- adapter -----------------------------------------------------------------------------------------------------

ADAPTERS = """
import dspy

class Terse(dspy.ChatAdapter):
    pass

terse = Terse()

def factory():
    return Terse(use_json_adapter_fallback=False)

def failing():
    return {}["missing"]

def nothing():
    pass

name = "chat"
"""


def adapter_of(given: dict[str, Any], **roles: Any) -> Any:
    spec = CompilationSpec.model_validate(a_spec(**{"program.adapter": given, "models": {"student": model(), **roles}}))
    return make_models(spec, {}).adapter


@pytest.mark.parametrize(
    ("given", "kind", "options"),
    [
        ({"chat": {}}, dspy.ChatAdapter, {"use_json_adapter_fallback": True, "use_native_function_calling": False}),
        ({"chat": {"useJsonAdapterFallback": False}}, dspy.ChatAdapter, {"use_json_adapter_fallback": False}),
        ({"json": {}}, dspy.JSONAdapter, {"use_native_function_calling": True}),
        ({"json": {"useNativeFunctionCalling": False}}, dspy.JSONAdapter, {"use_native_function_calling": False}),
        ({"xml": {"useJsonAdapterFallback": False}}, dspy.XMLAdapter, {"use_json_adapter_fallback": False}),
        ({"twoStep": {"useNativeFunctionCalling": True}}, dspy.TwoStepAdapter, {"use_native_function_calling": True}),
    ],
)
def test_an_adapter_of_the_spec_is_the_adapter_of_stock_dspy_with_its_options(
    given: dict[str, Any], kind: type[Any], options: dict[str, Any]
) -> None:
    made = adapter_of(given)
    assert type(made) is kind
    assert {name: getattr(made, name) for name in options} == options


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        (adapters.ChatAdapter, dspy.ChatAdapter),
        (adapters.JSONAdapter, dspy.JSONAdapter),
        (adapters.XMLAdapter, dspy.XMLAdapter),
        (adapters.TwoStepAdapter, dspy.Adapter),  # TwoStepAdapter passes its **kwargs on to it
    ],
)
def test_every_adapter_of_the_spec_has_the_options_and_defaults_of_stock_dspy(ours: Any, stock: Any) -> None:
    objects = {"self", "callbacks", "native_response_types"}
    options = {
        name: option.default for name, option in signature(stock.__init__).parameters.items() if name not in objects
    }
    assert {name: field.default for name, field in ours.model_fields.items()} == options


@pytest.mark.parametrize(
    ("roles", "name"), [({}, "openai/m"), ({"extraction": {"model": "openai/tiny"}}, "openai/tiny")]
)
def test_the_two_step_adapter_reads_answers_with_its_own_model_or_with_the_student(roles: Any, name: str) -> None:
    made = adapter_of({"twoStep": {}}, **{role: model(**given) for role, given in roles.items()})
    assert made.extraction_model.model == name


@pytest.mark.parametrize("entrypoint", ["terse", "Terse", "factory"])
def test_an_entrypoint_may_be_an_adapter_of_the_user(tmp_path: Path, entrypoint: str) -> None:
    module(tmp_path, ADAPTERS, "adapters.py")
    with importable(tmp_path):
        made = adapter_of({"entrypoint": f"adapters:{entrypoint}"})
    assert type(made).__name__ == "Terse"
    assert made.use_json_adapter_fallback == (entrypoint != "factory")


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        ("failing", "calling \"adapters:failing\" raised KeyError: 'missing' (adapters.py, line "),
        ("nothing", '"adapters:nothing" gave a NoneType. Name a dspy.Adapter, an Adapter class, or a function'),
        ("name", '"adapters:name" gave a str. Name a dspy.Adapter'),
        ("missing", 'module "adapters" has no "missing"'),
    ],
)
def test_invalid_adapters_are_refused(tmp_path: Path, entrypoint: str, says: str) -> None:
    module(tmp_path, ADAPTERS, "adapters.py")
    with importable(tmp_path):
        reason, message = refused(adapter_of, {"entrypoint": f"adapters:{entrypoint}"})
    assert (reason, message.partition(": ")[0]) == ("ProgramLoadFailed", "spec.program.adapter.entrypoint")
    assert says in message


# --- metric ------------------------------------------------------------------------------------------------------


GEPA = {"gepa": {"auto": "light"}}


@pytest.mark.parametrize("name", ["metric", "many", "judge", "five"])
def test_a_metric_takes_example_prediction_and_trace(files: Path, name: str) -> None:
    assert callable(load_metric(spec_of("prog", metric={"entrypoint": f"prog:{name}"})))


@pytest.mark.parametrize("name", ["many", "five"])
def test_a_metric_for_gepa_also_takes_a_predictors_name_and_trace(files: Path, name: str) -> None:
    assert callable(load_metric(spec_of("prog", metric={"entrypoint": f"prog:{name}"}, optimizer=GEPA)))


@pytest.mark.parametrize(
    "optimizer",
    [
        {"labeledFewShot": {}},
        {"copro": {}},
        {"simba": {}},
        {"reAnchor": {}},
        {"custom": {"entrypoint": "prog:metric"}},
    ],
    ids=lambda optimizer: next(iter(optimizer)),
)
def test_a_metric_needs_no_argument_trace_if_stock_dspy_passes_no_trace(files: Path, optimizer: dict[str, Any]) -> None:
    assert callable(load_metric(spec_of("prog", metric={"entrypoint": "prog:two"}, optimizer=optimizer)))


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        ("prog:missing", 'module "prog" has no "missing"'),
        ("prog:three", '"prog:three" must take (example, prediction, trace=None), not (example, prediction, trace).'),
        (
            "prog:strict_five",
            "must take (example, prediction, trace=None), not (example, prediction, trace, pred_name, ",
        ),
        ("prog:number", '"prog:number" is a int, not a function.'),
        ("prog:one", '"prog:one" must take (example, prediction, trace=None), not (example).'),
        ("prog:two", '"prog:two" must take (example, prediction, trace=None), not (example, prediction).'),
        ("missing:metric", "there is no module 'missing'"),
    ],
)
def test_invalid_metrics_are_refused(files: Path, entrypoint: str, says: str) -> None:
    spec = spec_of("prog", metric={"entrypoint": entrypoint}, optimizer={"bootstrapFewShot": {}})
    reason, message = refused(load_metric, spec)
    assert reason == "MetricLoadFailed"
    assert message.startswith("spec.metric.entrypoint: ")
    assert says in message


@pytest.mark.parametrize("name", ["metric", "judge", "strict_five"])
def test_invalid_metrics_for_gepa_are_refused(files: Path, name: str) -> None:
    spec = spec_of("prog", metric={"entrypoint": f"prog:{name}"}, optimizer=GEPA)
    reason, message = refused(load_metric, spec)
    assert reason == "MetricLoadFailed"
    assert message.startswith(
        f'spec.metric.entrypoint: "prog:{name}" must take '
        "(example, prediction, trace=None, pred_name=None, pred_trace=None) for gepa, not (example, prediction, trace"
    )


# --- data --------------------------------------------------------------------------------------------------------


def loaded(train: dict[str, Any], sources: Path) -> list[dict[str, Any]]:
    found = load_data(spec_of("prog", **{"data.train": train}), sources)
    assert all(set(item.inputs().keys()) == {"question"} for item in found.train)
    return [item.toDict() for item in found.train]


QA = {"question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", '{"question":"q","answer":"a"}\n', [QA]),
        ("a.jsonl", '{"question":"q","answer":"a"}\r\n\r\n{"question":"r"}', [QA, {"question": "r"}]),
        ("a.jsonl", '\ufeff{"question":"q","answer":"a"}', [QA]),
        ("a.jsonl", '{"question":"one\u2028two\x85three"}', [{"question": "one\u2028two\x85three"}]),
        ("a.jsonl", '{"question":"q","base":{"x":1}}', [{"question": "q", "base": {"x": 1}}]),
        ("a.ndjson", '{"question":["q",1,null]}', [{"question": ["q", 1, None]}]),
        ("a.json", '\ufeff[\n  {"question": "q", "answer": "a"},\n  {"question": 1}\n]\n', [QA, {"question": 1}]),
        ("a.csv", "question,answer\nq,a\n", [QA]),
        ("a.csv", 'question,answer\r\n"q, with\na break",a\r\n', [{"question": "q, with\na break", "answer": "a"}]),
        ("a.csv", f"question\n{'x' * 200_000}\n", [{"question": "x" * 200_000}]),
    ],
)
def test_each_object_or_row_of_a_file_is_an_example(
    files: Path, name: str, text: str, expected: list[dict[str, Any]]
) -> None:
    (files / name).write_text(text, encoding="utf-8", newline="")
    assert loaded({"path": str(files / name)}, files) == expected


@pytest.mark.parametrize(
    ("name", "text", "noted"),
    [
        ("a.csv", "question,answer\nq,True\nr,False\n", ["'False', 'True'"]),
        ("a.csv", "question,answer\nq,true\nr, false\ns,true\n", ["' false', 'true'"]),
        ("a.csv", "question,answer\nq,True\nr,maybe\n", []),
        ("a.jsonl", '{"question": "q", "answer": "True"}\n', []),
    ],
)
def test_the_message_about_a_boolean_that_is_written_as_text_points_it_out(
    files: Path, name: str, text: str, noted: list[str]
) -> None:
    (files / "data").mkdir()
    (files / "data" / name).write_text(text)
    train = {"configMap": {"name": "data", "key": name}}
    notes = load_data(spec_of("prog", data={"inputs": ["question"], "train": train}), files).notes
    begins = [f"spec.data.train: a.csv: the field 'answer' holds the texts {texts}: all of" for texts in noted]
    assert len(notes) == len(begins)
    assert all(note.startswith(begin) for note, begin in zip(notes, begins, strict=True))


@pytest.mark.parametrize("entrypoint", ["prog:train", "prog:rows"])
def test_an_entrypoint_returns_dicts_or_examples(files: Path, entrypoint: str) -> None:
    assert loaded({"entrypoint": entrypoint}, files)[0] == QA


@pytest.mark.parametrize(
    ("entrypoint", "inputs", "expected"),
    [
        ("prog:own", None, [{"question", "hint"}]),
        ("prog:own", ["hint", "question"], [{"question", "hint"}]),
        ("prog:own_question", ["question"], [{"question"}]),
        ("prog:each_its_own", None, [{"question"}, {"question", "hint"}, set()]),
        ("prog:train", ["question"], [{"question"}, {"question"}]),
        ("prog:train", ["question", "answer"], [{"question", "answer"}, {"question", "answer"}]),
        ("prog:predictions", ["question"], [{"question"}]),
    ],
)
def test_an_example_keeps_the_inputs_that_it_marks_itself(
    files: Path, entrypoint: str, inputs: list[str] | None, expected: list[set[str]]
) -> None:
    data = {"train": {"entrypoint": entrypoint}, **({"inputs": inputs} if inputs else {})}
    found = load_data(spec_of("prog", data=data), files)
    assert [set(example.inputs().keys()) for example in found.train] == expected


@pytest.mark.parametrize(
    ("entrypoint", "inputs", "problem"),
    [
        ("prog:own", ["question"],
         "prog:own, example 1 names 'hint', 'question' as its inputs, and spec.data.inputs names 'question'. Leave "
         "spec.data.inputs out: each example then keeps its own inputs. Or name the same ones in both places."),
        ("prog:each_its_own", ["question"],
         "prog:each_its_own, example 2 names 'hint', 'question' as its inputs, and spec.data.inputs names "
         "'question'. Leave spec.data.inputs out: each example then keeps its own inputs. Or name the same ones in "
         "both places."),
        ("prog:rows", None,
         "prog:rows, example 1 does not say which of its fields the program receives. Name them in spec.data.inputs, "
         "or call with_inputs on each dspy.Example. Its fields: question, answer."),
        ("prog:some_own", None, "prog:some_own, example 2 does not say which of its fields the program receives."),
        ("prog:predictions", None, "prog:predictions, example 1 does not say which"),
    ],
)  # fmt: skip
def test_data_is_refused_if_it_is_unclear_which_fields_are_inputs(
    files: Path, entrypoint: str, inputs: list[str] | None, problem: str
) -> None:
    data = {"train": {"entrypoint": entrypoint}, **({"inputs": inputs} if inputs else {})}
    reason, message = refused(load_data, spec_of("prog", data=data), files)
    assert reason == "DataInvalid"
    assert message.startswith(f"spec.data.train: {problem}")


def test_data_from_a_file_needs_the_field_inputs_in_the_spec(files: Path) -> None:
    module(files, '{"question":"q"}\n', "a.jsonl")
    spec = spec_of("prog", data={"train": {"path": str(files / "a.jsonl")}})
    assert "a.jsonl, example 1 does not say which of its fields" in refused(load_data, spec, files)[1]


def test_the_data_has_no_validation_set_if_the_spec_names_none(files: Path) -> None:
    assert load_data(spec_of("prog"), files).validation is not None
    spec = spec_of("prog", data={"inputs": ["question"], "train": {"entrypoint": "prog:train"}})
    assert load_data(spec, files).validation is None


def test_a_limit_of_examples_takes_the_first_examples_and_reads_no_further(files: Path) -> None:
    assert loaded({"entrypoint": "prog:lacking", "limit": 1}, files) == [{"question": "q"}]


def test_test_data_is_empty_if_none_is_given(files: Path) -> None:
    assert load_data(spec_of("prog"), files).test == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"question":"q"}\n\n{"question"}\n', "a.jsonl, line 3 is not JSON: "),
        ("a.jsonl", '["q"]\n', "a.jsonl, line 1 is a list. Write one JSON object a line"),
        ("a.jsonl", '{"question":"q"}\n{"answer":"a"}\n',
         "a.jsonl, example 2 has no 'question', which spec.data.inputs names. Its fields: answer."),
        ("a.jsonl", "\n\n", "a.jsonl has no examples. Put at least one in it."),
        ("a.json", '[\n  {"question": "q"},\n  {"question"}\n]\n',
         "a.json is not JSON: Expecting ':' delimiter: line 3 column 14 (char 36). Write one list of JSON objects: "),
        ("a.json", '{"question":"q"}\n{"question":"r"}\n',
         'objects: [{"field": value}, ...]. A file with one object a line must end in .jsonl.'),
        ("a.json", '{"data": [{"question":"q"}]}',
         'a.json is a dict. Write one list of JSON objects: [{"field": value}, ...].'),
        ("a.json", '[{"question":"q"}, "q"]', "a.json, example 2 is a str. Write one list of JSON objects: "),
        ("a.json", '[{"question":"q"}, {"answer":"a"}]', "a.json, example 2 has no 'question'"),
        ("a.json", "[]", "a.json has no examples. Put at least one in it."),
        ("a.json", "", "a.json is not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("a.csv", "question,answer\n", "a.csv has no examples"),
        ("a.csv", "question,answer\nq,a\nq, with a comma,a\n",
         "a.csv, line 3 has not as many fields as the first line: question, answer. Quote fields that hold a comma."),
        ("a.csv", "question,answer\nq\n", "a.csv, line 2 has not as many fields"),
        ("a.csv", "Question,answer\nq,a\n", "a.csv, example 1 has no 'question'"),
        ("a.xml", "<a/>",
         "a.xml must end in .jsonl, .ndjson, .json, .csv, .parquet. Read any other file by a function: "),
    ],
)  # fmt: skip
def test_invalid_data_is_refused(files: Path, name: str, text: str, says: str) -> None:
    (files / name).write_text(text, encoding="utf-8", newline="")
    reason, message = refused(loaded, {"path": str(files / name)}, files)
    assert reason == "DataInvalid"
    assert message.startswith("spec.data.train: ")
    assert says in message


def test_the_message_about_missing_data_names_the_existing_files(files: Path) -> None:
    module(files / "data", "", "other.jsonl")
    _, message = refused(loaded, {"configMap": {"name": "data", "key": "train.jsonl"}}, files)
    assert message == f"spec.data.train: there is no train.jsonl in {files / 'data'}. There: other.jsonl."


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.jsonl", "cannot be read as UTF-8 text"),
        ("a.json", "cannot be read as UTF-8 text"),
        ("a.xlsx", "Read any other file by a function"),
    ],
)
def test_data_that_is_not_text_is_reported(files: Path, name: str, says: str) -> None:
    (files / name).write_bytes(b"\xff\xfe\x00")
    assert says in refused(loaded, {"path": str(files / name)}, files)[1]


def test_data_is_read_from_the_volume_that_pods_mount(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"volume": {"claimName": "tickets", "path": "new/a.jsonl"}}
    assert refused(loaded, source, files)[1] == (
        "spec.data.train: there is no a.jsonl in /swarm/volumes/tickets/new. There: nothing."
    )
    monkeypatch.setenv("SWARM_VOLUMES_DIR", str(files / "volumes"))
    module(files / "volumes" / "tickets" / "new", '{"question":"q"}\n', "a.jsonl")
    assert loaded(source, files) == [{"question": "q"}]


def test_the_message_about_data_that_is_a_folder_says_so(files: Path) -> None:
    (files / "a.jsonl").mkdir()
    assert (
        "a.jsonl cannot be read: [Errno 21] Is a directory"
        in refused(loaded, {"path": str(files / "a.jsonl")}, files)[1]
    )


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        ("prog:failing", "calling \"prog:failing\" raised KeyError: 'missing' (prog.py, line "),
        ("prog:number", "raised TypeError: 'int' object is not iterable"),
        ("prog:nothing", "prog:nothing has no examples"),
        ("prog:texts", "prog:texts, example 1 is a str. Return dspy.Example objects or dicts."),
        ("prog:lacking", "prog:lacking, example 2 has no 'question'"),
        ("missing:train", "there is no module 'missing'"),
    ],
)
def test_an_entrypoint_without_data_is_refused(files: Path, entrypoint: str, says: str) -> None:
    reason, message = refused(loaded, {"entrypoint": entrypoint}, files)
    assert reason == "DataInvalid"
    assert says in message


# --- models ------------------------------------------------------------------------------------------------------


def model(secret: str | None = None, **more: Any) -> dict[str, Any]:
    key = {"apiKey": {"secret": {"name": secret, "key": "k"}}} if secret else {}
    return {"model": "openai/m", "endpoint": "http://m/v1", **key, **more}


def models(**roles: Any) -> CompilationSpec:
    return CompilationSpec.model_validate(a_spec(models={"student": model(), **roles}))


def test_api_keys_are_removed_from_the_environment() -> None:
    environment = {
        "SWARM_API_KEY_STUDENT": "s",
        "SWARM_API_KEY_PROMPT": "p",
        "SWARM_API_KEY_TEACHER": "not asked for",
        "OPENAI_BASE_URL": "http://elsewhere",
        "OPENAI_API_BASE": "http://elsewhere",
        "SEARCH_BASE_URL": "http://search",
        "HOME": "/tmp",
    }
    spec = models(student=model("a"), prompt=model("b"))
    assert take_keys(spec, environment) == {"student": "s", "prompt": "p"}
    assert environment == {"HOME": "/tmp", "SEARCH_BASE_URL": "http://search"}


def test_an_api_key_from_a_file_is_sent_without_its_newline() -> None:
    assert take_keys(models(student=model("a")), {"SWARM_API_KEY_STUDENT": "sk-1\r\n"}) == {"student": "sk-1"}


@pytest.mark.parametrize("environment", [{}, {"SWARM_API_KEY_STUDENT": ""}, {"SWARM_API_KEY_STUDENT": "\n"}])
def test_the_message_about_a_missing_api_key_names_it(environment: dict[str, str]) -> None:
    reason, message = refused(take_keys, models(student=model("keys")), environment)
    assert reason == "MissingSecret"
    assert "the student model's API key is empty: it should come from key 'k' of Secret 'keys'" in message


def test_model_roles_without_a_model_use_the_student() -> None:
    made = make_models(models(), {})
    assert made.teacher is made.student is made.prompt
    assert made.student.kwargs["api_key"] == "none"
    made = make_models(models(teacher=model(parameters={"temperature": 0.3, "maxTokens": 5})), {"teacher": "t"})
    assert made.teacher is not made.student is made.prompt
    assert (made.teacher.kwargs["temperature"], made.teacher.kwargs["max_tokens"]) == (0.3, 5)
    assert made.teacher.kwargs["api_key"] == "t"


MODELS_BY_NAME = """
import dspy, swarm_worker
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.user.models import configure, make_models
from support.wire_spec import a_spec

def told(name, *otherwise):
    try:
        return swarm_worker.lm(name, *otherwise).model
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(told("judge"))
print(told("judge", dspy.LM("openai/given")))
dspy.configure(lm=dspy.LM("openai/configured"))
print(told("judge"))
models = {"student": {"model": "openai/small"}, "judge": {"model": "groq/large"}}
configure(make_models(CompilationSpec.model_validate(a_spec(models=models)), {}))
for name in ("judge", "student", "teacher", "extraction", "jugde"):
    print(told(name, dspy.LM("openai/given")))
"""


def test_a_program_gets_a_model_of_the_spec_by_its_name() -> None:
    """Outside of a run, `swarm_worker.lm` returns the given or configured model. In a run, it returns the spec's."""
    ended = run_python(MODELS_BY_NAME)
    assert ended.returncode == 0, ended.stderr
    nothing, given, configured, judge, student, teacher, extraction, unknown = ended.stdout.splitlines()
    assert nothing.startswith(
        "LookupError: swarm_worker.lm('judge') outside of a run: call dspy.configure(lm=...) first"
    )
    assert (given, configured) == ("openai/given", "openai/configured")
    assert (judge, student, teacher, extraction) == ("groq/large", "openai/small", "openai/small", "openai/small")
    assert unknown == (
        "BadInput: swarm_worker.lm('jugde'): spec.models has no jugde. Add it there, or ask for one of student, "
        "teacher, prompt, extraction, judge."
    )


def test_outside_of_a_run_a_program_that_gets_models_by_name_imports_dspy_alone() -> None:
    ended = run_python(
        "import sys, dspy, swarm_worker; dspy.configure(lm=dspy.LM('openai/own')); before = {*sys.modules}\n"
        "assert swarm_worker.lm('judge').model == 'openai/own'; print(*sorted({*sys.modules} - before))"
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["swarm_worker.user", "swarm_worker.user.roles"]


# --- binding -----------------------------------------------------------------------------------------------------


def made_of(files: Path, spec: CompilationSpec | None = None, image: str = "image") -> Origin:
    spec = spec or spec_of("bound")
    with importable(files):
        load_program(spec)
        return origin(RunRequest(run_id="r", name="n", spec=spec), files, load_data(spec, files), image)


def bound(files: Path, spec: CompilationSpec | None = None, image: str = "image", hash_seed: int = 0) -> str:
    return binding(made_of(files, spec, image), hash_seed)


IMPORTS = "\nimport bound_helper\n\ndef late():\n    import not_there, os.path\n    from bound_late import score\n"
LATE = "def score():\n    import bound_parts.scorer\n"


@pytest.fixture
def bound_files(tmp_path: Path, only_modules_of_the_test: None) -> Path:
    module(tmp_path, PROG + IMPORTS, "bound.py")
    module(tmp_path, "LIMIT = 1\n", "bound_helper.py")
    module(tmp_path, "not imported\n", "other.py")
    module(tmp_path, LATE, "bound_late.py")
    for name in ("__init__", "scorer", "words", "unused"):
        module(tmp_path / "bound_parts", "from . import words\n" if name == "scorer" else "", f"{name}.py")
    return tmp_path


@pytest.mark.parametrize(
    ("what", "file", "text", "changes"),
    [
        ("nothing", None, "", False),
        ("the program's file", "bound.py", PROG + IMPORTS + "x = 1\n", True),
        ("a helper of it", "bound_helper.py", "LIMIT = 2\n", True),
        ("what a function imports", "bound_late.py", LATE + "x = 1\n", True),
        ("what that imports, in a package", "bound_parts/scorer.py", "from . import words\nx = 1\n", True),
        ("the package", "bound_parts/__init__.py", "x = 1\n", True),
        ("what that imports in turn", "bound_parts/words.py", "x = 1\n", True),
        ("another part of the package", "bound_parts/unused.py", "x = 1\n", False),
        ("another file", "other.py", "still not imported\n", False),
        ("the data", "bound.py", (PROG + IMPORTS).replace('"r"', '"s"'), True),
    ],
)
def test_the_binding_of_a_journal_contains_the_imported_modules_of_the_user(
    bound_files: Path, what: str, file: str | None, text: str, changes: bool
) -> None:
    before = bound(bound_files)
    if file:
        module(bound_files, text, file)
    assert (bound(bound_files) != before) == changes, what


DATA = (PROG + IMPORTS).replace('"r"', '"s"')


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda files: {}, set()),
        (lambda files: {"image": "other"}, {"image"}),
        (lambda files: module(files, "LIMIT = 2\n", "bound_helper.py"), {"program"}),
        (lambda files: module(files, DATA, "bound.py"), {"program", "data"}),
        (lambda files: {"spec": spec_of("bound", models={"student": {"model": "openai/other"}})}, {"spec", "models"}),
    ],
    ids=["nothing", "the image", "the program", "the data", "the spec"],
)
def test_the_recorded_origin_of_an_artifact_shows_which_parts_have_changed(
    bound_files: Path, change: Any, fields: set[str]
) -> None:
    before = made_of(bound_files)
    now = made_of(bound_files, **(change(bound_files) or {}))
    assert {name for name in Origin.model_fields if getattr(now, name) != getattr(before, name)} == fields
    assert (before.run_id, before.models, before.dspy) == ("r", {"student": "openai/small"}, dspy.__version__)


def test_the_binding_of_a_journal_contains_the_hash_seed(bound_files: Path) -> None:
    assert bound(bound_files, hash_seed=1) != bound(bound_files)


@pytest.mark.usefixtures("only_modules_of_the_test")
def test_the_binding_of_a_journal_contains_the_image_and_every_file_of_a_config_map(tmp_path: Path) -> None:
    module(tmp_path / "code", PROG, "mapped.py")
    spec = spec_of("mapped", **{"program.source": {"configMap": {"name": "code"}}})

    def now(image: str = "image") -> str:
        with importable(tmp_path / "code"):
            return bound(tmp_path, spec, image)

    before = now()
    assert now() == before
    assert now("another") != before
    (tmp_path / "code" / "prompt.txt").write_text("a file that the program reads")
    assert now() != before


def test_the_environment_of_the_unit_tests_has_no_api_keys() -> None:
    assert not [name for name in os.environ if name.startswith("SWARM_API_KEY")]


# --- threads that programs start ---------------------------------------------------------------------------------

SIDE_BY_SIDE = """
import sys
from concurrent.futures import ThreadPoolExecutor

import dspy
from swarm_worker.user.models import Models, configure

lm = dspy.LM("openai/nobody", api_base="http://127.0.0.1:9", api_key="none")
configure(Models(lm, lm, lm))
sys.setswitchinterval(1e-6)


class Same(dspy.Module):
    def forward(self, n):
        return n


def cell(_):
    work = [(Same(), dspy.Example(n=n).with_inputs("n")) for n in (1, 2)]
    return dspy.Parallel(num_threads=2, disable_progress_bar=True)(work)


with ThreadPoolExecutor(8) as pool:
    assert all(made == [1, 2] for made in pool.map(cell, range(100)))
"""


def test_programs_that_use_dspy_parallel_run_concurrently() -> None:
    ended = run_python(SIDE_BY_SIDE)
    assert ended.returncode == 0, ended.stderr
