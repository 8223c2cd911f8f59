"""Counts the failed examples among those that the optimizer needed, for a few lines of the report."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from swarm_wire.messages import Result
from swarm_wire.report import FailureGroup, Failures
from swarm_wire.words import printable
from swarm_worker.exceptions import Raised

GROUPS = 5
"""Largest number of groups of failures that the report describes. It only counts the failures of other groups."""
EXAMPLE = 200
"""Largest number of characters of an example in the report."""


@dataclass
class _Group:
    raised: Raised
    example: Any
    count: int = 0


@dataclass
class Tally:
    """Counts examples, and groups failed ones by exception and place.

    Attributes:
        examples: how many examples ran. An example counts as often as it ran.
        in_bootstraps: how many of these ran in bootstraps.
        scored_zero: how many examples failed in evaluations.
        without_demo: how many examples failed in bootstraps.
        latest: the results of the latest evaluation, without their bodies.
    """

    examples: int = 0
    in_bootstraps: int = 0
    scored_zero: int = 0
    without_demo: int = 0
    latest: Sequence[Result] = ()
    _groups: dict[tuple[str, str], _Group] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def evaluated(self, results: Sequence[Result]) -> None:
        """Counts the examples of an evaluation."""
        with self._lock:
            self.examples += len(results)
            self.latest = results

    def failed(self, raised: Raised, example: Any = None) -> None:
        """Counts a failed example of an evaluation. The example is None for a bootstrap that failed as a whole."""
        with self._lock:
            self.scored_zero += 1
            self._add(raised, example)

    def bootstrapped(self, examples: Sequence[Any], failed: Mapping[int, Raised] | None = None) -> None:
        """Counts the examples of a bootstrap.

        Args:
            failed: exceptions by the example's position. It is None if an earlier release ran the bootstrap.
        """
        with self._lock:
            self.examples += len(examples)
            self.in_bootstraps += len(examples)
            for position, raised in sorted((failed or {}).items()):
                self.without_demo += 1
                self._add(raised, examples[position])

    def _add(self, raised: Raised, example: Any) -> None:
        self._groups.setdefault((raised.kind, raised.place), _Group(raised, example)).count += 1

    def told(self, name: Callable[[Any], str], redact: Callable[[str], str] = str) -> Failures | None:
        """Returns the failures for the report; None if no example failed.

        Args:
            name: gives an example's name in messages.
            redact: masks secrets in a text.
        """
        groups = sorted(self._groups.values(), key=lambda group: -group.count)
        if not groups:
            return None
        return Failures(
            failed=self.scored_zero,
            examples=self.examples,
            in_bootstraps=self.without_demo,
            bootstrapped=self.in_bootstraps,
            groups=[
                FailureGroup(
                    exception=str(group.raised),
                    place=group.raised.place or None,
                    examples=group.count,
                    first=None if group.example is None else told_of(group.example, name, redact),
                    answer=group.raised.answer,
                    traceback=group.raised.traceback or None,
                )
                for group in groups[:GROUPS]
            ],
            others=sum(group.count for group in groups[GROUPS:]),
        )


def told_of(item: Any, name: Callable[[Any], str], redact: Callable[[str], str]) -> str:
    """Returns a text for a wave's item: the inputs of its example."""
    parts = item if isinstance(item, tuple | list) else [item]
    example = next((part for part in parts if isinstance(part, dspy.Example)), None)
    try:
        if example is None:
            text = repr(item)
        else:
            inputs = example.inputs().toDict() if example._input_keys else example.toDict()
            text = f"{name(example)}{inputs!r}"
    except Exception as error:  # a user's own `__repr__` may raise any exception
        text = f"an example that cannot be shown: {error!r}"
    text = printable(redact(text))
    return text if len(text) <= EXAMPLE else f"{text[:EXAMPLE]}..."
