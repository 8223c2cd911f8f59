"""Three reports as runs make them: on a better, a worse and an undecided winner. They show how report.md looks."""

from collections.abc import Mapping, Sequence

from swarm_engine.verdicts import compare
from swarm_wire.report import (
    TEST_SET,
    VALIDATION_SET,
    Copied,
    Demonstration,
    ExampleScores,
    FailureGroup,
    Failures,
    Origin,
    Prompt,
    Report,
    Reused,
    Scores,
)
from swarm_wire.spending import Usage

EXAMPLES = 40
BEFORE = "Assign the ticket to the team that answers it."
ROLE = "You triage support tickets of Brewell, a maker of connected coffee machines. Assign each to one team."
AFTER = f"""{ROLE}

Decide by what the customer wants settled, not by the words that they use:
- A parcel that has not arrived belongs to shipping, also if the customer asks for their money back.
- A machine that loses its Wi-Fi belongs to connectivity; a machine that does not start belongs to hardware.
- Praise and wishes without a problem belong to feedback.

Answer with the name of one team."""


def reports() -> Mapping[str, Report]:
    """Returns the reports by the words that name their files."""
    failed = FailureGroup(
        exception="AdapterParseError: the answer has no field category",
        examples=3,
        first="validation example 12",
        answer="I would pass this on to @billing.",
    )
    better = _report(wrong_before=range(1, 27, 2), wrong_after=[5, 18, 31], after=AFTER)
    worse = _report(wrong_before=[3, 17], wrong_after=[*range(2, 20, 2), 23, 29, 31, 37], after=ROLE)
    undecided = _report(wrong_before=[4, 9, 15, 22, 28, 33, 39], wrong_after=[4, 15, 22, 36], after=BEFORE)
    return {
        "better": better.model_copy(
            update={
                "copied": Copied(
                    tokens=9,
                    text="a parcel that has not arrived belongs to shipping",
                    predictor="classify",
                    example="training example 14",
                )
            }
        ),
        "worse": worse.model_copy(
            update={"failures": Failures(failed=3, examples=760, in_bootstraps=0, bootstrapped=40, groups=[failed])}
        ),
        "undecided": undecided.model_copy(
            update={
                "notes": [
                    "Plan and twin differed under another hash seed, at the prompt of extract. All processes had one."
                ]
            }
        ),
    }


def _report(wrong_before: Sequence[int], wrong_after: Sequence[int], after: str) -> Report:
    before, winner = _scores(wrong_before), _scores(wrong_after)
    old, new = sum(before) / EXAMPLES, sum(winner) / EXAMPLES
    return Report(
        scores=Scores(baseline=72.0, best=90.0, test_baseline=old, test_winner=new),
        scored_on=VALIDATION_SET,
        comparison=compare(before, winner, seed="example"),
        compared_on=TEST_SET,
        by_example=[ExampleScores(name=TEST_SET, baseline=before, winner=winner)],
        prompts=[
            Prompt(
                predictor="extract",
                before="Say what the customer wants settled.",
                after="Say what the customer wants settled.",
            ),
            Prompt(
                predictor="classify",
                before=BEFORE,
                after=after,
                demonstrations=[
                    Demonstration(bootstrapped=True, example="training example 3"),
                    Demonstration(bootstrapped=True, example="training example 21"),
                    Demonstration(bootstrapped=False, example="training example 8"),
                ],
            ),
        ],
        usage=Usage(calls=1843, prompt_tokens=1_204_311, completion_tokens=96_240, micro_usd=1_318_400),
        reused=Reused(cells=80, calls=160),
        origin=Origin(
            run_id="5d1c0f7a9b32",
            spec="9a41e77c02d5" * 4,
            program="41c5d0aa9e13" * 4,
            data="c07731be5f62" * 4,
            packages="77aa10c4de89" * 4,
            models={"student": "openai/gpt-4o-mini", "prompt": "openai/gpt-4o"},
            dspy="3.4.1",
        ),
    )


def _scores(wrong: Sequence[int]) -> list[float]:
    """Returns the scores of all examples, in percent. Examples are counted from 1."""
    return [0.0 if number in wrong else 100.0 for number in range(1, EXAMPLES + 1)]
