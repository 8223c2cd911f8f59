"""Checks a winner against the conditions of spec.gate."""

from swarm_wire.report import TEST_SET, Report, Verdict
from swarm_wire.spec.gate import Gate
from swarm_wire.tuned import Kept


def refusals(gate: Gate, report: Report) -> list[str]:
    """Returns the conditions that the winner of a report does not meet, as texts for people."""
    if report.partial is not None:
        return [f"a partial artifact is not the optimizer's winner, so it was not compared with {report.rival}"]
    conditions = _improvement, _score, _cost, _copied, _retention, _saving
    return [text for condition in conditions if (text := condition(gate, report))]


def _improvement(gate: Gate, report: Report) -> str:
    least, compared = gate.min_improvement, report.comparison
    if compared is None:
        return f"the winner was not compared with {report.rival}"
    allowed = {Verdict.BETTER} if least == 0 else set(Verdict) if least < 0 else {Verdict.BETTER, Verdict.SAME}
    if compared.low > least and compared.verdict in allowed:
        return ""
    against = "" if report.against == "baseline" else f", against {report.rival}"
    on = f"{report.compared_on}{against}"
    return f"the interval of the improvement on {on} must begin above {least:g} (gate.minImprovement). {compared}"


def _score(gate: Gate, report: Report) -> str:
    on_test = report.compared_on == TEST_SET
    score = report.scores.test_winner if on_test else report.scores.best
    if gate.min_score is None or (score is not None and score >= gate.min_score):
        return ""
    scored = "no score" if score is None else f"{score:g}"
    return f"the winner needs {gate.min_score:g} on {report.compared_on} (gate.minScore), and has {scored}"


def _cost(gate: Gate, report: Report) -> str:
    cost = report.costs.get("winner")
    usd = None if cost is None else cost.usd
    if gate.max_cost_usd is None or (usd is not None and usd <= gate.max_cost_usd):
        return ""
    if usd is not None:
        has = f"it costs {usd:.4f} USD"
    elif cost is not None:
        models = ", ".join(cost.unpriced)
        has = f"the price of {models} is not known: add a role with this model to models, with its price"
    else:
        has = "its cost is not known, because an earlier release has made its calls"
    return f"1,000 examples of the winner may cost {gate.max_cost_usd:g} USD (gate.maxCostUSD), and {has}"


def _retention(gate: Gate, report: Report) -> str:
    enough = {Kept.RETAINED} if gate.when_inconclusive == "hold" else {Kept.RETAINED, Kept.INCONCLUSIVE}
    if gate.min_retention is None or (report.retention is not None and report.retention.verdict in enough):
        return ""
    found = report.retention or (
        "the teacher scores 0" if report.teacher == 0 else "the scores of the teacher are not known"
    )
    return f"the winner must keep {100 * gate.min_retention:g} % of the teacher's score (gate.minRetention). {found}"


def _saving(gate: Gate, report: Report) -> str:
    if gate.min_cost_reduction is None or (report.saving is not None and report.saving >= gate.min_cost_reduction):
        return ""
    found = "what it saves is not known" if report.saving is None else f"it saves {100 * report.saving:.1f} %"
    least = f"{100 * gate.min_cost_reduction:g} %"
    return f"the winner must save {least} of what the teacher costs (gate.minCostReduction), and {found}"


def _copied(gate: Gate, report: Report) -> str:
    copied = report.copied
    if gate.max_copied_tokens is None or copied is None or copied.tokens <= gate.max_copied_tokens:
        return ""
    return (
        f"the instructions of {copied.predictor} copy {copied.tokens} words from {copied.example}, and "
        f"gate.maxCopiedTokens allows {gate.max_copied_tokens}: {copied.text!r}"
    )
