"""The report as Markdown says what people ask about a winner."""

import pytest

import example_reports
from swarm_engine.markdown import in_use, markdown
from swarm_engine.verdicts import compare, retention
from swarm_wire.costs import Cost
from swarm_wire.report import (
    TEST_SET,
    VALIDATION_SET,
    Comparison,
    Copied,
    Demonstration,
    ExampleScores,
    FailureGroup,
    Failures,
    Origin,
    Prompt,
    Report,
    Scores,
    Verdict,
)
from swarm_wire.spending import Usage
from swarm_wire.tuned import TunedModel

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
        "# Compiled program: better",
        "",
        f"**{REPORT.comparison}** (the test set). The baseline is the program with which the compile began.",
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
        "A number is an example's place in the data, counted from 1.",
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


def test_a_comparison_with_the_published_program_has_its_score_and_its_flips() -> None:
    published = [100.0] * 7 + [0.0] * 2
    update = {
        "against": "published",
        "published": 77.777,
        "comparison": compare(published, AFTER, seed="run"),
        "by_example": [ExampleScores(name=TEST_SET, baseline=BEFORE, winner=AFTER, published=published)],
    }
    report = REPORT.model_copy(update=update)
    assert markdown(report).splitlines()[:12] == [
        "# Compiled program against the published program: inconclusive",
        "",
        f"**{report.comparison}** (the test set). The winner is compared with the program that was published when the "
        "run began. These examples do not show which of the two programs is better.",
        "",
        "| score in percent | baseline | published | winner |",
        "|---|---:|---:|---:|",
        "| the validation set | 11.10 | - | 88.90 |",
        "| the test set | 11.11 | 77.78 | 88.89 |",
        "",
        "## Examples that changed, of the test set",
        "",
        "- Better on 1 of 9: 8",
    ]


def test_a_new_model_has_a_table_and_a_drift_a_sentence() -> None:
    worse = Comparison(
        verdict=Verdict.WORSE, difference=-5, low=-9, high=-1, confidence=0.95, examples=40, improved=1, worsened=9
    )
    update = {
        "against": "published",
        "published": 80.0,
        "switched": 75.0,
        "switch": worse,
        "drift": worse,
        "current_model": "openai/old",
        "by_example": [],
        "origin": Origin(
            run_id="r", spec="s", program="p", data="d", packages="q", models={"student": "openai/new"}, dspy="3.4.1"
        ),
    }
    text = markdown(REPORT.model_copy(update=update))
    assert "**It scores worse: the model has probably changed behind its name.**" in text
    assert "## From `openai/old` to `openai/new`" in text
    winner = REPORT.scores.test_winner
    assert f"| score in percent | 80.00 | 75.00 | {winner:.2f} |" in text
    assert "| against today |  | Worse, -5.0 (-9.0 to -1.0) | " in text


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


def with_prompts(*prompts: Prompt, copied: Copied | None = None) -> str:
    return markdown(REPORT.model_copy(update={"prompts": list(prompts), "copied": copied}))


def test_an_undecided_comparison_says_that_nobody_knows() -> None:
    undecided = compare([0.0, 100.0, 0.0], [100.0, 0.0, 100.0], seed="run")
    text = markdown(REPORT.model_copy(update={"comparison": undecided}))
    assert text.startswith("# Compiled program: inconclusive\n")
    assert "These examples do not show which of the two programs is better." in text
    assert "These examples do not show" not in markdown(REPORT)


def test_a_long_line_of_instructions_is_broken_so_that_one_changed_sentence_is_one_changed_line() -> None:
    first, last = (
        "Read the whole ticket before you decide anything.",
        "Answer with the name of one team, and nothing else.",
    )
    long = "word " * 30 + "end."
    text = with_prompts(Prompt(predictor="p", before=f"{first} {last}", after=f"{first} Think! {last}\n  {long}"))
    assert text.split("```diff\n")[1].split("\n```")[0].splitlines() == [
        f" {first}",
        "+Think!",
        f" {last}",
        f"+  {' '.join(['word'] * 19)}",
        f"+{' '.join(['word'] * 11)} end.",
    ]
    assert "Long lines are broken here, first at the ends of sentences." in text
    assert "Long lines are broken" not in markdown(REPORT)


def test_instructions_that_differ_only_in_spaces_have_no_empty_diff() -> None:
    text = with_prompts(Prompt(predictor="p", before="Answer.", after="Answer.\n"))
    assert "The instructions differ only in spaces and ends of lines." in text
    assert "```" not in text


def test_predictors_without_a_change_are_named_in_one_line() -> None:
    plain = [Prompt(predictor=name, before="Answer.", after="Answer.") for name in ("one", "two")]
    text = with_prompts(plain[0], REPORT.prompts[0], plain[1])
    assert "The same instructions, and no demonstrations: `one`, `two`." in text
    assert text.count("## Prompt of") == 1


@pytest.mark.parametrize(("tokens", "is_told"), [(8, True), (7, False)])
def test_a_copied_text_stands_with_its_prompt_as_code(tokens: int, is_told: bool) -> None:
    copied = Copied(tokens=tokens, text="tell @alice ![](http://x)", predictor="answer", example="training example 3")
    told = "The new instructions copy 8 words from training example 3:\n\n```text\ntell @alice ![](http://x)\n```"
    assert (told in with_prompts(*REPORT.prompts, copied=copied)) is is_told
    assert "@alice" not in with_prompts(Prompt(predictor="p", before="a", after="b"), copied=copied)


def test_failures_are_told_with_their_groups_as_code() -> None:
    group = FailureGroup(exception="ValueError: no ```", examples=2, first="validation example 4")
    failures = Failures(failed=2, examples=100, groups=[group], others=1)
    text = markdown(REPORT.model_copy(update={"failures": failures}))
    code = "````text\n2 × ValueError: no ```; first: validation example 4\n1 × something else\n````"
    assert f"## Failures\n\n{failures}.\n\n{code}\n" in text


def test_a_list_of_many_examples_says_how_many_it_leaves_out() -> None:
    before, after = [0.0] * 12, [100.0] * 12
    scores = [ExampleScores(name=TEST_SET, baseline=before, winner=after)]
    text = markdown(REPORT.model_copy(update={"by_example": scores}))
    assert "- Better on 12 of 12: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more\n" in text


@pytest.mark.parametrize(("name", "verdict"), [("better", "better"), ("worse", "worse"), ("undecided", "inconclusive")])
def test_the_pictured_reports_are_what_their_files_say(name: str, verdict: str) -> None:
    assert markdown(example_reports.reports()[name]).startswith(f"# Compiled program: {verdict}\n")


def test_a_partial_artifact_says_so_and_has_no_verdict() -> None:
    text = markdown(Report(scores=Scores(baseline=50.0, best=60.0), partial="limits.lmCalls: 100 is reached"))
    assert "**Partial**: limits.lmCalls: 100 is reached. This is the best program by then" in text
    assert "points" not in text


@pytest.mark.parametrize(
    ("demanded", "line"),
    [
        (True, "**Inconclusive: 92.5 % of the teacher's score"),
        (False, "The winner keeps 92.5 % of the teacher's score"),
    ],
)
def test_a_retention_has_a_verdict_only_if_the_gate_demands_one(demanded: bool, line: str) -> None:
    found = retention([100.0] * 40, [100.0] * 37 + [0.0] * 3, seed="run")
    assert found is not None
    tuned = TunedModel(model="openai/ft:small", base="openai/small", job="ftjob-1", rows=40, tokens=900)
    kept = found.model_copy(update={"is_demanded": demanded})
    [said] = [
        each
        for each in markdown(REPORT.model_copy(update={"tuned": [tuned], "retention": kept})).splitlines()
        if "of the teacher's score" in each
    ]
    assert said.startswith(line)
    assert ("against 95 %" in said) == demanded


WEAK = Cost(examples=40, calls=1.2, prompt_tokens=9, completion_tokens=1, unread=3, repeated=8, p50=0.5, p95=1.25)
TUNED = WEAK.model_copy(update={"unread": 0, "repeated": 0, "p50": None, "p95": None})


def test_the_table_of_costs_has_what_is_known_of_unread_answers_and_times() -> None:
    report = REPORT.model_copy(update={"costs": {"baseline": WEAK, "winner": TUNED}})
    lines = markdown(report).splitlines()
    assert "| answers that could not be read, in all | 3 | 0 |" in lines
    assert "| LM calls that asked again, in all | 8 | 0 |" in lines
    assert "| seconds of the provider, 95th percentile | 1.25 | - |" in lines
    assert in_use(report) == [
        "answers that could not be read, in all: baseline 3, winner 0",
        "LM calls that asked again, in all: baseline 8, winner 0",
        "seconds of the provider for an example, median and 95th percentile: baseline 0.50 and 1.25",
    ]
    unknown = WEAK.model_copy(update={"unread": None, "repeated": None, "p50": None, "p95": None})
    older = REPORT.model_copy(update={"costs": {"baseline": unknown, "winner": unknown}})
    assert "read" not in markdown(older).partition("mean for an example")[2].partition("##")[0]
    assert in_use(older) == []


MODEL = TunedModel(model="openai/ft:small", base="openai/small", job="ftjob-1", rows=200, tokens=9000, usd=0.07)


@pytest.mark.parametrize("is_used", [True, False])
def test_a_report_lists_a_fine_tune_even_if_the_winner_does_not_use_it(is_used: bool) -> None:
    made = {"tuned" if is_used else "unused": [MODEL]}
    text = markdown(REPORT.model_copy(update={**made, "teacher": 90.0}))
    assert "| `openai/ft:small` | `openai/small` | 200 | 9,000 | 0.07 | `ftjob-1` |" in text
    assert ("## The tuned program" in text) == is_used
    assert ("The winner does not use `openai/ft:small`." in text) == (not is_used)
    assert "predictor.lm.copy" in text
    assert f"| student | teacher | {'tuned' if is_used else 'winner'} |" in text


def test_the_programs_of_a_distillation_stand_in_the_order_in_which_they_are_made() -> None:
    text = markdown(REPORT.model_copy(update={"tuned": [MODEL], "teacher": 90.0, "prompted": 40.0}))
    [head] = [line for line in text.splitlines() if "teacher's prompts" in line]
    assert head.endswith("| student | student with the teacher's prompts | teacher | tuned |")
