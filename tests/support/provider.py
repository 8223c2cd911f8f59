"""Makes prompts as DSPy writes them. Models of the simulated provider answer them in this process."""

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import dspy
import pydantic
from dspy.adapters.xml_adapter import XMLAdapter

from simulated_provider import answers, formats, knowledge, prompts
from simulated_provider.brain import Model

TRIAGE = Path(__file__).parents[2] / "examples" / "triage"
ADAPTERS: Mapping[str, Any] = {"chat": dspy.ChatAdapter(), "json": dspy.JSONAdapter(), "xml": XMLAdapter()}


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(dspy.Signature):
    """Sort the letter.

    Be careful."""

    letter: str = dspy.InputField(desc="as it came")
    pages: list[str] = dspy.InputField()
    reasoning: str = dspy.OutputField()
    kind: Literal["bill", "it's a; joke"] = dspy.OutputField(desc="the kind")
    confidence: float = dspy.OutputField(ge=0, le=1)
    urgent: bool = dspy.OutputField()
    count: int = dspy.OutputField()
    words: list[str] = dspy.OutputField()
    sender: Person = dspy.OutputField()
    others: list[Person] = dspy.OutputField()
    colour: Colour = dspy.OutputField()
    remark: str | None = dspy.OutputField()
    numbers: dict[str, int] = dspy.OutputField()


class Sort(dspy.Signature):
    """Sort."""

    text: str = dspy.InputField()
    kind: Literal["fruit", "metal", "weather"] = dspy.OutputField()


CORPUS = knowledge.Corpus(
    tuple(
        (label, text)
        for label, texts in {
            "fruit": ["apple", "ripe pear", "plum jam", "cherry stone", "peel an orange", "grapes", "melon", "juicy"],
            "metal": ["iron", "rusty nail", "copper wire", "steel beam", "silver spoon", "tin", "welding", "alloy"],
            "weather": ["rain", "heavy storm", "snow fall", "sunny spell", "fog bank", "hail", "drizzle", "wind gust"],
        }.items()
        for text in texts
    )
)


def a_model(capability: float = 0.3, *, corpus: knowledge.Corpus = CORPUS, seed: int = 0) -> Model:
    return Model("model", capability, knowledge.Memory(corpus, capability, seed))


def messages(
    adapter: str, signature: Any, inputs: Mapping[str, Any], demos: list[Any] | None = None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ADAPTERS[adapter].format(signature, demos or [], dict(inputs))
    return found


def answered(model: Model, adapter: str, signature: Any, inputs: Mapping[str, Any], demos: Any = None) -> Any:
    """Returns the values of the model's answer by field, as DSPy parses them."""
    prompt = prompts.parse(messages(adapter, signature, inputs, demos))
    return ADAPTERS[adapter].parse(signature, formats.render(prompt.task, answers.answer(model, prompt)))


def tickets(split: str) -> list[dict[str, str]]:
    lines = (TRIAGE / "data" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
