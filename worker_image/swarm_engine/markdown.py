"""Writes a report as Markdown, as people read it in a pull request or a ConfigMap."""

import re
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from textwrap import wrap

from swarm_wire.costs import ARMS
from swarm_wire.report import TEST_SET, Comparison, Copied, Demonstration, Prompt, Report, Verdict
from swarm_wire.spending import price_clause

FLIPPED = 10
"""How many examples of each kind a report names."""
WORTH_TELLING = 8
"""Fewer copied words than this are an accident of language."""
UNREAD = "answers that could not be read, in all"
REPEATED = "LM calls that asked again, in all"
WIDTH = 100
"""Longer lines of instructions are broken, since the code of a pull request does not wrap. In characters."""


def markdown(report: Report) -> str:
    """Returns the report as Markdown."""
    figures = (*_drift(report), *_models(report), *_kept(report), _scores(report), *_costs_in_use(report))
    details = (*_flipped(report), *_prompts(report), *_failures(report), _costs(report), *_notes(report))
    return "\n\n".join([_verdict(report), *figures, *details]) + "\n"


def _verdict(report: Report) -> str:
    compared = report.comparison
    title = "# Compiled program" if report.against == "baseline" else f"# Compiled program against {report.rival}"
    lines = [f"{title}: {compared.verdict.lower()}" if compared else title]
    if report.partial is not None:
        lines.append(f"**Partial**: {report.partial}. This is the best program by then, not the optimizer's winner.")
    if report.refused:
        lines += ["**Not published**, because of `spec.gate`:", "\n".join(f"- {text}." for text in report.refused)]
    if compared is not None:
        undecided = " These examples do not show which of the two programs is better."
        lines.append(
            f"**{compared}** ({report.compared_on}). {_rival(report)}"
            + (undecided if compared.verdict == Verdict.INCONCLUSIVE else "")
        )
        if report.compared_on != TEST_SET:
            lines.append(
                f"The optimizer has chosen the winner on {report.compared_on}, so this difference flatters it. "
                "Examples in `data.test` give an honest one."
            )
    return "\n\n".join(lines)


def _rival(report: Report) -> str:
    made = report.published_by and f", that of run `{report.published_by}`"
    if report.against == "baseline":
        return f"The baseline is the program with which the compile began{made}."
    on = f", on `{report.current_model}`" if report.current_model else ""
    return f"The winner is compared with the program that was published when the run began{made}{on}."


def _drift(report: Report) -> Iterator[str]:
    """Yields what the published program scores now, if it was asked anew."""
    if report.drift is None:
        return
    told = f"The published program, asked {report.drift.examples} examples anew, against what it scored before: "
    meaning = {
        Verdict.WORSE: " **It scores worse: the model has probably changed behind its name.**",
        Verdict.BETTER: " It scores better: the model has probably changed behind its name.",
    }
    yield f"{told}{report.drift}.{meaning.get(report.drift.verdict, '')}"


def _models(report: Report) -> Iterator[str]:
    """Yields the table of what a new model changes."""
    if not report.current_model or report.origin is None:
        return
    new = report.origin.models["student"]
    is_test = report.compared_on == TEST_SET
    winner = report.scores.test_winner if is_test else report.scores.best
    scores = [report.published, report.switched, winner]
    compared = ["", *(_against_today(found) for found in (report.switch, report.comparison))]
    costs = [report.costs.get("published"), report.costs.get("switched"), report.costs.get("winner")]
    rows = [
        ("score in percent", [_figure(score) for score in scores]),
        ("against today", compared),
        ("LM calls for an example", ["-" if cost is None else f"{cost.calls:.2f}" for cost in costs]),
        (
            "USD for 1,000 examples",
            ["-" if cost is None or cost.usd is None else f"{cost.usd:.4f}" for cost in costs],
        ),
    ]
    titles = [
        f"published program, `{report.current_model}` (today)",
        f"published program, `{new}`",
        f"recompiled program, `{new}`",
    ]
    head = [f"| on {report.compared_on} | {' | '.join(titles)} |", "|---|---:|---:|---:|"]
    table = "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])
    yield f"## From `{report.current_model}` to `{new}`\n\n{table}"


def _kept(report: Report) -> Iterator[str]:
    """Yields how much of its teacher's score and cost a tuned program keeps, and how to use it."""
    if not (report.tuned or report.unused):
        return
    lines = []
    if report.teacher is not None:
        on_test = report.compared_on == TEST_SET
        student = report.scores.test_baseline if on_test else report.scores.baseline
        tuned = report.scores.test_winner if on_test else report.scores.best
        arms = {"student": student}
        if report.prompted is not None:
            arms["student with the teacher's prompts"] = report.prompted
        arms |= {"teacher": report.teacher, "tuned" if report.tuned else "winner": tuned}
        lines.append(
            f"| score in percent, on {report.compared_on} | {' | '.join(arms)} |\n|---|{'---:|' * len(arms)}\n"
            f"| | {' | '.join(map(_figure, arms.values()))} |"
        )
    if report.retention is not None:
        mark = "**" if report.retention.is_demanded else ""
        lines.append(f"{mark}{report.retention}{mark} ({report.compared_on}).")
    lines += saving(report)
    head = ["| tuned model | base | rows | tokens | USD | job or weights |", "|---|---|---:|---:|---:|---|"]
    for model in (*report.tuned, *report.unused):
        usd = "-" if model.usd is None else f"{model.usd:.2f}"
        place = model.weights.place if model.weights is not None else model.job
        head.append(f"| `{model.model}` | `{model.base}` | {model.rows:,} | {model.tokens:,} | {usd} | `{place}` |")
    code = ["```python", 'program.load("program.json")', *loading(report), "```"]
    load = "DSPy does not load the endpoint and the key of a saved model. Set them after `load`:"
    using = [load, "\n".join(code)]
    if report.unused:
        using.insert(0, f"The winner does not use {', '.join(f'`{model.model}`' for model in report.unused)}.")
    title = "## The tuned program" if report.tuned else "## The fine-tune"
    yield "\n\n".join([title, *lines, "\n".join(head), *using])


def saving(report: Report) -> list[str]:
    """Returns a text on what a tuned program saves, and when its training has paid for itself, as far as known."""
    if report.saving is None:
        return []
    pays = ""
    if report.break_even is not None:
        pays = f" The training has paid for itself after {report.break_even:,.0f} examples."
    return [f"The winner saves {100 * report.saving:.1f} % of what the teacher costs.{pays}"]


def in_use(report: Report) -> list[str]:
    """Returns lines with the answers that could not be read, and the latencies of all programs, as far as known."""
    known = [(arm, report.costs[arm]) for arm in ARMS if arm in report.costs]
    lines = []
    if any(cost.unread for _, cost in known):
        lines.append(f"{UNREAD}: {', '.join(f'{arm} {_count(cost.unread)}' for arm, cost in known)}")
    if any(cost.repeated for _, cost in known):
        lines.append(f"{REPEATED}: {', '.join(f'{arm} {_count(cost.repeated)}' for arm, cost in known)}")
    if timed := [f"{arm} {_figure(cost.p50)} and {_figure(cost.p95)}" for arm, cost in known if cost.p50 is not None]:
        lines.append(f"seconds of the provider for an example, median and 95th percentile: {', '.join(timed)}")
    return lines


def loading(report: Report) -> list[str]:
    """Returns the lines of Python that give a loaded program the endpoint of its models; none without a fine-tune."""
    made = [*report.tuned, *report.unused]  # both are at the student's endpoint
    if not made:
        return []
    endpoint = next((model.endpoint for model in made if model.endpoint), "")
    given = f'api_base="{endpoint}", ' if endpoint else ""
    return [
        "for predictor in program.predictors():",
        f"    predictor.lm = predictor.lm.copy({given}api_key=...)",
    ]


def _against_today(found: Comparison | None) -> str:
    return "-" if found is None else f"{found.verdict}, {found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _scores(report: Report) -> str:
    scores = report.scores
    sets = [(report.scored_on, scores.baseline, scores.best)]
    if scores.test_baseline is not None:
        sets.append((TEST_SET, scores.test_baseline, scores.test_winner))
    if report.against == "baseline":
        rows = [f"| {name} | {_figure(baseline)} | {_figure(winner)} |" for name, baseline, winner in sets]
        return "\n".join(["| score in percent | baseline | winner |", "|---|---:|---:|", *rows])
    published = {report.compared_on: report.published}
    rows = [
        f"| {name} | {_figure(baseline)} | {_figure(published.get(name))} | {_figure(winner)} |"
        for name, baseline, winner in sets
    ]
    return "\n".join(["| score in percent | baseline | published | winner |", "|---|---:|---:|---:|", *rows])


def _costs_in_use(report: Report) -> Iterator[str]:
    """Yields the table of what the compared programs cost in use."""
    columns = [name for name in ARMS if name in report.costs]
    if "winner" not in columns:
        return
    found = [report.costs[name] for name in columns]
    rows = [
        ("LM calls", [f"{cost.calls:.2f}" for cost in found]),
        ("tokens of prompts", [f"{cost.prompt_tokens:,.0f}" for cost in found]),
        ("tokens of completions", [f"{cost.completion_tokens:,.0f}" for cost in found]),
        ("USD for 1,000 examples", ["-" if cost.usd is None else f"{cost.usd:.4f}" for cost in found]),
        (UNREAD, [_count(cost.unread) for cost in found]),
        (REPEATED, [_count(cost.repeated) for cost in found]),
        ("seconds of the provider, median", [_figure(cost.p50) for cost in found]),
        ("seconds of the provider, 95th percentile", [_figure(cost.p95) for cost in found]),
    ]
    head = [
        f"| mean for an example, on {report.compared_on} | {' | '.join(columns)} |",
        "|---|" + "---:|" * len(columns),
    ]
    known = [(name, figures) for name, figures in rows if {*figures} != {"-"}]
    yield "\n".join([*head, *(f"| {name} | {' | '.join(figures)} |" for name, figures in known)])


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _figure(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _flipped(report: Report) -> Iterator[str]:
    """Yields the examples on which the winner and its rival differ, of the set on which they are compared."""
    compared = (found for found in report.by_example if found.name == report.compared_on and found.winner)
    for found in compared:
        before = found.baseline if report.against == "baseline" else found.published
        listed = [*_list(before, found.winner, "Better"), *_list(before, found.winner, "Worse", worse=True)]
        if listed:
            number = "A number is an example's place in the data, counted from 1."
            yield "\n".join([f"## Examples that changed, of {found.name}", "", *listed, "", number])


def _list(before: Sequence[float], after: Sequence[float], title: str, *, worse: bool = False) -> Iterator[str]:
    pairs = enumerate(zip(before, after, strict=True), 1)
    changed = [number for number, (old, new) in pairs if (new < old if worse else new > old)]
    if changed:
        others = len(changed) - FLIPPED
        shown = ", ".join(map(str, changed[:FLIPPED])) + (f" and {others} more" if others > 0 else "")
        yield f"- {title} on {len(changed)} of {len(after)}: {shown}"


def _prompts(report: Report) -> Iterator[str]:
    plain = [prompt for prompt in report.prompts if prompt.before == prompt.after and not prompt.demonstrations]
    for prompt in report.prompts:
        if prompt not in plain:
            title = f"## Prompt of `{prompt.predictor}`"
            yield "\n\n".join([title, _instructions(prompt), *_copied(prompt, report.copied), _demonstrations(prompt)])
    if plain:
        names = ", ".join(f"`{prompt.predictor}`" for prompt in plain)
        yield f"## Prompts without a change\n\nThe same instructions, and no demonstrations: {names}."


def _instructions(prompt: Prompt) -> str:
    if prompt.before == prompt.after:
        return "The instructions are unchanged."
    before, after = _broken(prompt.before), _broken(prompt.after)
    lines = list(unified_diff(before, after, "before", "after", lineterm="", n=len(before)))
    if not lines:
        return "The instructions differ only in spaces and ends of lines."
    is_broken = (before, after) != (prompt.before.splitlines(), prompt.after.splitlines())
    note = "\n\nLong lines are broken here, first at the ends of sentences." if is_broken else ""
    return _fenced("diff", lines[3:]) + note


def _broken(text: str) -> list[str]:
    """Returns the lines of a text. A long line becomes several: a line for each sentence, so that a diff is small."""
    lines: list[str] = []
    for line in text.splitlines():
        parts = re.split(r"(?<=[.!?]) +", line) if len(line) > WIDTH else [line]
        for part in parts:
            lines += _wrapped(part) if len(part) > WIDTH else [part]
    return lines


def _wrapped(line: str) -> list[str]:
    return wrap(line, WIDTH, expand_tabs=False, replace_whitespace=False, break_on_hyphens=False)


def _fenced(kind: str, lines: Sequence[str]) -> str:
    """Returns lines as code. The fence is longer than any in the lines, which may have code in Markdown themselves."""
    longest = max((len(found) for line in lines for found in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{kind}", *lines, fence])


def _copied(prompt: Prompt, copied: Copied | None) -> Iterator[str]:
    """Yields what the new instructions copy. It is code, since a text of the data may look like Markdown or names."""
    if copied is not None and copied.tokens >= WORTH_TELLING and copied.predictor == prompt.predictor:
        said = f"The new instructions copy {copied.tokens} words from {copied.example}:"
        yield f"{said}\n\n{_fenced('text', _broken(copied.text))}"


def _demonstrations(prompt: Prompt) -> str:
    if not prompt.demonstrations:
        return "It has no demonstrations."
    lines = [f"{number}. {_origin(demo)}" for number, demo in enumerate(prompt.demonstrations, 1)]
    return "\n".join(["Demonstrations:", "", *lines])


def _origin(demonstration: Demonstration) -> str:
    kind = "bootstrapped" if demonstration.bootstrapped else "labeled"
    return f"{kind}, from {demonstration.example}" if demonstration.example else kind


def _failures(report: Report) -> Iterator[str]:
    if report.failures is not None:
        groups = _fenced("text", [part for line in report.failures.lines for part in _wrapped(line)])
        yield "\n\n".join(["## Failures", f"{report.failures}.", *([groups] if report.failures.lines else [])])


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
