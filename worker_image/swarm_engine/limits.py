"""Says what a run may still spend, for which cells that is enough, and when a limit ends the run."""

from collections.abc import Sequence

from swarm_wire.messages import Task
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import MICRO, Allowance, Spending


def spent_limit(limits: Limits, left: Allowance) -> str | None:
    """Returns the limit of which nothing is left, as a text for people; None if something is left of each limit."""
    figures = {
        f"limits.lmCalls: {limits.lm_calls}": left.calls,
        f"limits.totalTokens: {limits.total_tokens}": left.tokens,
        f"limits.costUSD: {limits.cost_usd}": left.micro_usd,
    }
    return next((name for name, figure in figures.items() if figure == 0), None)


def too_little(limits: Limits, spent: Spending) -> str:
    """Returns the message that what is left of the limits is too little for the next payment."""
    said = [
        f"{text} of limits.{name}: {most}"
        for name, most, text in (
            ("lmCalls", limits.lm_calls, f"{spent.calls}"),
            ("totalTokens", limits.total_tokens, f"{spent.tokens}"),
            ("costUSD", limits.cost_usd, f"{spent.micro_usd / MICRO:.4f}"),
        )
        if most is not None
    ]
    return f"another LM call or fine-tune might pass the limits: spent are {', '.join(said)}"


def affordable(
    cells: Sequence[tuple[Task, int]], left: Allowance, spent: Spending, finished: int
) -> Sequence[tuple[Task, int]]:
    """Returns the first cells of those given: as many whole tasks as the rest of the limits is likely to pay for.

    It returns at least one task. It returns whole tasks, because a half-evaluated candidate is worth nothing when a
    limit ends the run.

    Args:
        cells: from `missing_cells`.
        spent: what the run has spent so far.
        finished: number of cells that the run has finished with `spent`.
    """
    if not left.is_limited:
        return cells
    # The following figures are an estimate. A cell usually makes at least one LM call.
    share = max(1, spent.calls / finished) if finished else 1
    tokens, micro_usd = (figure / max(1, spent.calls) for figure in (spent.tokens, spent.micro_usd))
    weights: dict[str, int] = {}
    for task, _ in cells:
        weights[task.digest] = weights.get(task.digest, 0) + task.weight
    taken, calls = set[str](), 0.0
    for digest, weight in weights.items():
        calls += weight * share
        need = Spending(calls=int(calls), tokens=int(calls * tokens), micro_usd=int(calls * micro_usd))
        if taken and not left.covers(need):
            break
        taken.add(digest)
    chosen = [(task, position) for task, position in cells if task.digest in taken]
    return chosen if left.calls is None else chosen[: left.calls]


def limit_reached(
    limits: Limits, spent: Spending, *, is_late: bool, lacks_cells: bool, refused: Allowance | None
) -> str | None:
    """Returns the limit that ends a run now, as a text for people; None if no limit ends it.

    Args:
        spent: what the run has spent so far.
        is_late: the time of limits.wallClock is over.
        lacks_cells: the last planned round lacks results.
        refused: the allowance of the last process, if that process ran alone and could not pay for another LM call.
    """
    left = Allowance.of(limits).less(spent)
    if is_late:
        return f"the run has ended by limits.wallClock: {limits.wall_clock}"
    if lacks_cells and (limit := spent_limit(limits, left)) is not None:
        return f"the run has ended by {limit}"
    return too_little(limits, spent) if refused is not None and refused.covers(left.all) else None
