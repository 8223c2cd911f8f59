"""The parts of a report that explain a winner: its scores by example, a verdict on it, and its prompts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from math import ceil
from typing import Any

import dspy

from swarm_engine.verdicts import compare
from swarm_engine.verdicts import retention as kept
from swarm_wire.costs import Cost
from swarm_wire.messages import Result
from swarm_wire.report import TEST_SET, Comparison, Copied, Demonstration, ExampleScores, Prompt
from swarm_wire.spec.gate import Gate
from swarm_wire.spending import Usage
from swarm_wire.tuned import Retention
from swarm_worker.pod.script import Arm, Progress, Which
from swarm_worker.provider.price_list import Prices
from swarm_worker.user.data import Data

LEAST = 0.95
"""The retention that a verdict is about, if no gate says another."""
SHOWN = 300
"""How many characters of copied text a report shows."""
DRIFT_CONFIDENCE = 0.99
"""A trigger looks for a drift each night, so a false alarm must be rarer than with a gate."""
UNREAD = "AdapterParseError: "
"""Beginning of the error of an example whose answer DSPy could not read."""
SEPARATES = 8
"""So many unchanged words in a row separate two new parts of instructions."""


def instructions(program: dspy.Module) -> dict[str, str]:
    """Returns the instructions of each predictor, by its name."""
    return {name: predictor.signature.instructions for name, predictor in program.named_predictors()}


def by_example(progress: Progress, scored_on: str) -> list[ExampleScores]:
    """Returns the known scores of the programs, first for the scored examples, then for the test set."""
    found = []
    for name, on_test in (scored_on, False), (TEST_SET, True):
        scores = {which.value: progress.by_example.get(Arm(which, on_test), []) for which in Which}
        if scores[Which.BASELINE]:
            found.append(ExampleScores(name=name, **scores))
    return found


def comparison(
    progress: Progress, *, seed: str, gate: Gate | None = None, of: Which = Which.WINNER
) -> Comparison | None:
    """Compares a program with `progress.against`, on the test set if there is one. None: not all scores are known.

    Args:
        seed: of the comparison.
        gate: has the confidence of the interval.
    """
    on_test = Arm(Which.BASELINE, on_test=True) in progress.by_example
    before, after = (progress.by_example.get(Arm(program, on_test)) for program in (progress.against, of))
    confidence = (gate or Gate()).confidence
    return compare(before, after, seed=seed, confidence=confidence) if before and after else None


def retention(progress: Progress, *, seed: str, gate: Gate | None = None) -> Retention | None:
    """Compares the winner of a fine-tune with its teacher. None: not all scores are known."""
    on_test = Arm(Which.TEACHER, on_test=True) in progress.by_example
    teacher, winner = (progress.by_example.get(Arm(program, on_test)) for program in (Which.TEACHER, Which.WINNER))
    if not teacher or not winner:
        return None
    given = gate or Gate()
    found = kept(teacher, winner, seed=seed, least=given.min_retention or LEAST, confidence=given.confidence)
    return found and found.model_copy(update={"is_demanded": given.min_retention is not None})


def drift(progress: Progress, *, seed: str) -> Comparison | None:
    """Compares the published program, asked anew, with what it scored before. None: nothing was asked anew."""
    found = progress.drift
    return compare(found.before, found.now, seed=seed, confidence=DRIFT_CONFIDENCE) if found is not None else None


def costs(progress: Progress, prices: Prices) -> dict[str, Cost]:
    """Returns what the programs of the comparison cost, by the values of Which.

    A program is missing if nothing is known about it, since an earlier release has run its examples.
    """
    on_test = Arm(Which.BASELINE, on_test=True) in progress.by_example
    arms = {which: Arm(which, on_test) for which in Which}
    found = {which: progress.results.get(arm, ()) for which, arm in arms.items() if arm in progress.by_example}
    known = {which: [result for result in results if result.needed is not None] for which, results in found.items()}
    return {which.value: _cost(results, prices) for which, results in known.items() if results}


def _cost(results: Sequence[Result], prices: Prices) -> Cost:
    total: dict[str, Usage] = {}
    for result in results:
        for address, usage in (result.needed or {}).items():
            total[address] = total.get(address, Usage()) + usage
    usage, count = sum(total.values(), Usage()), len(results)
    repeated = [result.repeated for result in results if result.repeated is not None]
    seconds = sorted(result.milliseconds / 1000 for result in results if result.milliseconds is not None)
    each = {address: prices.at(address) for address in total}
    usd = [price.of(total[address]) for address, price in each.items() if price is not None]
    return Cost(
        examples=count,
        calls=usage.calls / count,
        prompt_tokens=usage.prompt_tokens / count,
        completion_tokens=usage.completion_tokens / count,
        usd=sum(usd) * 1000 / count if len(usd) == len(each) else None,
        unpriced=sorted({address.rpartition("@")[0] for address, price in each.items() if price is None}),
        unread=sum((result.error or "").startswith(UNREAD) for result in results),
        repeated=sum(repeated) if len(repeated) == count else None,
        p50=_quantile(seconds, 0.5) if len(seconds) == count else None,
        p95=_quantile(seconds, 0.95) if len(seconds) == count else None,
    )


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Returns the smallest of these figures that at least this part of them does not exceed."""
    return ordered[ceil(part * len(ordered)) - 1]


def prompts(before: Mapping[str, str], winner: dspy.Module, data: Data) -> list[Prompt]:
    """Returns what the compile has changed in the prompts of the winner's predictors.

    Args:
        before: from `instructions`, before the compile.
    """
    return [
        Prompt(
            predictor=name,
            before=before.get(name, ""),
            after=predictor.signature.instructions,
            demonstrations=[_demonstration(demo, data) for demo in predictor.demos],
        )
        for name, predictor in winner.named_predictors()
    ]


def copied(before: Mapping[str, str], winner: dspy.Module, data: Data) -> Copied | None:
    """Returns the longest sequence of words that new instructions copy from a training example; None if there is none.

    Only fields of the examples that are texts are searched.
    """
    blocks = [
        (name, block)
        for name, predictor in winner.named_predictors()
        for block in _added(_words(before.get(name, "")), _words(predictor.signature.instructions))
    ]
    matchers = [(name, SequenceMatcher(None, "", block, autojunk=False)) for name, block in blocks]
    found: Copied | None = None
    for example in data.train if matchers else ():
        for words in (_words(value) for _, value in example.items() if isinstance(value, str)):
            for name, matcher in matchers:
                matcher.set_seq1(words)
                match = matcher.find_longest_match()
                if match.size > (found.tokens if found else 0):
                    text = " ".join(words[match.a : match.a + match.size])
                    found = Copied(tokens=match.size, text=text[:SHOWN], predictor=name, example=_name(example, data))
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _added(before: list[str], after: list[str]) -> Iterator[list[str]]:
    """Yields the parts of `after` that are not in `before`.

    A few words that both have do not separate two parts: each text has "the" and "of".
    """
    part, is_new = list[str](), False
    for kind, _, _, begin, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal" and end - begin >= SEPARATES:
            if is_new:
                yield part
            part, is_new = [], False
        else:
            part += after[begin:end]
            is_new = is_new or kind != "equal"
    if is_new:
        yield part


def _name(example: Any, data: Data) -> str:
    """Returns the name of an example, such as "training example 3"; empty if it is in no set, or cannot be compared."""
    try:
        return data.name_of(example).removesuffix(": ")
    except Exception:  # values of users' types may not be comparable
        return ""


def _demonstration(demo: Any, data: Data) -> Demonstration:
    if not demo.get("augmented"):
        return Demonstration(bootstrapped=False, example=_name(demo, data))
    source = next((example for example in data.train if _has_inputs_of(demo, example)), None)
    return Demonstration(bootstrapped=True, example="" if source is None else _name(source, data))


def _has_inputs_of(demo: Any, example: Any) -> bool:
    """Whether a demonstration has inputs of this example, and no others of these names."""
    try:
        shared = [key for key, _ in example.inputs().items() if key in demo]
        return bool(shared) and all(bool(demo[key] == example[key]) for key in shared)
    except Exception:  # values of users' types may not be comparable
        return False
