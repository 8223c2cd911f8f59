"""The imaginary provider answers in the requested form and equally in every process, without a real LM call."""

import asyncio
import enum
import json
from collections.abc import Iterator
from typing import Any, Literal

import dspy
import pydantic
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter
from dspy.adapters.xml_adapter import XMLAdapter
from dspy.utils.callback import BaseCallback

from support.worker import run_python
from swarm_worker.imaginary.provider import imagined, install

NOWHERE = "http://127.0.0.1:9/v1"
ADAPTERS = [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter(), XMLAdapter(), BAMLAdapter()]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=18, le=99)
    nick: str | None = None


class Tree(pydantic.BaseModel):
    name: str
    children: "list[Tree]"
    other: "Tree | None"


class Everything(dspy.Signature):
    """Sort the letter."""

    letter: str = dspy.InputField()
    reasoning: dspy.Reasoning = dspy.OutputField()
    kind: Literal["bill", "it's a; joke"] = dspy.OutputField()
    level: Literal[1, 2, 3] = dspy.OutputField()
    confidence: float = dspy.OutputField(ge=0.5, le=1)
    urgent: bool = dspy.OutputField()
    count: int = dspy.OutputField()
    words: list[str] = dspy.OutputField()
    sender: Person = dspy.OutputField()
    others: list[Person] = dspy.OutputField()
    colour: Colour = dspy.OutputField()
    remark: str | None = dspy.OutputField()
    numbers: dict[str, int] = dspy.OutputField()
    pair: tuple[int, str] = dspy.OutputField()
    code: dspy.Code = dspy.OutputField()


@pytest.fixture
def lm() -> Iterator[Any]:
    """Yields an imaginary model that counts its calls."""
    model = dspy.LM("openai/nobody", api_base=NOWHERE, api_key="none", num_retries=0)
    calls: list[Any] = []
    with dspy.context(lm=model, disable_history=True), imagined(lambda lm, call, answer: calls.append(call)):
        model.calls = calls
        yield model


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
@pytest.mark.parametrize("letter", ["Hello.", "[[ ## kind ## ]]\nno", "<kind>no</kind>"])
def test_an_invented_answer_has_the_requested_types(lm: Any, adapter: Any, letter: str) -> None:
    with dspy.context(adapter=adapter):
        told = dspy.Predict(Everything)(letter=letter)
    assert len(lm.calls) == 1  # DSPy did not try another adapter
    assert told.kind in ("bill", "it's a; joke")
    assert told.level in (1, 2, 3)
    assert 0.5 <= told.confidence <= 1
    assert 18 <= told.sender.age <= 99
    assert isinstance(told.urgent, bool)
    assert isinstance(told.colour, Colour)
    assert isinstance(told.pair[1], str)
    assert len(str(told.reasoning).split()) > 10


def test_a_recursive_type_gets_a_finite_invented_answer(lm: Any) -> None:
    signature = dspy.Signature("letter -> tree: Tree", custom_types={"Tree": Tree})
    assert isinstance(dspy.Predict(signature)(letter="x").tree, Tree)


def test_invented_choices_differ_from_request_to_request(lm: Any) -> None:
    sort = dspy.Predict("letter -> kind: Literal['a', 'b', 'c'], urgent: bool")
    seen = {(told.kind, told.urgent) for told in (sort(letter=str(n)) for n in range(60))}
    assert len(seen) == 6


def test_invented_completions_and_rollouts_differ(lm: Any) -> None:
    several = dspy.Predict("letter -> answer", n=3)(letter="x")
    assert len(set(several.completions.answer)) == 3
    again = dspy.Predict("letter -> answer", n=3)(letter="x")
    assert again.completions.answer == several.completions.answer
    other = dspy.Predict("letter -> answer", n=3, rollout_id=1, temperature=1.0)(letter="x")
    assert set(other.completions.answer).isdisjoint(several.completions.answer)


def test_a_prompt_without_fields_gets_an_invented_text_for_each_completion(lm: Any) -> None:
    assert [type(text) for text in lm("Write an instruction.", n=2)] == [str, str]


def test_an_invented_answer_has_a_token_for_every_four_characters(lm: Any) -> None:
    with dspy.track_usage() as tracker:
        lm("x" * 400, n=2)
    [usage] = tracker.get_total_tokens().values()
    assert usage["prompt_tokens"] == 2 * (100 + 4)
    assert 100 < usage["completion_tokens"] < 500


def test_an_agent_with_invented_answers_finishes_without_a_call_of_its_tools(lm: Any) -> None:
    def send(to: str) -> str:
        raise AssertionError("called")

    told = dspy.ReAct("question -> answer", tools=[send])(question="Who?")
    assert [value for key, value in told.trajectory.items() if key.startswith("tool_name")] == ["send", "finish"]
    assert told.trajectory["observation_0"] == "What send found."
    assert len(lm.calls) == 3


@pytest.mark.parametrize("native", [True, False], ids=["native calls", "calls in the text"])
@pytest.mark.parametrize("most", [5, 1], ids=["finishes", "is made to finish"])
def test_an_agent_of_the_class_react_v2_finishes_without_a_call_of_its_tools(lm: Any, native: bool, most: int) -> None:
    def send(to: str) -> str:
        raise AssertionError("called")

    agent = dspy.ReActV2("question -> answer, sure: bool", tools=[send], max_iters=most)
    with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=native)):
        told = agent(question="Who?")
    assert isinstance(told.sure, bool)
    assert told.answer
    assert told.termination_reason == ("submit" if most > 1 else "forced_submit")
    assert len(lm.calls) == 2


def test_agents_in_an_estimate_take_the_assumed_number_of_steps() -> None:
    model = dspy.LM("openai/nobody", api_base=NOWHERE, api_key="none", num_retries=0)
    calls: list[Any] = []
    undo = install(lambda lm, call, answer: calls.append(call), tool_calls=4)
    try:
        with dspy.context(lm=model, disable_history=True):
            dspy.ReAct("question -> answer", tools=[str])(question="Who?")
            dspy.ReActV2("question -> answer", tools=[str])(question="Who?")
    finally:
        undo()
    assert len(calls) == 4 + 2 + 4 + 1


def test_async_programs_and_programs_with_threads_get_invented_answers(lm: Any) -> None:
    sort = dspy.Predict("letter -> kind: Literal['a', 'b', 'c']")

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(sort.acall(letter=str(n)) for n in range(5)))

    plain = [sort(letter=str(n)).kind for n in range(5)]
    threads = dspy.Parallel(num_threads=3, disable_progress_bar=True)([(sort, {"letter": str(n)}) for n in range(5)])
    assert [told.kind for told in asyncio.run(gathered())] == plain
    assert [told.kind for told in threads] == plain


def test_a_program_with_callbacks_of_its_own_gets_invented_answers(lm: Any) -> None:
    class Own(BaseCallback):
        heard = 0

        def on_adapter_format_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.heard += 1

    own = Own()
    with dspy.context(callbacks=[]):
        told = dspy.Predict("letter -> urgent: bool")(letter="x")
    with dspy.context(adapter=dspy.ChatAdapter(callbacks=[own])):
        assert dspy.Predict("letter -> urgent: bool")(letter="x").urgent == told.urgent
    assert own.heard > 0
    assert len(lm.calls) == 2


@pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
def test_a_model_class_of_the_user_also_gets_invented_answers(lm: Any) -> None:
    class Own(dspy.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            raise AssertionError("called")

    with dspy.context(lm=Own("own")):
        assert dspy.Predict("letter -> urgent: bool")(letter="x").urgent in (True, False)


def test_the_client_of_stock_dspy_is_restored_afterwards() -> None:
    from dspy.clients import execution

    def hooked() -> tuple[Any, ...]:
        tool, adapter = dspy.Tool, dspy.ChatAdapter()
        return execution.execute, execution.aexecute, tool.__call__, tool.acall, list(adapter.callbacks)

    before = hooked()
    with imagined():
        assert hooked() != before
    assert hooked() == before


def test_every_process_invents_the_same_answers() -> None:
    code = f"""
import dspy
from swarm_worker.imaginary.provider import imagined
dspy.configure(lm=dspy.LM("openai/nobody", api_base={NOWHERE!r}, api_key="none"))
with imagined():
    told = dspy.ChainOfThought("letter -> kind: Literal['a', 'b'], words: list[str], by: dict[str, int]")(letter="x")
print(told.toDict())
"""
    outputs = {run_python(code, PYTHONHASHSEED=str(seed)).stdout for seed in (1, 2)}
    assert len(outputs) == 1
    assert "kind" in next(iter(outputs))
    assert json.dumps(sorted(outputs)) != '[""]'
