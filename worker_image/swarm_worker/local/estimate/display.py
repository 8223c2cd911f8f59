"""Prints an estimate as tables."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from swarm_worker.local.estimate.figures import Estimate, Part


def show(console: Console, estimate: Estimate) -> None:
    calls = estimate.total.usage.calls
    limit = None if estimate.cost is None else estimate.cost * estimate.at_most / max(1, calls)
    told = f"about {_price(calls, estimate.cost)}; at most {_price(estimate.at_most, limit)}"
    training = f"; besides, {estimate.training}" if estimate.training else ""
    console.print(
        f"[bold]{estimate.name}[/bold]: {told}{training}.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"Found without an LM call in {estimate.seconds:.0f} s. Assumed:", highlight=False)
    for assumption in _assumptions(estimate):
        console.print(f"- {assumption}", highlight=False, soft_wrap=True)
    console.print()
    rounds = _table("round", "effects", "cells", *_USAGE)
    for number, part in enumerate(estimate.rounds):
        rounds.add_row(str(number), *_figures(part))
    console.print(rounds, "")
    phases = _table("phase", "effects", "cells", *_USAGE)
    for phase, part in estimate.phases.items():
        phases.add_row(phase, *_figures(part))
    phases.add_row("total", *_figures(estimate.total), style="bold")
    console.print(phases, "")
    models = _table("model", *_USAGE, "USD")
    for name, model in estimate.models.items():
        models.add_row(name, *_figures(Part(usage=model.usage))[2:], _usd(model.cost))
    console.print(models, "")
    if estimate.cost is None:
        console.print("DSPy does not know every model's price: give --price-in and --price-out.", highlight=False)
    if estimate.wasted.calls:
        console.print(f"{estimate.wasted.calls:,} of the calls are guesses that will not be needed.", highlight=False)
    if estimate.prunes:
        console.print("Pruning lowers this: candidates that can no longer win are not finished.", highlight=False)
    for note in estimate.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if estimate.serial_seconds is not None and estimate.swarm_seconds is not None:
        console.print(
            f"Stock DSPy with one thread waits {_time(estimate.serial_seconds)} for its calls, this swarm "
            f"{_time(estimate.swarm_seconds)}.",
            highlight=False,
        )


def _assumptions(estimate: Estimate) -> Iterator[str]:
    yield (
        f"The metric accepts {estimate.pass_rate:.0%} of the predictions (--pass-rate). Where it accepts fewer, "
        "bootstraps try more examples."
    )
    yield "Every answer can be read at the first try. Where one cannot, most adapters ask once more."
    if estimate.by_agents:
        tools = "1 tool" if estimate.tool_calls == 1 else f"{estimate.tool_calls} tools"
        yield (
            f"An agent calls {tools} before it finishes (--tool-calls), and may call more: see its max_iters. "
            f"Agents make {estimate.by_agents:,} of the calls."
        )


_USAGE = ("LM calls", "prompt tokens", "completion tokens")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _figures(part: Part) -> list[str]:
    usage = part.usage
    numbers = (part.effects, part.cells, usage.calls, usage.prompt_tokens, usage.completion_tokens)
    return [f"{number:,}" for number in numbers]


def _price(calls: int, cost: float | None) -> str:
    return f"{calls:,} LM calls" + ("" if cost is None else f", {_usd(cost)} USD")


def _usd(cost: float | None) -> str:
    return "?" if cost is None else f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"


def _time(seconds: float) -> str:
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 3 else f"{seconds:.0f} s"
