"""Writes a report as Markdown, as people read it in a pull request or a ConfigMap."""

import re
from collections.abc import Iterator
from difflib import unified_diff

from swarm_wire.report import TEST_SET, Demonstration, ExampleScores, Prompt, Report
from swarm_wire.spending import price_clause

FLIPPED = 10
"""How many examples of each kind a report names."""
WORTH_TELLING = 8
"""Fewer copied words than this are an accident of language."""


def markdown(report: Report) -> str:
    """Returns the report as Markdown."""
    details = (*_flipped(report), *_prompts(report), _costs(report), *_notes(report))
    return "\n\n".join([_verdict(report), _scores(report), *details]) + "\n"


def _verdict(report: Report) -> str:
    lines = ["# Compiled program"]
    if report.partial is not None:
        lines.append(f"**Partial**: {report.partial}. This is the best program by then, not the optimizer's winner.")
    if report.refused:
        lines += ["**Not published**, because of `spec.gate`:", "\n".join(f"- {text}." for text in report.refused)]
    if report.comparison is not None:
        lines.append(f"**{report.comparison}** ({report.compared_on}).")
        if report.compared_on != TEST_SET:
            lines.append(
                f"The optimizer has chosen the winner on {report.compared_on}, so this difference flatters it. "
                "Examples in `data.test` give an honest one."
            )
    return "\n\n".join(lines)


def _scores(report: Report) -> str:
    scores = report.scores
    rows = [f"| {report.scored_on} | {_figure(scores.baseline)} | {_figure(scores.best)} |"]
    if scores.test_baseline is not None:
        rows.append(f"| {TEST_SET} | {_figure(scores.test_baseline)} | {_figure(scores.test_winner)} |")
    return "\n".join(["| score in percent | baseline | winner |", "|---|---:|---:|", *rows])


def _figure(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _flipped(report: Report) -> Iterator[str]:
    """Yields the examples on which baseline and winner differ, of the set on which they are compared."""
    compared = (found for found in report.by_example if found.name == report.compared_on and found.winner)
    for found in compared:
        if listed := [*_list(found, "Better", worse=False), *_list(found, "Worse", worse=True)]:
            yield "\n".join([f"## Examples that changed, of {found.name}", "", *listed])


def _list(found: ExampleScores, title: str, *, worse: bool) -> Iterator[str]:
    pairs = enumerate(zip(found.baseline, found.winner, strict=True), 1)
    changed = [number for number, (old, new) in pairs if (new < old if worse else new > old)]
    if changed:
        shown = ", ".join(map(str, changed[:FLIPPED])) + (", ..." if len(changed) > FLIPPED else "")
        yield f"- {title} on {len(changed)} of {len(found.winner)}: {shown}"


def _prompts(report: Report) -> Iterator[str]:
    for prompt in report.prompts:
        yield "\n\n".join([f"## Prompt of `{prompt.predictor}`", _instructions(prompt), _demonstrations(prompt)])


def _instructions(prompt: Prompt) -> str:
    if prompt.before == prompt.after:
        return "The instructions are unchanged."
    before, after = prompt.before.splitlines(), prompt.after.splitlines()
    lines = list(unified_diff(before, after, "before", "after", lineterm="", n=len(before)))
    # A fence longer than any in the text, since instructions may have code in Markdown.
    longest = max(map(len, re.findall("`+", prompt.before + prompt.after)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}diff", *lines[3:], fence])


def _demonstrations(prompt: Prompt) -> str:
    if not prompt.demonstrations:
        return "It has no demonstrations."
    lines = [f"{number}. {_origin(demo)}" for number, demo in enumerate(prompt.demonstrations, 1)]
    return "\n".join(["Demonstrations:", "", *lines])


def _origin(demonstration: Demonstration) -> str:
    kind = "bootstrapped" if demonstration.bootstrapped else "labeled"
    return f"{kind}, from {demonstration.example}" if demonstration.example else kind


def _costs(report: Report) -> str:
    usage, origin = report.usage, report.origin
    tokens = usage.prompt_tokens + usage.completion_tokens
    lines = [
        "## What it cost, and what made it",
        "",
        f"- {usage.calls:,} LM calls, {tokens:,} tokens{price_clause(usage.micro_usd)}",
    ]
    if report.reused.calls:
        lines.append(f"- {report.reused.calls:,} LM calls reused from earlier runs")
    if report.copied is not None and report.copied.tokens >= WORTH_TELLING:
        copied = report.copied
        lines.append(
            f"- instructions of `{copied.predictor}` copy {copied.tokens} words from {copied.example}: {copied.text}"
        )
    if report.failures is not None:
        lines.append(f"- {report.failures}")
    if origin is not None:
        models = ", ".join(f"{role} `{model}`" for role, model in origin.models.items())
        if origin.commit:
            lines.append(f"- the program is that of commit `{origin.commit[:12]}`")
        lines += [
            f"- run `{origin.run_id}`, DSPy {origin.dspy}, models: {models}",
            f"- spec `{origin.spec[:12]}`, program `{origin.program[:12]}`, data `{origin.data[:12]}`",
        ]
    return "\n".join(lines)


def _notes(report: Report) -> Iterator[str]:
    if report.notes:
        yield "\n".join(["## Notes", "", *(f"- {note}" for note in report.notes)])
