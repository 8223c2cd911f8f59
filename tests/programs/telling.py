"""A program and a metric that use the spec's environment variables and print everything they know."""

import functools
import logging
import os
import sys
import traceback
from typing import Any
from urllib.parse import quote

import dspy

import swarm_worker
from triage import metric as triage_metric

LEVEL = os.environ["LEVEL"]


def tell() -> None:
    """Prints and raises all values, as users do to find a fault."""
    print(dict(os.environ), repr(os.environ["JUDGE_KEY"]))
    sys.stderr.writelines([os.environ["TOOL_TOKEN"], "\n"])
    logging.getLogger("telling").warning("environment: %s", os.environ["TOOL_TOKEN"])
    try:
        raise ValueError(os.environ["JUDGE_KEY"])
    except ValueError:
        traceback.print_exc()


class Telling(dspy.Module):
    """A program that keeps a secret, and has a model with a key of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.token = os.environ["TOOL_TOKEN"].strip()
        self.classify = dspy.ChainOfThought(f"ticket, {LEVEL} -> category")
        tell()

    def forward(self, ticket: str) -> Any:
        tell()
        assert self.token == os.environ["TOOL_TOKEN"].strip()
        if "?" in ticket:
            raise ValueError("refused", self.token)
        return self.classify(ticket=ticket, **{LEVEL: "high"})


@functools.cache
def judge() -> Any:
    return dspy.Predict("category -> verdict"), dspy.LM(
        "openai/large", api_base=os.environ["JUDGE_URL"], api_key=os.environ["JUDGE_KEY"]
    )


def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
    predict, own = judge()
    for lm in (own, swarm_worker.lm("judge")):
        with dspy.context(lm=lm):
            predict(category=prediction.category)
    if "!" in example.ticket or "," in example.ticket:
        raise LookupError(f"404 for http://tool/?key={quote(os.environ['TOOL_TOKEN'])}&judge={os.environ['JUDGE_KEY']}")
    return triage_metric(example, prediction)
