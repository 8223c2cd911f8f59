"""Processes all of whose models and scores are imaginary: for estimates.

Scores are assumed, because those of invented answers would say nothing: a share of them passes, by hash, so they differ
between candidates and are the same in every process.
"""

import json
import os
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dspy

from swarm_worker.client.call import LMCall
from swarm_worker.client.installed import client
from swarm_worker.imaginary.provider import install
from swarm_worker.imaginary.values import Draw
from swarm_worker.replay.digest import Walk

ENVIRONMENT = "SWARM_IMAGINARY"
_STEPS = 10**6


@dataclass(frozen=True)
class Imagination:
    """
    Attributes:
        pass_rate: share of the scores that are 1; all others are 0.
        log: file that each LM call adds a line to: {"model", "calls", "promptTokens", "completionTokens"}.
    """

    pass_rate: float
    log: Path

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self | None:
        """What the environment asks for, and takes it out: user code does not need to know."""
        text = environment.pop(ENVIRONMENT, None)
        if text is None:
            return None
        given = json.loads(text)
        return cls(given["passRate"], Path(given["log"]))

    def environment(self) -> dict[str, str]:
        return {ENVIRONMENT: json.dumps({"passRate": self.pass_rate, "log": str(self.log)})}

    def begin(self) -> None:
        """Makes this process's models imaginary, to its end."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

        def write(lm: Any, call: LMCall, answer: Any) -> None:
            usage = client().usage(answer).to_header()
            os.write(log, f"{json.dumps({'model': lm.model, **usage})}\n".encode())

        install(write)

    def loaded(self) -> None:
        """To be called when user code has configured what it wants."""
        # A program may fail on invented answers. That alone must not end what would go on with real ones.
        dspy.configure(max_errors=10**9)

    def assumed(self, metric: Callable[..., Any]) -> "Assumed":
        return Assumed(metric, self.pass_rate)


@dataclass(frozen=True)
class Assumed:
    """A metric that passes a share of predictions, whatever they are worth.

    The user's metric is called all the same, because it may call models. Where it returns a Prediction, so does this.
    """

    metric: Callable[..., Any]
    pass_rate: float

    def __call__(self, example: Any, prediction: Any, *more: Any, **named: Any) -> Any:
        try:
            found = self.metric(example, prediction, *more, **named)
        except Exception:
            found = None
        passes = Draw(Walk().digest(example, prediction)).below(_STEPS) < self.pass_rate * _STEPS
        return dspy.Prediction({**found, "score": float(passes)}) if isinstance(found, dspy.Prediction) else passes
