"""The command `python -m swarm_worker estimate`."""

import argparse
import math
import secrets
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from swarm_wire.names import WorkerReason
from swarm_wire.report import Report
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Usage
from swarm_worker.errors import SwarmError
from swarm_worker.local import documents
from swarm_worker.local.command import INTERRUPTED, positive, stop_on_signals
from swarm_worker.local.documents import Manifest
from swarm_worker.local.driver import Stopped
from swarm_worker.local.estimate.display import show
from swarm_worker.local.estimate.dryrun import Ran, dry_run
from swarm_worker.local.estimate.figures import Estimate, ModelCost, figures
from swarm_worker.provider.price_list import Price, Prices

NOTES = 5
PUBLISHED = (
    "The run also evaluates the published program, if there is one: up to {:,} more LM calls. Only the upper limit "
    "counts them."
)
UNREADABLE = "An estimate runs the program on invented answers: it must be able to read them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", type=Path, required=True, help="a DSPyCompilation, or a folder with a kustomization.yaml"
    )
    parser.add_argument(
        "--pass-rate",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="share of predictions that the metric is taken to accept (default 0.5)",
    )
    parser.add_argument(
        "--tool-calls",
        type=positive,
        default=2,
        metavar="N",
        help="tools that an agent is taken to call before it finishes (default 2)",
    )
    price = "USD for a million {} tokens, of every model (default: DSPy's list)"
    parser.add_argument("--price-in", type=_amount, metavar="USD", help=price.format("prompt"))
    parser.add_argument("--price-out", type=_amount, metavar="USD", help=price.format("completion"))
    parser.add_argument(
        "--latency", type=_amount, metavar="SECONDS", help="of one LM call: tell also how long it takes"
    )
    parser.add_argument(
        "--workers", type=positive, default=2, metavar="N", help="processes that the estimate itself uses (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(given: argparse.Namespace) -> int:
    """Returns the exit status: 0 with an estimate, 1 without one, 2 for wrong arguments, 130 after Ctrl-C."""
    console = Console(stderr=given.json)
    if (given.price_in is None) != (given.price_out is None):
        console.print("Give both --price-in and --price-out, or none of them.")
        return 2
    started = time.monotonic()
    try:
        manifest = documents.read(given.file, invent=_no_key)
        with (
            console.status("imagining") as status,
            dry_run(
                manifest, given.workers, status.update, pass_rate=given.pass_rate, tool_calls=given.tool_calls
            ) as attempt,
        ):
            stop_on_signals(attempt.processes)
            ran = attempt.run()
    except Stopped:
        return INTERRUPTED
    except SwarmError as error:
        console.print(f"[bold red]{error.reason}[/bold red]: {escape(str(error))}", highlight=False, soft_wrap=True)
        if error.reason == WorkerReason.COMPILE_FAILED:
            console.print(UNREADABLE)
        return 1
    failures = ran.report.failures
    if failures is not None and failures.has_none_left:
        told = f"The program failed on all {failures.examples} examples: {'; '.join(failures.lines)}."
        console.print(f"{told} {UNREADABLE}", markup=False, soft_wrap=True)
        return 1
    price = None if given.price_in is None else Price(given.price_in, given.price_out)
    estimate = _estimate(given, manifest, ran, price, time.monotonic() - started)
    if given.json:
        print(estimate.model_dump_json(by_alias=True, indent=2))  # noqa: T201
    else:
        show(console, estimate)
    return 0


def _estimate(given: argparse.Namespace, manifest: Manifest, ran: Ran, price: Price | None, took: float) -> Estimate:
    found = figures(ran.printed, has_test=manifest.spec.data.test is not None)
    prices = Prices(manifest.spec)
    models = {
        name: ModelCost(usage=usage, cost=_cost(price or prices.of(name), usage)) for name, usage in ran.asked.items()
    }
    published = _published(manifest.spec, ran.report)
    costs = [model.cost for model in models.values() if model.cost is not None]
    estimate = Estimate(
        name=manifest.name,
        pass_rate=given.pass_rate,
        tool_calls=given.tool_calls,
        by_agents=ran.by_agents,
        seconds=round(took, 1),
        rounds=[round_.part for round_ in found.rounds],
        phases=found.phases,
        models=models,
        total=found.total,
        cost=sum(costs) if len(costs) == len(models) else None,
        wasted=ran.report.wasted,
        at_most=found.at_most + published,
        prunes=manifest.spec.prunes,
        notes=[
            *ran.unscored[:NOTES],
            *_failing(ran.report),
            *([PUBLISHED.format(published)] if published else []),
        ],
        training=_training(ran.report),
    )
    if (latency := given.latency) is None:
        return estimate
    swarm = manifest.spec.swarm
    needed = found.total.usage.calls - ran.report.wasted.calls
    waiting = {
        "serial_seconds": latency * needed,
        "swarm_seconds": sum(
            round_.seconds(latency, pods=swarm.pods, threads=swarm.threads_per_pod) for round_ in found.rounds
        ),
    }
    return estimate.model_copy(update=waiting)


def _published(spec: CompilationSpec, report: Report) -> int:
    """Returns about how many LM calls the published program's evaluation makes, which the dry run does not have."""
    examples = 0 if report.comparison is None else report.comparison.examples * spec.compares_published
    examples = examples * (1 if spec.compare is None else 2) + (spec.drift.sample if spec.drift else 0)
    return math.ceil(examples * max((cost.calls for cost in report.costs.values()), default=1))


def _training(report: Report) -> str:
    """Returns the `training` of an estimate."""
    made = [*report.tuned, *report.unused]
    if not made:
        return ""
    known = [model.usd for model in made if model.usd is not None]
    usd = f"{sum(known):.2f} USD" if len(known) == len(made) else "whose price finetune.trainingPrice may give"
    tokens = sum(model.tokens for model in made)
    jobs = "a fine-tuning job" if len(made) == 1 else f"{len(made)} fine-tuning jobs"
    return f"{jobs} with about {tokens:,} tokens of rows and epochs, {usd}"


def _failing(report: Report) -> list[str]:
    if report.failures is None:
        return []
    return [f"{report.failures}, of invented answers: {'; '.join(report.failures.lines)}. {UNREADABLE}"]


def _cost(price: Price | None, usage: Usage) -> float | None:
    return None if price is None else price.of(usage)


def _no_key() -> str:
    """Returns a made-up API key. It is unique, because the worker searches payloads for keys."""
    return f"no-key-{secrets.token_hex(16)}"


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return number


def _amount(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("must be a number, 0 or more")
    return number
