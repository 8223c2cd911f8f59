"""Makes all models and scores of a process imaginary, for estimates.

A metric's scores of invented answers mean nothing. So scores are assumed: a share of the predictions passes, and a hash
chooses these predictions. Such scores differ between candidates, and are the same in every process.
"""

import json
import os
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import dspy

from swarm_worker.client.call import LMCall
from swarm_worker.client.installed import client
from swarm_worker.content.digest import Walk
from swarm_worker.content.masking import beginning
from swarm_worker.errors import BadInput
from swarm_worker.exceptions import describe, location
from swarm_worker.imaginary.provider import install, is_by_agent
from swarm_worker.imaginary.values import Draw
from swarm_worker.replay.score import check

ENVIRONMENT = "SWARM_IMAGINARY"
_STEPS = 10**6
TEXT = 500


@dataclass(frozen=True)
class Imagination:
    """Says how models and scores are invented.

    Attributes:
        pass_rate: share of the scores that are 1. All others are 0.
        tool_calls: number of tool calls of an agent before it finishes.
        log: a file of JSON lines. Each LM call has a line {"model", "byAgent", "calls", "promptTokens",
            "completionTokens"}. Each way in which the metric fails has a line {"metric", "text"}.
    """

    pass_rate: float
    tool_calls: int
    log: Path

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self | None:
        """Returns the environment's Imagination; None if it has none. Hides the variable from user code."""
        text = environment.pop(ENVIRONMENT, None)
        if text is None:
            return None
        given = json.loads(text)
        return cls(given["passRate"], given["toolCalls"], Path(given["log"]))

    def environment(self) -> dict[str, str]:
        told = {"passRate": self.pass_rate, "toolCalls": self.tool_calls, "log": str(self.log)}
        return {ENVIRONMENT: json.dumps(told)}

    def begin(self) -> None:
        """Makes this process's models imaginary until it ends."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

        def write(line: dict[str, Any]) -> None:
            os.write(log, f"{json.dumps(line)}\n".encode())

        def hear(lm: Any, call: LMCall, answer: Any) -> None:
            write({"model": lm.model, "byAgent": is_by_agent(call), **client().usage(answer).to_header()})

        install(hear, self.tool_calls)
        _process.tell = lambda kind, text: write({"metric": kind, "text": beginning(text, TEXT)})

    def loaded(self) -> None:
        """Adapts DSPy's settings to imaginary models. Call this after user code has configured DSPy."""
        # A program may fail on invented answers. This must not end a compile that real answers would complete.
        dspy.configure(max_errors=10**9)

    def assumed(self, metric: Callable[..., Any]) -> "Assumed":
        return Assumed(metric, self.pass_rate)


class _Process:
    told: ClassVar[set[str]] = set()
    tell: Callable[[str, str], None] | None = None


_process = _Process()


def _tell_once(kind: str, text: str) -> None:
    if _process.tell is not None and kind not in _process.told:
        _process.told.add(kind)
        _process.tell(kind, text)


@dataclass(frozen=True)
class Assumed:
    """A metric that accepts a share of the predictions, whatever their quality.

    It still calls the user's metric, which may make LM calls. It returns a Prediction if the user's metric does.
    """

    metric: Callable[..., Any]
    pass_rate: float

    def __call__(self, example: Any, prediction: Any, *more: Any, **named: Any) -> Any:
        found = None
        try:
            found = self.metric(example, prediction, *more, **named)
            if not (more or named):  # evaluations pass only example and prediction
                check(found, self.metric)
        except BadInput as error:
            _tell_once(type(found).__name__, f"{error} A run ends there: {error.reason}.")
        except Exception as error:
            _tell_once(
                f"{type(error).__name__} {location(error)}",
                f"the metric raises {describe(error)}; such an example counts as 0.",
            )
        passes = Draw(Walk().digest(example, prediction)).below(_STEPS) < self.pass_rate * _STEPS
        return dspy.Prediction({**found, "score": float(passes)}) if isinstance(found, dspy.Prediction) else passes
