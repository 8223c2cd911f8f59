"""The report as Markdown says what people ask about a winner."""

import pytest

from swarm_engine.markdown import markdown
from swarm_engine.verdicts import compare
from swarm_wire.report import (
    TEST_SET,
    VALIDATION_SET,
    Demonstration,
    ExampleScores,
    Prompt,
    Report,
    Scores,
)
from swarm_wire.spending import Usage

BEFORE, AFTER = [0.0] * 8 + [100.0], [100.0] * 8 + [0.0]
SCORES = Scores(baseline=11.1, best=88.9, test_baseline=11.11, test_winner=88.89)
REPORT = Report(
    scores=SCORES,
    comparison=compare(BEFORE, AFTER, seed="run"),
    compared_on=TEST_SET,
    by_example=[ExampleScores(name=TEST_SET, baseline=BEFORE, winner=AFTER)],
    usage=Usage(calls=1234, prompt_tokens=10, completion_tokens=5, micro_usd=250_000),
    notes=["One note."],
    prompts=[
        Prompt(
            predictor="answer",
            before="Answer.\nBe brief.",
            after="Answer in one word.\nBe brief.",
            demonstrations=[
                Demonstration(bootstrapped=True, example="training example 3"),
                Demonstration(bootstrapped=False),
            ],
        )
    ],
)


def test_a_report_has_verdict_scores_flips_prompts_and_costs() -> None:
    assert markdown(REPORT).splitlines() == [
        "# Compiled program",
        "",
        f"**{REPORT.comparison}** (the test set).",
        "",
        "| score in percent | baseline | winner |",
        "|---|---:|---:|",
        "| the validation set | 11.10 | 88.90 |",
        "| the test set | 11.11 | 88.89 |",
        "",
        "## Examples that changed, of the test set",
        "",
        "- Better on 8 of 9: 1, 2, 3, 4, 5, 6, 7, 8",
        "- Worse on 1 of 9: 9",
        "",
        "## Prompt of `answer`",
        "",
        "```diff",
        "-Answer.",
        "+Answer in one word.",
        " Be brief.",
        "```",
        "",
        "Demonstrations:",
        "",
        "1. bootstrapped, from training example 3",
        "2. labeled",
        "",
        "## What it cost, and what made it",
        "",
        "- 1,234 LM calls, 15 tokens, 0.2500 USD",
        "",
        "## Notes",
        "",
        "- One note.",
    ]


def test_a_comparison_on_the_examples_that_chose_the_winner_is_called_flattering() -> None:
    text = markdown(REPORT.model_copy(update={"compared_on": VALIDATION_SET}))
    assert "so this difference flatters it" in text
    assert "so this difference flatters it" not in markdown(REPORT)


@pytest.mark.parametrize("fence", ["```", "````", "  ```"])
def test_instructions_with_fences_stay_within_a_longer_fence(fence: str) -> None:
    prompt = Prompt(predictor="p", before=f"Answer.\n{fence}", after=f"Answer it.\n{fence}\ncode\n{fence}")
    text, longer = markdown(REPORT.model_copy(update={"prompts": [prompt]})), f"{fence.strip()}`"
    assert f"\n{longer}diff\n" in text
    assert text.count(f"\n{longer}\n") == 1


def test_a_partial_artifact_says_so_and_has_no_verdict() -> None:
    text = markdown(Report(scores=Scores(baseline=50.0, best=60.0), partial="limits.lmCalls: 100 is reached"))
    assert "**Partial**: limits.lmCalls: 100 is reached. This is the best program by then" in text
    assert "points" not in text
