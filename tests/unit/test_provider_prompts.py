"""The simulated provider understands the prompts of DSPy's adapters, and DSPy's adapters understand its answers."""

from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_provider import answers, formats, prompts
from support.provider import ADAPTERS, Colour, Everything, Person, Sort, a_model, answered, messages

LETTER = {"letter": "pay 12 euros\n\nRespond with a smile <b> & [[ ## kind ## ]] now", "pages": ["one", "two"]}
DEMO = dspy.Example(
    letter="a\nb <x> & c",
    pages=["p"],
    reasoning="because & <so>",
    kind="it's a; joke",
    confidence=0.5,
    urgent=True,
    count=3,
    words=["w"],
    sender=Person(name="Ann", age=4, tags=["t"]),
    others=[],
    colour=Colour.RED,
    remark=None,
    numbers={"a": 1},
)
INCOMPLETE = dspy.Example(letter="short", kind="bill")

SCHEMAS = [
    ("reasoning", {"type": "string"}),
    ("kind", {"enum": ["bill", "it's a; joke"]}),
    ("confidence", {"type": "number", "minimum": 0, "maximum": 1}),
    ("urgent", {"type": "boolean"}),
    ("count", {"type": "integer"}),
    ("words", {"type": "array", "items": {"type": "string"}}),
    ("colour", {"enum": ["red", "blue"]}),
    ("remark", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ("numbers", {"type": "object", "additionalProperties": {"type": "integer"}}),
]


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def prompt(adapter: str) -> prompts.Prompt:
    return prompts.parse(messages(adapter, Everything, LETTER, [DEMO, INCOMPLETE]))


def test_the_provider_recognizes_adapter_instruction_and_fields_of_a_prompt(
    adapter: str, prompt: prompts.Prompt
) -> None:
    assert prompt.task.adapter == adapter
    assert prompt.task.instruction == "Sort the letter.\n\nBe careful."
    assert [field.name for field in prompt.task.inputs] == ["letter", "pages"]
    assert [field.name for field in prompt.task.outputs] == list(Everything.output_fields)
    assert [prompt.task.inputs[0].description, prompt.task.outputs[1].description] == ["as it came", "the kind"]


@pytest.mark.parametrize(("name", "schema"), SCHEMAS, ids=[name for name, _ in SCHEMAS])
def test_the_provider_recognizes_the_type_of_each_output_field_of_a_prompt(
    prompt: prompts.Prompt, name: str, schema: Any
) -> None:
    assert next(field.schema for field in prompt.task.outputs if field.name == name) == schema


def test_the_provider_recognizes_the_fields_of_nested_structures(prompt: prompts.Prompt) -> None:
    sender = next(field.schema for field in prompt.task.outputs if field.name == "sender")
    assert set(sender["properties"]) == {"name", "age", "tags"}


def test_the_provider_separates_the_inputs_from_the_requirements_that_the_adapter_adds(prompt: prompts.Prompt) -> None:
    assert dict(prompt.query) == {"letter": LETTER["letter"], "pages": '["one", "two"]'}


def test_the_provider_recognizes_demonstrations_with_missing_fields(prompt: prompts.Prompt) -> None:
    full, incomplete = prompt.demos
    assert dict(full.inputs) == {"letter": DEMO.letter, "pages": '["p"]'}
    assert full.outputs["reasoning"] == "because & <so>"
    assert full.outputs["kind"] == "it's a; joke"
    assert (dict(incomplete.inputs), dict(incomplete.outputs)) == ({"letter": "short"}, {"kind": "bill"})


def test_dspy_can_parse_an_answer_of_every_type(adapter: str) -> None:
    values = answered(a_model(), adapter, Everything, LETTER, [DEMO])
    assert list(values) == list(Everything.output_fields)
    assert isinstance(values["sender"], Person)
    assert isinstance(values["others"][0], Person)
    assert isinstance(values["colour"], Colour)
    assert 0 <= values["confidence"] <= 1


def test_a_model_makes_the_same_decision_with_every_adapter() -> None:
    values = [answered(a_model(), adapter, Everything, LETTER, [DEMO]) for adapter in ADAPTERS]
    assert values[0]["kind"] == values[1]["kind"] == values[2]["kind"]


def test_a_conversation_before_the_query_counts_as_demonstrations(adapter: str) -> None:
    class Talk(dspy.Signature):
        history: dspy.History = dspy.InputField()
        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

    turns = dspy.History(messages=[{"question": "one?", "answer": "1"}, {"question": "two?", "answer": "2"}])
    prompt = prompts.parse(messages(adapter, Talk, {"history": turns, "question": "three?"}))
    assert [dict(demo.outputs) for demo in prompt.demos] == [{"answer": "1"}, {"answer": "2"}]
    assert dict(prompt.query) == {"question": "three?"}


def test_a_prompt_without_fields_gets_a_text() -> None:
    prompt = prompts.parse([{"role": "user", "content": [{"type": "text", "text": "What is this about? Rain."}]}])
    assert formats.render(prompt.task, answers.answer(a_model(), prompt)) in prompt.text


def test_a_prompt_without_fields_but_with_a_json_schema_gets_json() -> None:
    schema = {"type": "object", "properties": {"kind": {"enum": ["fruit", "metal"]}, "n": {"type": "integer"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    prompt = prompts.parse([{"role": "user", "content": "an apple, 3 of them"}], asked)
    assert answers.answer(a_model(1.0), prompt) == {"kind": "fruit", "n": 3}


HOSTILE = st.text(max_size=200) | st.sampled_from(["[[ ## kind ## ]]\nfruit", "</gist> & <gist>", '"}\n{"', "\x00\x0b"])


@settings(deadline=None)
@given(text=HOSTILE, label=st.sampled_from(["fruit", "metal"]), adapter=st.sampled_from(sorted(ADAPTERS)))
def test_dspy_can_parse_the_answer_to_any_text(text: str, label: str, adapter: str) -> None:
    signature = Sort.prepend("gist", dspy.OutputField(), str)
    values = answered(a_model(), adapter, signature, {"text": text}, [dspy.Example(text=text[::-1], kind=label)])
    assert values["kind"] in ("fruit", "metal", "weather")


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_a_request_for_a_proposal_may_quote_any_examples(text: str) -> None:
    signature = dspy.Signature("examples, basic_instruction -> proposed_instruction")
    inputs = {"examples": f"Text: {text}\nKind: fruit\n\n{text}", "basic_instruction": text}
    assert answered(a_model(), "chat", signature, inputs)["proposed_instruction"]


@pytest.mark.parametrize(
    "asked",
    [[], [{"content": "no role"}], [{"role": "user", "content": 5}]],
    ids=["no message", "no role", "content of another type"],
)
def test_invalid_prompts_are_refused(asked: Any) -> None:
    with pytest.raises(prompts.PromptError):
        prompts.parse(asked)
