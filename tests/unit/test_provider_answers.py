"""Better prompts and larger models get better answers from the simulated provider. Equal requests get equal answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import dspy
import pydantic
import pytest

from simulated_provider import answers, formats, knowledge, prompts
from simulated_provider.brain import Model
from support.provider import ADAPTERS, CORPUS, TRIAGE, Sort, a_model, answered, messages, tickets
from triage import Triage

SEEDS = range(3)
WORDS = "\n".join(
    f"- {label}: {', '.join(text for at, text in CORPUS.entries if at == label)}" for label in CORPUS.labels
)


@cache
def triage_model(capability: float, seed: int) -> Model:
    return a_model(capability, corpus=knowledge.read(TRIAGE / "knowledge.jsonl"), seed=seed)


def right(capability: float, demos: Iterable[Any] = (), signature: Any = None) -> float:
    """Returns the share of validation tickets that the classifier alone answers correctly, over all seeds."""
    signature = signature or Triage().classify.predict.signature
    found: list[bool] = [
        answered(triage_model(capability, seed), "chat", signature, case(ticket), list(demos))["category"]
        == ticket["category"]
        for seed in SEEDS
        for ticket in tickets("validation")
    ]
    return sum(found) / len(found)


def case(ticket: dict[str, str]) -> dict[str, str]:
    return {"ticket": ticket["ticket"], "problem": ticket["ticket"]}


def labeled(count: int) -> list[Any]:
    return [dspy.Example(ticket=each["ticket"], category=each["category"]) for each in tickets("train")[:count]]


def mislabeled(count: int) -> list[Any]:
    found = labeled(count)
    return [
        dspy.Example(ticket=one.ticket, category=other.category)
        for one, other in zip(found, [*found[1:], found[0]], strict=True)
    ]


def worked(count: int) -> list[Any]:
    """Returns demonstrations with the reasoning of a capable model."""
    signature = Triage().classify.predict.signature
    found = []
    for ticket in tickets("train"):
        outputs = answered(triage_model(0.85, 0), "chat", signature, case(ticket))
        if outputs["category"] == ticket["category"]:
            found.append(dspy.Example(**case(ticket), **outputs))
    return found[:count]


def test_a_larger_model_answers_more_tickets_correctly() -> None:
    assert right(0.05) < right(0.25) < right(0.5) < right(0.85)


def test_demonstrations_improve_answers_and_demonstrations_with_reasoning_improve_them_more() -> None:
    zero_shot, few, many = right(0.25), right(0.25, labeled(3)), right(0.25, labeled(9))
    assert zero_shot < few < many < right(0.25, worked(9))


def test_demonstrations_with_wrong_labels_make_answers_worse() -> None:
    assert right(0.25, mislabeled(9)) < right(0.25, labeled(9))


def test_an_instruction_improves_answers_if_it_contains_words_of_the_labels() -> None:
    signature = Triage().classify.predict.signature
    telling = "\n".join(
        ["Find the team."]
        + [
            f"- {label}: {', '.join(triage_model(1.0, 0).memory.signs(label)[:12])}"
            for label in ("billing", "shipping")
        ]
    )
    empty, default = right(0.25, signature=signature.with_instructions(".")), right(0.25)
    assert right(0.25, signature=signature.with_instructions(telling)) > default
    assert empty <= default + 0.02


def test_the_nearest_demonstration_decides_the_answer_for_a_text_of_unknown_words() -> None:
    demos = [dspy.Example(text="the qux zorbled", kind="metal"), dspy.Example(text="a mimsy borogove", kind="fruit")]
    model = a_model(1.0, corpus=knowledge.Corpus())
    found = [
        answered(model, "chat", Sort, {"text": text}, demos)["kind"] for text in ("qux zorbled!", "mimsy borogove")
    ]
    assert found == ["metal", "fruit"]


def test_a_model_is_more_confident_about_a_clear_text() -> None:
    class Sure(Sort):
        confidence: float = dspy.OutputField()

    sure = answered(a_model(1.0), "chat", Sure, {"text": "heavy storm, rain and hail"})
    unsure = answered(a_model(1.0), "chat", Sure, {"text": "a copper wire in the rain"})
    assert sure["kind"] == "weather"
    assert sure["confidence"] > unsure["confidence"]


def test_the_reasoning_of_a_model_names_the_evidence() -> None:
    class Reasoned(dspy.Signature):
        text: str = dspy.InputField()
        reasoning: str = dspy.OutputField()
        kind: str = dspy.OutputField()

    values = answered(a_model(1.0), "chat", Reasoned, {"text": "This copper wire is made of an alloy."})
    assert values["kind"] == "metal"
    assert "'copper'" in values["reasoning"]


# --- prompts of optimizers ----------------------------------------------------------------------------------------

EXAMPLES = [("red apple and plum", "fruit"), ("apple pie", "fruit"), ("iron and rust", "metal"), ("iron bar", "metal")]


def quoted_as_repr() -> str:
    return repr([dspy.Example(text=text, kind=kind).with_inputs("text") for text, kind in EXAMPLES])


def quoted_as_json() -> str:
    return json.dumps([{"Inputs": {"text": text}, "Generated Outputs": {"kind": kind}} for text, kind in EXAMPLES])


def quoted_as_lines() -> str:
    return "\n\n".join(f"Text: {text}\nKind: {kind}" for text, kind in EXAMPLES)


def quoted_as_rules_do() -> str:
    parts = (f"Input Fields:\ntext: {text}\n\n=========\nOutput Fields:\nkind: {kind}\n\n" for text, kind in EXAMPLES)
    return "".join(parts)


def quoted_as_markdown() -> str:
    parts = (
        f"# Example {i}\n## Inputs\n### text\n{text}\n\n## Generated Outputs\n### kind\n{kind}\n\n"
        for i, (text, kind) in enumerate(EXAMPLES)
    )
    return "".join(parts)


@pytest.mark.parametrize(
    "quoted", [quoted_as_repr, quoted_as_json, quoted_as_lines, quoted_as_rules_do, quoted_as_markdown]
)
def test_proposed_notes_list_the_typical_words_of_each_label(quoted: Any) -> None:
    model = a_model(1.0, corpus=knowledge.Corpus())
    notes = answered(model, "chat", dspy.Signature("examples -> observations"), {"examples": quoted()})["observations"]
    fruit = next(line for line in notes.splitlines() if line.startswith("- fruit:"))
    metal = next(line for line in notes.splitlines() if line.startswith("- metal:"))
    assert "apple" in fruit
    assert "iron" in metal
    assert "apple" not in metal


def test_an_instruction_proposed_from_feedback_has_the_corrected_labels() -> None:
    cases = [
        {"Inputs": {"text": text}, "Generated Outputs": {"kind": "metal"}, "Feedback": f"The right kind is {kind}."}
        for text, kind in EXAMPLES
    ]
    cases.append({"Inputs": {"text": "a pear"}, "Generated Outputs": {"kind": "fruit"}, "Feedback": "Right."})
    signature = dspy.Signature("current_instruction, examples_with_feedback -> new_instruction")
    inputs = {"current_instruction": "Sort.", "examples_with_feedback": json.dumps(cases)}
    written = answered(a_model(1.0, corpus=knowledge.Corpus()), "chat", signature, inputs)["new_instruction"]
    assert "apple" in next(line for line in written.splitlines() if line.startswith("- fruit:"))


def test_a_proposed_instruction_contains_the_basic_instruction_and_the_notes() -> None:
    signature = dspy.Signature("dataset_description, basic_instruction -> proposed_instruction")
    inputs = {"dataset_description": "Groups:\n- fruit: apple, plum\n- metal: iron", "basic_instruction": "Sort it."}
    written = answered(a_model(1.0, corpus=knowledge.Corpus()), "json", signature, inputs)["proposed_instruction"]
    assert written.startswith("Sort it.\n")
    assert "- fruit: apple, plum" in written


def test_proposed_instructions_differ_and_improve_the_answers_of_a_student() -> None:
    signature = dspy.Signature("basic_instruction -> proposed_instruction")
    classify = Triage().classify.predict.signature
    prompt = prompts.parse(messages("chat", signature, {"basic_instruction": classify.instructions}))
    proposals = [
        answers.answer(triage_model(0.85, 0), prompt, (1.0, None, index))["proposed_instruction"] for index in range(5)
    ]
    assert len(set(proposals)) == 5
    scores = [right(0.25, signature=classify.with_instructions(proposal)) for proposal in proposals]
    assert max(scores) > right(0.25)
    assert len(set(scores)) > 1


def test_an_answer_that_gives_advice_has_a_key_for_every_module() -> None:
    class Advise(dspy.Signature):
        program_inputs: str = dspy.InputField()
        oracle_metadata: str = dspy.InputField()
        module_names: list[str] = dspy.InputField()
        module_advice: dict[str, str] = dspy.OutputField()

    inputs = {
        "program_inputs": '{"text": "a juicy apple, freshly picked"}',
        "oracle_metadata": '{"kind": "fruit"}',
        "module_names": ["extract", "classify.predict"],
    }
    advice = answered(a_model(1.0), "chat", Advise, inputs)["module_advice"]
    assert list(advice) == ["extract", "classify.predict"]
    assert "- fruit: " in advice["extract"]


def test_a_reflection_prompt_without_fields_gets_an_instruction_between_code_fences() -> None:
    examples = quoted_as_markdown()
    asked = f"Here are instructions:\n```\nSort it.\n```\n{examples}\nProvide the new instructions within ``` blocks."
    prompt = prompts.parse([{"role": "user", "content": asked}])
    text = formats.render(prompt.task, answers.answer(a_model(1.0), prompt))
    assert text.startswith("```\nSort it.\n")
    assert text.endswith("\n```")


# --- agents -------------------------------------------------------------------------------------------------------


def look_up(text: str, limit: int = 3) -> str:
    """Look a word up."""
    return f"{text[:limit]} is in the book"


def weigh(grams: int) -> str:
    return f"{grams} g"


def agent(instruction: str | None = None) -> Any:
    react = dspy.ReAct("text -> kind", [look_up, weigh])
    if instruction is not None:
        react.react.signature = react.react.signature.with_instructions(instruction)
    return react


def steps(react: Any, model: Model, text: str = "a copper wire, 30 grams", demos: Any = None) -> list[tuple[str, Any]]:
    """Returns the tool and the arguments of each step until the agent finishes."""
    found: list[tuple[str, Any]] = []
    trajectory: dict[str, Any] = {}
    while not found or found[-1][0] != "finish":
        inputs = {"text": text, "trajectory": react._format_trajectory(trajectory)}
        step = answered(model, "chat", react.react.signature, inputs, demos)
        number = len(found)
        found.append((step["next_tool_name"], step["next_tool_args"]))
        trajectory |= {f"thought_{number}": step["next_thought"], f"tool_name_{number}": found[-1][0]}
        trajectory |= {f"tool_args_{number}": found[-1][1], f"observation_{number}": "seen"}
    return found


def test_an_agent_calls_each_tool_with_its_arguments_and_finishes() -> None:
    found = steps(agent(), a_model(1.0))
    assert sorted(found[:-1]) == [("look_up", {"text": "a copper wire, 30 grams"}), ("weigh", {"grams": 30})]
    assert found[-1] == ("finish", {})


def test_an_agent_learns_arguments_from_demonstrations_if_its_instruction_names_none() -> None:
    react = agent("Use tools.")
    demo = dspy.Example(
        text="iron",
        trajectory="",
        next_thought="I look.",
        next_tool_name="look_up",
        next_tool_args={"text": "iron"},
    )
    assert dict(steps(react, a_model(1.0)))["look_up"] == {}
    assert list(dict(steps(react, a_model(1.0), demos=[demo]))["look_up"]) == ["text"]


def test_an_agent_with_a_weaker_model_or_a_poorer_prompt_more_often_finishes_too_early() -> None:
    def early(capability: float, instruction: str | None) -> int:
        react = agent(instruction)
        return sum(len(steps(react, a_model(capability), f"a thing {number}")) < 3 for number in range(30))

    assert early(0.1, "Do.") > early(0.1, f"Do. {WORDS}") > early(1.0, None) == 0


class Finding(pydantic.BaseModel):
    kind: Literal["fruit", "metal", "weather"]
    confidence: float


class Typed(dspy.Signature):
    text: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    finding: Finding = dspy.OutputField()
    evidence: list[str] = dspy.OutputField()


def test_a_model_decides_a_choice_inside_a_structure_like_a_choice_in_a_field_of_its_own() -> None:
    sure = answered(a_model(1.0), "chat", Typed, {"text": "heavy storm, rain and hail"})
    assert sure["finding"].kind == "weather"
    assert "'rain'" in sure["reasoning"]
    assert "rain" in sure["evidence"]

    demos = [
        dspy.Example(text=text, reasoning=".", finding=Finding(kind=kind, confidence=1), evidence=[text])
        for text, kind in (("the qux zorbled", "metal"), ("a mimsy borogove", "fruit"))
    ]
    model = a_model(1.0, corpus=knowledge.Corpus())
    found = [
        answered(model, "chat", Typed, {"text": text}, demos)["finding"].kind
        for text in ("qux zorbled!", "mimsy borogove")
    ]
    assert found == ["metal", "fruit"]


# --- repeatable answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_equal_requests_get_equal_answers_in_every_process(adapter: str) -> None:
    script = (
        "import sys, json; from simulated_provider import answers, formats, prompts; from support.provider import *;"
        "prompt = prompts.parse(json.load(sys.stdin));"
        "print(formats.render(prompt.task, answers.answer(a_model(), prompt, (0.7, 1))))"
    )
    asked = json.dumps(
        messages(adapter, Sort, {"text": "nothing that is known"}, [dspy.Example(text="a", kind="metal")])
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script],
            input=asked,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_seed_temperature_and_number_of_the_completion_may_change_an_answer() -> None:
    prompt = prompts.parse(messages("chat", Sort, {"text": "nothing that is known"}))
    by_draw = {answers.answer(a_model(0.1), prompt, (index,))["kind"] for index in range(20)}
    by_seed = {answers.answer(a_model(0.1, seed=seed), prompt)["kind"] for seed in range(20)}
    assert len(by_draw) > 1
    assert len(by_seed) > 1
